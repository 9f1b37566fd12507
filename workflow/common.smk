# What the rules ask: the plan of a data set, and the two parameters every rule carries.
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from fastaed.codehash import code_hash
from fastaed.errors import FastaedError
from fastaed.plan import OFFICIAL, Ablation, plan, split_of

# The checkout's own package runs in every job, whatever environment the job is in; and it knows whom it works for.
# glibc keeps large blocks for reuse: given back to the system and asked for anew in every training step, as is its
# default, they cost a quarter of a CPU's time.
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH={workflow.basedir} FASTAED_RUN=$PPID; "
    "export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000; "
)


wildcard_constraints:
    dataset=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    split="train|test|trial",
    part="test|validation|trial|alike",
    clip="[^/]+",
    batch=r"\d+",
    fold=r"\d+",
    teacher="ssmtl|baf|density",
    variant=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    seed=r"\d+",


def plainly(function, *arguments):
    """Call a function; a user's mistake becomes one of Snakemake's own errors, without a traceback."""
    try:
        return function(*arguments)
    except FastaedError as error:
        raise WorkflowError(str(error)) from None


@cache
def plan_of(dataset):
    """The plan of a data set; a mistake in its configuration or data ends the run before any job starts."""
    own = Path("config")  # of the folder that Snakemake runs in
    folder = own if (own / f"{dataset}.yaml").is_file() else Path(workflow.basedir, own)
    return plainly(plan, dataset, folder, config)


@cache
def ablation_of(dataset):
    """The variants of a data set's training."""
    own = Path("config/ablation")
    folder = own if own.is_dir() else Path(workflow.basedir, own)
    return plainly(Ablation, plan_of(dataset).config, folder)


def code_of(*modules):
    """A parameter that changes when the meaning of these modules' code does."""
    return " ".join(f"{module}:{code_hash(f'fastaed.{module}')}" for module in modules)


def code_of_teacher(stage):
    """The same for a stage that runs one teacher: the code of the others is no news to it."""
    return (
        lambda wildcards: f"{stage}:{code_hash(f'fastaed.{stage}', wildcards.teacher)}"
    )


def settings_of(stage):
    """A parameter: the stage's section of the configuration as canonical JSON."""
    return lambda wildcards: plan_of(wildcards.dataset).settings(stage)


def growing(amount):
    """A resource that a job asks for anew at each attempt, and as much again: memory, minutes."""
    return lambda wildcards, attempt: amount * attempt


def stores(split, of_batch=False):
    """A parameter: the frame stores of a split or a part of it, or of one batch of that.

    They are no inputs, since thousands of those a job are what a large data set's graph costs; `decoded` is.
    """

    def paths(wildcards):
        folder, clips = _clips_of(split, of_batch, wildcards)
        return expand(
            "results/{dataset}/decode/{split}/{clip}.zarr",
            dataset=wildcards.dataset,
            split=folder,
            clip=clips,
        )

    return paths


def decoded(split, of_batch=False):
    """What vouches for the same stores: lists of the batches they were decoded in, of trial clips a manifest each."""

    def files(wildcards):
        folder, clips = _clips_of(split, of_batch, wildcards)
        if folder == "trial":
            return expand(
                "results/{dataset}/decode/trial/{clip}.json",
                dataset=wildcards.dataset,
                clip=clips,
            )
        return _lists(wildcards.dataset, folder, clips)

    return files


def decoded_original(wildcards):
    """What vouches for the store that a trial clip is made from."""
    original = plan_of(wildcards.dataset).made_from(wildcards.clip)
    return _lists(wildcards.dataset, "train", [original])


def _lists(dataset, split, clips):
    return expand(
        "results/{dataset}/decode/{split}-{batch}.json",
        dataset=dataset,
        split=split,
        batch=plan_of(dataset).batches_with(split, clips),
    )


def _clips_of(split, of_batch, wildcards):
    """Folder and names of the clips of a split or a part of it, or of one batch of that."""
    planned = plan_of(wildcards.dataset)
    which = split or wildcards.get("split") or wildcards.part
    clips = (
        planned.clips_of_batch(which, wildcards.batch)
        if of_batch
        else planned.clips(which)
    )
    return split_of(which), clips


def batches(split, pattern, **values):
    """`pattern` for every batch of a split, and for all combinations of `values`."""
    return lambda wildcards: expand(
        pattern,
        dataset=wildcards.dataset,
        split=split,
        batch=plan_of(wildcards.dataset).batches(split),
        **{
            name: value(wildcards) if callable(value) else value
            for name, value in values.items()
        },
    )


def teachers(wildcards):
    return plan_of(wildcards.dataset).config.teach.teachers


def config_of(wildcards):
    """The configuration of the data set, or of a variant of its student."""
    if "variant" in wildcards.keys():
        return ablation_of(wildcards.dataset).variants[wildcards.variant]
    return plan_of(wildcards.dataset).config


def distilled_teachers(wildcards):
    """The teachers that the student learns from, or a variant of it."""
    return config_of(wildcards).distilled_teachers


def eyes(wildcards):
    """The detector's weights as files, if the student sees through them."""
    has_eyes = config_of(wildcards).distill.student.eyes
    return detector_weights(wildcards) if has_eyes else []


def eyes_of_student(wildcards):
    """A parameter: the detector, for a student that sees through it."""
    planned = config_of(wildcards)
    return (
        ["--detector", planned.detect.weights] if planned.distill.student.eyes else []
    )


def eyes_of_teacher(wildcards):
    """A parameter: the detector, for a teacher that looks through it."""
    planned = plan_of(wildcards.dataset).config
    sees = wildcards.teacher == "density" and planned.teach.density.eyes
    return ["--detector", planned.detect.weights] if sees else []


def pretrained(wildcards):
    """The weights that the student starts from, or a variant of it."""
    dataset, own = wildcards.dataset, wildcards.get("variant")
    if own is None or ablation_of(dataset).shares_pretraining(own):
        return f"results/{dataset}/pretrain/autoencoder.safetensors"
    return f"results/{dataset}/ablation/{own}/pretrain/autoencoder.safetensors"


def folds(wildcards):
    return plan_of(wildcards.dataset).folds()


def named(name, part):
    """A parameter: the files of an input as NAME=PATH, the name being a part of the path (-2: its folder)."""
    return lambda wildcards, input: [
        f"{Path(path).parts[part]}={path}" for path in input[name]
    ]


def given(files):
    """An input that comes from outside: its date says nothing, `contents_of` the same files says all.

    Where rules of this workflow make it, it is an input like any other.
    """

    def found(wildcards):
        is_made = plan_of(wildcards.dataset).config.data.demo is not None
        return [path if is_made else ancient(path) for path in files(wildcards)]

    return found


def contents_of(*inputs):
    """A parameter that changes when given files do, whatever their dates."""

    def contents(wildcards):
        paths = [path for files in inputs for path in files(wildcards)]
        return plan_of(wildcards.dataset).contents(paths)

    return contents


def sources_of(wildcards):
    """Videos or folders of frames of a batch of clips."""
    return _sources_of(wildcards).values()


def truths_of(wildcards):
    """Ground truth of a batch of test clips, of those that have any."""
    return _truths_of(wildcards).values()


def sources_by_clip(wildcards):
    """A parameter: the same videos as CLIP=PATH."""
    return [f"{clip}={path}" for clip, path in _sources_of(wildcards).items()]


def truths_by_clip(wildcards):
    """A parameter: the same ground truth as CLIP=PATH."""
    return [f"{clip}={path}" for clip, path in _truths_of(wildcards).items()]


def _sources_of(wildcards):
    planned, split = plan_of(wildcards.dataset), wildcards.split
    return {
        clip: planned.sources[split][clip]
        for clip in planned.clips_of_batch(split, wildcards.batch)
    }


def _truths_of(wildcards):
    if wildcards.split != "test":
        return {}
    planned = plan_of(wildcards.dataset)
    labels = {
        clip: planned.labels(clip)
        for clip in planned.clips_of_batch("test", wildcards.batch)
    }
    return {clip: path for clip, path in labels.items() if path}


def all_truth(wildcards):
    """Ground truth of all test clips, without which there is no table."""
    return plan_of(wildcards.dataset).all_labels()


def known_truth(wildcards):
    """Ground truth of all test clips, or none."""
    return plan_of(wildcards.dataset).known_labels()


def tracks(wildcards):
    """Track files of the test clips that have one."""
    return plan_of(wildcards.dataset).tracks().values()


def detector_weights(wildcards):
    return plan_of(wildcards.dataset).detector_weights()


def teacher_weights(wildcards):
    return plan_of(wildcards.dataset).teacher_weights(wildcards.teacher)


def labels_of_clips(wildcards):
    """A parameter: ground truth as CLIP=PATH."""
    planned = plan_of(wildcards.dataset)
    return [
        f"{clip}={path}"
        for clip, path in zip(planned.clips("test"), planned.known_labels())
    ]


def tracks_of_clips(wildcards):
    """A parameter: track files as CLIP=PATH."""
    found = plan_of(wildcards.dataset).tracks()
    return [f"{clip}={path}" for clip, path in found.items()]


def layout_of(wildcards):
    """A parameter: how the raw data is laid out."""
    return plan_of(wildcards.dataset).config.data.layout


def labelled_with(suffix):
    """Maps of a teacher that hold the clips of a batch; parts of the training split lie scattered over it."""

    def files(wildcards):
        planned = plan_of(wildcards.dataset)
        split, found = split_of(wildcards.part), [wildcards.batch]
        if split == "train":
            clips = planned.clips_of_batch(wildcards.part, wildcards.batch)
            found = planned.batches_with("train", clips)
        pattern = "results/{dataset}/label/{teacher}/{split}/{batch}.{suffix}"
        return expand(
            pattern,
            dataset=wildcards.dataset,
            teacher=wildcards.teacher,
            split=split,
            batch=found,
            suffix=suffix,
        )

    return files


def student_and_teachers(wildcards):
    return ["student", *teachers(wildcards)]


def scores(part, models=student_and_teachers):
    """Score files of models on a split or a part of one."""
    pattern = f"results/{{dataset}}/score/{{model}}/{part}/{{batch}}.parquet"
    return batches(part, pattern, model=models)


def maps_of(split):
    """Maps of the student and of every teacher on a split."""
    of_student = batches(split, "results/{dataset}/score/student/{split}/{batch}.zarr")
    of_teachers = batches(
        split,
        "results/{dataset}/label/{teacher}/{split}/{batch}.zarr",
        teacher=teachers,
    )
    return lambda wildcards: of_student(wildcards) + of_teachers(wildcards)


def trial_files(kind):
    """Labels or tracks of every trial clip."""
    return lambda wildcards: expand(
        f"results/{wildcards.dataset}/trial/{kind}/{{clip}}.csv",
        clip=plan_of(wildcards.dataset).clips("trial"),
    )


def by_clip(name):
    """A parameter: files of an input as CLIP=PATH."""
    return lambda wildcards, input: [
        f"{Path(path).stem}={path}" for path in input[name]
    ]


def by_model(name):
    """A parameter: files of an input as MODEL=PATH; a teacher's files as teacher:NAME=PATH."""

    def pairs(wildcards, input):
        models = [Path(path).parts[-3] for path in input[name]]
        return [
            f"{model if model == 'student' else f'teacher:{model}'}={path}"
            for model, path in zip(models, input[name])
        ]

    return pairs


def students(pattern):
    """`pattern` for every variant of the ablation and every seed."""
    return lambda wildcards: expand(
        f"results/{{dataset}}/ablation/{{variant}}/{{seed}}/{pattern}",
        dataset=wildcards.dataset,
        variant=ablation_of(wildcards.dataset).variants,
        seed=ablation_of(wildcards.dataset).seeds(),
        batch=plan_of(wildcards.dataset).batches(Path(pattern).parts[1]),
    )


def repeats(split):
    """Scores of a split by the students trained with further seeds."""
    return batches(
        split,
        "results/{dataset}/repeats/{seed}/score/student/{split}/{batch}.parquet",
        seed=lambda wildcards: plan_of(wildcards.dataset).further_seeds(),
    )


def by_seed(wildcards, input):
    """A parameter: the same files as student/SEED=PATH."""
    return [f"student/{Path(path).parts[3]}={path}" for path in input.repeats]


def by_student(name):
    """A parameter: files of an input as VARIANT/SEED=PATH."""
    return lambda wildcards, input: [
        f"{'/'.join(Path(path).parts[3:5])}={path}" for path in input[name]
    ]


def all_losses(wildcards):
    """Tables of losses of whatever was trained."""
    results = f"results/{wildcards.dataset}"
    of_teachers = f"{results}/teach/{{teacher}}/{{fold}}.csv"
    return [
        f"{results}/pretrain/losses.csv",
        f"{results}/distill/losses.csv",
        *expand(of_teachers, teacher=teachers(wildcards), fold=folds(wildcards)),
    ]


def titled_losses(wildcards, input):
    """A parameter: tables of losses as TITLE=PATH, the title being `distill` or `ssmtl-0`."""
    titles = [Path(path).with_suffix("").parts[2:] for path in input.losses]
    return [
        f"{'-'.join(part for part in title if part not in ('teach', 'losses'))}={path}"
        for title, path in zip(titles, input.losses)
    ]


# Configuration and data of every data set asked for are checked here, before the graph of jobs is built,
# so that a mistake is one sentence and not a traceback out of an input function. Lists of decoded clips that lack
# one by now go, so that whoever needs it finds it decoded again.
for word in sys.argv[1:]:
    if asked := re.match(r"results/([^/]+)/(.*)", word):
        planned = plan_of(asked[1])
        for listing in planned.untrue_lists(Path("results", asked[1], "decode")):
            with suppress(OSError):  # a dry run on results that are read-only
                listing.unlink()
        if asked[2] == "auc.csv":
            plainly(planned.all_labels)
        if asked[2].startswith("ablation"):
            ablation_of(asked[1])

"""Status: which results of a data set are stale, why, and what running them again would cost.

Reads the configuration, the manifests that stand beside (or in) every result, and the times that earlier
jobs took. Needs neither Snakemake nor its memory in `.snakemake/`, and reads no store unless digests are
asked for.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fastaed.codehash import code_hash
from fastaed.config import Config
from fastaed.data.benchmarks import natural_key
from fastaed.errors import MissingDataError, StoreError
from fastaed.files import content_digest, current_digest, manifest_of, read_manifest
from fastaed.plan import Plan, split_of
from fastaed.sources import signature

_SPLITS = ("train", "test")
_TRIAL_EVALUATION = Path("trial/evaluate")
_TEACHERS_EVALUATION = Path("trial/teachers/evaluate")
_TIMES_OF_TRIAL = {
    _TRIAL_EVALUATION: Path("evaluate_trial.tsv"),
    _TEACHERS_EVALUATION: Path("evaluate_teachers.tsv"),
}
_MOST_KEYS = 2  # changed settings that are named


@dataclass(frozen=True)
class Job:
    """One result and what it is made from.

    Attributes:
        stage: `decode`, or `teach/baf`: teachers and models apart.
        output: the result that later stages read, below the data set's results.
        needs: outputs of the jobs before it.
        source: files from outside that count by their signature.
        seed: of a student trained beside the one, and of its scores.
        batch: of a clip that was decoded with others.
        share: of the time of a Snakemake job that this one takes.
    """

    stage: str
    output: Path
    needs: tuple[Path, ...] = ()
    source: tuple[Path, ...] = ()
    seed: str | None = None
    batch: str | None = None
    share: float = 1.0

    @property
    def word(self) -> str:
        """The stage's module."""
        return self.stage.split("/")[0]

    @property
    def times(self) -> Path:
        """Where Snakemake noted its time, below the data set's benchmarks."""
        if self.batch is not None:
            return self.output.parent.with_name(f"{self.output.parent.name}-{self.batch}.tsv")
        if self.word == "trial":
            return Path("trial", f"{self.output.stem}.tsv")
        if self.word in ("pretrain", "distill"):
            return self.output.parent.with_suffix(".tsv")
        return _TIMES_OF_TRIAL.get(self.output) or self.output.with_suffix(".tsv")


@dataclass(frozen=True)
class StageStatus:
    """A row of the table.

    Attributes:
        stage: as in `Job`.
        jobs: how many the data set needs.
        reasons: result -> why it has to be made again; results that are as they should be are left out.
        seconds: what these took the last time, jobs that were never timed counted at the mean of the stage's
            others; None where none was timed.
    """

    stage: str
    jobs: int
    reasons: Mapping[Path, Sequence[str]]
    seconds: float | None


def status(planned: Plan, results: Path, benchmarks: Path, digests: bool = False) -> list[StageStatus]:
    """A row a stage, in the order of the pipeline; the trial's two tables count if they were ever asked for.

    Args:
        planned: configuration and clips of the data set.
        results: the data set's results, e.g. `results/avenue`.
        benchmarks: what Snakemake recorded of its jobs, e.g. `benchmarks/avenue`.
        digests: also compare every store's bytes with its manifest, which reads all of them.

    Raises:
        MissingDataError: there is nothing at `results`.
    """
    if not results.is_dir():
        raise MissingDataError(f"there are no results at {results}; run the workflow, or name their folder")
    teachers = (results / _TEACHERS_EVALUATION).is_dir()
    trial = (results / (_TRIAL_EVALUATION if teachers else _TRIAL_EVALUATION.parent)).is_dir()
    todo = list(jobs(planned, trial, teachers))
    reasons: dict[Path, list[str]] = {}
    made_by = {job.output: job.stage for job in todo}
    for job in todo:
        found = list(_Inspection(job, planned, results, digests).reasons())
        follows = dict.fromkeys(made_by[need] for need in job.needs if need in reasons)
        if follows:
            found.append(f"follows from {', '.join(follows)}")
        if found:
            reasons[job.output] = found
    return [_row(stage, todo, reasons, benchmarks) for stage in dict.fromkeys(made_by.values())]


class Remembered(Plan):
    """The plan of a data set whose footage is no longer at hand, so that nothing from outside is compared."""

    def labels(self, clip: str) -> Path:
        """A place where there is nothing."""
        return Path("gone", clip)

    def tracks(self) -> dict[str, Path]:
        """None."""
        return {}


def remembered(config: Config, results: Path) -> Remembered:
    """A plan of the clips that were decoded.

    Raises:
        MissingDataError: nothing was decoded there.
    """
    sources = {}
    for split in _SPLITS:
        names = sorted((file.stem for file in (results / "decode" / split).glob("*.json")), key=natural_key)
        sources[split] = {clip: Path("gone", clip) for clip in names}
    if not all(sources.values()):
        raise MissingDataError(f"nothing was decoded below {results}; run the workflow, or name its folder")
    return Remembered(config, sources)


def table(rows: Sequence[StageStatus]) -> str:
    """The rows as aligned text, and a sentence that sums them up."""
    lines = [("stage", "jobs", "stale", "took", "why")]
    for row in rows:
        stale = len(row.reasons)
        took = duration(row.seconds) if stale else ""
        lines.append((row.stage, str(row.jobs), str(stale or "-"), took, _why(row)))
    wide = [max(len(line[place]) for line in lines) for place in range(4)]
    text = [
        f"{stage:<{wide[0]}}  {count:>{wide[1]}}  {stale:>{wide[2]}}  {took:>{wide[3]}}  {why}".rstrip()
        for stage, count, stale, took, why in lines
    ]
    return "\n".join([*text, "", _sum(rows)])


def duration(seconds: float | None) -> str:
    """`40 s`, `12 min`, `3.5 h`; `?` where it is not known."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def jobs(planned: Plan, trial: bool = False, teachers: bool = False) -> Iterator[Job]:
    """Every job behind the table and the pictures, each after those that it needs.

    Args:
        planned: configuration and clips of the data set.
        trial: also what is behind the trial's table; its contact sheet, which has no manifest, is left out.
        teachers: also what is behind the trial's table of teachers.
    """
    made = ("trial",) if trial or teachers else ()
    splits = (*_SPLITS, *made)
    yield from (job for split in _SPLITS for job in _decoding(planned, split))
    if made:
        yield from _making_trial_clips(planned)
    for split in splits:
        for batch in planned.batches(split):
            clips = planned.clips_of_batch(split, batch)
            weights = tuple(planned.detector_weights())
            yield Job("detect", Path("detect", split, batch), tuple(_stores(split, clips)), weights)
    yield from _teaching(planned, splits)
    yield from _training(planned)
    yield from _scoring_by_students(planned, ("test", "validation", *(["trial"] if trial else [])))
    of_teachers = ("test", "validation", *made, *(["alike"] if teachers else []))
    yield from _scoring_by_teachers(planned, of_teachers)
    yield from _judging(planned)
    if trial:
        yield _evaluation(planned, "trial", _TRIAL_EVALUATION)
    if teachers:
        yield _evaluation_of_teachers(planned)


def _decoding(planned: Plan, split: str) -> Iterator[Job]:
    for batch in planned.batches(split):
        clips = planned.clips_of_batch(split, batch)
        for clip in clips:
            source = planned.sources[split][clip]
            labels = planned.labels(clip) if split == "test" else None
            given = (source, labels) if labels else (source,)
            store = Path("decode", split, f"{clip}.zarr")
            yield Job("decode", store, source=given, batch=batch, share=1 / len(clips))


def _making_trial_clips(planned: Plan) -> Iterator[Job]:
    for clip in planned.clips("trial"):
        needs = _stores("train", [planned.made_from(clip)])
        yield Job("trial", Path("decode/trial", f"{clip}.zarr"), tuple(needs))


def _teaching(planned: Plan, splits: Sequence[str]) -> Iterator[Job]:
    footage = (*_stores("train", planned.clips("train")), *_detections(planned, "train"))
    for teacher in planned.config.teach.teachers:
        folds = tuple(Path("teach", teacher, f"{fold}.safetensors") for fold in planned.folds())
        for fold in folds:
            yield Job(f"teach/{teacher}", fold, footage, tuple(planned.teacher_weights(teacher)))
        for split in splits:
            for batch in planned.batches(split):
                stores = _stores(split, planned.clips_of_batch(split, batch))
                needs = (*stores, Path("detect", split, batch), *folds)
                yield Job(f"label/{teacher}", _maps_of(teacher, split, batch), needs)


def _training(planned: Plan) -> Iterator[Job]:
    fitting = tuple(_stores("train", planned.clips("fitting")))
    pretrained = Path("pretrain/autoencoder.safetensors")
    yield Job("pretrain", pretrained, fitting)
    maps = (
        _maps_of(teacher, "train", batch)
        for teacher in planned.config.distilled_teachers
        for batch in planned.batches("train")
    )
    needs = (*fitting, *_detections(planned, "train"), *maps, pretrained)
    eyes = tuple(planned.detector_weights()) if planned.config.distill.student.eyes else ()
    for seed in _students(planned):
        yield Job("distill", _student(seed), needs, eyes, seed)


def _scoring_by_students(planned: Plan, parts: Sequence[str]) -> Iterator[Job]:
    for part in parts:
        for batch in planned.batches(part):
            stores = _stores(split_of(part), planned.clips_of_batch(part, batch))
            for seed in _scored_students(planned, part):
                needs = (*stores, _student(seed))
                yield Job("score/student", _scores_of("student", part, batch, seed), needs, seed=seed)


def _scoring_by_teachers(planned: Plan, parts: Sequence[str]) -> Iterator[Job]:
    for part in parts:
        split = split_of(part)
        for batch in planned.batches(part):
            clips = planned.clips_of_batch(part, batch)
            labelled = planned.batches_with("train", clips) if split == "train" else [batch]
            for teacher in planned.config.teach.teachers:
                maps = tuple(_maps_of(teacher, split, number) for number in labelled)
                yield Job(f"score/{teacher}", _scores_of(teacher, part, batch), maps)


def _judging(planned: Plan) -> Iterator[Job]:
    labels = planned.known_labels()
    if labels:
        yield _evaluation(planned, "test", Path("evaluate"), (*labels, *planned.tracks().values()))
    needs = (*_all_scores(planned, "test"), *_stores("test", planned.clips("test")))
    yield Job("report", Path("report"), needs, tuple(labels))


def _evaluation(planned: Plan, part: str, output: Path, source: tuple[Path, ...] = ()) -> Job:
    scores = (*_all_scores(planned, part), *_all_scores(planned, "validation"))
    repeats = [
        _scores_of("student", part, batch, seed)
        for seed in planned.further_seeds()
        for batch in planned.batches(part)
    ]
    teachers = planned.config.teach.teachers
    maps = [_maps_of(name, part, batch) for name in teachers for batch in planned.batches(part)]
    return Job("evaluate", output, (*scores, *repeats, *maps, *_stores(part, planned.clips(part))), source)


def _evaluation_of_teachers(planned: Plan) -> Job:
    scores = (*_teachers_scores(planned, "trial"), *_teachers_scores(planned, "alike"))
    stores = (*_stores("trial", planned.clips("trial")), *_stores("train", planned.clips("alike")))
    return Job("evaluate", _TEACHERS_EVALUATION, (*scores, *stores))


def _all_scores(planned: Plan, part: str) -> list[Path]:
    of_student = [_scores_of("student", part, batch) for batch in planned.batches(part)]
    return [*of_student, *_teachers_scores(planned, part)]


def _teachers_scores(planned: Plan, part: str) -> list[Path]:
    teachers = planned.config.teach.teachers
    return [_scores_of(name, part, batch) for name in teachers for batch in planned.batches(part)]


def _stores(split: str, clips: Iterable[str]) -> list[Path]:
    return [Path("decode", split, f"{clip}.zarr") for clip in clips]


def _detections(planned: Plan, split: str) -> list[Path]:
    return [Path("detect", split, batch) for batch in planned.batches(split)]


def _maps_of(teacher: str, split: str, batch: str) -> Path:
    return Path("label", teacher, split, f"{batch}.zarr")


def _scores_of(model: str, part: str, batch: str, seed: str | None = None) -> Path:
    return _of_seed(seed) / Path("score", model, part, f"{batch}.parquet")


def _student(seed: str | None) -> Path:
    return _of_seed(seed) / "distill/student.safetensors"


def _scored_students(planned: Plan, part: str) -> list[str | None]:
    """Validation clips give the thresholds of the one."""
    return [None] if part == "validation" else _students(planned)


def _students(planned: Plan) -> list[str | None]:
    """The seeds of those trained beside the one, behind it."""
    return [None, *planned.further_seeds()]


def _of_seed(seed: str | None) -> Path:
    return Path("repeats", seed) if seed else Path()


@dataclass
class _Inspection:
    """One job's result, as its manifest has it, against what it would be today."""

    job: Job
    planned: Plan
    results: Path
    digests: bool

    def reasons(self) -> Iterator[str]:
        output = self.results / self.job.output
        try:
            manifest = self._manifest
        except StoreError:
            yield f"without a readable manifest, delete {output}" if output.exists() else "not made yet"
            return
        if not output.exists():
            yield "missing"
        elif self.digests and "content" in manifest and content_digest(self._store) != manifest["content"]:
            yield f"damaged, delete {output}"
        changed = list(_differences(self._settings(), manifest.get("settings", {})))
        if changed:
            more = f" and {len(changed) - _MOST_KEYS} more" if len(changed) > _MOST_KEYS else ""
            yield f"settings: {', '.join(changed[:_MOST_KEYS])}{more}"
        if manifest.get("code") != self._code():
            yield "code changed"
        given = self.job.source
        if given and all(path.exists() for path in given) and manifest.get("source") != signature(given):
            yield "files given from outside changed"
        yield from self._changed_inputs(manifest.get("inputs", {}))

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        path = manifest_of(self.results / self.job.output)
        return weights_facts(path) if path.suffix == ".safetensors" else read_manifest(path)

    @property
    def _store(self) -> Path:
        """What the manifest vouches for: of the student's scores and maps, the maps."""
        output = self.results / self.job.output
        return output.with_suffix(".zarr") if self.job.stage == "score/student" else output

    def _settings(self) -> dict[str, Any]:
        word, _, model = self.job.stage.partition("/")
        if word == "score" and model != "student":
            return {}  # taken from the maps as they are
        if self.job.output in _TIMES_OF_TRIAL:
            text = self.planned.settings("trial_evaluation")
        elif word == "teach":
            text = self.planned.teach_settings(model)
        elif word == "distill" and self.job.seed:
            text = self.planned.distill_settings(self.job.seed)
        else:
            text = self.planned.settings(word)
        settings: dict[str, Any] = json.loads(text)
        return settings

    def _code(self) -> str:
        word, _, model = self.job.stage.partition("/")
        return code_hash(f"fastaed.{word}", model if word in ("teach", "label") else None)

    def _changed_inputs(self, recorded: Mapping[str, str]) -> Iterator[str]:
        """By stage: what is new, gone or made anew since this result was made."""
        before = {_record_of(_below(path, self.results)): digest for path, digest in recorded.items()}
        needs = {_record_of(need): need for need in self.job.needs}
        for word, others in (
            ("new", needs.keys() - before.keys()),
            ("without", before.keys() - needs.keys()),
        ):
            if others:
                yield f"{word} {_some(others)}"
        anew = [
            record
            for record, need in needs.items()
            if record in before and _digest_now(self.results / need) not in (None, before[record])
        ]
        if anew:
            yield f"made anew since: {_some(anew)}"


def _digest_now(path: Path) -> str | None:
    """None also where the manifest is cut off, which is told of that result."""
    try:
        return current_digest(path)
    except StoreError:
        return None


def weights_facts(path: Path) -> dict[str, Any]:
    """What a weights file says about itself, without its tensors or torch.

    Raises:
        StoreError: it is missing, damaged or not ours.
    """
    try:
        with safe_open(path, framework="np") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["fastaed"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"weights {path} do not say how they were made; train again") from error
    return facts


def _differences(now: Mapping[str, Any], before: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    for key, value in now.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            yield from _differences(value, old, f"{inside}{key}.")
        elif value != old:
            yield f"{inside}{key} {json.dumps(old)} -> {json.dumps(value)}"


def _below(path: str, results: Path) -> Path:
    """A recorded path, which starts where Snakemake ran, below the data set's results."""
    parts = Path(path).parts
    folder = results.resolve().name
    return Path(*parts[parts.index(folder) + 1 :]) if folder in parts else Path(path)


def _record_of(output: Path) -> Path:
    """One name for all outputs of a job: the student's scores and maps share a manifest."""
    return manifest_of(output)


def _some(records: Iterable[Path]) -> str:
    ordered = sorted(records)
    more = f" and {len(ordered) - 1} more" if len(ordered) > 1 else ""
    return f"{ordered[0].with_suffix('')}{more}"


def _row(
    stage: str, todo: Sequence[Job], reasons: Mapping[Path, Sequence[str]], benchmarks: Path
) -> StageStatus:
    mine = [job for job in todo if job.stage == stage]
    stale = {job.output: reasons[job.output] for job in mine if job.output in reasons}
    timed = {job.output: _seconds(benchmarks, job) for job in mine} if stale else {}
    known = [seconds for seconds in timed.values() if seconds is not None]
    mean = sum(known) / len(known) if known else None
    if mean is None:
        return StageStatus(stage, len(mine), stale, None if stale else 0.0)
    return StageStatus(stage, len(mine), stale, sum(timed[output] or mean for output in stale))


def _seconds(benchmarks: Path, job: Job) -> float | None:
    try:
        with (benchmarks / job.times).open(newline="") as stream:
            return job.share * sum(float(row["s"]) for row in csv.DictReader(stream, delimiter="\t"))
    except (OSError, KeyError, ValueError):
        return None


def _why(row: StageStatus) -> str:
    """Each reason once, the number of results beside it where that is not all of the stale ones."""
    counts: dict[str, int] = {}
    for found in row.reasons.values():
        for reason in found:
            counts[reason] = counts.get(reason, 0) + 1
    return "; ".join(
        reason if count == len(row.reasons) else f"{reason} ({count})" for reason, count in counts.items()
    )


def _sum(rows: Sequence[StageStatus]) -> str:
    stale = sum(len(row.reasons) for row in rows)
    if not stale:
        return "everything is up to date"
    known = sum(row.seconds for row in rows if row.seconds is not None)
    untimed = [row.stage for row in rows if row.seconds is None]
    more = f", not counting {', '.join(untimed)}, never timed here" if untimed else ""
    return (
        f"{stale} of {sum(row.jobs for row in rows)} results are stale; one after another they took "
        f"{duration(known)}{more}"
    )

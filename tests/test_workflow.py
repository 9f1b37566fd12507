"""The whole workflow on a tiny generated data set: results, reruns, interruptions, mistakes."""

import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from workflow_runs import LIMITS, ROOT, TARGETS, jobs_of, rules_to_run, run, snakemake, snakemake_in
from workflow_runs import TINY as TINY  # other tests of whole runs take it from here

from fastaed import cli


def test_table_has_every_model_scale_and_smoothing(finished: Path) -> None:
    table = pd.read_csv(finished / "results/demo/auc.csv")
    assert list(table.columns)[:10] == [
        *("dataset", "model", "scale", "smoothing", "micro_auc", "macro_auc"),
        *("macro_clips", "clips", "frames", "label_version"),
    ]
    assert set(table["model"]) == {
        *("student", "teachers", "teacher:ssmtl", "teacher:baf", "teacher:density"),
        *("baseline:constant", "baseline:random", "baseline:ramp", "baseline:tent", "baseline:clip_length"),
    }
    student = table[table["model"] == "student"]
    assert {(row.scale, row.smoothing) for row in student.itertuples()} == {
        (scale, smoothing)
        for scale in ("1x1", "4x4", "16x16", "mean")
        for smoothing in ("raw", "centred", "causal")
    }
    assert (table["frames"] == 3 * 40).all()
    assert (table.loc[table["model"] == "baseline:constant", "micro_auc"] == 0.5).all()


def test_everything_promised_is_written(finished: Path) -> None:
    results = finished / "results/demo"
    for name in ("roc", "clips", "contact", "losses"):
        assert (results / "report" / f"{name}.png").stat().st_size > 5_000
    for path in (
        "distill/positives.png",
        "distill/losses.png",
        "distill/student.safetensors",
        "evaluate/kinds.csv",
        "evaluate/clips.csv",
        "evaluate/evaluation.json",
        "evaluate/report.html",
    ):
        assert (results / path).is_file()
    assert not list(results.rglob("*.part"))
    assert not list(results.rglob("*.checkpoint"))


def test_a_camera_without_labels_gets_its_report(camera: Path, tmp_path: Path) -> None:
    """The finished camera, but its labels are taken away."""
    folder = tmp_path / "unlabelled"
    shutil.copytree(camera, folder)
    shutil.rmtree(folder / "data/cam/labels")
    run([*snakemake_in(folder), *LIMITS, "results/cam/report"])
    assert {path.name for path in (folder / "results/cam/report").glob("*.png")} == {
        *("clips.png", "contact.png", "losses.png")
    }
    refused = subprocess.run(
        [*snakemake_in(folder), *LIMITS, "results/cam/auc.csv"], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "ask for results/cam/report" in refused.stderr


def test_snakemakes_own_report_holds_the_page_and_the_pictures(finished: Path, tmp_path: Path) -> None:
    said = run(snakemake(finished, "--report", str(tmp_path / "report.html"), *TARGETS))
    assert (tmp_path / "report.html").stat().st_size > 500_000
    for name in ("report.html", "roc.png", "clips.png", "contact.png", "losses.png"):
        assert f"Adding {name}" in said


def test_finished_workflow_has_nothing_to_do(finished: Path) -> None:
    assert rules_to_run(finished) == set()


# Where each stage is told to write; the first of them is what the next stage waits for.
OUTPUTS = {
    "decode": ("--list", "--out"),
    "detect": ("--out", "--manifest"),
    "teach": ("--out", "--losses"),
    "label": ("--out", "--manifest"),
    "pretrain": ("--out", "--losses"),
    "distill": ("--out", "--losses", "--curves", "--positives"),
    "score": ("--out", "--maps", "--manifest"),
    "evaluate": ("--table", "--out"),
    "report": ("--out",),
    "demo": ("--pictures",),
}


@pytest.fixture(scope="module")
def disturbed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished folder, to interrupt stages in."""
    folder = tmp_path_factory.mktemp("disturbed") / "run"
    shutil.copytree(finished, folder)
    return folder


@pytest.fixture(scope="module")
def commands(finished: Path) -> dict[str, list[str]]:
    """One command line of every stage, as the rules run it; score's is the student's, decode's of tests."""
    said = run(snakemake(finished, "--dry-run", "--forceall", "--printshellcmds", *TARGETS))
    lines = [shlex.split(line) for line in re.findall(r"python -m fastaed (.*?) 2> ", said)]
    return {
        line[0]: line
        for line in sorted(lines, key=lambda line: ("--student" in line, "test-000" in str(line)))
    }


@pytest.mark.parametrize("moment", ["second item", "end"])
@pytest.mark.parametrize("stage", OUTPUTS)
def test_interrupted_stage_leaves_no_half_and_goes_on(
    disturbed: Path, commands: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, stage: str, moment: str
) -> None:
    """Ctrl-C in the middle of a stage, then the same command again: the result of an undisturbed run."""
    command = commands[stage]
    outputs = [Path(command[command.index(option) + 1]) for option in OUTPUTS[stage]]
    monkeypatch.chdir(disturbed)
    before = contents(outputs)
    for path in outputs:
        subprocess.run(["rm", "-r", str(path)], check=True)
    with monkeypatch.context() as patch:
        {"second item": interrupt_progress, "end": interrupt_renaming}[moment](patch)
        with pytest.raises(SystemExit) as caught:
            cli.main(command)
    assert caught.value.code == cli.EXIT_INTERRUPTED
    assert not outputs[0].exists()
    assert not list(disturbed.rglob("*.part"))
    cli.main(command)
    assert contents(outputs) == before


def contents(paths: Iterable[Path]) -> dict[str, bytes]:
    """Bytes of all files but those that carry times, rates or the path of the folder they lie in."""
    files = [
        file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()
    ]
    assert files
    return {
        str(file): file.read_bytes()
        for file in files
        if file.name not in {".snakemake_timestamp", "losses.csv", "losses.png", "data.yaml"}
    }


def interrupt_progress(patch: pytest.MonkeyPatch) -> None:
    """Every loop that shows progress meets Ctrl-C at its second item, or at its end if it has but one."""

    def interrupted(items: Iterable[Any], *_: Any, **__: Any) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 1:
                raise KeyboardInterrupt
            yield item
        raise KeyboardInterrupt

    for stage in OUTPUTS:
        importlib.import_module(f"fastaed.{stage}")
    for name, module in list(sys.modules.items()):
        if name.startswith("fastaed.") and name != "fastaed.progress" and hasattr(module, "progress"):
            patch.setattr(module, "progress", interrupted)


def interrupt_renaming(patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C arrives when the first result is written but has no name yet; Zarr's own renaming goes on."""
    rename = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if path.name.endswith(".part"):
            raise KeyboardInterrupt
        return rename(path, target)

    patch.setattr(Path, "replace", replace)


def test_ctrl_c_in_snakemake_then_the_same_command_again(tmp_path: Path) -> None:
    """A real SIGINT to the whole process group, as a terminal sends it."""
    command = snakemake(tmp_path, "results/demo/decode/test-000.json", "results/demo/decode/train-000.json")
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a background job inherits it ignored
    )
    wait_for(lambda: (tmp_path / "logs").exists() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert not list(tmp_path.rglob("results/**/*.json"))
    run(command)
    assert (tmp_path / "results/demo/decode/test-000.json").is_file()


def wait_for(true: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("target", "arguments", "said"),
    [
        ("results/avenue/auc.csv", [], ["data/avenue", "training_videos", "testing_label_mask"]),
        ("results/nosuch/auc.csv", [], ["no configuration for data set 'nosuch'", "avenue", "ped2"]),
        ("results/demo/auc.csv", ["--config", "detect={confidense: 1}"], ["detect.confidense", "confidence"]),
        ("results/demo/auc.csv", ["--config", "detect={confidence: 2}"], ["detect.confidence = 2"]),
    ],
)
def test_mistakes_are_said_before_any_job(
    tmp_path: Path, target: str, arguments: list[str], said: list[str]
) -> None:
    ended = subprocess.run(
        [*snakemake_in(tmp_path), "-n", target, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    output = ended.stdout + ended.stderr
    assert all(words in output for words in said), output
    assert "Traceback" not in output


def test_table_without_labels_is_refused_and_pictures_are_not(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for clip in ("a", "b", "c"):
            (tmp_path / "footage" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "footage" / split / f"{clip}.mp4").touch()
    data = json.dumps({"layout": "folder", "path": str(tmp_path / "footage")})
    for target, said in (("auc.csv", "has no labels for test clip(s) a, b, c"), ("report", "rule report:")):
        asked = [*snakemake_in(tmp_path), "-n", f"results/avenue/{target}", "--config", f"data={data}"]
        ended = subprocess.run(asked, capture_output=True, text=True, check=False)
        output = ended.stdout + ended.stderr
        assert (ended.returncode == 0) is (target == "report"), output
        assert said in output
        assert "Traceback" not in output


def test_default_profile_is_loaded_by_itself(tmp_path: Path) -> None:
    assert "profiles/default" in run(snakemake(tmp_path, "--dry-run", *TARGETS))


CONDA = """#!/bin/sh
# Answers what a dry run asks of conda, and nothing else.
case "$1" in
    --version) echo "conda 24.9.0" ;;
    info) echo '{"conda_prefix": "/nowhere", "platform": "linux-64"}' ;;
    config) echo '{"get": {"channel_priority": "strict"}}' ;;
    *) exit 1 ;;
esac
"""


def test_a_benchmark_as_it_is_downloaded_is_planned_to_the_end(tmp_path: Path) -> None:
    """Ped2's training clips have no ground truth beside them, and none is looked for."""
    for split, clips in (("Train", 2), ("Test", 1)):
        for number in range(1, clips + 1):
            clip = tmp_path / "UCSDped2" / split / f"{split}{number:03}"
            clip.mkdir(parents=True)
            (clip / "001.tif").touch()
    truth = tmp_path / "UCSDped2/Test/Test001_gt"
    truth.mkdir()
    (truth / "001.bmp").touch()
    data = f"data={tmp_path / 'UCSDped2'}"
    jobs = jobs_of(
        run([*snakemake_in(tmp_path), "results/ped2/auc.csv", "--dry-run", "--cores", "1", "--config", data])
    )
    assert jobs["decode"] == 2
    assert jobs["evaluate"] == 1


def test_trial_clips_take_the_path_of_test_clips_without_any(tmp_path: Path) -> None:
    """Of test footage and its labels nothing is read."""
    said = run(snakemake(tmp_path, "--dry-run", "results/demo/trial/auc.csv"))
    jobs = re.findall(r"^rule (\w+):\n((?: {4}.*\n)*)", said, re.MULTILINE)
    inputs = "\n".join(line for _, lines in jobs for line in lines.splitlines() if "input:" in line)
    assert {"trial", "trial_contact", "evaluate_trial"} <= {name for name, _ in jobs}
    assert "results/demo/score/student/trial/000.parquet" in inputs
    assert "results/demo/label/density/trial/000.zarr" in inputs
    assert "results/demo/decode/train-001.json" in inputs
    assert "/test/" not in inputs


def test_teachers_are_judged_beside_more_normal_clips_without_a_student(tmp_path: Path) -> None:
    said = run(snakemake(tmp_path, "--dry-run", "results/demo/trial/teachers.csv"))
    jobs = jobs_of(said)
    assert (jobs["evaluate_teachers"], jobs["score_teacher"]) == (1, 3 + 3)
    assert "distill" not in jobs
    assert "results/demo/score/density/alike/000.parquet" in said


def test_jobs_of_which_there_are_many_do_not_name_every_clip(tmp_path: Path) -> None:
    """Each input costs time before any job starts, those of `teach` and `label` the most."""
    said = run(snakemake(tmp_path, "--dry-run", "results/demo/auc.csv"))
    inputs = re.findall(r"^rule (?:teach|label):\n    input: (.*)$", said, re.MULTILINE)
    assert len(inputs) == 6 + 9  # three teachers: two folds, three batches
    assert not [line for line in inputs if "/decode/" in line]


def test_an_ablation_trains_every_variant_with_every_seed(tmp_path: Path) -> None:
    """Of those shipped `own-heads`, `even-scales` and `no-eyes` change nothing here; three have a phase 1."""
    few = {"trial": {"variants": 1}, "ablation": {"seeds": 2}}
    said = run(snakemake(tmp_path, "--dry-run", "results/demo/ablation.csv", **few))
    jobs = jobs_of(said)
    variants = len(list((ROOT / "config/ablation").glob("*.yaml"))) - 3
    assert jobs["distill_variant"] == 2 * variants
    assert jobs["score_variant"] == 2 * 2 * variants  # test and trial, a batch each
    assert (jobs["pretrain"], jobs["pretrain_variant"], jobs["ablation"]) == (1, 3, 1)
    assert {"distill", "score_student", "score_teacher", "evaluate"}.isdisjoint(jobs)
    found = re.findall(r"^rule distill_variant:\n    input: (.*)\n    output: (\S+),", said, re.MULTILINE)
    inputs = {Path(output).parts[3]: files for files, output in found}
    assert len(inputs) == variants
    assert set(re.findall(r"/label/(\w+)/", inputs["baf-only"])) == {"baf"}
    assert set(re.findall(r"/label/(\w+)/", inputs["base"])) == {"ssmtl", "baf", "density"}
    own = {
        name: re.findall(r"results/demo/(?:ablation/([\w-]+)/)?pretrain/", inputs[name]) for name in inputs
    }
    phase_1 = {"no-pretraining", "published-student", "bolt-student"}
    assert own == {name: [name if name in phase_1 else ""] for name in inputs}


def test_every_rule_has_a_conda_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conda = tmp_path / "bin" / "conda"
    conda.parent.mkdir()
    conda.write_text(CONDA)
    conda.chmod(0o755)
    monkeypatch.setenv("PATH", f"{conda.parent}:{os.environ['PATH']}")
    said = run(snakemake(tmp_path, "--dry-run", "--use-conda", *TARGETS))
    environments = {path.name for path in (ROOT / "envs").glob("*.yaml")}
    assert all(f"envs/{name}" in said for name in environments)
    for file in (ROOT / "workflow").glob("*.smk"):
        rules = len(re.findall(r"^rule ", file.read_text(), re.MULTILINE))
        assert len(re.findall(r"^    conda:", file.read_text(), re.MULTILINE)) == rules


def test_environments_name_packages_only() -> None:
    """A `pip:` section would be dropped with a pin file, and the package's own code comes by PYTHONPATH."""
    for file in (ROOT / "envs").glob("*.yaml"):
        environment = yaml.safe_load(file.read_text())
        assert environment.keys() == {"channels", "dependencies"}
        assert all(isinstance(dependency, str) for dependency in environment["dependencies"])


LONG = """
rule count:
    output: "count"
    params: stores=[f"results/shanghaitech/decode/train/{clip:05d}.zarr" for clip in range(10_000)]
    shell: "python -c 'import sys; print(len(sys.argv) - 1)' {params.stores:q} > {output}"
"""


def test_ten_thousand_paths_fit_into_a_job(tmp_path: Path) -> None:
    """A shell line is one argument, of at most 128 KiB; Snakemake makes a script of a longer one."""
    (tmp_path / "Snakefile").write_text(LONG)
    run(
        [
            sys.executable,
            "-m",
            "snakemake",
            "--directory",
            str(tmp_path),
            "-s",
            f"{tmp_path}/Snakefile",
            "-c1",
        ]
    )
    assert (tmp_path / "count").read_text() == "10000\n"

"""What is stale, why, and at what cost: from manifests alone, on results made of empty files."""

import json
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from workflow_runs import CAMERA, jobs_of, run, snakemake_in

from fastaed import cli, status
from fastaed.errors import MissingDataError
from fastaed.files import input_digests, manifest_of, write_manifest
from fastaed.plan import Plan, plan
from fastaed.sources import signature

SETTINGS = "{clips_per_batch: 2, validation_every: 3, teach: {teachers: [density, baf], folds: 2}}"
STAGES = (
    *("decode", "detect", "teach/density", "label/density", "teach/baf", "label/baf", "pretrain", "distill"),
    *("score/student", "score/density", "score/baf", "evaluate", "report"),
)

OF_THE_TRIAL = {
    "trial": 3,
    "detect": 2,
    "label/density": 2,
    "label/baf": 2,
    "score/student": 2,
    "score/density": 3,
    "score/baf": 3,
    "evaluate": 2,
}


def planned(**overrides: Any) -> Plan:
    return plan("cam", Path("config"), overrides)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All results of a camera with three training clips and two test clips; each job took 10 seconds."""
    monkeypatch.chdir(tmp_path)
    for part, clips, suffix in (("train", 3, "mp4"), ("test", 2, "mp4"), ("labels", 2, "csv")):
        for clip in range(clips):
            path = Path("data/cam", part, f"{clip}.{suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{part} {clip}")
    Path("config").mkdir()
    Path("config/cam.yaml").write_text(SETTINGS)
    folder = Path("results/cam")
    for job in status.jobs(planned()):
        make(job, folder)
        times = Path("benchmarks/cam") / job.times
        times.parent.mkdir(parents=True, exist_ok=True)
        times.write_text("s\tcpu_time\n10\t20\n")
    return folder


def make(job: status.Job, folder: Path, **facts: Any) -> None:
    """The result of a job with what the stage would write about it."""
    output, inspection = folder / job.output, status._Inspection(job, planned(), folder, False)
    store = inspection._store
    inputs = [folder / need for need in job.needs]
    common = {"code": inspection._code(), "source": signature(job.source), **facts}
    if output.suffix == ".safetensors":
        output.parent.mkdir(parents=True, exist_ok=True)
        said = {"settings": inspection._settings(), "inputs": input_digests(inputs), **common}
        save_file({"x": np.zeros(1)}, output, {"fastaed": json.dumps(said)})
        return
    store.mkdir(parents=True, exist_ok=True)
    output.touch()
    (store / "chunk").write_text(f"{job.output}")
    write_manifest(
        manifest_of(output),
        job.word,
        inspection._settings(),
        store,
        {},
        inputs=input_digests(inputs),
        **common,
    )


def stale(folder: Path, digests: bool = False, **overrides: Any) -> dict[str, set[str]]:
    rows = status.status(planned(**overrides), folder, Path("benchmarks/cam"), digests)
    return {
        row.stage: {why for found in row.reasons.values() for why in found} for row in rows if row.reasons
    }


def test_finished_results_are_up_to_date(results: Path) -> None:
    rows = status.status(planned(), results, Path("benchmarks/cam"), digests=True)
    assert tuple(row.stage for row in rows) == STAGES
    assert not any(row.reasons for row in rows)
    assert [row.jobs for row in rows] == [5, 3, 2, 3, 2, 3, 1, 1, 2, 2, 2, 1, 1]
    assert status.table(rows).endswith("everything is up to date")


def test_changed_setting_names_the_key_and_what_follows(results: Path) -> None:
    said = stale(results, teach={"baf": {"epochs": 7}})
    assert said["teach/baf"] == {"settings: baf.epochs 20 -> 7"}
    assert said["label/baf"] == {"follows from teach/baf"}
    assert said["distill"] == {"follows from label/baf"}
    assert said.keys() == {
        *("teach/baf", "label/baf", "distill", "score/student", "score/baf", "evaluate", "report")
    }


def test_one_seed_more_is_one_more_student(results: Path) -> None:
    assert stale(results, seeds=2) == {
        "distill": {"not made yet"},
        "score/student": {"not made yet", "follows from distill"},
        "evaluate": {"new repeats/2/score/student/test/000", "follows from score/student"},
    }


def test_changed_code(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = status.code_hash
    monkeypatch.setattr(
        status, "code_hash", lambda name, only=None: f"{real(name, only)}{name == 'fastaed.pretrain'}"
    )
    changed = {stage for stage, why in stale(results).items() if "code changed" in why}
    assert changed == set(STAGES)  # every hash now ends otherwise
    monkeypatch.setattr(
        status, "code_hash", lambda name, only=None: "new" if name == "fastaed.report" else real(name, only)
    )
    assert stale(results) == {"report": {"code changed"}}


def test_changed_video(results: Path) -> None:
    Path("data/cam/test/1.mp4").write_text("other")
    said = stale(results)
    assert said["decode"] == {"files given from outside changed"}
    assert "teach/baf" not in said
    assert said["evaluate"] == {
        "follows from score/student, score/density, score/baf, label/density, label/baf, decode"
    }


def test_other_weights_of_the_detector(results: Path) -> None:
    """They count where boxes come from, and where a student or density sees through them."""
    Path("mine").mkdir()
    eyed, blind = "{eyes: [2, 4, 4, 6]}", "{}"
    for ours, theirs, stages in (
        (blind, blind, {"detect"}),
        (eyed, blind, {"detect", "distill"}),
        (blind, eyed, {"detect", "teach/density"}),
    ):
        student = f"{{student: {ours}}}"
        more = f"detect: {{weights: mine/a.pt}}, pretrain: {student}, distill: {student}"
        settings = SETTINGS.replace("folds: 2", f"folds: 2, density: {theirs}")
        Path("config/cam.yaml").write_text(f"{settings[:-1]}, {more}}}")
        Path("mine/a.pt").write_text("weights")
        for job in status.jobs(planned()):
            make(job, results)
        assert stale(results) == {}
        Path("mine/a.pt").write_text("others")
        said = stale(results)
        assert {stage for stage, why in said.items() if "files given from outside changed" in why} == stages


def test_one_more_clip(results: Path) -> None:
    Path("data/cam/train/3.mp4").write_text("new")
    said = stale(results)
    assert said["decode"] == {"not made yet"}
    assert said["teach/baf"] == {"new decode/train/3", "follows from decode, detect"}


def test_one_clip_less(results: Path) -> None:
    Path("data/cam/test/1.mp4").unlink()
    assert stale(results)["report"] >= {"without decode/test/1"}


def test_missing_and_damaged(results: Path) -> None:
    shutil.rmtree(results / "decode/train/0.zarr")
    assert stale(results)["decode"] == {"missing"}
    (results / "detect/test/000/chunk").write_text("other bytes")
    damaged = f"damaged, delete {results / 'detect/test/000'}"
    assert "detect" not in {stage for stage, why in stale(results).items() if damaged in why}
    assert damaged in stale(results, digests=True)["detect"]
    (results / "distill/student.safetensors").write_bytes(b"cut")
    unreadable = f"without a readable manifest, delete {results / 'distill/student.safetensors'}"
    assert unreadable in stale(results)["distill"]


def test_a_manifest_cut_short_is_told_of_its_own_result_alone(results: Path) -> None:
    (results / "decode/train/0.json").write_bytes(b"")
    said = stale(results)
    unreadable = f"without a readable manifest, delete {results / 'decode/train/0.zarr'}"
    assert (said["decode"], said["pretrain"]) == ({unreadable}, {"follows from decode"})


def test_made_anew_but_not_what_follows(results: Path) -> None:
    job = next(job for job in status.jobs(planned()) if job.stage == "pretrain")
    path = results / job.output
    save_file({"x": np.ones(1)}, path, {"fastaed": json.dumps(status.weights_facts(path))})
    said = stale(results)
    assert said["distill"] == {"made anew since: pretrain/autoencoder"}
    assert "pretrain" not in said


def add_the_trial(folder: Path) -> None:
    """Its results and its table of teachers, as `results` has all others."""
    (folder / "trial").mkdir()
    for job in status.jobs(planned(), trial=True, teachers=True):
        if not (folder / job.output).exists():
            make(job, folder)
            times = Path("benchmarks/cam") / job.times
            times.parent.mkdir(parents=True, exist_ok=True)
            times.write_text("s\tcpu_time\n10\t20\n")


def test_trial_counts_once_it_was_made(results: Path) -> None:
    before = {row.stage: row.jobs for row in status.status(planned(), results, Path("benchmarks/cam"))}
    assert "trial" not in before
    add_the_trial(results)
    rows = status.status(planned(), results, Path("benchmarks/cam"), digests=True)
    assert not any(row.reasons for row in rows)
    more = {row.stage: row.jobs - before.get(row.stage, 0) for row in rows}
    assert {stage: jobs for stage, jobs in more.items() if jobs} == OF_THE_TRIAL


def test_what_a_changed_trial_reruns(results: Path) -> None:
    add_the_trial(results)
    rows = status.status(planned(trial={"seed": 9}), results, Path("benchmarks/cam"))
    stale = {row.stage: len(row.reasons) for row in rows if row.reasons}
    assert stale == OF_THE_TRIAL | {"score/density": 2, "score/baf": 2}  # not those of training clips
    assert {row.stage: row.seconds for row in rows}["evaluate"] == 20


def test_trial_is_judged_with_settings_of_its_own(results: Path) -> None:
    add_the_trial(results)
    rows = status.status(planned(evaluate_trial={"sigma_frames": 5}), results, Path("benchmarks/cam"))
    why = ["settings: sigma_frames 3.0 -> 5.0"]
    assert [row.reasons for row in rows if row.reasons] == [
        {Path("trial/evaluate"): why, Path("trial/teachers/evaluate"): why}
    ]


@pytest.mark.parametrize("table", ["evaluate", "teachers"])
def test_each_table_of_the_trial_counts_once_it_was_made(results: Path, table: str) -> None:
    add_the_trial(results)
    shutil.rmtree(results / "trial" / table)
    rows = status.status(planned(), results, Path("benchmarks/cam"))
    assert {row.stage: row.jobs for row in rows}["evaluate"] == 2
    assert not any(row.reasons for row in rows)


@pytest.mark.parametrize("asked", [("auc", "teachers"), ("auc",), ("teachers",)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_jobs_are_those_of_the_rules(results: Path, seeds: int, asked: tuple[str, ...]) -> None:
    """What Snakemake would run for these tables of the trial and all else, and what it would write."""
    tables = [f"results/cam/trial/{table}.csv" for table in asked]
    given = ("--config", f"seeds={seeds}", "--", *CAMERA, *tables)
    said = run([*snakemake_in(results.parent.parent), "--cores", "1", "--dry-run", "--forceall", *given])
    outputs = re.findall(r"^    output: (.*)$", said, re.MULTILINE)
    written = {path for line in outputs for path in line.split(", ")}
    todo = list(status.jobs(planned(seeds=seeds), trial="auc" in asked, teachers="teachers" in asked))
    decoded = {job.output for job in todo if job.stage == "decode"}  # several in one job, which writes a list
    assert {f"results/cam/{job.output}" for job in todo if job.output not in decoded} <= written
    without_manifest = sum(jobs_of(said)[rule] for rule in ("trial_contact", "decode", "weights"))
    assert len(todo) - len(decoded) == len(outputs) - without_manifest
    noted = set(re.findall(r"^    benchmark: (.*)$", said, re.MULTILINE))
    assert {f"benchmarks/cam/{job.times}" for job in todo} <= noted


def test_cost_is_what_was_measured(results: Path) -> None:
    Path("benchmarks/cam/label/baf/train/000.tsv").unlink()  # counted at the mean of the others
    shutil.rmtree("benchmarks/cam/report.tsv", ignore_errors=True)
    Path("benchmarks/cam/report.tsv").unlink()
    rows = status.status(planned(label={"cell": 9}), results, Path("benchmarks/cam"))
    took = {row.stage: row.seconds for row in rows}
    assert (took["decode"], took["label/baf"], took["distill"], took["report"]) == (0, 30, 10, None)
    assert status.table(rows).splitlines()[-1] == (
        "15 of 28 results are stale; one after another they took 2 min, not counting report, never timed here"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (12.4, "12 s"), (100, "2 min"), (5999, "100 min"), (7200, "2.0 h")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert status.duration(seconds) == text


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 0), (["--set", "score.batch_size=3"], 1), (["--set", "x=1"], 2)]
)
def test_exit_codes(
    results: Path, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) if code else nullcontext() as caught:
        cli.main(["status", "results/cam", *arguments])
    assert (caught.value.code if caught else 0) == code
    if code == 1:
        assert "settings: batch_size 16 -> 3" in capsys.readouterr().out


def test_without_the_footage(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("data")
    cli.main(["status", "results/cam"])
    said = capsys.readouterr()
    assert said.err.startswith("footage is not compared")
    assert "everything is up to date" in said.out


def test_what_the_stages_themselves_wrote_is_up_to_date(camera: Path) -> None:
    """Inputs and settings that the rules gave to every stage are those that `status` expects."""
    command = [sys.executable, "-m", "fastaed", "status", "results/cam", "--digests"]
    told = subprocess.run(command, cwd=camera, capture_output=True, text=True, check=False)
    assert "everything is up to date" in told.stdout, told.stdout + told.stderr


def test_nothing_there(results: Path) -> None:
    with pytest.raises(MissingDataError, match="no results at"):
        status.status(planned(), Path("results/other"), Path("benchmarks/cam"))
    with pytest.raises(MissingDataError, match="nothing was decoded"):
        status.remembered(planned().config, Path("results/other"))


def test_needs_no_torch() -> None:
    program = "import sys, fastaed.status; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"

"""Faults, for real (`python -m pytest -m faults`): kills, files cut short, a full disk, two runs at once.

After each, the same command ends with the same table, byte for byte, as a run that nothing disturbed.
"""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_workflow import OUTPUTS, contents, wait_for
from workflow_runs import LIMITS, TINY, run, snakemake_in

from fastaed import cli

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

# Every stage, two epochs of each training, and no more clips and jobs than that takes.
FEW: dict[str, Any] = {
    **TINY,
    "data": {"demo": {**TINY["data"]["demo"], "train_clips": 2}},
    "teach": {**TINY["teach"], "teachers": ["ssmtl"], "ssmtl": {**TINY["teach"]["ssmtl"], "epochs": 2}},
    "pretrain": {**TINY["pretrain"], "epochs": 2},
}
CONFIG = ("--config", *(f"{key}={json.dumps(value)}" for key, value in FEW.items()))
RESULTS = Path("results/demo")
TABLE = RESULTS / "auc.csv"
ASK_ALL = ("--dry-run", "--forceall", "--printshellcmds")
AUTOENCODER = RESULTS / "pretrain/autoencoder.safetensors"
TARGETS = (AUTOENCODER, TABLE)  # what is there already is not asked for by what follows from it
PRETRAIN_LOG = Path("logs/demo/pretrain.log")
RESUMED = "resuming after epoch 1"
DONE_BEFORE = "done before the interruption"
PATIENCE = 900
KILLS = 30


def command(folder: Path, *words: str) -> list[str]:
    return [*snakemake_in(folder), *LIMITS, *(words or map(str, TARGETS)), *CONFIG]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole workflow has run, pictures included."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(command(folder, *map(str, TARGETS), str(RESULTS / "report")))
    return folder


@pytest.fixture
def copy(undisturbed: Path, tmp_path: Path) -> Path:
    """The same, to be disturbed."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder, symlinks=True)
    return folder


@pytest.fixture
def before_pretrain(copy: Path) -> Path:
    """A copy that wants pre-training and the evaluation."""
    forget(copy, "pretrain", "evaluate", "auc.csv")
    return copy


def forget(folder: Path, *results: str) -> None:
    for result in results:
        path = folder / RESULTS / result
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def started(folder: Path, moment: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run of which a worker stops at a moment; killed when the test is done."""
    (folder / "halted").unlink(missing_ok=True)
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    stand_in = shlex.join([sys.executable, str(Path(__file__).with_name("halting_python.py"))])
    python.write_text(f'#!/bin/sh\nexec {stand_in} "$@"\n')
    python.chmod(0o755)
    process = start(
        folder,
        *options,
        PATH=f"{python.parent}:{os.environ['PATH']}",
        FASTAED_TEST_MOMENT=moment,
        FASTAED_TEST_HALTED=str(folder / "halted"),
    )
    try:
        yield process
    finally:
        end(folder, process)


def start(folder: Path, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    """A run in a session of its own."""
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(
            command(folder, *map(str, TARGETS), *options),
            start_new_session=True,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )


def end(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Kill whatever still runs in a folder."""
    for number in [process.pid, *workers(folder)]:
        kill(number)
    process.wait()


def said(folder: Path) -> str:
    return (folder / "said").read_text()


def halted_worker(folder: Path, process: subprocess.Popen[bytes]) -> int:
    """The number of the worker that stands still in the middle."""

    def stands_still() -> bool:
        assert process.poll() is None, said(folder)[-3000:]
        halted = folder / "halted"
        return halted.exists() and halted.read_text() != "" and state(int(halted.read_text())) == "T"

    wait_for(stands_still, seconds=PATIENCE)
    return int((folder / "halted").read_text())


def state(number: int) -> str:
    """One letter: R, S, T (stopped) ...; empty for a process that has ended."""
    try:
        letter = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
    return "" if letter == "Z" else letter


def workers(folder: Path) -> list[int]:
    """Numbers of the processes that run a stage in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"fastaed" in words and (process / "cwd").resolve() == folder.resolve():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def kill(number: int) -> None:
    if state(number):
        os.kill(number, signal.SIGKILL)


def finish(folder: Path, undisturbed: Path) -> str:
    """The same command again; what it said."""
    words = run(command(folder))
    check_finished(folder, undisturbed)
    return words


def check_finished(folder: Path, undisturbed: Path) -> None:
    assert (folder / TABLE).read_bytes() == (undisturbed / TABLE).read_bytes()
    assert not [
        path for end in ("part", "lock", "checkpoint") for path in folder.rglob(f"results/**/*.{end}")
    ]


# --- Killed processes --------------------------------------------------------------------------------------

MOMENTS = {  # how the progress begins that is interrupted
    "demo": "demo test",
    "decode": "decode 02",
    "detect": "motion 02",  # the first clip of the batch is done
    "pretrain": "pretrain epoch 2",
    "teach": "ssmtl epoch 2",
    "label": "label with ssmtl",
    "distill": "distill epoch 2",
    "score": "score",
    "evaluate": "evaluate",
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one run after another gets a stage further."""
    return tmp_path_factory.mktemp("killed")


@pytest.mark.parametrize("stage", MOMENTS)
def test_worker_is_killed_in_the_middle(killed: Path, stage: str) -> None:
    """Its job fails, and nothing that was finished is lost."""
    before = finished(killed)
    rule = "score_student" if stage == "score" else stage
    with started(killed, MOMENTS[stage], "--until", rule) as process:  # or later stages may be done before
        worker = halted_worker(killed, process)
        assert f"fastaed\0{stage}\0".encode() in Path(f"/proc/{worker}/cmdline").read_bytes() + b"\0"
        kill(worker)
        assert process.wait(timeout=PATIENCE) == 1
    assert "Killed" in said(killed)
    after = finished(killed)
    assert before.items() <= after.items()


def finished(folder: Path) -> dict[Path, int]:
    """What vouches for a finished result, and when it was written."""
    return {
        path: path.stat().st_mtime_ns
        for path in [*folder.rglob("results/**/*.json"), *folder.rglob("results/**/*.safetensors")]
        if ".zarr" not in str(path)
    }


def test_after_all_these_kills_the_same_table(killed: Path, undisturbed: Path) -> None:
    """... and each training went on after the epoch that was whole, each batch after the clip that was."""
    finish(killed, undisturbed)
    assert stages_that_said(killed, RESUMED) == {"pretrain", "teach", "distill"}
    assert stages_that_said(killed, DONE_BEFORE) == {"detect", "label"}
    assert stages_that_said(killed, "as it was") == {"decode"}


def stages_that_said(folder: Path, words: str) -> set[str]:
    logs = folder / "logs/demo"
    return {
        log.relative_to(logs).with_suffix("").parts[0]
        for log in logs.rglob("*.log")
        if words in log.read_text()
    }


@pytest.mark.parametrize("whole_group", [False, True], ids=["alone", "with its jobs"])
def test_snakemake_is_killed(before_pretrain: Path, undisturbed: Path, whole_group: bool) -> None:
    """The job ends with it, not an epoch later; the same command, without unlocking, goes on from there."""
    with started(before_pretrain, MOMENTS["pretrain"]) as process:
        worker = halted_worker(before_pretrain, process)
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            kill(process.pid)
            process.wait()
            os.kill(worker, signal.SIGCONT)
        wait_for(lambda: not state(worker), seconds=PATIENCE)
        assert not (before_pretrain / AUTOENCODER).exists()
        if not whole_group:
            assert "the same command again goes on" in (before_pretrain / PRETRAIN_LOG).read_text()
    assert list((before_pretrain / ".snakemake/locks").iterdir())
    words = finish(before_pretrain, undisturbed)
    assert "The last run in this folder was killed; this one goes on." in words
    assert RESUMED in (before_pretrain / PRETRAIN_LOG).read_text()
    assert (before_pretrain / AUTOENCODER).read_bytes() == (undisturbed / AUTOENCODER).read_bytes()


def test_an_orphan_is_waited_for(copy: Path, undisturbed: Path) -> None:
    """Of two processes that write one store the second waits until the first sees that it is not needed."""
    forget(copy, "decode/test/02.zarr", "decode/test/02.json", "score/student/test", "auc.csv")
    log = copy / "logs/demo/decode/test-000.log"
    with started(copy, MOMENTS["decode"]) as process:
        orphan = halted_worker(copy, process)
        kill(process.pid)
        process.wait()
        again = subprocess.Popen(command(copy), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: "another process is writing" in text_of(log), seconds=PATIENCE)
            assert not (copy / "results/demo/decode/test/02.zarr").exists()
            os.kill(orphan, signal.SIGCONT)
            assert again.wait(timeout=PATIENCE) == 0
        finally:
            again.kill()
            again.wait()
    check_finished(copy, undisturbed)


def text_of(log: Path) -> str:
    """Nothing while there is none: Snakemake takes a log away before a job begins its own."""
    try:
        return log.read_text()
    except FileNotFoundError:
        return ""


def test_two_runs_at_once(before_pretrain: Path, undisturbed: Path) -> None:
    """The second names the first and ends; it cannot be talked into unlocking; the first is not disturbed."""
    with started(before_pretrain, MOMENTS["pretrain"]) as process:
        worker = halted_worker(before_pretrain, process)
        second = subprocess.run(command(before_pretrain), capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"Another run is at work in this folder (process {process.pid} on " in second.stderr
        unlock = subprocess.run(
            command(before_pretrain, "--unlock", *map(str, TARGETS)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert unlock.returncode == 1
        assert f"process {process.pid}" in unlock.stderr
        assert "so nothing is unlocked" in unlock.stderr
        os.kill(worker, signal.SIGCONT)
        assert process.wait(timeout=PATIENCE) == 0
    check_finished(before_pretrain, undisturbed)
    assert RESUMED not in (before_pretrain / PRETRAIN_LOG).read_text()


# --- Files cut short ---------------------------------------------------------------------------------------

DAMAGED = {  # a file, or a folder whose largest file it is; and the stage that reads it
    "decode/test/01.zarr": "score",
    "decode/test/01.zarr/zarr.json": "score",
    "decode/test/01.json": "score",
    "detect/train/000/01.parquet": "teach",
    "detect/train/000.json": "teach",
    "teach/ssmtl/0.safetensors": "label",
    "label/ssmtl/train/000.zarr/01": "distill",
    "pretrain/autoencoder.safetensors": "distill",
    "distill/student.safetensors": "score",
    "score/student/test/000.parquet": "evaluate",
}


def damage(path: Path, share: float) -> None:
    """Keep a share of a file, as if the power had gone; its date stays."""
    file = max(path.rglob("c/**/*"), key=size) if path.is_dir() else path
    date = file.stat().st_mtime_ns
    os.truncate(file, int(share * size(file)))
    os.utime(file, ns=(date, date))


def size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


@pytest.fixture(scope="module")
def commands(undisturbed: Path) -> dict[str, list[str]]:
    """One command line of every stage, as the rules run it; of score's, the student's on test clips."""
    said = run(command(undisturbed, *ASK_ALL, str(TABLE), str(RESULTS / "report")))
    lines = [shlex.split(line) for line in re.findall(r"python -m fastaed (.*?) 2> ", said)]
    return {
        line[0]: line for line in sorted(lines, key=lambda line: ("--student" in line, "test" in str(line)))
    }


@pytest.mark.parametrize("share", [0.5, 0], ids=["half", "empty"])
@pytest.mark.parametrize("damaged", DAMAGED)
def test_stage_refuses_what_is_cut_short(
    copy: Path,
    commands: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damaged: str,
    share: float,
) -> None:
    """One sentence that says what to delete, and no result."""
    stage = DAMAGED[damaged]
    outputs = [copy / path for path in outputs_of(commands[stage])]
    for path in outputs:
        forget(copy, str(path.relative_to(copy / RESULTS)))
    damage(copy / RESULTS / damaged, share)
    monkeypatch.chdir(copy)
    with pytest.raises(SystemExit) as caught:
        cli.main(commands[stage])
    assert caught.value.code == cli.EXIT_USER_ERROR
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert f"fastaed {stage}: " in sentence
    assert re.sub(r"\.zarr/.*", ".zarr", damaged) in sentence
    assert "delete" in sentence
    assert not any(path.exists() for path in outputs if path.suffix in {".json", ".safetensors", ""})


def outputs_of(words: list[str]) -> list[Path]:
    return [Path(words[words.index(option) + 1]) for option in OUTPUTS[words[0]]]


def test_doing_as_told_mends_all(copy: Path, undisturbed: Path) -> None:
    """Four results cut short at once; the command is repeated, and each time what it says is deleted.

    The maps may be made anew, as what follows from a mended teacher, before anybody has read them.
    """
    for path, share in {
        "decode/test/01.zarr": 0.5,
        "detect/train/000/01.parquet": 0,
        "label/ssmtl/train/000.zarr/01": 0,
        "pretrain/autoencoder.safetensors": 0.5,
    }.items():
        damage(copy / RESULTS / path, share)
    forget(copy, "teach/ssmtl/1.safetensors", "distill/student.safetensors", "score/student/test", "auc.csv")
    deleted = []
    while (ended := subprocess.run(command(copy), capture_output=True, text=True, check=False)).returncode:
        told = re.findall(r"^\s*fastaed \w+: .*?(results/[^\s:]+)(.*delete.*)", ended.stderr, re.MULTILINE)
        assert told, ended.stderr
        for name, sentence in dict(told).items():
            path = Path(name).parent if "delete their folder" in sentence else Path(name)
            forget(copy, str(path.relative_to(RESULTS)))
            deleted.append(str(path.relative_to(RESULTS)))
    deleted = [name for name in deleted if name != "label/ssmtl/train/000.zarr"]
    assert sorted(deleted) == ["decode/test/01.zarr", "detect/train/000", "pretrain/autoencoder.safetensors"]
    check_finished(copy, undisturbed)


def test_training_begins_anew_where_its_checkpoint_is_cut_short(
    before_pretrain: Path, undisturbed: Path
) -> None:
    checkpoint = before_pretrain / RESULTS / "pretrain/autoencoder.checkpoint"
    for share in (0.5, 0):
        with started(before_pretrain, MOMENTS["pretrain"]) as process:
            kill(halted_worker(before_pretrain, process))
            process.wait(timeout=PATIENCE)
        damage(checkpoint, share)
    finish(before_pretrain, undisturbed)
    assert "is unreadable" in (before_pretrain / PRETRAIN_LOG).read_text()
    assert (before_pretrain / AUTOENCODER).read_bytes() == (undisturbed / AUTOENCODER).read_bytes()


# --- Disks that are full or may not be written -------------------------------------------------------------


@pytest.fixture(scope="module")
def mounting() -> None:
    """The right to mount file systems that nobody else sees."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")


def with_disk(script: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script ($@ being `words`) in a folder, what it mounts being seen by it alone."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


FULL_THEN_LARGER = """
export OMP_NUM_THREADS=1 # as jobs have it: with more, sums are in another order
mkdir small && mount -t tmpfs -o size=8k none small || exit 99
"$@" && echo "nothing was wanting"
find small -type f -not -path '*.checkpoint/*' # whole clips of a batch
mount -o remount,size=64m small && "$@" && cp -r small kept
"""


@pytest.mark.parametrize("stage", OUTPUTS)
def test_full_disk(mounting: None, copy: Path, commands: dict[str, list[str]], stage: str) -> None:
    """One sentence and no result; when there is room, the result of an undisturbed run."""
    words = list(commands[stage])
    places = [copy / path for path in outputs_of(words)]
    for option in OUTPUTS[stage]:
        place = words.index(option) + 1
        words[place] = f"small/{Path(words[place]).name}"
    if stage == "demo":
        words[1] = "small/data"
    ended = with_disk(FULL_THEN_LARGER, copy, sys.executable, "-m", "fastaed", *words)
    assert ended.returncode == 0, ended.stderr
    assert re.search(
        rf"^fastaed {stage}: cannot write (\S+/)?small/.*No space left|is the disk full",
        ended.stderr,
        re.MULTILINE,
    )
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    for place in places:
        assert bytes_below(copy / "kept" / place.name) == bytes_below(place)


def bytes_below(place: Path) -> dict[Path, bytes]:
    return {Path(name).relative_to(place): data for name, data in contents([place]).items()}


def test_full_disk_under_the_whole_run(mounting: None, tmp_path: Path, undisturbed: Path) -> None:
    """Results, logs and Snakemake's own files share a disk that is full, twice, before all is done."""
    script = """
    mkdir small && mount -t tmpfs -o size=512k none small || exit 99
    "$@"; echo "ended with $?"
    mount -o remount,size=2m small; "$@"; echo "ended with $?"
    mount -o remount,size=256m small; "$@"; echo "ended with $?"
    cp small/results/demo/auc.csv .
    """
    ended = with_disk(script, tmp_path, *command(tmp_path / "small"))
    assert re.findall(r"^ended with (\d+)", ended.stdout, re.MULTILINE) == ["1", "1", "0"], ended.stderr
    assert (tmp_path / "auc.csv").read_bytes() == (undisturbed / TABLE).read_bytes()


@pytest.mark.parametrize("place", [".", "results"])
def test_read_only(mounting: None, before_pretrain: Path, undisturbed: Path, place: str) -> None:
    """One sentence before any job."""
    script = f'mount --bind {place} {place} && mount -o remount,bind,ro {place} && exec "$@"'
    ended = with_disk(script, before_pretrain, *command(before_pretrain))
    assert ended.returncode == 1
    assert f"{before_pretrain.resolve()}/results cannot be written: it is read-only" in ended.stderr
    assert "Traceback" not in ended.stderr
    finish(before_pretrain, undisturbed)


# --- All at random -----------------------------------------------------------------------------------------


def test_soak(undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Thirty kills at random moments: of a job, of Snakemake whose jobs are left behind, or of all."""
    chance = random.Random(2024)
    table = []
    for number in range(1, KILLS + 1):
        if (tmp_path / TABLE).exists():  # done already: once more from some stage on
            stage = chance.choice(["decode", "detect", "teach", "label", "pretrain", "distill", "score"])
            while left := workers(tmp_path):  # they would write what is being deleted
                for worker in left:
                    kill(worker)
            results = {"auc.csv", "evaluate", "score", stage}  # some may be gone
            forget(tmp_path, *(result for result in results if (tmp_path / RESULTS / result).exists()))
        process = start(tmp_path)
        while not workers(tmp_path) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 6))
        whom = chance.choice(["a job", "Snakemake", "all"])
        at_work = workers(tmp_path)
        table.append(f"{number:>3}  {whom:<10} {', '.join(sorted(map(stage_of, at_work))) or '-'}")
        if whom == "Snakemake":
            kill(process.pid)
        elif whom == "all":
            os.killpg(process.pid, signal.SIGKILL)
        elif at_work:
            kill(chance.choice(at_work))
        process.wait(timeout=PATIENCE)
    finish(tmp_path, undisturbed)
    with capsys.disabled():
        sys.stdout.write("\n".join(["", "kill whom       at work", *table, ""]))


def stage_of(worker: int) -> str:
    try:
        return re.split(r"fastaed\0", Path(f"/proc/{worker}/cmdline").read_text())[1].split("\0")[0]
    except (OSError, IndexError):
        return "just ended"

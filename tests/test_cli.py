"""The command line: one sentence and exit code 2 for a user's mistake."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastaed import cli, pretrain, report
from fastaed.errors import ConfigError, DataError


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_missing_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, "decode", f"no={tmp_path / 'no.mp4'}", "--out", str(tmp_path / "a"))
    assert said.startswith("fastaed decode: ")
    assert "no.mp4" in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["decod"], ["decode", "--frobnicate"], []])
def test_misspelt_command_or_option_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert "usage: fastaed" in fails(capsys, *arguments)


def test_abbreviated_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "required: --benchmarks" in fails(capsys, "cost", "a", "--bench", "b", "--out", "c")


def test_paths_that_are_left_out_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, "teach", "ssmtl", "--fold", "0", "--out", "a", "--losses", "b")
    assert "the following arguments are required: --stores, --detections" in said


def test_misspelt_setting_names_what_is_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = ["--out", str(tmp_path / "o"), "--manifest", str(tmp_path / "m")]
    said = fails(capsys, "detect", str(tmp_path), *paths, "--set", "confidense=0.3")
    assert "confidense" in said
    assert "confidence" in said
    assert "KEY=VALUE" in fails(capsys, "detect", str(tmp_path), *paths, "--set", "confidence")


def test_single_settings_are_read_as_yaml_and_nested() -> None:
    assert cli._assignments(["a.b=1", "a.c=x", "d=[1, 2]"]) == {"a": {"b": 1, "c": "x"}, "d": [1, 2]}


def test_named_paths() -> None:
    assert cli._by_name(["a=x", "b=y=z", "a=w"]) == {"a": [Path("x"), Path("w")], "b": [Path("y=z")]}
    assert cli._one_by_name(["a=x"]) == {"a": Path("x")}
    for wrong in ("a", "=x", "a="):
        with pytest.raises(ConfigError, match="NAME=PATH"):
            cli._by_name([wrong])
    with pytest.raises(ConfigError, match="2 times"):
        cli._one_by_name(["a=x", "a=y"])


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [(DataError("wrong"), 2, "fastaed show: wrong"), (KeyboardInterrupt(), 130, "again begins anew")],
)
def test_expected_ends(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
    said: str,
) -> None:
    def end(_: Path) -> str:
        raise raised

    monkeypatch.setattr(report, "show", end)
    with pytest.raises(SystemExit) as caught:
        cli.main(["show", "results/x"])
    assert caught.value.code == code
    assert said in capsys.readouterr().err


def test_what_an_interrupted_stage_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that keep what is done go on."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "run", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main(["pretrain", "x.zarr", "--out", "s.safetensors", "--losses", "l.csv"])
    assert caught.value.code == cli.EXIT_INTERRUPTED
    assert "the same command again goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize("lines", [1, 100_000], ids=["at the end", "midway"])
def test_a_reader_that_leaves_is_no_mistake(lines: int) -> None:
    """As of `fastaed show ... | head`."""
    text = "import sys; from fastaed import cli, report; sys.stdin.read(); report.show = lambda _: 'x\\n' * "
    command = [sys.executable, "-c", f"{text}{lines}; cli.main(['show', 'results/x'])"]
    reading, writing = os.pipe()
    shown = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    os.close(reading)
    assert shown.communicate()[1] == b""
    assert shown.returncode == cli.EXIT_READER_LEFT


WAITING = """
import sys, time
from fastaed import cli, report
def wait(_):
    print("at work", flush=True)
    time.sleep(600)
report.show = wait
cli.main(["show", "results/x"])
"""


@pytest.mark.parametrize("signalled", [False, True], ids=["its run ended", "told to end"])
def test_a_job_ends_with_its_run_and_when_told(signalled: bool) -> None:
    """As by Ctrl-C, so that nothing half-made is left."""
    run = subprocess.Popen(["sleep", "600"])
    environment = {**os.environ, cli.RUN: str(run.pid)}
    job = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with run, job:
        assert job.stdout is not None
        assert job.stdout.readline() == "at work\n"
        (job if signalled else run).terminate()
        said = job.communicate(timeout=60)[1]
        run.kill()
    assert job.returncode == cli.EXIT_INTERRUPTED
    assert "the same command again begins anew" in said


def test_a_job_of_a_run_that_is_gone_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setenv(cli.RUN, str(gone.pid))
    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as caught:
            cli.main(["show", "results/x"])
    assert caught.value.code == cli.EXIT_INTERRUPTED


def test_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(report, "show", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["show", "results/x"])


@pytest.mark.parametrize("word", ["evaluate", "report", "decode", "demo"])
def test_stages_without_networks_load_no_torch(word: str) -> None:
    program = f"import sys, fastaed.{word}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastaed import bench_watch, cli, decode, export, speed
from fastaed.config import DecodeSettings, StudentSettings
from fastaed.models.student import build_student
from fastaed.weights import save_weights

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)
PARTS = ["decode", "resize", "inputs", "network", "scores, smoothing", "write"]
LENGTH, RATE = 41, 20


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    facts = {"student": TINY.model_dump(mode="json"), "height": 48, "width": 64}
    save_weights(path, build_student(TINY).state_dict(), facts)
    return path


@pytest.fixture(scope="module")
def video(filmed: Callable[[int, int], Path]) -> Path:
    return filmed(LENGTH, RATE)


def measured(student: Path, video: Path, out: Path, *minutes: str) -> dict[str, Any]:
    what = ["bench", "watch", f"street={video}", "--student", str(student), "--out", str(out)]
    cli.main([*what, "--minutes", *minutes, "--batch-size", "5"])
    read: dict[str, Any] = json.loads(out.read_text())
    return read


def test_the_whole_its_parts_and_memory(
    student: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(student, video, tmp_path / "watch.json", "0.05", "0.1")
    assert [(run["minutes"], run["frames"]) for run in found["memory"]] == [(0.05, 60), (0.1, 120)]
    assert list(found["parts_ms"]) == PARTS
    assert all(milliseconds > 0 for milliseconds in found["parts_ms"].values())
    assert found["frames_per_second"] > 0
    assert found["share_of_network"] == pytest.approx(
        np.median([turn["whole"] / turn["alone"] for turn in found["turns"]])
    )
    assert (found["width"], found["height"], found["batch_size"]) == (64, 48, 5)
    assert found["footage"] == {"kind": "mp4", "height": 96, "width": 128, "decoded_on_card": False}
    assert speed.watch_table({"": found}).strip() in capsys.readouterr().out


def test_footage_is_repeated_from_its_first_frame_on(video: Path) -> None:
    opened = itertools.count()

    def decoded() -> Any:
        next(opened)
        return (np.full((8, 8, 3), level, np.uint8) for level in range(3))

    taken: list[int] = []
    noted: list[int] = []
    endless = bench_watch.Video(video, None, decoded, lambda frames: frames)
    source = bench_watch.looped(endless, 7, lambda: noted.append(len(taken)), {2, 7})
    for frame in source.frames:
        taken.append(int(frame[0, 0, 0]))
    assert taken == [0, 1, 2, 0, 1, 2, 0]
    assert noted == [2, 7]
    assert next(opened) == 3


def test_chunks_of_a_card_are_repeated_and_end_where_they_should(video: Path) -> None:
    levels = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 3, 8, 8)
    noted: list[int] = []
    endless = bench_watch.Video(
        video, None, lambda: iter(()), lambda frames: frames, lambda: iter(levels.split(3))
    )
    source = bench_watch.looped(endless, 12, lambda: noted.append(len(noted)), {4, 5, 12})
    assert source.chunks is not None
    chunks = list(source.chunks)
    assert torch.cat(chunks)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert len(noted) == 3


def test_parts_of_what_a_card_decodes(student: Path, video: Path, tmp_path: Path) -> None:
    """The CPU stands in for the card."""
    network = replace(export.open_network(student, "cpu"), card=torch.device("cpu"))
    frames = np.stack(list(decode.open_frames(video, DecodeSettings(width=64, height=48))))
    chunks = torch.from_numpy(frames).permute(0, 3, 1, 2).split(16)
    here = bench_watch.Video(
        video, 20.0, lambda: decode.open_footage(video).frames, lambda frames: frames, lambda: iter(chunks)
    )
    bench_watch.run(network, here, tmp_path / "watch.json", [0.05], 16)
    found = json.loads((tmp_path / "watch.json").read_text())
    assert found["footage"] == {"kind": "mp4", "height": 96, "width": 128, "decoded_on_card": True}
    assert (found["height"], found["width"]) == (48, 64)
    assert list(found["parts_ms"]) == PARTS
    assert "mp4 of 128x96, decoded on the card" in speed.watch_table({"": found})


@pytest.mark.slow
def test_memory_does_not_grow_with_a_real_file(student: Path, video: Path, tmp_path: Path) -> None:
    """1 minute against 20 of 20 frames/s: 24,000 frames more, and less than two of them more in memory."""
    short, long = measured(student, video, tmp_path / "watch.json", "1", "20")["memory"]
    assert (short["frames"], long["frames"]) == (1_200, 24_000)
    assert long["peak_memory_bytes"] - short["peak_memory_bytes"] < 4e6


def test_mistakes_are_sentences(
    student: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for minutes in (["2", "1"], ["0"]):
        with pytest.raises(SystemExit):
            measured(student, video, tmp_path / "watch.json", *minutes)
        assert "give positive numbers that rise" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["bench", "watch", "--student", str(student), "--out", str(tmp_path / "watch.json")])
    assert "needs one video and --student" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

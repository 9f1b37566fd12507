from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fastaed import bench_compute, cli
from fastaed.config import StudentSettings, TeachSettings
from fastaed.data.boxes import Detections, no_detections, write_detections
from fastaed.data.store import write_frames
from fastaed.errors import DataError
from fastaed.models.student import build_student
from fastaed.teachers.build import build_teacher, save_teacher
from fastaed.weights import save_weights

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)
FRAMES, OBJECTS = 10, 15


@pytest.fixture
def clip(tmp_path: Path, walkers: Callable[..., list[np.ndarray]]) -> list[str]:
    """Options that name a clip of 48x64 and its detections."""
    write_frames(tmp_path / "street.zarr", walkers(FRAMES, seed=0), {"clip": "street"})
    frame = np.sort(np.arange(OBJECTS) % FRAMES).astype(np.int32)
    xyxy = np.tile(np.array([[10, 10, 20, 30]], np.float32), (OBJECTS, 1))
    one, none = np.ones(OBJECTS, np.float32), np.zeros((OBJECTS, 0))
    table = Detections(
        frame, xyxy, one, one.astype(np.int16), none.astype(np.float32), none.astype(np.float16)
    )
    write_detections(tmp_path / "street.parquet", table)
    return ["--stores", str(tmp_path / "street.zarr"), "--detections", str(tmp_path)]


def counted(clip: list[str], out: Path, *weights: Path) -> pd.DataFrame:
    cli.main(["bench", "compute", *clip, "--weights", *map(str, weights), "--out", str(out)])
    return pd.read_csv(out).set_index("network")


def test_operations_of_a_teacher_by_hand(tmp_path: Path, clip: list[str]) -> None:
    settings = TeachSettings.model_validate({"ssmtl": {"channels": [2, 3, 4], "convs_per_stage": 1}})
    teacher = build_teacher("ssmtl", settings)
    save_teacher(
        tmp_path / "0.safetensors",
        teacher,
        {"teacher": "ssmtl", "settings": settings.model_dump(mode="json")},
    )
    row = counted(clip, tmp_path / "compute.csv", tmp_path / "0.safetensors").loc["ssmtl"]

    views, frames = 3, 7  # each view through the shared network
    shared = sum(27 * a * b * frames * side**2 for a, b, side in ((3, 2, 64), (2, 3, 32), (3, 4, 16)))
    classes = 9 * 4 * 32 * 8**2 + 32 * 4**2 * 2  # a convolution at 8x8, a linear layer to two classes
    picture = 9 * sum(a * b * side**2 for a, b, side in ((4, 3, 16), (3, 2, 32), (2, 2, 64), (2, 3, 64)))
    expected = 2 * (views * shared + 2 * classes + picture) / 1e9
    assert row["gflop_per_object"] == pytest.approx(expected, abs=6e-4)
    assert row["objects_per_frame"] == OBJECTS / FRAMES
    assert row["gflop_per_frame"] == pytest.approx(expected * OBJECTS / FRAMES, abs=6e-4)
    assert row["numbers"] == sum(tensor.numel() for tensor in teacher.state().values())


def test_a_student_needs_the_same_for_every_frame(tmp_path: Path, clip: list[str]) -> None:
    student = build_student(TINY)
    save_weights(
        tmp_path / "student.safetensors",
        student.state_dict(),
        {"student": TINY.model_dump(mode="json"), "height": 48, "width": 64},
    )
    row = counted(clip, tmp_path / "compute.csv", tmp_path / "student.safetensors").loc["student"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        student.eval()(torch.zeros(1, 9, 48, 64))
    assert row["gflop_per_frame"] == pytest.approx(counter.get_total_flops() / 1e9, abs=6e-4)
    assert np.isnan(row["objects_per_frame"])


def test_a_clip_without_objects_is_refused(tmp_path: Path, clip: list[str]) -> None:
    write_detections(tmp_path / "street.parquet", no_detections(0))
    with pytest.raises(DataError, match="nothing was detected"):
        bench_compute.run([], tmp_path / "street.zarr", tmp_path, tmp_path / "compute.csv")


def test_what_is_missing_is_said(tmp_path: Path, clip: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "compute", *clip, "--out", str(tmp_path / "compute.csv")])
    assert "bench compute needs --weights" in capsys.readouterr().err

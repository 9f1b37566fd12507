"""Stage `teach`: one file per teacher and fold, never fitted on the clips it is calibrated on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from detector_layers import layers_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastaed import teach
from fastaed.config import DensitySettings, TeachSettings
from fastaed.data.boxes import Detections, write_detections
from fastaed.data.store import FrameStore, write_frames
from fastaed.errors import ConfigError, DataError, MissingDataError, WeightsError
from fastaed.sources import signature
from fastaed.teachers.build import load_teacher
from fastaed.teachers.calibration import Calibration, calibration_of
from fastaed.teachers.teacher import ClipObjects
from fastaed.weights import load_weights

SETTINGS = TeachSettings.model_validate(
    {
        "calibration_objects": 15,
        "high_percentile": 90,
        "ssmtl": {
            "channels": [2, 3, 4],
            "convs_per_stage": 1,
            "epochs": 2,
            "tubes_per_epoch": 8,
            "batch_size": 8,
            "device": "cpu",
            "precision": "float32",
        },
    }
)


TWO_FOLDS = TeachSettings.model_validate(
    {
        **SETTINGS.model_dump(mode="json"),
        "folds": 2,
        "baf": {"channels": [2, 2, 2], "epochs": 1, "classifier_epochs": 1, "device": "cpu"},
        "density": {},
    }
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


class Ruler:
    """A teacher whose score is the width of the box: what it should be calibrated to is known."""

    def __init__(self) -> None:
        self.fitted_on: list[str] = []
        self.scored: list[str] = []

    def fit(
        self, clips: Sequence[ClipObjects], checkpoint: Path, identity: Mapping[str, Any], seed: int
    ) -> list[dict[str, float]]:
        self.fitted_on = [clip.frames.clip for clip in clips]
        return []

    def score(self, clip: ClipObjects) -> NDArray[np.float32]:
        self.scored += [clip.frames.clip] * len(clip.detections)
        return clip.detections.xyxy[:, 2] - clip.detections.xyxy[:, 0]

    def state(self) -> dict[str, torch.Tensor]:
        return {"nothing": torch.zeros(1)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        pass


def make_split(folder: Path, counts: Sequence[int]) -> tuple[list[Path], Path]:
    """Stores and detections of clips a, b, c ...; detections have widths 8, 9, 10 ..."""
    stores = []
    for clip, count in zip("abcdefgh", counts):
        frames = np.random.default_rng(count).integers(0, 255, (12, 40, 60, 3), dtype=np.uint8)
        stores.append(folder / "decode" / f"{clip}.zarr")
        write_frames(stores[-1], frames, {"clip": clip})
        left, width = np.arange(count) % 5, 8 + np.arange(count)
        xyxy = np.stack([left, left, left + width, left + 20], axis=1).astype(np.float32)
        detections = Detections(
            np.sort(np.arange(count) % 12).astype(np.int32),
            xyxy,
            np.ones(count, np.float32),
            np.zeros(count, np.int16),
            np.full((count, 2), 0.5, np.float32),
            np.zeros((count, 0), np.float16),
        )
        write_detections(folder / "detect" / f"{clip}.parquet", detections)
    return stores, folder / "detect"


def run_ruler(
    monkeypatch: pytest.MonkeyPatch, folder: Path, counts: Sequence[int], fold: int, settings: TeachSettings
) -> tuple[Ruler, dict[str, Any]]:
    ruler = Ruler()
    monkeypatch.setattr(teach, "build_teacher", lambda name, settings, detector: ruler)
    stores, tables = make_split(folder, counts)
    teach.run(stores[::-1], [tables], folder / "0.safetensors", folder / "0.csv", "ssmtl", fold, settings)
    return ruler, load_weights(folder / "0.safetensors")[1]


@given(st.sets(st.text("abc123", min_size=1), min_size=2, max_size=20), st.integers(2, 5), st.randoms())
def test_every_clip_is_held_out_of_exactly_one_fold(clips: set[str], folds: int, shuffler: Any) -> None:
    if len(clips) < folds:
        return
    names = list(clips)
    shuffler.shuffle(names)
    parts = [teach.fold_of(names, fold, folds) for fold in range(folds)]
    for i, clip in enumerate(sorted(clips)):
        assert [clip in held_out for _, held_out in parts] == [fold == i % folds for fold in range(folds)]
    for fitted_on, held_out in parts:
        assert sorted(fitted_on + held_out) == sorted(clips)


def test_density_with_eyes_takes_them_from_the_detector_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = layers_of((2, 4, 4, 6))
    monkeypatch.setattr(teach, "layer_weights", lambda path: layers)
    (detector := tmp_path / "yolo.pt").write_bytes(b"layers")
    stores, tables = make_split(tmp_path, [12, 9, 10])
    settings = TeachSettings(folds=3, density=DensitySettings(eyes=(2, 4, 4, 6)))
    files = tmp_path / "0.safetensors", tmp_path / "0.csv"
    with pytest.raises(ConfigError, match=r"--detector, or set teach\.density\.eyes to null"):
        teach.run(stores, [tables], *files, "density", 0, settings)
    with pytest.raises(WeightsError, match=r"nowhere\.pt"):
        teach.run(stores, [tables], *files, "density", 0, settings, "folder/nowhere.pt")
    teach.run(stores, [tables], *files, "density", 0, settings, str(detector))
    tensors, facts = load_weights(files[0])
    assert facts["source"] == signature([detector])
    for name, values in layers.items():
        assert torch.equal(tensors[name.replace("model.", "eyes.layers.")], values)


def test_fold_mistakes_are_one_sentence() -> None:
    with pytest.raises(DataError, match="2 training clips cannot make 3 folds"):
        teach.fold_of(["a", "b"], 0, 3)
    with pytest.raises(ConfigError, match="no fold 3"):
        teach.fold_of(["a", "b", "c"], 3, 3)
    with pytest.raises(DataError, match="same name"):
        teach.fold_of(["a", "b", "b"], 0, 3)


def test_fitted_outside_the_fold_and_calibrated_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS.model_copy(update={"calibration_objects": 1000})
    ruler, facts = run_ruler(monkeypatch, tmp_path, [5, 30, 6, 7, 21], fold=1, settings=settings)
    assert ruler.fitted_on == facts["fitted_on"] == ["a", "c", "d"]
    assert facts["held_out"] == ["b", "e"]
    assert set(ruler.scored) == {"b", "e"}
    widths = np.concatenate([8.0 + np.arange(30), 8.0 + np.arange(21)])
    assert Calibration(**facts["calibration"]) == calibration_of(widths, 50, 90)
    assert (facts["teacher"], facts["seed"], facts["fold"]) == ("ssmtl", 1, 1)
    others = {"baf": settings.baf, "density": settings.density}
    assert not others.keys() & facts["settings"].keys()  # that a newer version need not know
    assert TeachSettings.model_validate(facts["settings"]) == settings
    assert set(facts["detections"]) == set("abcde")
    stores = {clip: FrameStore(tmp_path / "decode" / f"{clip}.zarr") for clip in "abcde"}
    assert facts["footage"] == {clip: store.fingerprint() for clip, store in stores.items()}


def test_calibration_scores_no_more_objects_than_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruler, _ = run_ruler(monkeypatch, tmp_path, [30, 2, 3, 30], fold=0, settings=SETTINGS)
    assert len(ruler.scored) == 15
    assert set(ruler.scored) == {"a", "d"}


def test_a_teacher_without_epochs_leaves_a_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_ruler(monkeypatch, tmp_path, [30, 2, 3], fold=0, settings=SETTINGS)
    assert (tmp_path / "0.csv").read_text() == "epoch\n"


def test_a_fold_without_objects_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no object was detected in the 1 training clips in fold 1"):
        run_ruler(monkeypatch, tmp_path, [30, 0, 3], fold=1, settings=SETTINGS)
    with pytest.raises(DataError, match="no object was detected in the 2 training clips outside fold 0"):
        run_ruler(monkeypatch, tmp_path, [30, 0, 0], fold=0, settings=SETTINGS)
    assert not (tmp_path / "0.safetensors").exists()


def test_a_clip_without_objects_beside_others_is_no_error(tmp_path: Path) -> None:
    stores, tables = make_split(tmp_path, [20, 20, 0, 0])
    for teacher in ("ssmtl", "baf", "density"):
        out = tmp_path / f"{teacher}.safetensors"
        teach.run(stores, [tables], out, tmp_path / "losses.csv", teacher, 0, TWO_FOLDS)
        assert load_weights(out)[1]["fitted_on"] == ["b", "d"]


def test_missing_detections_are_named(tmp_path: Path) -> None:
    stores, tables = make_split(tmp_path, [3, 4, 5])
    (tables / "b.parquet").unlink()
    with pytest.raises(MissingDataError, match=r"1 of 3 clips \(b is the first\).*run detect"):
        teach.run(stores, [tables], tmp_path / "o", tmp_path / "l", "ssmtl", 0, SETTINGS)


def test_ssmtl_from_stores_to_a_file(tmp_path: Path) -> None:
    stores, tables = make_split(tmp_path, [20, 20, 20, 20])
    for name in ("one", "two"):
        out = tmp_path / f"{name}.safetensors"
        teach.run(stores, [tables], out, tmp_path / f"{name}.csv", "ssmtl", 2, SETTINGS)
    losses = pd.read_csv(tmp_path / "one.csv")
    assert losses["epoch"].tolist() == [1, 2]
    assert np.isfinite(losses.to_numpy()).all()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "one.csv",
        "one.safetensors",
        "two.csv",
        "two.safetensors",
    ]  # no checkpoint is left
    teacher, facts = load_teacher(tmp_path / "one.safetensors")
    assert facts["held_out"] == ["c"]
    assert facts["calibration"]["low"] < facts["calibration"]["high"]
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    assert all(torch.isfinite(tensor).all() for tensor in teacher.state().values())

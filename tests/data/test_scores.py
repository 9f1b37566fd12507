"""Models side by side: which of them are ours, what `teachers` is, and where they do not fit one another."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fastaed.data.scores import SCORE_COLUMNS, check_frames, frame_counts, read_models
from fastaed.errors import DataError

CLIPS = {"01": 4, "02": 3}


def write_table(path: Path, level: float, clips: dict[str, int] = CLIPS) -> Path:
    """The table of a model that scores each frame `level` plus its number, times 1 to 4 by column."""
    parts = []
    for clip, frames in clips.items():
        values = {name: (level + np.arange(frames)) * (i + 1) for i, name in enumerate(SCORE_COLUMNS)}
        parts.append(pd.DataFrame({"clip": clip, "frame": np.arange(frames), **values}))
    pd.concat(parts).to_parquet(path, index=False)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    levels = {"teacher:ssmtl": 1.0, "student": 0.0, "teacher:baf": 3.0}
    return {name: [write_table(tmp_path / f"{level}.parquet", level)] for name, level in levels.items()}


@pytest.mark.parametrize("clips", [None, CLIPS])
def test_teachers_are_the_mean_of_those_named_so(
    files: dict[str, list[Path]], tmp_path: Path, clips: dict[str, int] | None
) -> None:
    files["mine"] = [write_table(tmp_path / "mine.parquet", 100)]
    models = read_models(files, clips)
    assert list(models) == ["student", "teacher:ssmtl", "teacher:baf", "mine", "teachers"]
    for clip, frames in CLIPS.items():
        for i, column in enumerate(SCORE_COLUMNS):
            assert models["teachers"][clip][column].tolist() == [(2 + t) * (i + 1) for t in range(frames)]


def test_foreign_scores_keep_their_name_and_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "all.npy", np.arange(7.0))
    models = read_models({"ssmtl": [tmp_path / "all.npy"]}, CLIPS)
    assert {clip: list(columns) for clip, columns in models["ssmtl"].items()} == {
        "01": ["score"],
        "02": ["score"],
    }
    assert list(models) == ["ssmtl"]
    assert frame_counts(models["ssmtl"]) == CLIPS


@pytest.mark.parametrize("name", ["student", "teacher:baf"])
def test_our_names_are_for_our_columns(files: dict[str, list[Path]], name: str) -> None:
    table = pd.read_parquet(files[name][0]).drop(columns=["4x4", "mean"])
    table.to_parquet(files[name][0], index=False)
    with pytest.raises(DataError, match=f"scores of {name} have no column 4x4, mean"):
        read_models(files)
    assert read_models({"mine": files[name]})


def test_the_name_of_the_mean_is_taken(files: dict[str, list[Path]]) -> None:
    with pytest.raises(DataError, match="'teachers' is the name"):
        read_models({**files, "teachers": files["student"]})


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ({"01": 4}, "scores of teacher:baf: clip 02 is missing"),
        (
            {"01": 4, "02": 3, "03": 1},
            "scores of teacher:baf: clip 03 has no counterpart in the scores of student",
        ),
        ({"01": 4, "02": 2}, "scores of teacher:baf: clip 02 has 2 frames but 3 in the scores of student"),
    ],
)
def test_models_that_differ_are_refused(
    files: dict[str, list[Path]], clips: dict[str, int], message: str
) -> None:
    write_table(files["teacher:baf"][0], 0, clips)
    with pytest.raises(DataError, match=message):
        read_models(files)


def test_frames_are_checked_against_any_reference(files: dict[str, list[Path]]) -> None:
    model = read_models(files)["student"]
    check_frames(model, "scores", CLIPS, "labels")
    with pytest.raises(DataError, match="scores: clip 02 has 3 frames but 4 in the labels"):
        check_frames(model, "scores", {"01": 4, "02": 4}, "labels")

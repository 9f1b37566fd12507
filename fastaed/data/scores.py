"""Per-frame anomaly scores: one table per model and batch of clips, gathered for evaluation and report."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastaed.errors import DataError, StoreError
from fastaed.pyramid import SCALES

SCORE_COLUMNS = (*SCALES, "mean")  # max of the map at each scale, and the mean of the three
STUDENT = "student"
TEACHERS = "teachers"  # mean of all teachers' scores

ClipScores = Mapping[str, NDArray[np.float64]]  # column -> (T,)
ModelScores = Mapping[str, ClipScores]  # clip -> its scores


def read_models(scores: Mapping[str, Sequence[Path]]) -> dict[str, ModelScores]:
    """Scores of every model: `student`, `teacher:<name>` for each teacher, and `teachers`, the mean of these.

    Args:
        scores: `student` or a teacher's name -> its tables of scores, one a batch of clips.

    Raises:
        StoreError: a table is missing or damaged.
        DataError: a score is NaN, a frame is missing or twice there, or models differ in clips or lengths.
    """
    models = {_row_name(name): read_scores(paths) for name, paths in scores.items()}
    named = list(models.items())
    for name, model in named[1:]:
        check_frames(model, f"scores of {name}", frame_counts(named[0][1]), f"scores of {named[0][0]}")
    teachers = [model for name, model in named if name != STUDENT]
    ordered = dict(sorted(named, key=lambda pair: pair[0] != STUDENT))
    return {**ordered, TEACHERS: _mean(teachers)} if teachers else ordered


def read_scores(paths: Sequence[Path]) -> ModelScores:
    """One model's scores, clip by clip in the tables' order.

    Args:
        paths: parquet tables with the columns clip, frame, 1x1, 4x4, 16x16, mean; each clip in one of them.

    Raises:
        StoreError: a table is missing or damaged.
        DataError: a score is NaN, or a clip's frames are not 0, 1, 2 ... once each.
    """
    model: dict[str, ClipScores] = {}
    for path in paths:
        for key, rows in _read_table(path).groupby("clip", sort=False):
            clip = str(key)
            if clip in model:
                raise DataError(f"clip {clip} is scored twice, the second time in {path}; remove one table")
            model[clip] = _clip_scores(rows, f"{path}, clip {clip}")
    return model


def frame_counts(model: ModelScores) -> dict[str, int]:
    """Number of scored frames of each clip."""
    return {clip: len(columns["mean"]) for clip, columns in model.items()}


def check_frames(model: ModelScores, what: str, frames: Mapping[str, int], reference: str) -> None:
    """Refuse scores that are not there for exactly the clips and frames of `reference`.

    Args:
        model: the scores.
        what: what they are, for the message.
        frames: number of frames of each clip that there must be.
        reference: where these numbers come from, for the message.

    Raises:
        DataError: a clip is missing or unknown, or has another number of frames.
    """
    if missing := _first(clip for clip in frames if clip not in model):
        raise DataError(f"{what}: clip {missing} is missing, but there are {reference} for it; score it too")
    if unknown := _first(clip for clip in model if clip not in frames):
        raise DataError(
            f"{what}: clip {unknown} has no counterpart in the {reference}; add it or leave it out"
        )
    for clip, count in frame_counts(model).items():
        if count != frames[clip]:
            raise DataError(
                f"{what}: clip {clip} has {count} frames but {frames[clip]} in the {reference}; "
                "one of the two belongs to other footage"
            )


def _first(names: Iterable[str]) -> str | None:
    return next(iter(names), None)


def _row_name(name: str) -> str:
    return name if name == STUDENT else f"teacher:{name.removeprefix('teacher:')}"


def _mean(models: Sequence[ModelScores]) -> ModelScores:
    return {
        clip: {column: np.mean([model[clip][column] for model in models], axis=0) for column in SCORE_COLUMNS}
        for clip in models[0]
    }


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"scores {path} are missing or damaged ({error}); run score again") from error
    absent = [column for column in ("clip", "frame", *SCORE_COLUMNS) if column not in table]
    if absent:
        raise StoreError(f"scores {path} have no column {', '.join(absent)}; run score again")
    return table


def _clip_scores(rows: Any, where: str) -> ClipScores:
    rows = rows.sort_values("frame")
    frames = rows["frame"].to_numpy()
    wrong = np.flatnonzero(frames != np.arange(len(frames)))
    if wrong.size:
        raise DataError(
            f"{where}: frame {wrong[0]} is missing or not unique among {len(frames)} rows; run score again"
        )
    values = rows[list(SCORE_COLUMNS)].to_numpy(np.float64)
    undefined = np.argwhere(~np.isfinite(values))
    if undefined.size:
        frame, column = undefined[0]
        raise DataError(
            f"{where}: the {SCORE_COLUMNS[column]} score of frame {frame} is {values[frame, column]}; "
            "the model that wrote it has diverged"
        )
    return {column: values[:, i] for i, column in enumerate(SCORE_COLUMNS)}

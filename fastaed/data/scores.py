"""Per-frame anomaly scores of all models, gathered for evaluation and report."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastaed.data.score_files import read_score_set
from fastaed.data.store import Maps
from fastaed.errors import DataError
from fastaed.pyramid import SCALES

SCORE_COLUMNS = (*SCALES, "mean")  # max of the map at each scale, and the mean of the three
STUDENT = "student"
TEACHER = "teacher:"  # goes before a teacher's name
TEACHERS = "teachers"  # mean of all teachers' scores

ClipScores = Mapping[str, NDArray[np.float64]]  # column -> (T,)
ModelScores = Mapping[str, ClipScores]  # clip -> its scores


def read_models(
    scores: Mapping[str, Sequence[Path]], clips: Mapping[str, int] | None = None
) -> dict[str, ModelScores]:
    """Scores of every model, the student's first, and `teachers`, the mean of those named `teacher:<name>`.

    The student and the teachers have the columns `SCORE_COLUMNS`; any other model has those of its files.

    Args:
        scores: model -> its files or folders, as `score_files.read_score_set` takes them.
        clips: clip -> number of its frames, as the labels have them; None believes the files.

    Raises:
        MissingDataError: a file is not there.
        DataError: a file is damaged; a score is not finite; a frame is missing or twice there; models differ
            in clips or lengths, from one another or from `clips`; or a name or columns are not as said above.
    """
    if TEACHERS in scores:
        raise DataError(f"'{TEACHERS}' is the name of the teachers' mean; give these scores another")
    models: dict[str, ModelScores] = {
        name: read_score_set(name, paths, clips) for name, paths in scores.items()
    }
    named = sorted(models.items(), key=lambda pair: pair[0] != STUDENT)
    for name, model in named:
        check_frames(model, f"scores of {name}", frame_counts(named[0][1]), f"scores of {named[0][0]}")
        if name == STUDENT or name.startswith(TEACHER):
            _check_columns(name, model)
    teachers = [model for name, model in named if name.startswith(TEACHER)]
    return {**dict(named), TEACHERS: _mean(teachers)} if teachers else dict(named)


def scores_of_maps(maps: Maps) -> NDArray[np.float64]:
    """(T, 4) the columns `SCORE_COLUMNS` of T frames: the maximum of each level, and the mean of these."""
    maxima = [level.max(axis=(1, 2)).astype(np.float64) for level in maps]
    return np.stack([*maxima, np.mean(maxima, axis=0)], axis=1)


def frame_counts(model: ModelScores) -> dict[str, int]:
    """Number of scored frames of each clip."""
    return {clip: len(next(iter(columns.values()))) for clip, columns in model.items()}


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


def _check_columns(name: str, model: ModelScores) -> None:
    for columns in model.values():
        absent = [column for column in SCORE_COLUMNS if column not in columns]
        if absent:
            raise DataError(
                f"scores of {name} have no column {', '.join(absent)}: run score again, or give them another "
                "name if another program wrote them"
            )


def _mean(models: Sequence[ModelScores]) -> ModelScores:
    return {
        clip: {column: np.mean([model[clip][column] for model in models], axis=0) for column in SCORE_COLUMNS}
        for clip in models[0]
    }

"""Area under the frame-level ROC curve, exact with ties: micro over all frames, macro over clips.

A score is an anomaly score: higher is more anomalous, always. A label is 1 for an abnormal frame, 0 for a
normal one. Where only one of the two occurs an AUC does not exist, and these functions return None.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastaed.errors import DataError

Scores = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


class MacroAuc(NamedTuple):
    """Mean of the clips' own AUCs, and how many clips have one.

    Attributes:
        value: in [0, 1]; None where no clip holds both normal and abnormal frames.
        clips: number of clips in the mean; clips of one class are left out.
    """

    value: float | None
    clips: int


class Roc(NamedTuple):
    """The corners of a ROC curve, from (0, 0) to (1, 1), one for each distinct score.

    Attributes:
        false_positive_rate: (K,) share of the normal frames at or above the threshold, rising.
        true_positive_rate: (K,) share of the abnormal frames at or above the threshold, rising.
        threshold: (K,) falling; the first is +infinity (nothing is called abnormal).
    """

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    threshold: NDArray[np.float64]


def auc(scores: Scores, labels: Labels) -> float | None:
    """Chance that an abnormal frame scores above a normal one, ties counting one half.

    The Mann-Whitney statistic, P(s+ > s-) + P(s+ = s-) / 2 (Hanley & McNeil, Radiology 1982), counted in
    integers over distinct scores, so that it is exact however many frames tie.

    Args:
        scores: (T,) anomaly scores.
        labels: (T,) 0 or 1.

    Returns:
        A number in [0, 1]; None where either class is absent.

    Raises:
        DataError: the lengths differ, a score is NaN or a label is neither 0 nor 1.
    """
    abnormal, normal, _ = counts_by_score(scores, labels)
    pairs = int(abnormal.sum()) * int(normal.sum())
    if pairs == 0:
        return None
    normal_below = np.cumsum(normal) - normal
    return int((abnormal * (2 * normal_below + normal)).sum()) / (2 * pairs)


def micro_auc(scores: Sequence[Scores], labels: Sequence[Labels]) -> float | None:
    """AUC over the frames of all clips together; None where either class is absent.

    Args:
        scores: one (T,) array a clip.
        labels: one (T,) array a clip, in the same order.

    Raises:
        DataError: as `auc`, or the numbers of clips differ.
    """
    check_clips(scores, labels)
    return auc(np.concatenate(scores), np.concatenate(labels)) if scores else None


def macro_auc(scores: Sequence[Scores], labels: Sequence[Labels]) -> MacroAuc:
    """Mean of each clip's own AUC over the clips that have one; clips of one class are left out, not counted.

    Args:
        scores: one (T,) array a clip.
        labels: one (T,) array a clip, in the same order.

    Raises:
        DataError: as `auc`, or the numbers of clips differ.
    """
    check_clips(scores, labels)
    defined = [value for pair in zip(scores, labels) if (value := auc(*pair)) is not None]
    return MacroAuc(sum(defined) / len(defined) if defined else None, len(defined))


def roc_curve(scores: Scores, labels: Labels) -> Roc | None:
    """The ROC curve whose area under straight segments is `auc`; None where either class is absent.

    Args:
        scores: (T,) anomaly scores.
        labels: (T,) 0 or 1.

    Raises:
        DataError: as `auc`.
    """
    abnormal, normal, values = counts_by_score(scores, labels)
    if not abnormal.any() or not normal.any():
        return None
    return Roc(
        np.concatenate([[0.0], np.cumsum(normal[::-1]) / normal.sum()]),
        np.concatenate([[0.0], np.cumsum(abnormal[::-1]) / abnormal.sum()]),
        np.concatenate([[np.inf], values[::-1]]),
    )


def counts_by_score(
    scores: Scores, labels: Labels
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Abnormal and normal frames at each distinct score, and these scores, rising: (K,) each.

    Args:
        scores: (T,) anomaly scores.
        labels: (T,) 0 or 1.

    Raises:
        DataError: as `auc`.
    """
    check_clip(scores, labels)
    values, position = np.unique(scores.astype(np.float64), return_inverse=True)
    abnormal = np.bincount(position[labels == 1], minlength=len(values)).astype(np.int64)
    normal = np.bincount(position[labels == 0], minlength=len(values)).astype(np.int64)
    return abnormal, normal, values


def check_clips(scores: Sequence[Scores], labels: Sequence[Labels]) -> None:
    """Refuse scores that do not belong to the labels.

    Raises:
        DataError: the numbers of clips differ, or one clip's scores and labels do not fit (`check_clip`).
    """
    if len(scores) != len(labels):
        raise DataError(f"scores of {len(scores)} clips do not match labels of {len(labels)} clips")
    for pair in zip(scores, labels):
        check_clip(*pair)


def check_clip(scores: Scores, labels: Labels) -> None:
    """Refuse (T,) scores that have no rank, labels that name no class, and lengths that differ.

    Raises:
        DataError: the lengths differ, a score is NaN or a label is neither 0 nor 1.
    """
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise DataError(f"scores of shape {scores.shape} do not match labels of shape {labels.shape}")
    if np.isnan(scores).any():
        raise DataError(f"{int(np.isnan(scores).sum())} of {len(scores)} anomaly scores are NaN")
    if not np.isin(labels, (0, 1)).all():
        raise DataError(f"frame labels must be 0 or 1, not {sorted(set(labels.tolist()) - {0, 1})[0]}")

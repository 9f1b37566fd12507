"""Intervals of the frame-level measures by resampling clips, and the measures themselves by name.

The frames of a clip resemble one another, so that frames drawn one by one would pretend to an interval
several times too narrow. A resample draws whole clips, with replacement (the percentile bootstrap of Efron &
Tibshirani, 1993, with clips as units); a clip drawn twice counts as two clips of the same scores.

Two scorers under the same weights are compared pairwise: `interval(a[name] - b[name])` of two `resampled`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastaed.errors import DataError
from fastaed.metrics.auc import Labels, Scores, auc, check_clips, macro_auc, micro_auc
from fastaed.metrics.curves import average_precision, equal_error_rate, true_positive_rate_at

TPR_AT = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_5": 0.05}
FRAME_METRICS = ("micro_auc", "macro_auc", "average_precision", "equal_error_rate", *TPR_AT)
ENTRIES_AT_ONCE = 2**17  # resamples times frames worked on together: what a processor's cache holds

Resampled = dict[str, NDArray[np.float64]]


class Interval(NamedTuple):
    """Where a measure lies in the middle `level` of the resamples.

    Attributes:
        low: lower end.
        high: upper end.
        resamples: how many resamples have the measure and are counted.
    """

    low: float
    high: float
    resamples: int


class _Curves(NamedTuple):
    """The ROC curves of R resamples, in frames, at K falling thresholds.

    From one threshold to the next a curve first runs to the right, to `false_above`, and then straight to its
    corner, (`false`, `found`). All are whole numbers below 2^53: their sums and products are exact.

    Attributes:
        found: (R, K) abnormal frames at or above each threshold.
        gained: (R, K) abnormal frames at each threshold.
        false: (R, K) normal frames at or above each threshold.
        false_above: (R, K) normal frames above each threshold.
        abnormal: (R,) abnormal frames; NaN where a class is absent, and so is all that is divided by it.
        normal: (R,) normal frames; likewise.
    """

    found: NDArray[np.float64]
    gained: NDArray[np.float64]
    false: NDArray[np.float64]
    false_above: NDArray[np.float64]
    abnormal: NDArray[np.float64]
    normal: NDArray[np.float64]


class _Ranking(NamedTuple):
    """What the measures need to know of A abnormal and N normal frames and K distinct abnormal scores.

    Thresholds at other scores than these move the ROC curve to the right only, so that nothing is lost.

    Attributes:
        abnormal_clip: (A,) clip of each abnormal frame, by falling score.
        normal_clip: (N,) clip of each normal frame, by falling score.
        abnormal_from: (K,) number of abnormal frames at or above each threshold, falling thresholds.
        normal_from: (K,) number of normal frames at or above each threshold.
        normal_above: (K,) number of normal frames above each threshold.
    """

    abnormal_clip: NDArray[np.intp]
    normal_clip: NDArray[np.intp]
    abnormal_from: NDArray[np.intp]
    normal_from: NDArray[np.intp]
    normal_above: NDArray[np.intp]


def frame_metrics(scores: Sequence[Scores], labels: Sequence[Labels]) -> dict[str, float | None]:
    """The measures named in `FRAME_METRICS`, all but macro AUC over the frames of all clips together.

    Args:
        scores: one (T,) array a clip.
        labels: one (T,) array a clip, in the same order.

    Returns:
        name -> value; None where it does not exist.

    Raises:
        DataError: as `micro_auc`.
    """
    check_clips(scores, labels)
    if not scores:
        return dict.fromkeys(FRAME_METRICS)
    pooled, truth = np.concatenate(scores), np.concatenate(labels)
    return {
        "micro_auc": micro_auc(scores, labels),
        "macro_auc": macro_auc(scores, labels).value,
        "average_precision": average_precision(pooled, truth),
        "equal_error_rate": equal_error_rate(pooled, truth),
        **{name: true_positive_rate_at(pooled, truth, rate) for name, rate in TPR_AT.items()},
    }


def clip_weights(clips: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """(resamples, clips) how often each clip is drawn; each resample draws as many clips as there are."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(clips, np.full(clips, 1 / clips), size=resamples)


def resampled(
    scores: Sequence[Scores], labels: Sequence[Labels], weights: NDArray[np.integer[Any]]
) -> Resampled:
    """The measures named in `FRAME_METRICS` in each resample, exact with ties.

    Args:
        scores: one (T,) array a clip.
        labels: one (T,) array a clip, in the same order.
        weights: (R, C) how often each of the C clips counts, 0 or more.

    Returns:
        name -> (R,) float64; NaN stands for undefined, where a resample lacks normal or abnormal frames (of
        macro AUC: where no clip has both).

    Raises:
        DataError: as `micro_auc`, or the weights are of another number of clips.
    """
    check_clips(scores, labels)
    if weights.ndim != 2 or weights.shape[1] != len(scores):
        raise DataError(f"weights of shape {weights.shape} do not match scores of {len(scores)} clips")
    counts = weights.astype(np.int64)
    values = {name: np.full(len(weights), np.nan) for name in FRAME_METRICS}
    values["macro_auc"] = _macro_auc(scores, labels, counts)
    ranking = _ranking(scores, labels)
    if len(ranking.abnormal_clip) and len(ranking.normal_clip):
        at_once = max(1, ENTRIES_AT_ONCE // sum(map(len, scores)))
        for start in range(0, len(weights), at_once):
            block = slice(start, start + at_once)
            for name, value in _pooled_metrics(_curves(ranking, counts[block])).items():
                values[name][block] = value
    return values


def interval(values: NDArray[np.float64], level: float = 0.95) -> Interval | None:
    """The percentile interval of a measure, or of a difference of two, over the resamples that have it.

    Args:
        values: (R,) a measure in each resample, NaN where undefined.
        level: share of the resamples within the interval.

    Returns:
        The interval; None where fewer than half of the resamples have the measure.
    """
    defined = values[~np.isnan(values)]
    if not len(defined) or 2 * len(defined) < len(values):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(defined))


def _macro_auc(
    scores: Sequence[Scores], labels: Sequence[Labels], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    own = np.array([np.nan if (value := auc(*pair)) is None else value for pair in zip(scores, labels)])
    defined = ~np.isnan(own)
    drawn = weights[:, defined].sum(axis=1)
    return np.asarray((weights[:, defined] @ own[defined]) / np.where(drawn > 0, drawn, np.nan))


def _ranking(scores: Sequence[Scores], labels: Sequence[Labels]) -> _Ranking:
    clips = np.repeat(np.arange(len(scores)), [len(clip) for clip in scores])
    falling = -np.concatenate([np.zeros(0), *scores])
    truth = np.concatenate([np.zeros(0, int), *labels])
    order = np.argsort(falling, kind="stable")
    abnormal, normal = order[truth[order] == 1], order[truth[order] == 0]
    thresholds = np.unique(falling[abnormal])
    return _Ranking(
        clips[abnormal],
        clips[normal],
        np.searchsorted(falling[abnormal], thresholds, side="right"),
        np.searchsorted(falling[normal], thresholds, side="right"),
        np.searchsorted(falling[normal], thresholds, side="left"),
    )


def _curves(ranking: _Ranking, weights: NDArray[np.int64]) -> _Curves:
    abnormal, normal = _counts(weights, ranking.abnormal_clip), _counts(weights, ranking.normal_clip)
    both = (abnormal[:, -1] > 0) & (normal[:, -1] > 0)
    found = np.take(abnormal, ranking.abnormal_from, axis=1).astype(np.float64)
    return _Curves(
        found,
        np.diff(found, axis=1, prepend=0.0),
        np.take(normal, ranking.normal_from, axis=1).astype(np.float64),
        np.take(normal, ranking.normal_above, axis=1).astype(np.float64),
        np.where(both, abnormal[:, -1], np.nan),
        np.where(both, normal[:, -1], np.nan),
    )


def _counts(weights: NDArray[np.int64], clips: NDArray[np.intp]) -> NDArray[np.int64]:
    """(R, T + 1) how many the first 0, 1 ... T frames count, for (R, C) weights and each frame's (T,) clip.

    In whole numbers, whose running sum takes a processor a tenth of the time that it takes for fractions.
    """
    counts = np.zeros((len(weights), len(clips) + 1), np.int64)
    np.cumsum(np.take(weights, clips, axis=1), axis=1, out=counts[:, 1:])
    return counts


def _pooled_metrics(curves: _Curves) -> Resampled:
    """All measures but macro AUC, (R,) each."""
    return {
        "micro_auc": _micro_auc(curves),
        "average_precision": _average_precision(curves),
        "equal_error_rate": _equal_error_rate(curves),
        **{name: _true_positive_rate_at(curves, rate) for name, rate in TPR_AT.items()},
    }


def _micro_auc(curves: _Curves) -> NDArray[np.float64]:
    beaten_twice = 2 * curves.normal[:, None] - curves.false - curves.false_above
    return _dot(curves.gained, beaten_twice) / (2 * curves.abnormal * curves.normal)


def _average_precision(curves: _Curves) -> NDArray[np.float64]:
    called = np.maximum(curves.found + curves.false, 1.0)  # where none is called none is gained either
    return _dot(curves.gained, curves.found / called) / curves.abnormal


def _equal_error_rate(curves: _Curves) -> NDArray[np.float64]:
    """FPR where FPR + TPR = 1: on the way to the first corner with at least that, running right or rising.

    Sums of the two rates are kept in whole numbers, as multiples of 1 / (abnormal normal).
    """
    abnormal, normal = curves.abnormal, curves.normal
    sums = curves.found * normal[:, None] + curves.false * abnormal[:, None]
    corner = (sums < (abnormal * normal)[:, None]).sum(axis=1)
    gained, false_above = _at(curves.gained, corner), _at(curves.false_above, corner)
    before, wrong = _at(curves.found, corner) - gained, _at(curves.false, corner) - false_above
    left = (abnormal - before) * normal - false_above * abnormal
    rise = gained * normal + wrong * abnormal
    share = np.divide(left, rise, out=np.zeros_like(left), where=left > 0)
    return np.where(left > 0, (false_above + share * wrong) / normal, 1 - before / abnormal)


def _true_positive_rate_at(curves: _Curves, rate: float) -> NDArray[np.float64]:
    """TPR at this FPR: on or behind the last rise that begins there or further left; 0 before the first."""
    begun = (curves.false_above / curves.normal[:, None] <= rate).sum(axis=1)
    corner = np.maximum(begun - 1, 0)
    end, gained = _at(curves.found, corner), _at(curves.gained, corner)
    begin_at = _at(curves.false_above, corner) / curves.normal
    end_at = _at(curves.false, corner) / curves.normal
    within = (begin_at <= rate) & (rate < end_at)
    share = np.divide(rate - begin_at, end_at - begin_at, out=np.ones_like(end_at), where=within)
    return np.where(begun > 0, end - gained + share * gained, 0.0) / curves.abnormal


def _dot(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R,) scalar products of the rows of two (R, K)."""
    return np.asarray(np.einsum("rk,rk->r", first, second))


def _at(values: NDArray[np.float64], column: NDArray[np.intp]) -> NDArray[np.float64]:
    """(R,) one column of each row of (R, K) values."""
    return np.take_along_axis(values, column[:, None], axis=1)[:, 0]

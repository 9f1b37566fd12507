"""Frame-level measures beside AUC, exact with ties: one threshold for each distinct score.

A frame is called abnormal where its score is at or above the threshold. Where only one of the two classes
occurs none of these measures exists, and the functions return None.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastaed.errors import DataError
from fastaed.metrics.auc import Labels, Scores, counts_by_score, roc_curve


class PrecisionRecall(NamedTuple):
    """Precision and recall at each distinct score; where nothing is called abnormal precision does not exist.

    Attributes:
        precision: (K,) share of the frames at or above the threshold that are abnormal.
        recall: (K,) share of the abnormal frames at or above the threshold, rising to 1.
        threshold: (K,) falling; the first is the highest score.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    threshold: NDArray[np.float64]


def precision_recall_curve(scores: Scores, labels: Labels) -> PrecisionRecall | None:
    """Precision and recall as the threshold falls; None where either class is absent.

    Args:
        scores: (T,) anomaly scores.
        labels: (T,) 0 or 1.

    Raises:
        DataError: as `auc`.
    """
    abnormal, normal, values = counts_by_score(scores, labels)
    if not abnormal.any() or not normal.any():
        return None
    called = np.cumsum((abnormal + normal)[::-1])
    found = np.cumsum(abnormal[::-1])
    return PrecisionRecall(found / called, found / found[-1], values[::-1])


def average_precision(scores: Scores, labels: Labels) -> float | None:
    """Mean of the precision over the recall gained: sum_k (R_k - R_{k-1}) P_k, with R_0 = 0.

    The curve is not joined by straight lines, which would flatter: between two points of a precision-recall
    curve precision does not change linearly (Davis & Goadrich, ICML 2006).

    Args:
        scores: (T,) anomaly scores.
        labels: (T,) 0 or 1.

    Returns:
        A number in (0, 1]; None where either class is absent.

    Raises:
        DataError: as `auc`.
    """
    curve = precision_recall_curve(scores, labels)
    if curve is None:
        return None
    return float((np.diff(curve.recall, prepend=0.0) * curve.precision).sum())


def equal_error_rate(scores: Scores, labels: Labels) -> float | None:
    """The error where false alarms are as frequent as misses: FPR = 1 - TPR on the ROC curve.

    The corners of the curve are joined by straight lines, as for the AUC; along them FPR + TPR rises
    strictly, so that there is exactly one such point.

    Args:
        scores: (T,) anomaly scores.
        labels: (T,) 0 or 1.

    Returns:
        A number in [0, 1]; None where either class is absent.

    Raises:
        DataError: as `auc`.
    """
    curve = roc_curve(scores, labels)
    if curve is None:
        return None
    x, y = curve.false_positive_rate, curve.true_positive_rate
    return float(np.interp(1.0, x + y, x))


def true_positive_rate_at(scores: Scores, labels: Labels, false_positive_rate: float) -> float | None:
    """Share of the abnormal frames found while this share of the normal frames is called abnormal.

    The corners of the ROC curve are joined by straight lines, as for the AUC: a point between two corners is
    reached by choosing between their thresholds by lot. So a constant score finds 1 % at 1 %, as chance does,
    and the value does not jump where many frames tie. Where the curve rises straight up at this rate, its
    upper end counts.

    Args:
        scores: (T,) anomaly scores.
        labels: (T,) 0 or 1.
        false_positive_rate: in [0, 1].

    Returns:
        A number in [0, 1]; None where either class is absent.

    Raises:
        DataError: as `auc`, or the rate is not in [0, 1].
    """
    if not 0 <= false_positive_rate <= 1:
        raise DataError(f"a false-positive rate is in [0, 1], not {false_positive_rate}")
    curve = roc_curve(scores, labels)
    if curve is None:
        return None
    x, y = curve.false_positive_rate, curve.true_positive_rate
    k = int(np.searchsorted(x, false_positive_rate, side="right")) - 1
    if k == len(x) - 1:
        return float(y[k])
    return float(y[k] + (y[k + 1] - y[k]) * (false_positive_rate - x[k]) / (x[k + 1] - x[k]))

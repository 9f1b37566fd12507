"""One scale for all teachers: a held-out normal object at the low percentile is 0, at the high one 0.5."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastaed.errors import DataError


@dataclass(frozen=True)
class Calibration:
    """Raw scores s of one fitted teacher to u / (1 + u) in [0, 1), u = max(0, (s - low) / (high - low)).

    Attributes:
        low: the raw score that becomes 0.
        high: the raw score that becomes 0.5.
    """

    low: float
    high: float

    def __call__(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Calibrated scores of any shape.

        Raises:
            DataError: a raw score is NaN or infinite.
        """
        _check_finite(scores, "a raw score")
        excess = np.maximum(0.0, (scores.astype(np.float64) - self.low) / (self.high - self.low))
        return (excess / (1.0 + excess)).astype(np.float32)


def calibration_of(
    scores: NDArray[np.floating[Any]], low_percentile: float, high_percentile: float
) -> Calibration:
    """The calibration that held-out normal objects ask for.

    Args:
        scores: (N,) raw scores of normal objects in clips that the teacher was not fitted on.
        low_percentile: of these scores, calibrated to 0.
        high_percentile: of these scores, calibrated to 0.5.

    Raises:
        DataError: there is no score, one is NaN or infinite, or both percentiles are the same score.
    """
    if not len(scores):
        raise DataError("no held-out object to calibrate the teacher with; detect more or use fewer folds")
    _check_finite(scores, "the raw score of a held-out object")
    low, high = np.percentile(scores.astype(np.float64), [low_percentile, high_percentile])
    if not low < high:
        raise DataError(
            f"{len(scores)} held-out objects all score {low:.6g} between percentiles {low_percentile:g} and "
            f"{high_percentile:g}, so the teacher tells nothing apart; use more clips or a larger teacher"
        )
    return Calibration(float(low), float(high))


def _check_finite(scores: NDArray[np.floating[Any]], what: str) -> None:
    if not np.isfinite(scores).all():
        raise DataError(f"{what} is NaN or infinite: the teacher has diverged; lower its learning rate")

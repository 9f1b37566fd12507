"""A straight line through points of which some are wrong."""

import numpy as np
from numpy.typing import NDArray


def median_slope(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Median of the slopes between all pairs of points (Theil & Sen); 0 where all have the same x.

    Args:
        x: (N,).
        y: (N,).
    """
    across, up = (np.subtract.outer(values, values) for values in (x, y))
    apart = across > 0
    return float(np.median(up[apart] / across[apart])) if apart.any() else 0.0

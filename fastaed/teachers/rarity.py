"""Several measures of how strange an object is as one score, whatever their scales and tails.

Each becomes a p-value, the share of normal objects that are as strange, and the score is -sum log p (Fisher,
"Statistical Methods for Research Workers", 1932).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fisher_score(
    rarity: NDArray[np.float64], normal: NDArray[np.float64], least: Sequence[float] | None = None
) -> NDArray[np.float32]:
    """Rarities in several respects as one score, -sum log p over them.

    p = (1 + normal objects at least as rare) / (1 + normal objects). What is rarer than all of them gets
    log(1 + (r - rarest) / b) more, b being the mean excess of the rarest tenth (of all, where a tenth is one
    object): so it is told apart, but no single strange measurement outweighs the others.

    Args:
        rarity: (N, A) of the objects to score.
        normal: (M, A) of normal objects, each column rising.
        least: A values in [0, 1): the p of what is infinitely rare, p becoming least + (1 - least) p. So a
            respect in which M objects are no M independent ones adds -log(least) at most; 0 if not given.

    Returns:
        (N,) 0 for the most ordinary object, without an upper end.
    """
    scores = [_surprise(values, column) for values, column in zip(rarity.T, normal.T)]
    if least is not None:
        scores = [-np.log(floor + (1 - floor) * np.exp(-score)) for floor, score in zip(least, scores)]
    return np.asarray(np.sum(scores, axis=0), dtype=np.float32)


def _surprise(rarity: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    as_rare = len(normal) - np.searchsorted(normal, rarity)
    tail = normal[len(normal) * 9 // 10 :]
    usual_excess = float((tail - tail[0]).mean()) or float((normal - normal[0]).mean()) or 1.0
    beyond = np.maximum(rarity - normal[-1], 0) / usual_excess
    surprise: NDArray[np.float64] = np.log1p(len(normal)) - np.log1p(as_rare) + np.log1p(beyond)
    return surprise

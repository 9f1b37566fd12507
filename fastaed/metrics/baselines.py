"""Scores that never look at a picture: what a table of AUC is worth is how far it stands above them.

All pass through the same smoothing as a model's scores. A ramp over the clip reaches .75 micro AUC on UCSD
Ped2, where abnormal events lie more often at the end; a tent profits where they lie in the middle, and the
clip's length where long clips hold more of them, which micro AUC alone sees.
"""

import numpy as np
from numpy.typing import NDArray


def constant(frames: int) -> NDArray[np.float64]:
    """The same score for every frame: an AUC other than .5 is a fault of the evaluation."""
    return np.zeros(frames)


def random(frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Independent uniform scores in [0, 1)."""
    return rng.random(frames)


def ramp(frames: int) -> NDArray[np.float64]:
    """Scores t / (T - 1), rising from 0 on the first frame to 1 on the last; 0 for a clip of one frame."""
    return np.arange(frames) / max(frames - 1, 1)


def tent(frames: int) -> NDArray[np.float64]:
    """Scores that rise in equal steps from 0 on the first frame to 1 in the middle, and fall again to 0.

    1 - |2t - (T - 1)| / (T - 1); where T is even, the two frames in the middle stay below 1. 0 for one frame.
    """
    last = frames - 1
    return np.asarray((last - np.abs(2.0 * np.arange(frames) - last)) / max(last, 1))


def clip_length(frames: int) -> NDArray[np.float64]:
    """The number of frames of the clip, on each of its frames."""
    return np.full(frames, float(frames))

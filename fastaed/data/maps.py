"""Object scores painted into anomaly maps, smoothed, and pooled to the three scales."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from fastaed.data.boxes import Detections, check_frames_exist
from fastaed.data.store import Maps
from fastaed.errors import DataError
from fastaed.pyramid import MapPyramid


def paint_maps(
    scores: NDArray[np.float32], detections: Detections, frames: int, height: int, width: int, cell: int
) -> NDArray[np.float32]:
    """Anomaly maps of a clip: each box filled with its score, the most anomalous on top, 0 where no box is.

    A box fills the cells that it shares an area with. Cells of the last row and column may reach beyond the
    frame where its sides are no multiples of `cell`.

    Args:
        scores: (N,) calibrated anomaly scores in [0, 1], one a detection.
        detections: the clip's N detections, in pixels of the stored frame.
        frames: number of frames T of the clip.
        height: of the stored frame, pixels.
        width: of the stored frame, pixels.
        cell: side of a grid cell, pixels.

    Returns:
        (T, ceil(height / cell), ceil(width / cell)) maps in [0, 1].

    Raises:
        DataError: a score is undefined or outside [0, 1], or a detection lies beyond the last frame.
    """
    if len(scores) != len(detections):
        raise DataError(f"{len(scores)} scores for {len(detections)} detections; score and detect again")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise DataError("a teacher's score is undefined or outside [0, 1]; teach it again")
    check_frames_exist(detections, frames, "cannot paint maps")
    maps = np.zeros((frames, -(-height // cell), -(-width // cell)), np.float32)
    inside = np.clip(detections.xyxy, 0, [width, height, width, height])
    first = np.floor(inside[:, :2] / cell).astype(int)
    stop = np.ceil(inside[:, 2:] / cell).astype(int)
    has_area = (inside[:, :2] < inside[:, 2:]).all(axis=1)
    for i in np.flatnonzero(has_area):
        (left, top), (right, bottom) = first[i], stop[i]
        area = maps[detections.frame[i], top:bottom, left:right]
        np.maximum(area, scores[i], out=area)
    return maps


def smooth_maps(maps: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Mean over a cube of `side` frames, rows and columns around each cell; at borders, over what there is.

    Dividing by the number of cells that exist (rather than counting missing ones as 0) keeps the first
    frames and the frame's edge as bright as the rest.

    Args:
        maps: (T, h, w) in [0, 1].
        side: odd, in cells and frames; 0 or 1 leaves the maps as they are.
    """
    if side <= 1:
        return maps
    total = uniform_filter(maps.astype(np.float64), side, mode="constant")
    share = _share_inside(maps.shape, side)
    # A running sum leaves [0, 1] by rounding only.
    return np.clip(total / share, 0, 1).astype(np.float32)


def _share_inside(shape: tuple[int, ...], side: int) -> NDArray[np.float64]:
    """Share of the cube around each cell that lies inside the maps, the product of three axes' shares."""
    along = []
    for size in shape:
        place = np.arange(size)
        reach = side // 2
        along.append((np.minimum(place + reach, size - 1) - np.maximum(place - reach, 0) + 1) / side)
    share: NDArray[np.float64] = np.einsum("t,h,w->thw", *along)
    return share


def pool_pyramid(maps: NDArray[np.float32]) -> Maps:
    """The maps at 16x16, 4x4 and 1x1: each cell holds the maximum over its area of the frame.

    Row i of 16 covers the grid rows that overlap the part from i h / 16 to (i + 1) h / 16 (neighbours share
    a grid row where h is not a multiple of 16, and a grid of fewer rows than 16 is repeated).

    Args:
        maps: (T, h, w) in [0, 1].
    """
    sixteen = _pool_axis(_pool_axis(maps, 1), 2)
    four = sixteen.reshape(-1, 4, 4, 4, 4).max(axis=(2, 4))
    return MapPyramid(four.max(axis=(1, 2), keepdims=True), four, sixteen)


def _pool_axis(maps: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    size = maps.shape[axis]
    bands = [(i * size // 16, -(-(i + 1) * size // 16)) for i in range(16)]
    return np.stack([maps.take(range(a, b), axis).max(axis) for a, b in bands], axis)

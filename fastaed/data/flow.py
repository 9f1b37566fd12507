"""Dense optical flow between frames of a clip, and what a box sees of it.

Flow is computed on whole frames: all objects share it, and what leaves a box is seen.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fastaed.data.boxes import Detections
from fastaed.data.store import FrameStore
from fastaed.data.tubes import SIDE
from fastaed.errors import DataError

Flow = NDArray[np.float32]

_KEPT_FRAMES = 32
_KEPT_FLOWS = 8


def grey_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of an (H, W, 3) uint8 RGB frame as (H, W) uint8."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def dense_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Flow:
    """Where each pixel of the first frame went: DIS flow, medium preset (Kroeger et al., ECCV 2016).

    The medium preset refines it at half the frame's size. The fast one stops at a quarter, where somebody 30
    pixels tall is a smear: it takes 2 ms for 240x360 pixels instead of 9, and cannot tell who is fast.

    Args:
        first: (H, W) uint8 grey frame.
        second: (H, W) uint8 grey frame, later or earlier.

    Returns:
        (H, W, 2) displacement to the right and down, pixels of the stored frame.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(dis.calc(first, second, None), dtype=np.float32)  # type: ignore[call-overload]


def pair_inside(first: int, second: int, length: int) -> tuple[int, int]:
    """The pair of frames moved as a whole into a clip of `length` frames, closer together where they must be.

    Repeating the end frame instead would make everything stand still there.
    """
    gap = min(second - first, length - 1)
    start = min(max(first, 0), length - 1 - gap)
    return start, start + gap


def stream_flow(
    frames: FrameStore, detections: Detections, offsets: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], list[Flow]]]:
    """Flow around each frame that has detections, computing none of them twice.

    Args:
        frames: the clip of T frames.
        detections: ordered by frame.
        offsets: (P, 2), or (T, P, 2) where frames differ: the P pairs (a, b), a < b, for which flow
            from t + a to t + b is wanted; a pair that leaves the clip is moved inside (`pair_inside`).

    Yields:
        positions of one frame's detections, and the P flows there, each (H, W, 2) in pixels.

    Raises:
        DataError: the clip is a single frame, so that motion is not defined.
    """
    if len(detections) and frames.length < 2:
        raise DataError(f"{frames.path}: a clip of one frame has no motion; remove it or its detections")
    greys: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
    flows: OrderedDict[tuple[int, int], Flow] = OrderedDict()
    pairs_of_frame = np.broadcast_to(offsets, (frames.length, *offsets.shape[-2:]))
    numbers, first_row = np.unique(detections.frame, return_index=True)
    rows_of_frame = np.split(np.arange(len(detections)), first_row[1:])
    for frame, rows in zip(numbers.tolist(), rows_of_frame):
        pairs = [pair_inside(frame + a, frame + b, frames.length) for a, b in pairs_of_frame[frame].tolist()]
        for pair in pairs:
            if pair not in flows:
                flows[pair] = dense_flow(*(_grey(frames, number, greys) for number in pair))
        yield rows, [flows[pair] for pair in pairs]
        while len(flows) > _KEPT_FLOWS:
            flows.popitem(last=False)


def _grey(frames: FrameStore, number: int, greys: "OrderedDict[int, NDArray[np.uint8]]") -> NDArray[np.uint8]:
    if number not in greys:
        greys[number] = grey_frame(frames.gather([number])[0])
        if len(greys) > _KEPT_FRAMES:
            greys.popitem(last=False)
    return greys[number]


def cut_flow(flow: Flow, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Flow inside boxes, in box heights per step, so that near and far objects of one kind move alike.

    The height of a box is its perspective: people are about equally tall, and a moving object's width
    changes with its pose and direction.

    Args:
        flow: (H, W, 2) in pixels.
        xyxy: (N, 4) boxes in pixels.

    Returns:
        (N, 2, 64, 64), to the right and down, in heights of the object's own box.
    """
    heights = (xyxy[:, 3] - xyxy[:, 1]).reshape(-1, 1, 1, 1)
    crops: NDArray[np.float32] = cut_boxes(flow, xyxy).transpose(0, 3, 1, 2) / heights
    return crops


def cut_boxes(image: NDArray[np.float32], xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes of an (H, W, C) picture as (N, 64, 64, C), without keeping their proportions."""
    crops = np.zeros((len(xyxy), SIDE, SIDE, image.shape[2]), np.float32)
    for crop, box in zip(crops, xyxy):
        inside = image[_window(box, image.shape)]
        crop[:] = cv2.resize(inside, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).reshape(crop.shape)
    return crops


def _window(box: NDArray[np.float32], shape: Sequence[Any]) -> tuple[slice, slice]:
    """Rows and columns of the pixels that a box touches, at least one, inside the frame."""
    left, top = (min(max(int(np.floor(box[i])), 0), shape[1 - i] - 1) for i in (0, 1))
    right, bottom = (int(np.ceil(box[i])) for i in (2, 3))
    return slice(top, max(top + 1, min(bottom, shape[0]))), slice(left, max(left + 1, min(right, shape[1])))

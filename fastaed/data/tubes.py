"""Object tubes: the box of one detection cut out of its frame and the frames around it.

A tube is (T, C, 64, 64) uint8 RGB, C = 3. The box of frame t is used on all its frames and resized to 64 x 64
as it is, without keeping its proportions, as the teachers' papers do (Georgescu et al., CVPR 2021 and TPAMI
2022). Tubes are cut when they are needed and never written to disk.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from fastaed.data.boxes import Detections, check_frames_exist
from fastaed.data.order import local_shuffle
from fastaed.data.store import FrameStore
from fastaed.errors import DataError

SIDE = 64  # pixels
_BATCHES_AHEAD = 3
_MOST_CHUNKS = 64

Tubes = NDArray[np.uint8]
Offsets = NDArray[np.integer[Any]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class ClipObjects:
    """A clip's frames and the detections in them.

    Raises:
        DataError: a detection lies in a frame that the clip does not have.
    """

    frames: FrameStore
    detections: Detections

    def __post_init__(self) -> None:
        check_frames_exist(self.detections, len(self.frames), str(self.frames.path))


class TubeBatch(NamedTuple):
    """N tubes and where they come from."""

    tubes: Tubes  # (N, T, 3, 64, 64) uint8 RGB
    clip: NDArray[np.int64]  # (N,) position in the sequence of clips
    detection: NDArray[np.int64]  # (N,) position among that clip's detections


def cut_tubes(frames: FrameStore, detections: Detections, offsets: Offsets) -> Tubes:
    """The object tubes of N detections of one clip.

    Args:
        frames: the clip.
        detections: boxes in pixels of its frames.
        offsets: (T,) or (N, T) frame numbers relative to the detection's; beyond the ends of the clip its
            first or last frame is repeated.

    Returns:
        (N, T, 3, 64, 64) uint8 RGB.

    Raises:
        DataError: a box has no pixel inside the frame.
    """
    boxes = _pixel_boxes(detections.xyxy, frames)
    wanted = np.clip(detections.frame[:, np.newaxis] + offsets, 0, len(frames) - 1)
    tubes = np.empty((*wanted.shape, 3, SIDE, SIDE), np.uint8)
    by_frame = np.argsort(wanted, axis=None, kind="stable")  # so each frame is fetched once, in time order
    numbers, starts = np.unique(wanted.ravel()[by_frame], return_index=True)
    for number, places in zip(numbers, np.split(by_frame, starts[1:])):
        frame = frames.gather([int(number)])[0]
        for place in places:
            tube, slot = divmod(int(place), wanted.shape[1])
            left, top, right, bottom = boxes[tube]
            tubes[tube, slot] = _resized(frame[top:bottom, left:right]).transpose(2, 0, 1)
    return tubes


def stream_tubes(
    clips: Sequence[ClipObjects],
    offsets_of: Callable[[np.random.Generator, int], Offsets],
    rng: np.random.Generator,
    limit: int,
    batch_size: int,
) -> Iterator[TubeBatch]:
    """One epoch of object tubes in random order, each stored chunk of frames read about once.

    Batches are cut in a thread of their own, a few ahead of the reader.

    Args:
        clips: their stores should share a `ChunkCache`; tubes are mixed among as many chunks as it holds.
        offsets_of: (generator, N) -> (T,) or (N, T) frame offsets of the next N tubes, less than a chunk.
        rng: decides which detections are drawn, their order and their offsets.
        limit: detections drawn at most, without replacement; all where there are fewer.
        batch_size: tubes in a batch; the last one may be smaller.
    """
    yield from _read_ahead(_batches(clips, offsets_of, rng, limit, batch_size), _BATCHES_AHEAD)


def tubes_in_order(objects: ClipObjects, offsets: Offsets, batch_size: int) -> Iterator[Tubes]:
    """All object tubes of a clip, in the order of its detections, cut a few batches ahead of the reader.

    Args:
        objects: the clip.
        offsets: (T,) frame numbers relative to each detection's.
        batch_size: tubes in a batch; the last one may be smaller.

    Yields:
        (N, T, 3, 64, 64) uint8 RGB.
    """
    places = np.arange(len(objects.detections))
    batches = (places[start : start + batch_size] for start in range(0, len(places), batch_size))
    cuts = (cut_tubes(objects.frames, objects.detections.take(batch), offsets) for batch in batches)
    yield from _read_ahead(cuts, _BATCHES_AHEAD)


def _batches(
    clips: Sequence[ClipObjects],
    offsets_of: Callable[[np.random.Generator, int], Offsets],
    rng: np.random.Generator,
    limit: int,
    batch_size: int,
) -> Iterator[TubeBatch]:
    clip = np.repeat(np.arange(len(clips)), [len(objects.detections) for objects in clips])
    detection = np.concatenate([np.arange(0), *(np.arange(len(objects.detections)) for objects in clips)])
    frame = np.concatenate([np.arange(0), *(objects.detections.frame for objects in clips)])
    if len(clip) > limit:
        drawn = np.sort(rng.choice(len(clip), limit, replace=False))
        clip, detection, frame = clip[drawn], detection[drawn], frame[drawn]
    order = local_shuffle(clip, frame, rng, _window(clips))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        offsets = np.asarray(offsets_of(rng, len(batch)))
        offsets = np.broadcast_to(offsets, (len(batch), offsets.shape[-1]))
        yield TubeBatch(
            _cut_batch(clips, clip[batch], detection[batch], offsets), clip[batch], detection[batch]
        )


def _window(clips: Sequence[ClipObjects]) -> int:
    """Chunks mixed with one another: their neighbours are read, too, and all must stay in the cache."""
    held = min((objects.frames.chunks_held for objects in clips), default=1)
    return max(1, min(_MOST_CHUNKS, held // 3))


def _cut_batch(
    clips: Sequence[ClipObjects], clip: NDArray[np.int64], detection: NDArray[np.int64], offsets: Offsets
) -> Tubes:
    tubes = np.empty((*offsets.shape, 3, SIDE, SIDE), np.uint8)
    for number in np.unique(clip).tolist():
        here = np.flatnonzero(clip == number)
        objects = clips[int(number)]
        tubes[here] = cut_tubes(objects.frames, objects.detections.take(detection[here]), offsets[here])
    return tubes


def _read_ahead(items: Iterator[Item], ahead: int) -> Iterator[Item]:
    """Pass `items` on, made in one other thread up to `ahead` items early."""
    with ThreadPoolExecutor(1) as reader:
        coming = deque(reader.submit(next, items, None) for _ in range(ahead))
        while (item := coming.popleft().result()) is not None:
            coming.append(reader.submit(next, items, None))
            yield item


def _pixel_boxes(xyxy: NDArray[np.float32], frames: FrameStore) -> list[list[int]]:
    """Boxes grown to whole pixels and cut at the border of the frame: left, top, right, bottom."""
    limits = np.array([frames.width, frames.height] * 2)
    grown = np.concatenate([np.floor(xyxy[:, :2]), np.ceil(xyxy[:, 2:])], axis=1)
    boxes = np.clip(grown, 0, limits)
    usable = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # false for NaN too
    if not usable.all():
        raise DataError(
            f"{frames.path}: box {xyxy[~usable][0].tolist()} has no pixel in a frame of "
            f"{frames.width} x {frames.height}; detect again on this store"
        )
    return boxes.astype(np.int64).tolist()  # type: ignore[no-any-return]


def _resized(crop: Tubes) -> Tubes:
    shrinks = min(crop.shape[:2]) >= SIDE
    resized = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)

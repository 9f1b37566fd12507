"""Detections: boxes in the pixels of the stored frame, one table per clip, and the rules that thin them out.

Only boxes of one frame are compared with one another.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastaed.errors import DataError, MissingDataError, StoreError
from fastaed.files import replacing

MOTION_CLASS = -1
LISTS = ("probabilities", "features")
_COLUMNS = ["frame", "x1", "y1", "x2", "y2", "confidence", "class_id"]

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """The N detections of one clip, ordered by frame.

    Attributes:
        frame: (N,) int32 frame numbers from 0.
        xyxy: (N, 4) float32 left, top, right, bottom in pixels of the stored frame; right, bottom exclusive.
        confidence: (N,) float32 in [0, 1].
        class_id: (N,) int16 class of the detector, -1 for motion.
        probabilities: (N, K) float32 class probabilities in [0, 1]; K = 0 where the detector has none.
        features: (N, F) float16 the detector's own deep features of the box; F = 0 where it shows none.
    """

    frame: NDArray[np.int32]
    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int16]
    probabilities: NDArray[np.float32]
    features: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Detections":
        """The detections selected by a boolean mask or by index."""
        return Detections(
            self.frame[which],
            self.xyxy[which],
            self.confidence[which],
            self.class_id[which],
            self.probabilities[which],
            self.features[which],
        )


def no_detections(classes: int, features: int = 0) -> Detections:
    """The table of a clip in which nothing was found; the K of its probabilities, the F of its features."""
    return Detections(
        np.zeros(0, np.int32),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int16),
        np.zeros((0, classes), np.float32),
        np.zeros((0, features), np.float16),
    )


def joined(parts: Sequence[Detections]) -> Detections:
    """All detections of one or more tables of one K and F, by frame; within a frame in the parts' order."""
    everything = Detections(
        np.concatenate([part.frame for part in parts]),
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.class_id for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.features for part in parts]),
    )
    return everything.take(np.argsort(everything.frame, kind="stable"))


def areas(xyxy: Boxes) -> Boxes:
    """(N,) areas in square pixels of (N, 4) boxes."""
    sides = xyxy[:, 2:] - xyxy[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def intersections(one: Boxes, other: Boxes) -> Boxes:
    """(N, M) areas that each box of `one` (N, 4) shares with each of `other` (M, 4)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1], dtype=np.float32)


def overlaps(one: Boxes, other: Boxes) -> Boxes:
    """(N, M) intersection over union of boxes with an area."""
    shared = intersections(one, other)
    union = areas(one)[:, None] + areas(other)[None, :] - shared
    return np.asarray(shared / union, dtype=np.float32)


def clip_to_frame(detections: Detections, height: int, width: int) -> Detections:
    """Cut boxes at the frame's edges; those wholly outside lose their area and fall to `drop_small`."""
    inside = np.clip(detections.xyxy, 0, np.array([width, height, width, height], np.float32))
    return replace(detections, xyxy=inside)


def drop_small(detections: Detections, minimum_side: float) -> Detections:
    """Keep boxes at least `minimum_side` pixels wide and high."""
    sides = detections.xyxy[:, 2:] - detections.xyxy[:, :2]
    return detections.take(np.asarray((sides >= minimum_side).all(axis=1)))


def drop_overlapping(detections: Detections, overlap: float) -> Detections:
    """Non-maximum suppression: of two boxes of one frame and class with IoU above `overlap`, the surer stays.

    Greedy from the surest box down (the earlier of equals), as detectors are trained to expect.
    """
    keep = np.zeros(len(detections), dtype=bool)
    for rows in _rows_of_frames(detections.frame):
        order = rows[np.argsort(-detections.confidence[rows], kind="stable")]
        while len(order):
            best, rest = order[0], order[1:]
            keep[best] = True
            rivals = overlaps(detections.xyxy[best, None], detections.xyxy[rest])[0] > overlap
            rivals &= detections.class_id[rest] == detections.class_id[best]
            order = rest[~rivals]
    return detections.take(keep)


def drop_nested(detections: Detections, share: float) -> Detections:
    """Drop a box of which at least `share` lies inside one larger box of its frame, whatever their classes.

    Of equally large boxes the surer counts as the larger, then the earlier; so of copies one stays.
    """
    keep = np.ones(len(detections), dtype=bool)
    for rows in _rows_of_frames(detections.frame):
        xyxy = detections.xyxy[rows]
        rank = np.lexsort((-detections.confidence[rows], -areas(xyxy)))
        shared = intersections(xyxy[rank], xyxy[rank]) >= share * areas(xyxy[rank])[:, None]
        keep[rows[rank]] = ~np.tril(shared, k=-1).any(axis=1)
    return detections.take(keep)


def drop_explained(
    motion: Detections, objects: Detections, overlap: float, covered: float, height: int, width: int
) -> Detections:
    """Drop motion that is an object already found: like one of them in place and size, or covered by them.

    Args:
        motion: boxes to be thinned, inside the frame.
        objects: boxes that explain them, inside the frame.
        overlap: IoU with one object above which motion is dropped.
        covered: share of a motion box (whole pixels) inside objects above which it is dropped.
        height: of the frame, pixels.
        width: of the frame, pixels.
    """
    keep = np.ones(len(motion), dtype=bool)
    for rows in _rows_of_frames(motion.frame):
        found = objects.xyxy[objects.frame == motion.frame[rows[0]]]
        mask = np.zeros((height, width), dtype=bool)
        for box in found:
            mask[_pixels(box)] = True
        for row in rows:
            box = motion.xyxy[row]
            same = bool((overlaps(box[None], found) > overlap).any())
            keep[row] = not same and float(mask[_pixels(box)].mean()) <= covered
    return motion.take(keep)


def write_detections(path: Path, detections: Detections) -> None:
    """Write one clip's table as parquet: frame, x1, y1, x2, y2, confidence, class_id and two lists.

    The lengths K of `probabilities` and F of `features` are kept with the schema, so an empty table has them.
    """
    corners = {name: detections.xyxy[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))}
    table = pa.table(
        {
            "frame": detections.frame,
            **{name: np.ascontiguousarray(values) for name, values in corners.items()},
            "confidence": detections.confidence,
            "class_id": detections.class_id,
            **{name: _lists(getattr(detections, name)) for name in LISTS},
        }
    ).replace_schema_metadata({name: str(getattr(detections, name).shape[1]) for name in LISTS})
    with replacing(path) as part:
        pq.write_table(table, part, compression="zstd")


def _lists(values: NDArray[np.floating[Any]]) -> pa.ListArray:
    count, length = values.shape
    return pa.ListArray.from_arrays(
        pa.array(np.arange(count + 1, dtype=np.int32) * length),
        pa.array(np.ascontiguousarray(values).reshape(-1)),
    )


def read_detections(path: Path, lists: Collection[str] = LISTS) -> Detections:
    """One clip's table as written by `write_detections`.

    Args:
        path: the table.
        lists: which of `probabilities` and `features` to read; of the others there are 0 (they take ten
            times the memory of the rest and more).

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        table = pq.read_table(path, columns=[*_COLUMNS, *lists])
        corners = [table[name].to_numpy() for name in ("x1", "y1", "x2", "y2")]
        return Detections(  # copies: Arrow's own memory may not be written to
            table["frame"].to_numpy().astype(np.int32),
            np.stack(corners, axis=1, dtype=np.float32),
            table["confidence"].to_numpy().astype(np.float32),
            table["class_id"].to_numpy().astype(np.int16),
            _matrix(table, "probabilities", lists).astype(np.float32),
            _matrix(table, "features", lists).astype(np.float16),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"detections {path} are missing or damaged ({error}); delete their folder and run detect again"
        ) from error


def _matrix(table: pa.Table, name: str, lists: Collection[str]) -> NDArray[Any]:
    if name not in lists:
        return np.zeros((len(table), 0))
    length = int(table.schema.metadata[name.encode()])
    values: NDArray[Any] = table[name].combine_chunks().flatten().to_numpy()
    return values.reshape(len(table), length)


def check_frames_exist(detections: Detections, frames: int, where: str) -> None:
    """Refuse detections of other footage, as far as their frame numbers tell.

    Raises:
        DataError: a detection lies before frame 0 or beyond the last of `frames`.
    """
    if len(detections) and not 0 <= detections.frame.min() <= detections.frame.max() < frames:
        raise DataError(
            f"{where}: detections go up to frame {detections.frame.max()} of a clip of {frames}; "
            "run detect again"
        )


def _pixels(box: Boxes) -> tuple[slice, slice]:
    """Rows and columns of the pixels that a box touches."""
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    return slice(top, bottom), slice(left, right)


def _rows_of_frames(frame: NDArray[np.int32]) -> Iterator[NDArray[np.int64]]:
    """The row numbers of each frame that has any, in time order; within a frame as they stand."""
    order = np.argsort(frame, kind="stable")
    starts = np.flatnonzero(np.diff(frame[order])) + 1
    return (rows for rows in np.split(order, starts) if len(rows))


def detection_tables(clips: Sequence[str], detections: Sequence[Path]) -> dict[str, Path]:
    """Clip -> its table `<clip>.parquet`, found by name among files and the files of folders.

    Raises:
        MissingDataError: a clip has none.
        DataError: a clip has two.
    """
    found: dict[str, Path] = {}
    for file in (
        file for path in detections for file in (path.glob("*.parquet") if path.is_dir() else [path])
    ):
        if file.stem in found:
            raise DataError(f"clip {file.stem} has two tables of detections, {found[file.stem]} and {file}")
        found[file.stem] = file
    missing = [clip for clip in clips if clip not in found]
    if missing:
        raise MissingDataError(
            f"no detections for {len(missing)} of {len(clips)} clips ({missing[0]} is the first) in "
            f"{', '.join(map(str, detections)) or 'no folder at all'}; run detect"
        )
    return {clip: found[clip] for clip in clips}

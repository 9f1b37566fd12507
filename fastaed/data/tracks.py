"""Where the anomalies of a test clip are: their boxes frame by frame, from a track file or from masks."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fastaed.errors import DataError, MissingDataError

_COLUMNS = ("track_id", "frame", "x1", "y1", "x2", "y2")

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Tracks:
    """The M abnormal regions of one clip, ordered by frame.

    Attributes:
        frame: (M,) int64 frame numbers from 0.
        track_id: (M,) int64, equal for the regions of one anomaly.
        xyxy: (M, 4) float64 left, top, right, bottom in pixels of the source; right, bottom exclusive.
    """

    frame: NDArray[np.int64]
    track_id: NDArray[np.int64]
    xyxy: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frame)


def read_tracks(path: Path, frames: int, height: int, width: int) -> Tracks:
    """The regions of a text file with one `track_id,frame,x1,y1,x2,y2` a line.

    A first line may name the columns, which may then stand in any order and beside others. If one of these
    is `kind`, the file lists everybody in view, and where it is empty they are normal and left out. A clip
    without anomalies has this first line alone; an empty file is refused, since it may be cut off.

    Args:
        path: the file.
        frames: of the clip.
        height: of the source in pixels.
        width: of the source in pixels.

    Raises:
        MissingDataError: there is no such file.
        DataError: it is empty, a line is no region, or a region lies outside the clip or leaves the picture.
    """
    names, lines = _table(path)
    regions = []
    for number, fields in lines:
        where = f"tracks {path}, line {number}"
        if len(fields) != len(names):
            raise DataError(f"{where} has {len(fields)} fields where {','.join(names)} are expected")
        row = dict(zip(names, fields))
        if row.get("kind", "abnormal"):
            regions.append(_region(row, where, frames, height, width))
    rows = np.array(regions, dtype=np.float64).reshape(-1, len(_COLUMNS))
    rows = rows[np.argsort(rows[:, 1], kind="stable")]
    return Tracks(rows[:, 1].astype(np.int64), rows[:, 0].astype(np.int64), rows[:, 2:])


def tracks_of_masks(masks: Masks, least_pixels: int = 1) -> Tracks:
    """Connected regions of abnormal pixels (corners connect), linked from frame to frame by shared pixels.

    Each region may continue the track of one region of the previous frame, no two the same: the pair that
    shares the most pixels is linked first. A region left without starts a new track. So what splits continues
    in its larger overlap, and what is out of sight for a frame comes back as a new track.

    Args:
        masks: (T, H, W) abnormal pixels.
        least_pixels: smaller regions count as not there at all; 1 leaves out none.
    """
    frame_of, track_of, boxes = [], [], [np.zeros((0, 4), dtype=np.int64)]
    started = 0
    parts_before, tracks_before = np.zeros(masks.shape[1:], dtype=np.int64), np.zeros(0, dtype=np.int64)
    for frame, mask in enumerate(masks):
        parts, xyxy = _regions(mask, least_pixels)
        tracks = np.full(len(xyxy), -1)
        for before, now in _links(parts_before, parts):
            tracks[now] = tracks_before[before]
        fresh = np.flatnonzero(tracks < 0)
        tracks[fresh] = started + np.arange(len(fresh))
        started += len(fresh)
        frame_of.append(np.full(len(xyxy), frame))
        track_of.append(tracks)
        boxes.append(xyxy)
        parts_before, tracks_before = parts, tracks
    none = np.zeros(0, dtype=np.int64)
    return Tracks(
        np.concatenate([none, *frame_of]),
        np.concatenate([none, *track_of]),
        np.concatenate(boxes).astype(np.float64),
    )


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of the columns; and below them each line that is not blank, with its number in the file."""
    if not path.is_file():
        raise MissingDataError(f"tracks {path} do not exist")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [field.strip() for field in fields]) for fields in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"tracks {path} cannot be read as text ({error})") from error
    lines = [(number, fields) for number, fields in lines if any(fields)]
    expected = ",".join(_COLUMNS)
    if not lines:
        raise DataError(f"tracks {path} are empty; a clip without anomalies has the one line {expected}")
    number, first = lines[0]
    if _number(first[0]) is not None:
        return list(_COLUMNS), lines
    if not set(_COLUMNS) <= set(first):
        raise DataError(
            f"tracks {path}, line {number}: {','.join(first)} is neither a region nor the names "
            f"of columns, which must include {expected}"
        )
    return first, lines[1:]


def _region(row: dict[str, str], where: str, frames: int, height: int, width: int) -> list[float]:
    """The values of `_COLUMNS`, checked."""
    values = []
    for name in _COLUMNS:
        value = _number(row[name])
        if value is None or (name in ("track_id", "frame") and not value.is_integer()):
            raise DataError(f"{where}: {name} {row[name]!r} is no {'whole ' * (value is not None)}number")
        values.append(value)
    _, frame, x1, y1, x2, y2 = values
    box = f"the box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g})"
    if not 0 <= frame < frames:
        raise DataError(f"{where}: frame {frame:g} is outside the clip, whose frames are 0 to {frames - 1}")
    if not (x1 < x2 and y1 < y2):
        raise DataError(f"{where}: {box} is empty; left and top come first, right and bottom are exclusive")
    if min(x1, y1) < 0 or x2 > width or y2 > height:
        raise DataError(f"{where}: {box} leaves the picture of {width}x{height} pixels")
    return values


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _regions(mask: Masks, least_pixels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(H, W) 1 + number of each pixel's region, 0 for none, and (N, 4) their boxes, from the top down."""
    count, found, table, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    left, top, wide, high, pixels = np.asarray(table, dtype=np.int64).T
    order = np.lexsort((wide, high, left, top))
    order = order[(order > 0) & (pixels[order] >= least_pixels)]  # 0 is the rest of the picture
    new_number = np.zeros(count, dtype=np.int64)
    new_number[order] = 1 + np.arange(len(order))
    xyxy = np.stack([left, top, left + wide, top + high], axis=1)
    return new_number[found], xyxy[order]


def _links(parts_before: NDArray[np.int64], parts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Numbers of a region of the previous frame and one of this frame, each in one pair at most."""
    both = (parts_before > 0) & (parts > 0)
    pairs, shared = np.unique(
        np.stack([parts_before[both], parts[both]], axis=1) - 1, axis=0, return_counts=True
    )
    links: dict[int, int] = {}
    for before, now in pairs[np.argsort(-shared, kind="stable")].tolist():
        if before not in links and now not in links.values():
            links[before] = now
    return list(links.items())

"""What moves before a still camera: silhouettes against the background, their tracks, people who walk alone.

Found by pictures alone, without any detector, so that it stays the same whatever detector is chosen. All
frames are uint8 RGB, places in pixels of the stored frame.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from fastaed.data.lines import median_slope
from fastaed.data.store import Frames
from fastaed.data.tracks import Masks, Tracks, tracks_of_masks

_BACKGROUND_FRAMES = 50  # of which the median is taken
_LEVELS = 18  # grey levels by which something differs from the background
_LEAST_SHARE = 4e-4  # of the picture's area; smaller silhouettes are noise
_WINDOW = 5  # frames to either side, over which a displacement is measured
_BRIEF = 3  # frames; what is seen for fewer is noise
_MOVED = 0.012  # of its own height a frame: something that moves
_ASPECT = (1.2, 5.0)  # height to width of somebody upright
_STEADY = (0.4, 0.25)  # most logarithmic deviation of width and height: nobody joins or leaves
_ALONE = (0.8, 1.25)  # heights of a person there: less is a part of one, more are several
_PACE = (0.01, 0.03)  # heights a frame: the least of a walk, and what is taken where nobody walks
_FAINT = 0.02  # opacity below which nothing is painted
_TALL = 1 / 6  # of the picture's height: a person, where nobody walks

Opacity = NDArray[np.float32]
Look = tuple[Frames, Opacity]  # (h, w, 3) and (h, w) in [0, 1]; it stands on the middle of its last row


@dataclass(frozen=True)
class Walk:
    """Somebody who walks alone.

    Attributes:
        first: number of the first frame.
        feet: (n, 2) float64 x and y where the person stands in each of n frames, along a straight line.
        size: width and height that hold the person in all of them.
        height: of the person, pixels.
    """

    first: int
    feet: NDArray[np.float64]
    size: tuple[int, int]
    height: float

    def __len__(self) -> int:
        return len(self.feet)

    @property
    def velocity(self) -> NDArray[np.float64]:
        """(2,) pixels a frame."""
        return np.asarray((self.feet[-1] - self.feet[0]) / (len(self.feet) - 1))


@dataclass(frozen=True)
class Scene:
    """What some frames of a still camera show.

    Attributes:
        background: (H, W, 3) uint8, what never moves.
        silhouettes: (T, H, W) pixels that differ from it.
        moving: boxes of what moves.
        walks: people who walk alone.
    """

    background: Frames
    silhouettes: Masks
    moving: Tracks
    walks: list[Walk]

    @property
    def pace(self) -> float:
        """Heights of a person that people walk in a frame, the median."""
        paces = [float(np.hypot(*walk.velocity)) / walk.height for walk in self.walks]
        return float(np.median(paces)) if paces else _PACE[1]

    def person_height(self, y: float) -> float:
        """Height in pixels of a person whose feet are in row y, by those who walk."""
        if not self.walks:
            return _TALL * len(self.background)
        slope, start, least = self._heights
        return max(start + slope * y, least / 2)

    @cached_property
    def _heights(self) -> tuple[float, float, float]:
        """Slope and start of a robust line through those who walk, and the least of them."""
        rows = np.array([walk.feet[:, 1].mean() for walk in self.walks])
        heights = np.array([walk.height for walk in self.walks])
        # A few rows apart tell no perspective: the prior is a horizon far above the picture.
        prior, spread = (len(self.background) / 10) ** 2, float(rows.var())
        slope = max(median_slope(rows, heights), 0.0) * spread / (spread + prior)
        return slope, float(np.median(heights - slope * rows)), float(heights.min())

    def cut_out(self, frames: Frames, walk: Walk, number: int) -> Look:
        """One moment of a walk, cut out along the silhouette; the feet are in the middle of the last row.

        Args:
            frames: (T, H, W, 3) that the scene was found in.
            walk: one of the scene's.
            number: of the moment, from 0.

        Returns:
            (h, w, 3) uint8 and its opacity (h, w) in [0, 1].
        """
        x, y = walk.feet[number]
        centre = float(x), float(y - (walk.size[1] - 1) / 2)
        mask = self.silhouettes[walk.first + number].astype(np.uint8) * 255
        look = cv2.getRectSubPix(frames[walk.first + number], walk.size, centre)
        opacity = _largest_part(np.asarray(cv2.getRectSubPix(mask, walk.size, centre), np.uint8))
        return np.asarray(look, np.uint8), np.asarray(opacity / 255, np.float32)


def find_scene(frames: Frames, least_frames: int) -> Scene:
    """Background, silhouettes and walks of some frames.

    Args:
        frames: (T, H, W, 3) uint8 of a camera that does not move.
        least_frames: that a walk must last.
    """
    background = np.median(frames[:: -(-len(frames) // _BACKGROUND_FRAMES)], axis=0).astype(np.uint8)
    masks = np.stack([_silhouettes(frame, background) for frame in frames])
    found = tracks_of_masks(masks, max(1, round(_LEAST_SHARE * background[..., 0].size)))
    rows = [np.flatnonzero(found.track_id == number) for number in np.unique(found.track_id)]
    moves = [row[_moves(found.xyxy[row])] for row in rows]
    kept = np.sort(np.concatenate([np.zeros(0, np.int64), *moves]))
    walks = [_walk(found.frame[row], found.xyxy[row], background.shape[:2], least_frames) for row in rows]
    scene = Scene(
        background,
        masks,
        Tracks(found.frame[kept], found.track_id[kept], found.xyxy[kept]),
        [walk for walk in walks if walk is not None],
    )
    alone = [walk for walk in scene.walks if _is_one_person(walk, scene)]
    return replace(scene, walks=alone or scene.walks)


def _is_one_person(walk: Walk, scene: Scene) -> bool:
    heights = walk.height / scene.person_height(float(walk.feet[:, 1].mean()))
    return _ALONE[0] <= heights <= _ALONE[1]


def lay_over(
    frame: Frames, look: Frames, opacity: NDArray[np.float32], foot: tuple[float, float], scale: float
) -> NDArray[np.float32]:
    """Lay a cut-out over a frame, in place.

    Args:
        frame: (H, W, 3).
        look: (h, w, 3) that stands on the middle of its last row.
        opacity: (h, w) in [0, 1] of the look.
        foot: x and y in the frame of that middle; it may lie outside.
        scale: pixels of the frame for one of the look.

    Returns:
        (H, W) opacity as laid; all 0 if nothing is seen.
    """
    height, width = frame.shape[:2]
    centre, bottom = (look.shape[1] - 1) / 2, look.shape[0] - 1
    move = np.array([[scale, 0, foot[0] - scale * centre], [0, scale, foot[1] - scale * bottom]])
    seen = np.asarray(cv2.warpAffine(opacity, move, (width, height)), np.float32)
    seen[seen < _FAINT] = 0
    if seen.any():
        over = cv2.warpAffine(look, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
        frame[:] = np.rint(seen[..., None] * over + (1 - seen[..., None]) * frame)
    return seen


def stack_looks(lower: Look, upper: Look) -> Look:
    """Two cut-outs that stand on the same place as one, large enough for both."""
    height, width = (max(lower[1].shape[side], upper[1].shape[side]) for side in (0, 1))
    lower, upper = (_on_canvas(part, height, width) for part in (lower, upper))
    under, over = lower[1][..., None], upper[1][..., None]
    opacity = over + under * (1 - over)
    look = (over * upper[0] + under * (1 - over) * lower[0]) / np.maximum(opacity, 1e-3)
    return look.astype(np.uint8), np.asarray(opacity[..., 0], np.float32)


def _on_canvas(part: Look, height: int, width: int) -> Look:
    look, opacity = part
    top, left = height - opacity.shape[0], (width - opacity.shape[1]) // 2
    right = width - opacity.shape[1] - left
    return (
        np.pad(look, ((top, 0), (left, right), (0, 0))),
        np.pad(opacity, ((top, 0), (left, right))),
    )


def _silhouettes(frame: Frames, background: Frames) -> Masks:
    """(H, W) pixels that differ from the background; gaps and holes are closed, specks gone."""
    unit = len(frame) / 240
    red, green, blue = cv2.split(cv2.GaussianBlur(cv2.absdiff(frame, background), (0, 0), unit))
    change = np.maximum(np.maximum(red, green), blue)
    closing, opening = (np.ones((2 * round(r * unit) + 1,) * 2, np.uint8) for r in (2, 1))
    mask = cv2.morphologyEx((change > _LEVELS).astype(np.uint8), cv2.MORPH_CLOSE, closing)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, opening)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED), dtype=bool)


def _largest_part(opacity: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The opacity without the bits of others that reach into its picture."""
    _, part, table, _ = cv2.connectedComponentsWithStats((opacity > 0).astype(np.uint8))
    largest = 1 + int(np.argmax(table[1:, cv2.CC_STAT_AREA])) if len(table) > 1 else 0
    return np.where(np.asarray(part) == largest, opacity, 0).astype(np.uint8)


def _moves(xyxy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) whether what has these boxes in successive frames moves; what is seen too briefly does not."""
    if len(xyxy) < _BRIEF:
        return np.zeros(len(xyxy), bool)
    moment = np.arange(len(xyxy))
    after, before = np.minimum(moment + _WINDOW, len(xyxy) - 1), np.maximum(moment - _WINDOW, 0)
    # Any side of the box, and from now: of two who pass one another the middle stays where it is.
    moved = [np.abs(xyxy[other] - xyxy).max(axis=1) for other in (before, after)]
    least = [_MOVED * (xyxy[:, 3] - xyxy[:, 1]) * np.abs(other - moment) for other in (before, after)]
    return np.asarray(((moved[0] > least[0]) | (moved[1] > least[1])), bool)


def _walk(
    frame: NDArray[np.int64], xyxy: NDArray[np.float64], picture: tuple[int, ...], least_frames: int
) -> Walk | None:
    """The longest stretch of a track in which somebody upright walks inside the picture, if long enough."""
    sides = xyxy[:, 2:] - xyxy[:, :2]
    aspect = sides[:, 1] / sides[:, 0]
    inside = (xyxy[:, :2] > 1).all(axis=1) & (xyxy[:, 2:] < (picture[1] - 1, picture[0] - 1)).all(axis=1)
    steady = (np.abs(np.log(sides / np.median(sides, axis=0))) < _STEADY).all(axis=1)
    first, stop = _longest_run(inside & steady & (aspect >= _ASPECT[0]) & (aspect <= _ASPECT[1]))
    if stop - first < least_frames:
        return None
    sides, xyxy = sides[first:stop], xyxy[first:stop]
    moment = np.arange(stop - first)
    places = np.stack([(xyxy[:, 0] + xyxy[:, 2]) / 2, xyxy[:, 3]], axis=1)
    slope, start = np.polyfit(moment, places, 1)
    height = float(np.median(sides[:, 1]))
    if np.hypot(*slope) < _PACE[0] * height:
        return None
    width, tall = (sides.max(axis=0).astype(int) + 3).tolist()
    return Walk(int(frame[first]), start + slope * moment[:, None], (width, tall), height)


def _longest_run(true: NDArray[np.bool_]) -> tuple[int, int]:
    """First and behind the last of the longest stretch of True."""
    steps = np.diff(np.concatenate([[0], true.astype(int), [0]]))
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    if not len(starts):
        return 0, 0
    best = int(np.argmax(stops - starts))
    return int(starts[best]), int(stops[best])

"""Positives: synthetic anomalies composited into the student's training frames.

Training footage is normal throughout, so the teachers' maps of it are nearly flat and a student of them
alone learns little. A share of the samples therefore receives something out of place, with a target map of 1
where it lies: an object cut from another frame that moves on its own (`paste`), the same with a texture for
a surface (`texture`), all objects moving two to four times as fast (`speed`), or somebody of the clip who is
too fast, glides, or goes with something foreign (`fast`, `glide`, `stranger`; see `fastaed.data.walkers`).
Another share receives people of the clip as they walked, as normal as before.

All arrays are NumPy; a triplet is (3, H, W, 3) uint8 RGB, frames t, t-3, t+3. Every choice comes from the
generator that is handed in.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fastaed.config import PositiveKind, PositivesSettings
from fastaed.data.boxes import Detections
from fastaed.data.clips import GAP_FRAMES, Clips
from fastaed.data.store import Frames
from fastaed.data.walkers import Performance, Walkers, find_walkers, perform
from fastaed.errors import OutputError
from fastaed.files import replacing
from fastaed.progress import progress

Kind = PositiveKind | Literal["replay"]
Map = NDArray[np.float32]
Mask = NDArray[np.float32]

CELLS = 16  # of a target map, on a side
_BANK_OBJECTS = 1_000
_MOST_FRAMES = 200  # of a clip, looked at for walkers
_MOST_THREADS = 8
_SPEEDS = (6, 12)  # frames to a neighbour, both included, instead of 3
# Pixels a step of 3 frames, in a frame 240 high: a surface is foreign even where it stands still.
_STEP: dict[Kind, tuple[float, float]] = {"paste": (6.0, 24.0), "texture": (0.0, 24.0)}
_SCALE = (0.6, 2.0)  # of a pasted object
_MOVING_LEVELS = 8.0  # mean difference in grey levels within the box of something that moves
_COLOURLESS_LEVELS = 2.0  # mean difference between channels below which footage is grey
_SOLID = 0.5  # opacity from which a pixel belongs to the anomaly
_SEEN_LEVELS = 12  # grey levels by which it differs from what it covers
_LEAST_SEEN = 1 / 3000  # of the frame's pixels; an anomaly of fewer is none
_MOST_TRIES = 3  # of a kind, until something of it is seen


@dataclass(frozen=True)
class Positive:
    """A triplet with something laid over it, and where that is an anomaly.

    Attributes:
        triplet: (3, H, W, 3) uint8 RGB.
        target: (16, 16) float32, 1 in cells of frame t that the anomaly touches, else 0.
        kind: what was done; `replay`: nothing that is an anomaly.
    """

    triplet: Frames
    target: Map
    kind: Kind


@dataclass(frozen=True)
class Bank:
    """Objects to paste.

    Attributes:
        crops: (h, w, 3) uint8 RGB each.
        centres: (N, 2) float32 x and y of each in its frame, pixels.
    """

    crops: list[Frames]
    centres: NDArray[np.float32]


def cut_objects(clips: Clips, detections: Sequence[Detections], rng: np.random.Generator) -> Bank:
    """Up to 1,000 detected objects of the clips, drawn at random.

    Args:
        clips: the training clips.
        detections: of each clip, in the same order.
        rng: decides which.
    """
    clip = np.repeat(np.arange(len(detections)), [len(table) for table in detections])
    row = np.concatenate([np.arange(0), *(np.arange(len(table)) for table in detections)])
    drawn = np.sort(rng.permutation(len(clip))[:_BANK_OBJECTS])
    crops, centres = [], []
    for number, index in zip(clip[drawn].tolist(), row[drawn].tolist()):
        table = detections[number]
        left, top, right, bottom = _pixel_box(table.xyxy[index], clips.height, clips.width)
        frame = clips.triplet(number, int(table.frame[index]))[0]
        crops.append(frame[top:bottom, left:right].copy())
        centres.append(((left + right) / 2, (top + bottom) / 2))
    return Bank(crops, np.array(centres, np.float32).reshape(-1, 2))


def walkers_of(clips: Clips, rng: np.random.Generator) -> list[Walkers]:
    """Who walks alone in each clip, in the clips' order.

    Args:
        clips: the training clips.
        rng: decides which part of a long clip is looked at.
    """
    starts = [int(rng.integers(max(1, len(store) - _MOST_FRAMES + 1))) for store in clips.stores]

    def found(number: int) -> Walkers:
        store = clips.stores[number]
        frames = store.read(starts[number], min(starts[number] + _MOST_FRAMES, len(store)))
        return find_walkers(frames, _is_colourless(frames[0]))

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        numbers = range(len(starts))
        return list(progress(threads.map(found, numbers), "positives: walkers", len(numbers), "clips"))


@dataclass(frozen=True)
class Surroundings:
    """What positives of one sample are made of.

    Attributes:
        triplet_at: gap in frames -> frames t, t-gap, t+gap of the sample.
        boxes: (N, 4) detections in frame t, left, top, right, bottom in pixels.
        walkers: of its clip.
    """

    triplet_at: Callable[[int], Frames]
    boxes: NDArray[np.float32]
    walkers: Walkers


class Positives:
    """Makes positives out of samples.

    Args:
        settings: shares, kinds and number of objects.
        bank: objects to paste; without any, textures take their place.
    """

    def __init__(self, settings: PositivesSettings, bank: Bank) -> None:
        self._settings = settings
        self._bank = bank

    def maybe(self, sample: Surroundings, rng: np.random.Generator) -> Positive | None:
        """A positive for `settings.share` of the calls, normal walkers for `settings.replays`, else None.

        Args:
            sample: what there is.
            rng: the sample's generator.
        """
        positive, replays = rng.random(2) < (self._settings.share, self._settings.replays)
        if replays and sample.walkers.people:
            sample = self._peopled(sample, rng)
        if positive and (made := self.make(sample, rng)) is not None:
            return made
        if replays:
            return Positive(sample.triplet_at(GAP_FRAMES), np.zeros((CELLS, CELLS), np.float32), "replay")
        return None

    def make(self, sample: Surroundings, rng: np.random.Generator) -> Positive | None:
        """A positive of a random kind; None if none of the wanted kinds can be had.

        Where nothing moves, another of the wanted kinds takes the place of `speed`; where nobody walks, of
        those with walkers; and of any kind where nothing of it can be seen.
        """
        for kind in rng.permutation(np.array(self._settings.kinds)).tolist():
            for _ in range(_MOST_TRIES):
                positive = self._made(kind, sample, rng)
                if positive is None:
                    break
                if positive.target.any():
                    return positive
        return None

    def _made(self, kind: Kind, sample: Surroundings, rng: np.random.Generator) -> Positive | None:
        if kind == "speed":
            return speed(sample.triplet_at, sample.boxes, rng)
        if kind == "paste" or kind == "texture":
            return self._composited(kind, sample.triplet_at(GAP_FRAMES), rng)
        return _performed(kind, sample, rng)

    @staticmethod
    def _peopled(sample: Surroundings, rng: np.random.Generator) -> Surroundings:
        """The sample with one or two normal walkers more, at the usual gap."""
        triplet = sample.triplet_at(GAP_FRAMES)
        for _ in range(int(rng.integers(1, 3))):
            triplet, _ = perform("replay", triplet, sample.walkers, rng)
        return replace(
            sample, triplet_at=lambda gap: triplet if gap == GAP_FRAMES else sample.triplet_at(gap)
        )

    def _composited(self, kind: Kind, triplet: Frames, rng: np.random.Generator) -> Positive:
        target = np.zeros((CELLS, CELLS), np.float32)
        for _ in range(int(rng.integers(1, self._settings.most_objects + 1))):
            patch, opacity = object_patch(self._bank, triplet.shape[1:3], rng)
            if kind == "texture" or not self._bank.crops:
                patch = texture(patch.shape[:2], rng)
            patch = recoloured(patch, _is_colourless(triplet[0]), rng)
            places = _places(triplet.shape[1:3], self._bank, _STEP[kind], rng)
            before = triplet[0]
            triplet, opacity_now = composite(triplet, patch, opacity, places)
            target = np.maximum(target, cells_of(seen(opacity_now, before, triplet[0])))
        return Positive(triplet, target, kind)


def _performed(kind: Performance, sample: Surroundings, rng: np.random.Generator) -> Positive | None:
    if not sample.walkers.people:
        return None
    before = sample.triplet_at(GAP_FRAMES)
    triplet, opacity = perform(kind, before, sample.walkers, rng)
    return Positive(triplet, cells_of(seen(opacity, before[0], triplet[0])), kind)


def seen(opacity: Mask, before: Frames, after: Frames) -> Mask:
    """The opacity of what can be told from what it covers; 0 everywhere where that is next to nothing.

    A grey thing over ground of the same grey is no anomaly that anybody could learn.

    Args:
        opacity: (H, W) of what was laid over a frame.
        before: (H, W, 3) uint8, the frame without it.
        after: the frame with it.
    """
    change = np.abs(after.astype(np.int16) - before).max(axis=2)
    told_apart = np.where(change >= _SEEN_LEVELS, opacity, 0).astype(np.float32)
    enough = np.count_nonzero(told_apart >= _SOLID) >= _LEAST_SEEN * opacity.size
    return told_apart if enough else np.zeros_like(told_apart)


def speed(
    triplet_at: Callable[[int], Frames], boxes: NDArray[np.float32], rng: np.random.Generator
) -> Positive | None:
    """Neighbours two to four times as far away: all that moves is faster. None if no detection moves.

    Args:
        triplet_at: gap in frames -> frames t, t-gap, t+gap of the sample.
        boxes: (N, 4) detections in frame t, pixels.
        rng: decides the gap.
    """
    triplet = triplet_at(int(rng.integers(_SPEEDS[0], _SPEEDS[1] + 1)))
    moving = moving_boxes(triplet, boxes)
    if not len(moving):
        return None
    inside = np.zeros(triplet.shape[1:3], np.float32)
    for left, top, right, bottom in moving:
        inside[top:bottom, left:right] = 1
    return Positive(triplet, cells_of(inside), "speed")


def moving_boxes(triplet: Frames, boxes: NDArray[np.float32]) -> list[tuple[int, int, int, int]]:
    """Boxes, in whole pixels, in which frame t differs from both neighbours by 8 grey levels on average."""
    now, before, after = (frame.astype(np.float32).mean(axis=2) for frame in triplet)
    change = np.minimum(np.abs(now - before), np.abs(now - after))
    pixel_boxes = [_pixel_box(box, *change.shape) for box in boxes]
    return [
        (left, top, right, bottom)
        for left, top, right, bottom in pixel_boxes
        if change[top:bottom, left:right].mean() >= _MOVING_LEVELS
    ]


def object_patch(bank: Bank, frame_size: tuple[int, ...], rng: np.random.Generator) -> tuple[Frames, Mask]:
    """An object of the bank, scaled, mirrored and turned, and its soft-edged elliptical opacity.

    Args:
        bank: without objects, a grey patch of a person's proportions is used.
        frame_size: H and W; the patch is at most half as high and wide.
        rng: decides everything.

    Returns:
        (h, w, 3) uint8 and (h, w) float32 in [0, 1], 0 at the border.
    """
    height, width = frame_size
    crop = (
        bank.crops[int(rng.integers(len(bank.crops)))]
        if bank.crops
        else np.full((height // 6, height // 12, 3), 128, np.uint8)
    )
    scale = np.exp(rng.uniform(*np.log(_SCALE)))
    stretch = np.exp(rng.uniform(-0.35, 0.35))
    size = np.array([crop.shape[1] * scale * stretch, crop.shape[0] * scale / stretch])
    across, down = np.clip(size, 8, [width / 2, height / 2]).astype(int).tolist()
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    side = int(np.ceil(np.hypot(across, down)))
    turn = cv2.getRotationMatrix2D((across / 2, down / 2), rng.normal(0, 25), 1.0)
    turn[:, 2] += (side - across) / 2, (side - down) / 2
    resized = cv2.resize(np.ascontiguousarray(crop), (across, down), interpolation=cv2.INTER_LINEAR)
    patch = cv2.warpAffine(resized, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    opacity = cv2.warpAffine(_ellipse(down, across, rng.uniform(0.15, 0.5)), turn, (side, side))
    rows, columns = (np.flatnonzero(opacity.any(axis=axis)) for axis in (1, 0))
    held = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return np.asarray(patch[held], np.uint8), np.asarray(opacity[held], np.float32)


def _ellipse(height: int, width: int, softness: float) -> Mask:
    """(height, width) opacity: 1 inside, falling to 0 over the outer `softness` of the radius."""
    y = (np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1
    x = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
    radius = np.hypot(y[:, np.newaxis], x)
    return np.clip((1 - radius) / softness, 0, 1).astype(np.float32)


def texture(size: tuple[int, ...], rng: np.random.Generator) -> Frames:
    """A surface from outside the footage: stripes, checks or noise of one grain, (h, w, 3) uint8."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(3, 16)
    along = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
    across = (y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period
    kind = rng.integers(3)
    if kind == 0:
        wave = np.sin(along)
    elif kind == 1:
        wave = np.sign(np.sin(along) * np.sin(across))
    else:
        grain = int(rng.integers(1, 9))
        coarse = rng.uniform(-1, 1, (height // grain + 2, width // grain + 2)).astype(np.float32)
        wave = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    ends = rng.uniform(0, 255, (2, 3))
    shade = np.clip((wave[..., np.newaxis] + 1) / 2, 0, 1)
    surface: Frames = (ends[0] * (1 - shade) + ends[1] * shade).astype(np.uint8)
    return surface


def recoloured(patch: Frames, colourless: bool, rng: np.random.Generator) -> Frames:
    """The patch with another contrast, brightness and, unless `colourless`, hue."""
    values = patch.astype(np.float32)
    if colourless:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    contrast = rng.uniform(0.6, 1.5, 1 if colourless else 3)
    brightness = rng.uniform(-40, 40, 1 if colourless else 3)
    middle = values.mean()
    return np.asarray(np.clip((values - middle) * contrast + middle + brightness, 0, 255), np.uint8)


def _is_colourless(frame: Frames) -> bool:
    values = frame[::4, ::4].astype(np.int16)
    return bool((values.max(axis=2) - values.min(axis=2)).mean() < _COLOURLESS_LEVELS)


def _places(
    frame_size: tuple[int, ...], bank: Bank, step_range: tuple[float, float], rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Centres (x, y) of a moving object in frames t, t-3, t+3; half of them start where objects are found."""
    height, width = frame_size
    centre = rng.uniform(0, [width, height])
    if len(bank.centres) and rng.random() < 0.5:
        near = bank.centres[int(rng.integers(len(bank.centres)))] + rng.normal(0, height / 16, 2)
        centre = np.clip(near, 0, [width - 1, height - 1])
    length = rng.uniform(*step_range) * height / 240
    angle = rng.uniform(0, 2 * np.pi)
    step = length * np.array([np.cos(angle), np.sin(angle)])
    return [(float(x), float(y)) for x, y in (centre, centre - step, centre + step)]


def composite(
    triplet: Frames, patch: Frames, opacity: Mask, centres: Sequence[tuple[float, float]]
) -> tuple[Frames, Mask]:
    """Lay a patch over each frame of a triplet; pixels where its opacity is 0 keep their values.

    Args:
        triplet: (3, H, W, 3) uint8, left as it is.
        patch: (h, w, 3) uint8.
        opacity: (h, w) in [0, 1].
        centres: x and y of the patch in each of the three frames; it may reach beyond the border.

    Returns:
        The new triplet, and the opacity over frame t, (H, W) float32.
    """
    height, width = triplet.shape[1:3]
    laid = triplet.copy()
    visible = np.zeros((height, width), np.float32)
    for number, (x, y) in enumerate(centres):
        top, left = round(y - opacity.shape[0] / 2), round(x - opacity.shape[1] / 2)
        rows = slice(max(top, 0), min(top + opacity.shape[0], height))
        columns = slice(max(left, 0), min(left + opacity.shape[1], width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        part = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        share = opacity[part][..., np.newaxis]
        under = laid[number, rows, columns]
        laid[number, rows, columns] = np.rint(share * patch[part] + (1 - share) * under)
        if number == 0:
            visible[rows, columns] = opacity[part]
    return laid, visible


def cells_of(opacity: Mask) -> Map:
    """1 in every cell of 16 x 16 with a pixel of opacity 0.5 or more, else 0.

    Args:
        opacity: (H, W) in [0, 1]; pixel row y lies in cell row floor(16 y / H).
    """
    height, width = opacity.shape
    rows, columns = np.nonzero(opacity >= _SOLID)
    cells = np.zeros((CELLS, CELLS), np.float32)
    cells[rows * CELLS // height, columns * CELLS // width] = 1
    return cells


def _pixel_box(box: NDArray[np.float32], height: int, width: int) -> tuple[int, int, int, int]:
    """The box grown to whole pixels inside the frame, one pixel at least."""
    left, top = np.floor(np.clip(box[:2], 0, [width - 1, height - 1])).astype(int).tolist()
    right, bottom = np.ceil(np.clip(box[2:], 1, [width, height])).astype(int).tolist()
    return left, top, max(right, left + 1), max(bottom, top + 1)


def write_contact_sheet(path: Path, positives: Sequence[Positive], columns: int = 4) -> None:
    """A picture of positives: frames t-3, t, t+3 side by side, the target map in red over frame t.

    Args:
        path: PNG to write.
        positives: what to show; all of one size.
        columns: positives in a row.
    """
    tiles = [_tile(positive) for positive in positives] or [np.zeros((32, 96, 3), np.uint8)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    done, png = cv2.imencode(".png", np.concatenate(rows)[..., ::-1])
    if not done:
        raise OutputError(f"cannot draw {path}: the picture is too large; show fewer positives")
    with replacing(path) as part:
        part.write_bytes(png.tobytes())


def _tile(positive: Positive) -> NDArray[Any]:
    now, before, after = positive.triplet
    height, width = now.shape[:2]
    target = cv2.resize(positive.target, (width, height), interpolation=cv2.INTER_NEAREST)[..., np.newaxis]
    marked = np.asarray(now * (1 - 0.4 * target) + np.array([255, 0, 0]) * 0.4 * target, np.uint8)
    tile = np.concatenate([before, marked, after], axis=1)
    labelled = cv2.putText(
        np.ascontiguousarray(tile), positive.kind, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 0)
    )
    return np.pad(np.asarray(labelled), ((2, 2), (2, 2), (0, 0)))

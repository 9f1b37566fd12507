"""A walkway on which discs move: normal ones grey and slow, and on request a fast or a striped one."""

from pathlib import Path

import cv2
import numpy as np

from fastaed.data.boxes import Detections
from fastaed.data.store import FrameStore, write_frames
from fastaed.teachers.teacher import ClipObjects

HEIGHT, WIDTH, RADIUS = 96, 160, 12
STEP = 1.5  # pixels a frame of a normal walker


def walkway(
    folder: Path, name: str, seed: int, frames: int = 24, fast: bool = False, striped: bool = False
) -> ClipObjects:
    """Three walkers; the last one is `fast` (4 times) or `striped` if asked for."""
    rng = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(rng.uniform(60, 120, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 3)
    rows = [20, 48, 76]
    starts = rng.uniform(20, 50, 3)
    speeds = np.array([STEP, STEP, 4 * STEP if fast else STEP]) * rng.uniform(0.9, 1.1, 3)
    looks = [_look(rng, striped and walker == 2) for walker in range(3)]
    pictures, where, boxes = [], [], []
    for t in range(frames):
        picture = np.repeat(ground[..., None], 3, axis=2).astype(np.uint8)
        for walker in range(3):
            x = starts[walker] + t * speeds[walker]
            x = RADIUS + (x - RADIUS) % (WIDTH - 2 * RADIUS)
            _paste(picture, looks[walker], x, rows[walker])
            where.append(t)
            boxes.append([x - RADIUS, rows[walker] - RADIUS, x + RADIUS, rows[walker] + RADIUS])
        pictures.append(picture)
    write_frames(folder / f"{name}.zarr", pictures, {"clip": name})
    return ClipObjects(FrameStore(folder / f"{name}.zarr"), _detections(where, boxes))


def last_walkers(clip: ClipObjects) -> np.ndarray:
    """Which detections are of the walker that may be abnormal, away from where it jumps back."""
    middle = (clip.detections.xyxy[:, 0] > 10) & (clip.detections.xyxy[:, 2] < WIDTH - 10)
    return middle & (np.arange(len(clip.detections)) % 3 == 2)


def _look(rng: np.random.Generator, striped: bool) -> np.ndarray:
    side = 2 * RADIUS
    if striped:
        return np.where(np.indices((side, side)).sum(0) % 6 < 3, 255, 0).astype(np.float32)
    grain = cv2.GaussianBlur(rng.uniform(0, 255, (side, side)).astype(np.float32), (0, 0), 2)
    return 200 + (grain - grain.mean())


def _paste(picture: np.ndarray, look: np.ndarray, x: float, y: float) -> None:
    shift = np.array([[1, 0, x - RADIUS], [0, 1, y - RADIUS]], np.float32)
    disc = (np.hypot(*(np.indices(look.shape) - RADIUS + 0.5)) < RADIUS - 1).astype(np.float32)
    cover = cv2.warpAffine(disc, shift, (WIDTH, HEIGHT))[..., None]
    moved = cv2.warpAffine(look, shift, (WIDTH, HEIGHT))[..., None]
    picture[:] = np.clip(cover * moved + (1 - cover) * picture, 0, 255).astype(np.uint8)


def _detections(where: list[int], boxes: list[list[float]]) -> Detections:
    number = len(where)
    return Detections(
        np.asarray(where, np.int32),
        np.asarray(boxes, np.float32),
        np.ones(number, np.float32),
        np.zeros(number, np.int16),
        np.tile(np.array([[0.9, 0.1]], np.float32), (number, 1)),
        np.zeros((number, 0), np.float16),
    )

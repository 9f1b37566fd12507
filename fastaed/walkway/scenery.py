"""What never moves: a paved walkway across a lawn, and behind the lawn a hedge and a wall."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastaed.walkway.camera import Camera, Picture
from fastaed.walkway.shapes import Colour

WALKWAY = (12.0, 18.0)  # metres from the camera, as everything here
LAWNS = {"far lawn": (19.3, 20.8), "near lawn": (10.9, 11.3)}  # strips on which somebody may walk in view
LAWN_END = 26.0


def background_picture(
    camera: Camera, walkway: tuple[float, float], lawn_end: float, rng: np.random.Generator
) -> Picture:
    """The picture without anybody in it.

    Args:
        camera: whose picture.
        walkway: metres from the camera at which the pavement begins and ends.
        lawn_end: metres from the camera to the wall.
        rng: for tints and textures.
    """
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    scale = (rows - camera.horizon) / camera.above_ground
    depth = camera.focal / scale
    x = (columns - camera.width / 2) / scale
    lawn = _lawn(depth, rng)
    scene = np.where(_between(depth, *walkway), _paving(x, depth, walkway, rng), lawn)
    wall_foot = camera.horizon + camera.above_ground * camera.scale(lawn_end)
    scene = np.where((rows < wall_foot)[..., None], _wall(rows, columns, wall_foot, rng), scene)
    hedge_top = wall_foot - camera.height * (0.06 + 0.025 * _grain((1, camera.width), rng, 5))
    hedge = (rows > hedge_top) & (rows < wall_foot + 0.01 * camera.height)
    leaves = _shaded((38, 66, 34), _grain(depth.shape, rng, 60) * 0.45)
    scene = np.where(hedge[..., None], leaves, scene)
    return np.clip(scene, 0, 255).astype(np.uint8)


def _between(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    return ((values > low) & (values < high))[..., None]


def _lawn(depth: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    base = _tinted((74, 110, 52), rng)
    mown = 0.05 * np.sign(np.sin(depth * 2.2))
    patches = 0.12 * _grain(depth.shape, rng, 6) + 0.16 * _grain(depth.shape, rng, 90)
    return _shaded(base, mown + patches)


def _paving(
    x: NDArray[np.float64], depth: NDArray[np.float64], walkway: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Slabs of 1.2 m, each of its own grey, with dark joints and a bright kerb on both sides."""
    base = _tinted((150, 145, 136), rng)
    slab = 1.2
    tone = rng.normal(0, 0.035, (64, 64))
    across, along = np.floor(depth / slab).astype(int) % 64, np.floor(x / slab).astype(int) % 64
    joint = (np.mod(x, slab) < 0.06) | (np.mod(depth, slab) < 0.1)
    shade = tone[across, along] - 0.16 * joint + 0.07 * _grain(x.shape, rng, 70)
    kerb = (depth < walkway[0] + 0.2) | (depth > walkway[1] - 0.3)
    return _shaded(base, np.where(kerb, 0.18, shade))


def _wall(
    rows: NDArray[np.float64], columns: NDArray[np.float64], foot: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Courses of bricks with a row of windows."""
    base = _tinted((148, 110, 92), rng)
    course = rows.shape[0] / 30
    row = np.floor((foot - rows) / course)
    joint = (np.mod(foot - rows, course) < 0.2 * course) | (
        np.mod(columns + row * 1.3 * course, 2.6 * course) < 0.2 * course
    )
    bricks = _shaded(base, 0.1 * _grain(rows.shape, rng, 40) + 0.1 * joint)
    every = rows.shape[1] / rng.integers(4, 7)
    window = (np.mod(columns, every) > 0.35 * every) & (np.mod(columns, every) < 0.72 * every)
    window &= rows < foot - 0.13 * rows.shape[0]
    glass = _shaded((70, 84, 100), 0.2 * _grain(rows.shape, rng, 8))
    return np.where(window[..., None], glass, bricks)


def _tinted(colour: Colour, rng: np.random.Generator) -> NDArray[np.float64]:
    """The colour, brighter or darker by up to 15 %, each channel by 3 % of its own."""
    return np.asarray(colour) * rng.uniform(0.85, 1.15) * rng.uniform(0.97, 1.03, 3)


def _shaded(colour: Sequence[int] | NDArray[np.float64], shade: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour, lighter or darker by this share of itself in each pixel."""
    return np.asarray(colour, dtype=np.float64) * (1 + shade[..., None])


def _grain(shape: tuple[int, ...], rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Smooth noise (H, W) of unit variance or less, with about `cells` knots along its longer side."""
    import cv2

    height, width = shape
    longer = max(shape)
    knots = (max(2, round(cells * height / longer)), max(2, round(cells * width / longer)))
    coarse = rng.standard_normal(knots).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float64)

"""Coloured polygons, of which people, bicycles and carts are made.

Points are in metres, x to the right and y up from the point of the ground where the figure stands.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]  # RGB, 0 to 255
Point = tuple[float, float]
Bone = tuple[Point, Point, float, float, Colour]  # ends, radii at the ends in metres, colour
Shape = tuple[NDArray[np.float64], Colour]  # corners (N, 2)
Figure = list[Shape]  # from back to front

_HALF_TURN = np.linspace(-math.pi / 2, math.pi / 2, 6)
_TURN = np.linspace(0, 2 * math.pi, 20, endpoint=False)
CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)  # (20, 2), of radius 1


def capsules(bones: Sequence[Bone]) -> Figure:
    """Each bone as a rounded, tapering polygon (12, 2)."""
    start, end = np.array([bone[0] for bone in bones]), np.array([bone[1] for bone in bones])
    radius = np.array([bone[2:4] for bone in bones])
    along = end - start
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None] + _HALF_TURN
    cap = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    polygons = np.concatenate(
        [end[:, None] + radius[:, 1, None, None] * cap, start[:, None] - radius[:, 0, None, None] * cap],
        axis=1,
    )
    return [(polygon, bone[4]) for polygon, bone in zip(polygons, bones)]


def ring(middle: Point, radius: float, thickness: float, colour: Colour) -> Shape:
    """A tyre: one polygon that runs around outside and back inside."""
    circle = np.concatenate([CIRCLE, CIRCLE[:1]])
    return np.concatenate([radius * circle, (radius - thickness) * circle[::-1]]) + middle, colour


def darker(colour: Colour, share: float = 0.72) -> Colour:
    """The colour with each channel at this share of its value."""
    red, green, blue = colour
    return int(red * share), int(green * share), int(blue * share)


def random_colour(
    rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]
) -> Colour:
    """A colour of any hue, its saturation and value (0 to 1) between these bounds."""
    hue, grey, bright = rng.random(), 1 - rng.uniform(*saturation), 255 * rng.uniform(*value)
    red, green, blue = (grey + (1 - grey) * _ramp(hue + third) for third in (0, 1 / 3, 2 / 3))
    return int(bright * red), int(bright * green), int(bright * blue)


def _ramp(hue: float) -> float:
    """One channel of a pure hue: 1 around 0, 0 around 1/2, linear between (all modulo 1)."""
    return min(1.0, max(0.0, 6 * abs((hue % 1) - 0.5) - 1))

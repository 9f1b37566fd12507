"""Figures of any class in the picture: placed on the ground, boxed, and painted with their shadows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastaed.walkway.camera import Camera, Picture
from fastaed.walkway.people import Person, Pose, person_shapes
from fastaed.walkway.shapes import CIRCLE, Colour, Figure
from fastaed.walkway.vehicles import Bicycle, Cart, bicycle_shapes, cart_shapes

CLASSES = ("person", "bicycle", "cart")
Look = Person | Bicycle | Cart
Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, right and bottom exclusive

_IN_VIEW = 0.25  # share of a figure's box inside the picture, from which it counts as seen
_SUBPIXEL = 4  # fractional bits of polygon corners


def figure_shapes(look: Look, pose: Pose) -> Figure:
    """The shapes of an object of any class, in metres around the point where it stands."""
    if isinstance(look, Person):
        return person_shapes(look, pose)
    return bicycle_shapes(look, pose) if isinstance(look, Bicycle) else cart_shapes(look, pose)


@dataclass(frozen=True)
class Placed:
    """A figure in the picture: its polygons in pixels, and its box there.

    Attributes:
        polygons: (N, 2) corners each, column and row; pixel i spans i to i + 1.
        colours: one a polygon.
        whole: left, top, right, bottom of the whole figure, pixels.
        depth: metres from the camera.
    """

    polygons: list[NDArray[np.float64]]
    colours: list[Colour]
    whole: tuple[float, float, float, float]
    depth: float


def place(look: Look, pose: Pose, x: float, depth: float, camera: Camera) -> Placed:
    """The figure that stands on the ground at (x, depth), in metres, as the camera sees it."""
    foot, scale = camera.foot(x, depth), camera.scale(depth)
    shapes = figure_shapes(look, pose)
    polygons = [polygon * (scale, -scale) + foot for polygon, _ in shapes]
    corners = np.concatenate(polygons)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return Placed(
        polygons,
        [colour for _, colour in shapes],
        (float(left), float(top), float(right), float(bottom)),
        depth,
    )


def visible_box(placed: Placed, camera: Camera) -> Box | None:
    """The box of what the picture shows of a figure; None for too little."""
    left, top, right, bottom = placed.whole
    x1, y1 = max(0, math.floor(left)), max(0, math.floor(top))
    x2, y2 = min(camera.width, math.ceil(right)), min(camera.height, math.ceil(bottom))
    if x1 >= x2 or y1 >= y2:
        return None
    if x1 > left or y1 > top or x2 < right or y2 < bottom:
        covered = silhouette(placed, (x1, y1, x2, y2))
        columns, rows = np.flatnonzero(covered.any(axis=0)), np.flatnonzero(covered.any(axis=1))
        if not columns.size:
            return None
        x1, x2 = x1 + int(columns[0]), x1 + int(columns[-1]) + 1
        y1, y2 = y1 + int(rows[0]), y1 + int(rows[-1]) + 1
    seen = (x2 - x1) * (y2 - y1)
    return (x1, y1, x2, y2) if seen > _IN_VIEW * (right - left) * (bottom - top) else None


def silhouette(placed: Placed, box: Box) -> NDArray[np.bool_]:
    """(y2 - y1, x2 - x1): the pixels of the box that the figure covers."""
    import cv2

    x1, y1, x2, y2 = box
    covered = np.zeros((y2 - y1, x2 - x1), np.uint8)
    for polygon in placed.polygons:
        cv2.fillPoly(covered, [_corners(polygon - (x1, y1))], 1, cv2.LINE_8, _SUBPIXEL)
    return covered.astype(bool)


def paint(picture: Picture, figures: Iterable[Placed]) -> None:
    """Paint the figures, the farthest first, each with its shadow on the ground."""
    import cv2

    for figure in sorted(figures, key=lambda placed: -placed.depth):
        _shadow(picture, figure)
        for polygon, colour in zip(figure.polygons, figure.colours):
            cv2.fillPoly(picture, [_corners(polygon)], colour, cv2.LINE_AA, _SUBPIXEL)


def _shadow(picture: Picture, figure: Placed) -> None:
    """Darken the ground below a figure."""
    import cv2

    left, _, right, bottom = figure.whole
    half = 0.55 * (right - left)
    high = max(2, math.ceil(0.18 * half) + 1)
    x1, y1 = max(0, math.floor((left + right) / 2 - half)), max(0, math.floor(bottom) - high)
    ground = picture[y1 : math.floor(bottom) + high, x1 : max(0, math.ceil((left + right) / 2 + half))]
    if not ground.size:
        return
    lit = np.full(ground.shape, 255, np.uint8)
    middle = (left + right) / 2 - x1, bottom - y1 - 0.5
    oval = CIRCLE * (half, high - 1.0) + middle
    cv2.fillPoly(lit, [_corners(oval)], (165, 165, 172), cv2.LINE_AA, _SUBPIXEL)
    ground[:] = cv2.multiply(ground, lit, scale=1 / 255)


def _corners(polygon: NDArray[np.float64]) -> NDArray[np.int32]:
    """Corners as OpenCV takes them: whole pixels are centres, in fixed point."""
    return np.rint((polygon - 0.5) * (1 << _SUBPIXEL)).astype(np.int32)

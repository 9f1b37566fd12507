"""Bicycles and carts, each with whoever sits on it, as coloured polygons; the two are one object."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastaed.walkway.people import Person, Pose
from fastaed.walkway.shapes import Bone, Colour, Figure, Point, capsules, darker, ring

# A bicycle's parts, metres from the middle of its foot, headed right.
_TYRE: Colour = (28, 28, 30)
_REAR, _FRONT = (-0.52, 0.34), (0.54, 0.34)
_CRANK, _BAR = (-0.05, 0.3), (0.42, 1.02)


@dataclass(frozen=True)
class Bicycle:
    """A bicycle and who rides it."""

    name: ClassVar[str] = "bicycle"
    half_length: ClassVar[float] = 0.9
    rider: Person
    paint: Colour


@dataclass(frozen=True)
class Cart:
    """A roofed electric cart and its driver."""

    name: ClassVar[str] = "cart"
    half_length: ClassVar[float] = 1.25
    driver: Person
    paint: Colour


def bicycle_shapes(look: Bicycle, pose: Pose) -> Figure:
    """A bicycle riding to the right or the left; the phase of the pose turns the pedals."""
    return _facing(_bicycle(look, pose.phase), pose)


def riderless_shapes(paint: Colour, pose: Pose) -> Figure:
    """A bicycle without anybody on it, headed to the right or the left."""
    return _facing([*_wheels(), *capsules(_frame(paint))], pose)


def cart_shapes(look: Cart, pose: Pose) -> Figure:
    """A cart driving to the right or the left."""
    return _facing(_cart(look), pose)


def _facing(shapes: Figure, pose: Pose) -> Figure:
    """Shapes that face right, turned over where the pose heads left."""
    side = 1.0 if math.cos(pose.heading) >= 0 else -1.0
    return [(polygon * (side, 1.0), colour) for polygon, colour in shapes]


def _bicycle(look: Bicycle, phase: float) -> Figure:
    """Riding to the right."""
    rider, crank, bar = look.rider, _CRANK, _BAR
    hip, shoulder = (-0.2, 1.0), (0.14, 1.46)

    def pedalling(turn: float, tone: Colour) -> list[Bone]:
        foot = crank[0] + 0.17 * math.cos(turn), crank[1] - 0.17 * math.sin(turn) + 0.03
        knee = _joint(hip, foot, 0.45)
        return [
            (knee, foot, 0.06, 0.045, tone),
            (hip, knee, 0.085, 0.065, tone),
            (foot, (foot[0] + 0.13, foot[1] - 0.01), 0.035, 0.03, (34, 30, 30)),
        ]

    above: list[Bone] = [
        *pedalling(phase, rider.trousers),
        (hip, shoulder, 0.12 * rider.girth, 0.12 * rider.girth, rider.shirt),
        (shoulder, (0.3, 1.18), 0.055, 0.045, darker(rider.shirt, 0.85)),
        ((0.3, 1.18), bar, 0.042, 0.035, rider.skin),
        ((0.2, 1.56), (0.25, 1.66), 0.05, 0.05, rider.skin),
        ((0.25, 1.67), (0.26, 1.7), 0.095, 0.1, rider.skin),
        ((0.2, 1.72), (0.26, 1.75), 0.085, 0.075, rider.hair),
    ]
    far_leg = capsules(pedalling(phase + math.pi, darker(rider.trousers)))
    return [*far_leg, *_wheels(), *capsules(_frame(look.paint)), *capsules(above)]


def _wheels() -> Figure:
    return [ring(hub, 0.34, 0.055, _TYRE) for hub in (_REAR, _FRONT)]


def _frame(paint: Colour) -> list[Bone]:
    return [
        (_REAR, _CRANK, 0.022, 0.022, paint),
        (_CRANK, (-0.18, 0.8), 0.024, 0.024, paint),
        (_REAR, (-0.16, 0.72), 0.02, 0.02, paint),
        ((-0.16, 0.74), (0.38, 0.8), 0.024, 0.024, paint),
        (_CRANK, (0.4, 0.72), 0.024, 0.024, paint),
        (_FRONT, _BAR, 0.024, 0.024, paint),
        ((-0.32, 0.9), (-0.12, 0.9), 0.035, 0.025, _TYRE),
    ]


def _joint(start: Point, end: Point, bone: float) -> Point:
    """Where two bones of equal length that join start and end meet, on the forward side."""
    across, up = end[0] - start[0], end[1] - start[1]
    distance = math.hypot(across, up)
    bend = math.sqrt(max(0.0, bone**2 - distance**2 / 4)) / distance
    return (start[0] + end[0]) / 2 - up * bend, (start[1] + end[1]) / 2 + across * bend


def _cart(look: Cart) -> Figure:
    """Driving to the right."""
    driver, paint, dark = look.driver, look.paint, (40, 42, 46)
    body = np.array(
        [
            (-1.2, 0.3),
            (1.2, 0.3),
            (1.25, 0.62),
            (0.75, 0.98),
            (0.6, 0.5),
            (0.1, 0.5),
            (0.1, 0.8),
            (-1.2, 0.85),
        ]
    )
    roof = np.array([(-1.15, 1.86), (-1.05, 1.98), (0.75, 1.98), (0.85, 1.86)])
    inside: list[Bone] = [
        ((-1.05, 0.8), (-1.05, 1.9), 0.035, 0.035, dark),
        ((0.72, 0.95), (0.6, 1.9), 0.035, 0.035, dark),
        ((-0.25, 0.9), (-0.2, 1.35), 0.15, 0.16, driver.shirt),
        ((-0.17, 1.3), (0.2, 1.1), 0.055, 0.05, darker(driver.shirt, 0.85)),
        ((0.2, 1.1), (0.45, 1.12), 0.045, 0.04, driver.skin),
        ((-0.18, 1.6), (-0.17, 1.65), 0.1, 0.1, driver.skin),
        ((-0.22, 1.68), (-0.18, 1.71), 0.09, 0.075, driver.hair),
        ((-0.2, 0.78), (0.25, 0.75), 0.09, 0.08, driver.trousers),
        ((-0.95, 0.9), (-0.6, 0.9), 0.12, 0.12, dark),
    ]
    wheels: list[Bone] = [
        bone
        for x in (-0.75, 0.8)
        for bone in (
            ((x, 0.24), (x, 0.24), 0.24, 0.24, (26, 26, 28)),
            ((x, 0.24), (x, 0.24), 0.11, 0.11, (170, 170, 172)),
        )
    ]
    stripe = np.array([(-1.2, 0.5), (0.1, 0.5), (0.1, 0.58), (-1.2, 0.58)])
    return [
        *capsules(inside),
        (body, paint),
        (stripe, darker(paint, 0.6)),
        (roof, (226, 224, 214)),
        *capsules(wheels),
    ]

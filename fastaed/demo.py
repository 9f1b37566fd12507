"""A generated data set: a fixed camera over a walkway, and the truth about everything in view.

Everybody walks along the walkway, left or right, at a walking pace; that is all the training split shows.
Each test clip holds one or two events of one kind, and the kinds take turns over the clips: abnormal by
*look* (a cart, a bicycle), by *motion* (running, falling, crossing, stopping) or by *place* (on the lawn).

The world is measured in metres. A pinhole camera whose picture plane stands upright sees the ground point
(x, depth) at column width / 2 + scale * x and row horizon + camera height * scale, where
scale = focal / depth is the number of pixels of a metre there. A figure (person, bicycle, cart) is a list of
coloured polygons in metres around the point where it stands; one function paints them all.

Everything follows from `DemoSettings.seed`. Importing this module does not import OpenCV.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fastaed.config import DemoSettings
from fastaed.errors import OutputError
from fastaed.files import replacing
from fastaed.progress import progress

FRAMES_PER_SECOND = 25
CLASSES = ("person", "bicycle", "cart")
EVENTS = {
    "look": ("cart", "bicycle"),
    "motion": ("run", "fall", "cross", "stop"),
    "place": ("far lawn", "near lawn"),
}
KINDS = tuple(EVENTS)

Colour = tuple[int, int, int]
Shape = tuple[NDArray[np.float64], Colour]
Figure = list[Shape]
Picture = NDArray[np.uint8]

_WALK, _HURRY, _RUN, _RIDE, _DRIVE = 1.35, 1.9, 4.8, 5.2, 3.2  # metres a second
_WALKWAY = (12.0, 18.0)  # metres from the camera
_LAWNS = {"far lawn": (20.0, 23.0), "near lawn": (10.9, 11.3)}
_LAWN_END = 26.0
_IN_VIEW = 0.25  # share of a figure's box inside the picture, from which it counts as seen
_NOISE = 2.5  # standard deviation of the sensor's noise, grey levels
_SUBPIXEL = 4  # fractional bits of polygon corners
_VALIDATION_EVERY = 7  # one detector picture in so many is for validation


def plan(settings: DemoSettings) -> dict[str, list[str]]:
    """Names of the clips of each split, in order."""
    return {"train": _numbers(settings.train_clips), "test": _numbers(settings.test_clips)}


def _numbers(count: int) -> list[str]:
    return [f"{number:02d}" for number in range(1, count + 1)]


# The camera and what never moves.


@dataclass(frozen=True)
class _Camera:
    """A pinhole camera; focal length and horizon in pixels, its height over the ground in metres."""

    width: int
    height: int
    focal: float
    horizon: float
    above_ground: float = 6.0

    def scale(self, depth: float) -> float:
        """Pixels of a metre at this distance."""
        return self.focal / depth

    def foot(self, x: float, depth: float) -> tuple[float, float]:
        """Column and row of a point of the ground."""
        scale = self.scale(depth)
        return self.width / 2 + scale * x, self.horizon + self.above_ground * scale

    def edge(self, depth: float) -> float:
        """Metres from the middle of the picture to its side at this distance."""
        return self.width / 2 / self.scale(depth)


def _camera(settings: DemoSettings) -> _Camera:
    return _Camera(settings.width, settings.height, 2.13 * settings.height, -0.25 * settings.height)


def _background(camera: _Camera, walkway: tuple[float, float], rng: np.random.Generator) -> Picture:
    """(H, W, 3) RGB: a wall, a hedge, and a paved walkway between two lawns."""
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    scale = (rows - camera.horizon) / camera.above_ground
    depth = camera.focal / scale
    x = (columns - camera.width / 2) / scale
    lawn = _lawn(depth, rng)
    scene = np.where(_between(depth, *walkway), _paving(x, depth, walkway, rng), lawn)
    wall_foot = camera.horizon + camera.above_ground * camera.scale(_LAWN_END)
    scene = np.where((rows < wall_foot)[..., None], _wall(rows, columns, wall_foot, rng), scene)
    hedge_top = wall_foot - camera.height * (0.06 + 0.025 * _grain(1, camera.width, rng, 5))
    hedge = (rows > hedge_top) & (rows < wall_foot + 0.01 * camera.height)
    leaves = _shaded((38, 66, 34), _grain(*depth.shape, rng, 60) * 0.45)
    scene = np.where(hedge[..., None], leaves, scene)
    return np.clip(scene, 0, 255).astype(np.uint8)


def _between(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    return ((values > low) & (values < high))[..., None]


def _lawn(depth: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    base = rng.integers((60, 98, 42), (88, 124, 62))
    mown = 0.05 * np.sign(np.sin(depth * 2.2))
    patches = 0.12 * _grain(*depth.shape, rng, 6) + 0.16 * _grain(*depth.shape, rng, 90)
    return _shaded(base, mown + patches)


def _paving(
    x: NDArray[np.float64], depth: NDArray[np.float64], walkway: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Slabs of 1.2 m, each of its own grey, with dark joints and a bright kerb on both sides."""
    base = rng.integers((128, 122, 112), (172, 166, 158))
    slab = 1.2
    tone = rng.normal(0, 0.035, (64, 64))
    across, along = np.floor(depth / slab).astype(int) % 64, np.floor(x / slab).astype(int) % 64
    joint = (np.mod(x, slab) < 0.06) | (np.mod(depth, slab) < 0.1)
    shade = tone[across, along] - 0.16 * joint + 0.07 * _grain(*x.shape, rng, 70)
    kerb = (depth < walkway[0] + 0.2) | (depth > walkway[1] - 0.3)
    return _shaded(base, np.where(kerb, 0.18, shade))


def _wall(
    rows: NDArray[np.float64], columns: NDArray[np.float64], foot: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Courses of bricks with a row of windows."""
    base = rng.integers((120, 84, 70), (172, 132, 118))
    course = rows.shape[0] / 30
    row = np.floor((foot - rows) / course)
    joint = (np.mod(foot - rows, course) < 0.2 * course) | (
        np.mod(columns + row * 1.3 * course, 2.6 * course) < 0.2 * course
    )
    bricks = _shaded(base, 0.1 * _grain(*rows.shape, rng, 40) + 0.1 * joint)
    every = rows.shape[1] / rng.integers(4, 7)
    window = (np.mod(columns, every) > 0.35 * every) & (np.mod(columns, every) < 0.72 * every)
    window &= rows < foot - 0.13 * rows.shape[0]
    glass = _shaded((70, 84, 100), 0.2 * _grain(*rows.shape, rng, 8))
    return np.where(window[..., None], glass, bricks)


def _shaded(colour: Sequence[int] | NDArray[np.int64], shade: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour, lighter or darker by this share of itself in each pixel."""
    return np.asarray(colour, dtype=np.float64) * (1 + shade[..., None])


def _grain(height: int, width: int, rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Smooth noise (height, width) of unit variance or less, with about `cells` knots along its longer side."""
    import cv2

    longer = max(height, width)
    knots = (max(2, round(cells * height / longer)), max(2, round(cells * width / longer)))
    coarse = rng.standard_normal(knots).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float64)


# Figures: polygons in metres, x to the right and y up from the point where the figure stands.


@dataclass(frozen=True)
class _Person:
    """How somebody looks: height in metres, girth relative to the average, clothes and skin."""

    name: ClassVar[str] = "person"
    half_length: ClassVar[float] = 0.35
    height: float
    girth: float
    shirt: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    bag: Colour | None
    coat: bool


@dataclass(frozen=True)
class _Bicycle:
    """A bicycle and who rides it; the two are one object."""

    name: ClassVar[str] = "bicycle"
    half_length: ClassVar[float] = 0.9
    rider: _Person
    paint: Colour


@dataclass(frozen=True)
class _Cart:
    """A roofed electric cart and its driver; the two are one object."""

    name: ClassVar[str] = "cart"
    half_length: ClassVar[float] = 1.25
    driver: _Person
    paint: Colour


_Look = _Person | _Bicycle | _Cart


@dataclass(frozen=True)
class _Pose:
    """The body at one moment.

    Attributes:
        heading: radians; 0 to the right, pi to the left, pi / 2 away from the camera.
        phase: radians of the cycle of two steps (or of the pedals).
        swing: amplitude of the thighs, radians: 0 stands, 0.4 walks, 0.8 runs.
        fallen: 0 upright to 1 lying.
    """

    heading: float
    phase: float
    swing: float
    fallen: float = 0.0


_Point = tuple[float, float]
_Bone = tuple[_Point, _Point, float, float, Colour]  # ends, radii at the ends in metres, colour
_HALF_TURN = np.linspace(-math.pi / 2, math.pi / 2, 6)
_TURN = np.linspace(0, 2 * math.pi, 20, endpoint=False)


def _random_person(rng: np.random.Generator) -> _Person:
    skin = float(rng.uniform(0.35, 1))
    return _Person(
        height=float(rng.uniform(1.55, 1.9)),
        girth=float(rng.uniform(0.88, 1.2)),
        shirt=_random_colour(rng, (0.1, 0.85), (0.3, 0.95)),
        trousers=_random_colour(rng, (0.05, 0.5), (0.12, 0.5)),
        skin=(int(232 * skin), int(190 * skin), int(162 * skin)),
        hair=_random_colour(rng, (0.1, 0.5), (0.08, 0.4)),
        bag=_random_colour(rng, (0.2, 0.9), (0.2, 0.8)) if rng.random() < 0.3 else None,
        coat=bool(rng.random() < 0.3),
    )


def _random_colour(
    rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]
) -> Colour:
    hue, grey, bright = rng.random(), 1 - rng.uniform(*saturation), 255 * rng.uniform(*value)
    red, green, blue = (grey + (1 - grey) * _ramp(hue + third) for third in (0, 1 / 3, 2 / 3))
    return int(bright * red), int(bright * green), int(bright * blue)


def _ramp(hue: float) -> float:
    """One channel of a pure hue: 1 around 0, 0 around 1/2, linear between (all modulo 1)."""
    return min(1.0, max(0.0, 6 * abs((hue % 1) - 0.5) - 1))


def _figure(look: _Look, pose: _Pose) -> Figure:
    """The shapes of an object, from back to front."""
    if isinstance(look, _Person):
        return _fallen(_capsules(_body(look, pose)), look, pose)
    shapes = _bicycle(look, pose.phase) if isinstance(look, _Bicycle) else _cart(look)
    side = 1.0 if math.cos(pose.heading) >= 0 else -1.0
    return [(polygon * (side, 1.0), colour) for polygon, colour in shapes]


def _capsules(bones: Sequence[_Bone]) -> Figure:
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


def _fallen(shapes: Figure, look: _Person, pose: _Pose) -> Figure:
    """The body tipped over its feet in walking direction."""
    if pose.fallen == 0:
        return shapes
    tilt = 0.48 * math.pi * pose.fallen * (1 if math.cos(pose.heading) >= 0 else -1)
    turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    lift = 0.09 * look.height * abs(math.sin(tilt))
    return [(polygon @ turn + (0.0, lift), colour) for polygon, colour in shapes]


def _body(look: _Person, pose: _Pose) -> list[_Bone]:
    """Bones of a walking, running or standing person, from the far side of the body to the near one."""
    h, swing = look.height, pose.swing
    forward, sideways = math.cos(pose.heading), -math.sin(pose.heading)
    running = min(1.0, max(0.0, (swing - 0.45) / 0.3))
    near = 1 if forward >= 0 else -1
    legs = {side: _leg(h, pose.phase + (0 if side > 0 else math.pi), swing) for side in (1, -1)}
    hip = -min(ankle[1] for _, ankle in legs.values()) + 0.03 * h
    lean = 0.05 + 0.2 * running

    def at(ahead: float, left: float, up: float) -> _Point:
        return h * left * sideways + ahead * forward, up

    def trunk(up: float, left: float = 0.0) -> _Point:
        return at(math.sin(lean) * up * h, left, hip + math.cos(lean) * up * h)

    def leg(side: int) -> list[_Bone]:
        knee, ankle = legs[side]
        tone = look.trousers if side == near else _darker(look.trousers)
        top, bend = at(0, 0.045 * side, hip), at(knee[0], 0.045 * side, hip + knee[1])
        sole = at(ankle[0], 0.05 * side, hip + ankle[1])
        toe = at(ankle[0] + 0.085 * h, 0.055 * side, hip + ankle[1] - 0.012 * h)
        width = h * look.girth
        return [
            (sole, toe, 0.021 * h, 0.018 * h, (34, 30, 30)),
            (bend, sole, 0.036 * width, 0.026 * width, tone),
            (top, bend, 0.052 * width, 0.038 * width, tone),
        ]

    def arm(side: int) -> list[_Bone]:
        upper = -0.9 * swing * math.sin(pose.phase + (0 if side > 0 else math.pi))
        lower = upper + 0.2 + 0.4 * swing + 1.0 * running
        spread = (0.085 + 0.045 * abs(sideways)) * side
        shoulder = trunk(0.30, spread)
        ahead = math.sin(lean) * 0.30 * h + 0.165 * h * math.sin(upper)
        up = hip + 0.30 * h - 0.165 * h * math.cos(upper)
        elbow = at(ahead, spread * 1.15, up)
        hand = at(
            ahead + 0.15 * h * math.sin(lower), spread * 1.2, up - 0.15 * h * math.cos(lower)
        )
        tone = look.shirt if side == near else _darker(look.shirt)
        return [
            (shoulder, elbow, 0.032 * h * look.girth, 0.027 * h, _darker(tone, 0.9)),
            (elbow, hand, 0.025 * h, 0.02 * h, look.skin if look.girth > 1.05 else _darker(tone, 0.9)),
            (hand, hand, 0.021 * h, 0.021 * h, look.skin),
        ]

    breadth = h * look.girth * (0.066 + 0.03 * abs(sideways))
    torso: list[_Bone] = [(trunk(0.02), trunk(0.28), 0.9 * breadth, breadth, look.shirt)]
    if look.coat:
        torso.append((trunk(-0.12), trunk(0.1), 1.05 * breadth, 0.9 * breadth, look.shirt))
    if look.bag is not None:
        bag: _Bone = (
            at(-0.1 * h, 0, hip + 0.13 * h), at(-0.09 * h, 0, hip + 0.24 * h), 0.05 * h, 0.045 * h, look.bag,
        )
        torso.insert(0 if sideways >= 0 else len(torso), bag)
    return [*arm(-near), *leg(-near), *leg(near), *torso, *_head(look, trunk, forward, sideways), *arm(near)]


def _leg(height: float, phase: float, swing: float) -> tuple[_Point, _Point]:
    """Knee and ankle below the hip, (ahead, up) in metres; the knee bends while the thigh swings forward."""
    thigh = swing * math.sin(phase)
    shin = thigh - swing * (0.25 + 1.1 * max(0.0, math.cos(phase)))
    bone = 0.245 * height
    knee = bone * math.sin(thigh), -bone * math.cos(thigh)
    return knee, (knee[0] + bone * math.sin(shin), knee[1] - bone * math.cos(shin))


def _head(
    look: _Person, trunk: Callable[[float], _Point], forward: float, sideways: float
) -> list[_Bone]:
    h = look.height
    (neck_x, neck_y), (x, y) = trunk(0.33), trunk(0.42)
    hair_x, size = x - 0.022 * h * forward, (0.06 if sideways < -0.5 else 0.05) * h
    return [
        ((neck_x, neck_y), (x, y), 0.028 * h, 0.03 * h, look.skin),
        ((x, y - 0.012 * h), (x, y + 0.02 * h), 0.052 * h, 0.056 * h, look.skin),
        ((hair_x, y + 0.014 * h), (x, y + 0.042 * h), size, 0.042 * h, look.hair),
    ]


def _darker(colour: Colour, share: float = 0.72) -> Colour:
    red, green, blue = colour
    return int(red * share), int(green * share), int(blue * share)


def _ring(middle: _Point, radius: float, thickness: float, colour: Colour) -> Shape:
    """A tyre: one polygon that runs around outside and back inside."""
    circle = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)
    circle = np.concatenate([circle, circle[:1]])
    return np.concatenate([radius * circle, (radius - thickness) * circle[::-1]]) + middle, colour


def _bicycle(look: _Bicycle, phase: float) -> Figure:
    """Riding to the right."""
    rider, paint, tyre = look.rider, look.paint, (28, 28, 30)
    rear, front, crank, saddle, bar = (-0.52, 0.34), (0.54, 0.34), (-0.05, 0.3), (-0.22, 0.92), (0.42, 1.02)
    hip, shoulder = (-0.2, 1.0), (0.14, 1.46)
    frame: list[_Bone] = [
        (rear, crank, 0.022, 0.022, paint),
        (crank, (-0.18, 0.8), 0.024, 0.024, paint),
        (rear, (-0.16, 0.72), 0.02, 0.02, paint),
        ((-0.16, 0.74), (0.38, 0.8), 0.024, 0.024, paint),
        (crank, (0.4, 0.72), 0.024, 0.024, paint),
        (front, bar, 0.024, 0.024, paint),
        ((-0.32, 0.9), (-0.12, 0.9), 0.035, 0.025, tyre),
    ]

    def pedalling(turn: float, tone: Colour) -> list[_Bone]:
        foot = crank[0] + 0.17 * math.cos(turn), crank[1] - 0.17 * math.sin(turn) + 0.03
        knee = _joint(hip, foot, 0.45)
        return [
            (knee, foot, 0.06, 0.045, tone),
            (hip, knee, 0.085, 0.065, tone),
            (foot, (foot[0] + 0.13, foot[1] - 0.01), 0.035, 0.03, (34, 30, 30)),
        ]

    above: list[_Bone] = [
        *pedalling(phase, rider.trousers),
        (hip, shoulder, 0.12 * rider.girth, 0.12 * rider.girth, rider.shirt),
        (shoulder, (0.3, 1.18), 0.055, 0.045, _darker(rider.shirt, 0.85)),
        ((0.3, 1.18), bar, 0.042, 0.035, rider.skin),
        ((0.2, 1.56), (0.25, 1.66), 0.05, 0.05, rider.skin),
        ((0.25, 1.67), (0.26, 1.7), 0.095, 0.1, rider.skin),
        ((0.2, 1.72), (0.26, 1.75), 0.085, 0.075, rider.hair),
    ]
    wheels = [_ring(rear, 0.34, 0.055, tyre), _ring(front, 0.34, 0.055, tyre)]
    far_leg = _capsules(pedalling(phase + math.pi, _darker(rider.trousers)))
    return [*far_leg, *wheels, *_capsules(frame), *_capsules(above)]


def _joint(start: _Point, end: _Point, bone: float) -> _Point:
    """Where two bones of equal length that join start and end meet, on the forward side."""
    across, up = end[0] - start[0], end[1] - start[1]
    distance = math.hypot(across, up)
    bend = math.sqrt(max(0.0, bone**2 - distance**2 / 4)) / distance
    return (start[0] + end[0]) / 2 - up * bend, (start[1] + end[1]) / 2 + across * bend


def _cart(look: _Cart) -> Figure:
    """Driving to the right."""
    driver, paint, dark = look.driver, look.paint, (40, 42, 46)
    body = np.array(
        [(-1.2, 0.3), (1.2, 0.3), (1.25, 0.62), (0.75, 0.98), (0.6, 0.5), (0.1, 0.5), (0.1, 0.8), (-1.2, 0.85)]
    )
    roof = np.array([(-1.15, 1.86), (-1.05, 1.98), (0.75, 1.98), (0.85, 1.86)])
    inside: list[_Bone] = [
        ((-1.05, 0.8), (-1.05, 1.9), 0.035, 0.035, dark),
        ((0.72, 0.95), (0.6, 1.9), 0.035, 0.035, dark),
        ((-0.25, 0.9), (-0.2, 1.35), 0.15, 0.16, driver.shirt),
        ((-0.17, 1.3), (0.2, 1.1), 0.055, 0.05, _darker(driver.shirt, 0.85)),
        ((0.2, 1.1), (0.45, 1.12), 0.045, 0.04, driver.skin),
        ((-0.18, 1.6), (-0.17, 1.65), 0.1, 0.1, driver.skin),
        ((-0.22, 1.68), (-0.18, 1.71), 0.09, 0.075, driver.hair),
        ((-0.2, 0.78), (0.25, 0.75), 0.09, 0.08, driver.trousers),
        ((-0.95, 0.9), (-0.6, 0.9), 0.12, 0.12, dark),
    ]
    wheels: list[_Bone] = [
        bone
        for x in (-0.75, 0.8)
        for bone in (
            ((x, 0.24), (x, 0.24), 0.24, 0.24, (26, 26, 28)),
            ((x, 0.24), (x, 0.24), 0.11, 0.11, (170, 170, 172)),
        )
    ]
    stripe = np.array([(-1.2, 0.5), (0.1, 0.5), (0.1, 0.58), (-1.2, 0.58)])
    return [
        *_capsules(inside),
        (body, paint),
        (stripe, _darker(paint, 0.6)),
        (roof, (226, 224, 214)),
        *_capsules(wheels),
    ]


# Painting.


@dataclass(frozen=True)
class _Placed:
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


Box = tuple[int, int, int, int]


def _place(look: _Look, pose: _Pose, x: float, depth: float, camera: _Camera) -> _Placed:
    foot, scale = camera.foot(x, depth), camera.scale(depth)
    shapes = _figure(look, pose)
    polygons = [polygon * (scale, -scale) + foot for polygon, _ in shapes]
    corners = np.concatenate(polygons)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return _Placed(
        polygons,
        [colour for _, colour in shapes],
        (float(left), float(top), float(right), float(bottom)),
        depth,
    )


def _box(placed: _Placed, camera: _Camera) -> Box | None:
    """The figure's box clipped to the picture, right and bottom exclusive; None where too little is in view."""
    left, top, right, bottom = placed.whole
    x1, y1 = max(0, math.floor(left)), max(0, math.floor(top))
    x2, y2 = min(camera.width, math.ceil(right)), min(camera.height, math.ceil(bottom))
    inside = max(0, x2 - x1) * max(0, y2 - y1)
    return (x1, y1, x2, y2) if inside > _IN_VIEW * (right - left) * (bottom - top) else None


def _paint(picture: Picture, figures: Iterable[_Placed]) -> None:
    """Paint the figures, the farthest first, each with its shadow on the ground."""
    import cv2

    for figure in sorted(figures, key=lambda placed: -placed.depth):
        _shadow(picture, figure)
        for polygon, colour in zip(figure.polygons, figure.colours):
            cv2.fillPoly(picture, [_corners(polygon)], colour, cv2.LINE_AA, _SUBPIXEL)


def _shadow(picture: Picture, figure: _Placed) -> None:
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
    oval = np.stack([np.cos(_TURN) * half, np.sin(_TURN) * (high - 1)], axis=1) + (
        (left + right) / 2 - x1,
        bottom - y1 - 0.5,
    )
    cv2.fillPoly(lit, [_corners(oval)], (165, 165, 172), cv2.LINE_AA, _SUBPIXEL)
    ground[:] = cv2.multiply(ground, lit, scale=1 / 255)


def _silhouette(placed: _Placed, box: Box) -> NDArray[np.bool_]:
    """(y2 - y1, x2 - x1): the pixels of the box that the figure covers."""
    import cv2

    x1, y1, x2, y2 = box
    covered = np.zeros((y2 - y1, x2 - x1), np.uint8)
    for polygon in placed.polygons:
        cv2.fillPoly(covered, [_corners(polygon - (x1, y1))], 1, cv2.LINE_8, _SUBPIXEL)
    return covered.astype(bool)


def _corners(polygon: NDArray[np.float64]) -> NDArray[np.int32]:
    """Corners as OpenCV takes them: whole pixels are centres, in fixed point."""
    return np.rint((polygon - 0.5) * (1 << _SUBPIXEL)).astype(np.int32)


class _Sensor:
    """Light that changes slowly, and noise that differs in each frame.

    The noise is cut at a random place out of one large sheet, which costs less than drawing it anew.
    """

    def __init__(self, camera: _Camera, rng: np.random.Generator) -> None:
        self._rng = rng
        self._size = camera.height, camera.width
        self._sheet = (_NOISE * rng.standard_normal((camera.height + 64, camera.width + 64, 3))).astype(
            np.float32
        )
        self._period = rng.uniform(8, 20) * FRAMES_PER_SECOND
        self._start = rng.uniform(0, 2 * math.pi)

    def expose(self, picture: Picture, frame: int) -> Picture:
        """What the camera makes of a painted picture."""
        gain = np.float32(1 + 0.06 * math.sin(2 * math.pi * frame / self._period + self._start))
        (height, width), (down, right) = self._size, self._rng.integers(0, 65, 2)
        noise = self._sheet[down : down + height, right : right + width]
        return np.clip(picture * gain + noise + np.float32(0.5), 0, 255).astype(np.uint8)

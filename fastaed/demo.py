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

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal

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
_LAWNS = {"far lawn": (19.3, 20.8), "near lawn": (10.9, 11.3)}
_LAWN_END = 26.0
_IN_VIEW = 0.25  # share of a figure's box inside the picture, from which it counts as seen
_NOISE = 2.5  # standard deviation of the sensor's noise, grey levels
_SUBPIXEL = 4  # fractional bits of polygon corners
_PICTURES_PER_SCENE = 4  # of the detector's pictures; painting a background costs as much as four frames
_VALIDATION_EVERY = 7  # one of the detector's scenes in so many is for validation
_VISIBLE = 0.35  # share of a figure that nearer ones leave to be seen, from which the detector must find it


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


def _background(
    camera: _Camera, walkway: tuple[float, float], lawn_end: float, rng: np.random.Generator
) -> Picture:
    """(H, W, 3) RGB: a wall and a hedge where the lawn ends, and a paved walkway across the lawn."""
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


_HAIR: tuple[Colour, ...] = ((24, 20, 18), (58, 40, 28), (96, 66, 40), (150, 118, 70), (120, 118, 116))
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
        hair=_HAIR[rng.integers(len(_HAIR))],
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
        spread = (0.075 + 0.03 * abs(sideways)) * side
        shoulder = trunk(0.30, spread)
        ahead = math.sin(lean) * 0.30 * h + 0.165 * h * math.sin(upper)
        up = hip + 0.30 * h - 0.165 * h * math.cos(upper)
        elbow = at(ahead, spread * 1.15, up)
        hand = at(ahead + 0.15 * h * math.sin(lower), spread * 1.2, up - 0.15 * h * math.cos(lower))
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
            at(-0.1 * h, 0, hip + 0.13 * h),
            at(-0.09 * h, 0, hip + 0.24 * h),
            0.05 * h,
            0.045 * h,
            look.bag,
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


def _head(look: _Person, trunk: Callable[[float], _Point], forward: float, sideways: float) -> list[_Bone]:
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
    rear, front, crank, bar = (-0.52, 0.34), (0.54, 0.34), (-0.05, 0.3), (0.42, 1.02)
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
    """The box of what the picture shows of a figure, right and bottom exclusive; None for too little."""
    left, top, right, bottom = placed.whole
    x1, y1 = max(0, math.floor(left)), max(0, math.floor(top))
    x2, y2 = min(camera.width, math.ceil(right)), min(camera.height, math.ceil(bottom))
    if x1 >= x2 or y1 >= y2:
        return None
    if x1 > left or y1 > top or x2 < right or y2 < bottom:
        covered = _silhouette(placed, (x1, y1, x2, y2))
        columns, rows = np.flatnonzero(covered.any(axis=0)), np.flatnonzero(covered.any(axis=1))
        if not columns.size:
            return None
        x1, x2 = x1 + int(columns[0]), x1 + int(columns[-1]) + 1
        y1, y2 = y1 + int(rows[0]), y1 + int(rows[-1]) + 1
    seen = (x2 - x1) * (y2 - y1)
    return (x1, y1, x2, y2) if seen > _IN_VIEW * (right - left) * (bottom - top) else None


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
    middle = (left + right) / 2 - x1, bottom - y1 - 0.5
    oval = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1) * (half, high - 1.0) + middle
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
        self._size = camera.height, camera.width
        sheet = rng.standard_normal((camera.height + 64, camera.width + 64, 3), dtype=np.float32)
        self._sheet = np.float32(_NOISE) * sheet
        self._period = rng.uniform(8, 20) * FRAMES_PER_SECOND
        self._start = rng.uniform(0, 2 * math.pi)

    def expose(self, picture: Picture, frame: int, rng: np.random.Generator) -> Picture:
        """What the camera makes of a painted picture."""
        gain = np.float32(1 + 0.06 * math.sin(2 * math.pi * frame / self._period + self._start))
        (height, width), (down, right) = self._size, rng.integers(0, 65, 2)
        noise = self._sheet[down : down + height, right : right + width]
        exposed: Picture = np.clip(picture * gain + noise + np.float32(0.5), 0, 255).astype(np.uint8)
        return exposed


# Who is in a clip, and what they do.


@dataclass(frozen=True)
class _Actor:
    """One object of a clip and its whole route.

    Attributes:
        look: what it looks like.
        x: (T,) metres to the right of the middle of the picture.
        depth: (T,) metres from the camera.
        heading: (T,) radians, see `_Pose`.
        speed: (T,) metres a second.
        fallen: (T,) 0 upright to 1 lying.
        abnormal: (T,) whether this is an event.
        kind: what kind of event, empty where it never is one.
    """

    look: _Look
    x: NDArray[np.float64]
    depth: NDArray[np.float64]
    heading: NDArray[np.float64]
    speed: NDArray[np.float64]
    fallen: NDArray[np.float64]
    abnormal: NDArray[np.bool_]
    kind: str

    def poses(self) -> list[_Pose]:
        """The body in each frame: faster people take longer steps and swing their legs further."""
        known = (0.0, _WALK, _RUN)
        swing = np.interp(self.speed, known, (0.0, 0.42, 0.78))
        cycle = 4.0 if isinstance(self.look, _Bicycle) else np.interp(self.speed, known, (1.2, 1.45, 2.9))
        phase = self.x[0] + np.cumsum(2 * math.pi * self.speed / FRAMES_PER_SECOND / cycle)
        return [_Pose(*map(float, row)) for row in zip(self.heading, phase, swing, self.fallen)]


def _actor(
    look: _Look,
    through: tuple[int, float, float],
    speed: NDArray[np.float64],
    heading: NDArray[np.float64],
    kind: str = "",
    abnormal: NDArray[np.bool_] | None = None,
    fallen: NDArray[np.float64] | None = None,
) -> _Actor:
    """The actor whose route, the sum of its velocities, passes the point (frame, x, depth)."""
    frame, x, depth = through
    step = speed / FRAMES_PER_SECOND
    across, away = np.cumsum(step * np.cos(heading)), np.cumsum(step * np.sin(heading))
    at = min(max(frame, 0), len(speed) - 1)
    late = (frame - at) * step[at]  # where the point is passed before the clip or after it
    return _Actor(
        look,
        across - across[at] + x - late * np.cos(heading[at]),
        away - away[at] + depth - late * np.sin(heading[at]),
        heading,
        speed,
        np.zeros(len(speed)) if fallen is None else fallen,
        np.full(len(speed), bool(kind)) if abnormal is None else abnormal,
        kind,
    )


def _walkers(settings: DemoSettings, camera: _Camera, rng: np.random.Generator) -> list[_Actor]:
    """Normal people: in each of `walkers` lanes one after another, so that about as many are in view."""
    near, far = _WALKWAY[0] + 0.6, _WALKWAY[1] - 0.6
    actors = []
    for lane in range(settings.walkers):
        depth = near + (far - near) * (lane + rng.random()) / settings.walkers
        edge = camera.edge(depth) + _Person.half_length
        frame = -rng.random() * 2 * edge / _WALK * FRAMES_PER_SECOND
        while frame < settings.frames:
            speed = float(rng.uniform(0.85, 1.15)) * _WALK
            heading = math.pi * int(rng.integers(2))
            entry = (round(frame), -edge * math.cos(heading), depth)
            actors.append(_steady(_random_person(rng), entry, speed, heading, settings.frames))
            frame += 2 * edge / speed * FRAMES_PER_SECOND + rng.uniform(5, 30)
    return actors


def _steady(
    look: _Look, through: tuple[int, float, float], speed: float, heading: float, frames: int, kind: str = ""
) -> _Actor:
    return _actor(look, through, np.full(frames, speed), np.full(frames, heading), kind)


def _events(settings: DemoSettings, index: int, camera: _Camera, rng: np.random.Generator) -> list[_Actor]:
    """The event or the two events of test clip `index`: all of one kind, kinds and variants taking turns."""
    kind = KINDS[index % len(KINDS)]
    earlier = range(index % len(KINDS), index, len(KINDS))
    done = sum(_event_count(clip) for clip in earlier)
    variants = [EVENTS[kind][(done + more) % len(EVENTS[kind])] for more in range(_event_count(index))]
    slots = _slots(len(variants), variants[0], settings.frames)
    return [
        _event(
            kind,
            variant,
            slot,
            leaves=number == 0 and len(slots) == 2,
            camera=camera,
            rng=rng,
            frames=settings.frames,
        )
        for number, (variant, slot) in enumerate(zip(variants, slots))
    ]


def _event_count(index: int) -> int:
    return 1 + index % 2


def _slots(events: int, variant: str, frames: int) -> list[tuple[int, int]]:
    """When the events happen: (first frame, frame after the last)."""
    early, middle, late = (0.06, 0.32), (0.42, 0.76), (0.66, 0.97)
    slow = variant in ("cart", *_LAWNS)
    shares = [early, late] if events == 2 else [late if slow else middle]
    return [(round(start * frames), round(stop * frames)) for start, stop in shares]


def _event(
    kind: str,
    variant: str,
    slot: tuple[int, int],
    leaves: bool,
    camera: _Camera,
    rng: np.random.Generator,
    frames: int,
) -> _Actor:
    """One abnormal object.

    Those that pass through leave the picture at the end of their slot or enter it at its start; those of the
    walkway that fall, cross or stop do so during the slot and walk like everybody before and after.
    """
    heading = math.pi * int(rng.integers(2))
    person = _random_person(rng)
    looks: dict[str, tuple[_Look, float]] = {
        "cart": (_Cart(person, _random_colour(rng, (0.4, 0.9), (0.6, 0.95))), _DRIVE),
        "bicycle": (_Bicycle(person, _random_colour(rng, (0.4, 0.9), (0.4, 0.9))), _RIDE),
        "run": (person, _RUN),
    }
    if variant in ("fall", "cross", "stop"):
        return _interrupted_walk(variant, person, slot, heading, rng, frames)
    look, speed = looks.get(variant, (person, _WALK))
    depth = float(rng.uniform(*_LAWNS.get(variant, (_WALKWAY[0] + 1, _WALKWAY[1] - 1))))
    edge = (camera.edge(depth) + look.half_length) * math.cos(heading)
    through = (slot[1], edge, depth) if leaves else (slot[0], -edge, depth)
    return _steady(look, through, speed * float(rng.uniform(0.92, 1.08)), heading, frames, kind)


def _interrupted_walk(
    variant: str,
    person: _Person,
    slot: tuple[int, int],
    heading: float,
    rng: np.random.Generator,
    frames: int,
) -> _Actor:
    """Somebody who walks along, falls, crosses or stops during the slot near the middle, and walks on."""
    start, stop = slot
    moment = np.arange(frames)
    during = (moment >= start) & (moment < stop)
    change = {"fall": 12, "cross": 6, "stop": 4}[variant]
    event = np.clip(np.minimum(moment - start, stop - 1 - moment) / change, 0, 1)
    speed = _WALK * (1 - event)
    headings = np.full(frames, heading)
    x, depth = float(rng.uniform(-1.5, 1.5)), float(rng.uniform(_WALKWAY[0] + 1, _WALKWAY[1] - 1))
    if variant == "cross":
        speed = _WALK + (_HURRY - _WALK) * event
        towards = bool(rng.integers(2))
        depth = _WALKWAY[1] - 0.6 if towards else _WALKWAY[0] + 0.6
        side = -1 if towards else 1
        headings = heading + side * event * math.pi / 2 * math.cos(heading)
    fallen = event if variant == "fall" else None
    return _actor(person, (start, x, depth), speed, headings, "motion", during, fallen)


@dataclass(frozen=True)
class _Clip:
    """One generated clip and the truth about it.

    Attributes:
        name: number in its split, from `01`.
        frames: (T, H, W, 3) uint8 RGB.
        masks: (T, H, W) pixels of abnormal objects, also where somebody nearer hides them.
        kinds: kind of the event in each frame, empty where all is normal.
        tracks: rows (track, frame, x1, y1, x2, y2, class, kind) ordered by frame; pixels, right and bottom
            exclusive; boxes span what is inside the picture, also where somebody nearer hides it.
    """

    name: str
    frames: Picture
    masks: NDArray[np.bool_]
    kinds: list[str]
    tracks: list[tuple[int, int, int, int, int, int, str, str]]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(T,) 1 where a frame is abnormal."""
        return np.array([bool(kind) for kind in self.kinds], dtype=np.uint8)


def _clips(split: str, settings: DemoSettings) -> Iterator[_Clip]:
    """All clips of a split, in order."""
    background = _background(
        _camera(settings), _WALKWAY, _LAWN_END, np.random.default_rng([settings.seed, 0])
    )
    names = plan(settings)[split]
    for index, name in enumerate(progress(names, f"demo {split}", unit="clips")):
        yield _film(name, split, index, background, settings)


def _film(name: str, split: str, index: int, background: Picture, settings: DemoSettings) -> _Clip:
    rng = np.random.default_rng([settings.seed, 1 + ["train", "test"].index(split), index])
    camera = _camera(settings)
    events = _events(settings, index, camera, rng) if split == "test" else []
    actors = [*_walkers(settings, camera, rng), *events]
    poses = [actor.poses() for actor in actors]
    sensor = _Sensor(camera, rng)
    clip = _Clip(
        name,
        np.empty((settings.frames, camera.height, camera.width, 3), np.uint8),
        np.zeros((settings.frames, camera.height, camera.width), bool),
        [""] * settings.frames,
        [],
    )
    for frame in range(settings.frames):
        picture, figures = background.copy(), []
        for track, actor in enumerate(actors):
            x, depth = float(actor.x[frame]), float(actor.depth[frame])
            if abs(x) > camera.edge(depth) + 2 * actor.look.half_length:
                continue
            figure = _place(actor.look, poses[track][frame], x, depth, camera)
            figures.append(figure)
            box = _box(figure, camera)
            if box is not None:
                kind = actor.kind if actor.abnormal[frame] else ""
                clip.tracks.append((track, frame, *box, actor.look.name, kind))
                if kind:
                    x1, y1, x2, y2 = box
                    clip.masks[frame, y1:y2, x1:x2] |= _silhouette(figure, box)
                    clip.kinds[frame] = kind
        _paint(picture, figures)
        clip.frames[frame] = sensor.expose(picture, frame, rng)
    return clip


# The data set in files.


def run(out: Path, settings: DemoSettings) -> None:
    """Write the data set in the plain layout, each file whole or absent.

    `train/01.mp4`, `test/01.mp4`; for each test clip `labels/01.csv` (frame, label, kind; a row a frame) and
    `masks/01.npz` (`masks`: (T, H, W) bool of abnormal pixels); for all clips `tracks/<split>/01.csv`
    (track_id, frame, x1, y1, x2, y2, class, kind).

    Args:
        out: folder of the data set.
        settings: number, length and size of the clips, and the seed from which everything follows.

    Raises:
        OutputError: the disk is full or may not be written.
    """
    for clip in _clips("train", settings):
        _write_video(out / "train" / f"{clip.name}.mp4", clip.frames, "mp4v", FRAMES_PER_SECOND)
        _write_tracks(out / "tracks" / "train" / f"{clip.name}.csv", clip)
    for clip in _clips("test", settings):
        _write_video(out / "test" / f"{clip.name}.mp4", clip.frames, "mp4v", FRAMES_PER_SECOND)
        _write_tracks(out / "tracks" / "test" / f"{clip.name}.csv", clip)
        _write_labels(out / "labels" / f"{clip.name}.csv", clip)
        with _opened(out / "masks" / f"{clip.name}.npz") as stream:
            np.savez_compressed(stream, masks=clip.masks)


Layout = Literal["avenue", "shanghaitech", "ped2"]


def write_as(layout: Layout, out: Path, settings: DemoSettings) -> None:
    """Write the same clips in the layout, codec and names of an official benchmark.

    Args:
        layout: whose; ShanghaiTech plays 24 frames a second, Ped2 is gray.
        out: folder in which the official tree is built.
        settings: as for `run`.

    Raises:
        OutputError: the disk is full or may not be written.
    """
    write_train, write_test = {
        "avenue": (_avenue_train, _avenue_test),
        "shanghaitech": (_shanghaitech_train, _shanghaitech_test),
        "ped2": (_ped2_train, _ped2_test),
    }[layout]
    for number, clip in enumerate(_clips("train", settings), start=1):
        write_train(out, number, clip)
    abnormal = []
    for number, clip in enumerate(_clips("test", settings), start=1):
        write_test(out, number, clip)
        abnormal.append(_ranges(clip.labels))
    if layout == "ped2":
        _write_ped2_ranges(out / "UCSDped2" / "Test" / "UCSDped2.m", abnormal)


def _avenue_train(out: Path, number: int, clip: _Clip) -> None:
    _write_video(out / "training_videos" / f"{number:02d}.avi", clip.frames, "XVID", FRAMES_PER_SECOND)


def _avenue_test(out: Path, number: int, clip: _Clip) -> None:
    """The video, and `volLabel`: a 1 x T cell of H x W matrices of 0 and 1."""
    import scipy.io

    _write_video(out / "testing_videos" / f"{number:02d}.avi", clip.frames, "XVID", FRAMES_PER_SECOND)
    cells = np.empty((1, len(clip.masks)), dtype=object)
    for frame, mask in enumerate(clip.masks):
        cells[0, frame] = mask.astype(np.uint8)
    with replacing(out / "ground_truth_demo" / "testing_label_mask" / f"{number}_label.mat") as part:
        scipy.io.savemat(part, {"volLabel": cells}, appendmat=False, do_compression=True)


def _shanghaitech_train(out: Path, number: int, clip: _Clip) -> None:
    _write_video(out / "training" / "videos" / f"01_{number:03d}.avi", clip.frames, "XVID", 24)


def _shanghaitech_test(out: Path, number: int, clip: _Clip) -> None:
    """Frames as JPEG; the official test clips of the first camera start with 01_0014, and so do these."""
    name = f"01_{13 + number:04d}"
    _write_pictures(out / "testing" / "frames" / name, clip.frames, "{:03d}.jpg", first=0)
    for folder, truth in (("test_frame_mask", clip.labels), ("test_pixel_mask", clip.masks.astype(np.uint8))):
        with _opened(out / "testing" / folder / f"{name}.npy") as stream:
            np.save(stream, truth)


def _ped2_train(out: Path, number: int, clip: _Clip) -> None:
    _write_pictures(out / "UCSDped2" / "Train" / f"Train{number:03d}", _gray(clip.frames), "{:03d}.tif")


def _ped2_test(out: Path, number: int, clip: _Clip) -> None:
    """Frames as TIFF, masks as BMP, which in three of the official clips are named otherwise."""
    folder = out / "UCSDped2" / "Test"
    _write_pictures(folder / f"Test{number:03d}", _gray(clip.frames), "{:03d}.tif")
    masks = clip.masks.astype(np.uint8) * np.uint8(255)
    name = "frame{:03d}.bmp" if number in (6, 9, 12) else "{:03d}.bmp"
    _write_pictures(folder / f"Test{number:03d}_gt", masks, name)


def _write_ped2_ranges(path: Path, abnormal: Sequence[Sequence[tuple[int, int]]]) -> None:
    """The abnormal frames of each test clip, counted from 1, both ends included."""
    lines = ["TestVideoFile = {};"]
    for ranges in abnormal:
        text = ", ".join(f"{start + 1}:{stop}" for start, stop in ranges)
        lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{text}];")
    with _opened(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())


def _ranges(labels: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Stretches of ones: (first frame, frame after the last)."""
    steps = np.diff(np.concatenate([[0], labels.astype(int), [0]]))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist()))


def _gray(frames: Picture) -> Picture:
    """(T, H, W) luma of ITU-R BT.601."""
    gray: Picture = np.rint(frames @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.uint8)
    return gray


def _write_labels(path: Path, clip: _Clip) -> None:
    rows = [f"{frame},{int(bool(kind))},{kind}\n" for frame, kind in enumerate(clip.kinds)]
    with _opened(path) as stream:
        stream.write("".join(["frame,label,kind\n", *rows]).encode())


def _write_tracks(path: Path, clip: _Clip) -> None:
    rows = [",".join(map(str, row)) + "\n" for row in clip.tracks]
    with _opened(path) as stream:
        stream.write("".join(["track_id,frame,x1,y1,x2,y2,class,kind\n", *rows]).encode())


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its place when whole."""
    with replacing(path) as part, part.open("wb") as stream:
        yield stream


def _write_video(path: Path, frames: Picture, codec: str, rate: int) -> None:
    """Write (T, H, W, 3) RGB frames; OpenCV takes the container from the suffix."""
    import cv2

    size = frames.shape[2], frames.shape[1]
    with replacing(path) as part:
        film = part.with_suffix(path.suffix)
        writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*codec), rate, size)
        try:
            if not writer.isOpened():
                raise OutputError(f"cannot write {path}: OpenCV opens no {codec} video there; see the folder")
            for frame in frames:
                writer.write(frame[..., ::-1])
            writer.release()
            film.replace(part)
        finally:
            writer.release()
            film.unlink(missing_ok=True)


def _write_pictures(folder: Path, pictures: Picture, name: str, first: int = 1) -> None:
    """Write (T, H, W, 3) RGB or (T, H, W) gray pictures, numbered from `first`, as one folder."""
    with replacing(folder) as part:
        part.mkdir()
        for number, picture in enumerate(pictures, start=first):
            (part / name.format(number)).write_bytes(_encoded(Path(name).suffix, picture))


def _encoded(suffix: str, picture: Picture) -> bytes:
    """An RGB or gray picture as the bytes of a file."""
    import cv2

    done, data = cv2.imencode(suffix, picture if picture.ndim == 2 else picture[..., ::-1])
    if not done:
        raise OutputError(f"OpenCV cannot write pictures as {suffix}; reinstall opencv-python")
    return bytes(data)


# Pictures for a detector.


def write_detector_pictures(out: Path, settings: DemoSettings) -> None:
    """Write a detection data set in the layout that ultralytics reads, to train a small general detector.

    Its scenes have other cameras, backgrounds and people than the clips. Objects of all classes stand
    anywhere, also on the lawns, in any pose and direction: nothing in it says what is normal.

    Args:
        out: folder, replaced as a whole: `images/{train,val}/*.jpg`, `labels/{train,val}/*.txt`, `data.yaml`.
        settings: `detector_images` pictures of `width` x `height`.

    Raises:
        OutputError: the disk is full or may not be written.
    """
    with replacing(out) as part:
        for split in ("train", "val"):
            (part / "images" / split).mkdir(parents=True)
            (part / "labels" / split).mkdir(parents=True)
        names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
        (part / "data.yaml").write_text(
            f"path: {json.dumps(str(out.resolve()))}\ntrain: images/train\nval: images/val\nnames:\n{names}"
        )
        pictures = _detector_pictures(settings)
        for split, name, picture, labels in progress(
            pictures, "detector pictures", total=settings.detector_images, unit="pictures"
        ):
            (part / "images" / split / f"{name}.jpg").write_bytes(_encoded(".jpg", picture))
            (part / "labels" / split / f"{name}.txt").write_text("".join(labels))


def _detector_pictures(settings: DemoSettings) -> Iterator[tuple[str, str, Picture, list[str]]]:
    """Split, name, picture and label lines; both splits have scenes of their own."""
    scenes = max(2, settings.detector_images // _PICTURES_PER_SCENE)
    for scene in range(scenes):
        split = "val" if scene % _VALIDATION_EVERY == 0 else "train"
        rng = np.random.default_rng([settings.seed, 3, scene])
        camera, near, far = _any_camera(settings, rng)
        walkway = near + (far - near) * rng.uniform(0, 0.3), near + (far - near) * rng.uniform(0.45, 0.8)
        background = _background(camera, walkway, 1.05 * far, rng)
        sensor = _Sensor(camera, rng)
        for number in range(scene, settings.detector_images, scenes):
            figures, classes = _anything_anywhere(camera, near, far, rng)
            picture = background.copy()
            _paint(picture, figures)
            picture = sensor.expose(picture, int(rng.integers(1000)), rng)
            yield split, f"{number:05d}", picture, _label_lines(figures, classes, camera)


def _any_camera(settings: DemoSettings, rng: np.random.Generator) -> tuple[_Camera, float, float]:
    """A camera, and the distances between which figures stand in its picture."""
    height = settings.height
    camera = _Camera(
        settings.width,
        height,
        focal=height * float(rng.uniform(1.9, 2.4)),
        horizon=-height * float(rng.uniform(0.1, 0.4)),
        above_ground=float(rng.uniform(4.5, 7.5)),
    )
    near, far = (
        camera.focal * camera.above_ground / (row * height - camera.horizon)
        for row in (0.98, float(rng.uniform(0.26, 0.4)))
    )
    return camera, near, far


def _anything_anywhere(
    camera: _Camera, near: float, far: float, rng: np.random.Generator
) -> tuple[list[_Placed], list[int]]:
    """Up to nine figures, spread evenly over the rows of the picture rather than over the ground."""
    figures, classes = [], []
    for _ in range(rng.integers(0, 10)):
        look = _any_look(rng)
        depth = 1 / float(rng.uniform(1 / far, 1 / near))
        x = float(rng.uniform(-1, 1)) * camera.edge(depth)
        figures.append(_place(look, _any_pose(look, rng), x, depth, camera))
        classes.append(CLASSES.index(look.name))
    return figures, classes


def _label_lines(figures: Sequence[_Placed], classes: Sequence[int], camera: _Camera) -> list[str]:
    """Class, middle and size of each box as shares of the picture; none for what is mostly hidden."""
    lines = []
    for figure, number in zip(figures, classes):
        box = _box(figure, camera)
        nearer = [other for other in figures if other.depth < figure.depth]
        if box is not None and _visible_share(figure, box, nearer) > _VISIBLE:
            x1, y1, x2, y2 = box
            width, height = camera.width, camera.height
            shares = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
            lines.append(f"{number} {' '.join(f'{share:.6f}' for share in shares)}\n")
    return lines


def _any_look(rng: np.random.Generator) -> _Look:
    person = _random_person(rng)
    paint = _random_colour(rng, (0.2, 0.95), (0.3, 0.95))
    name = rng.choice(CLASSES, p=(0.66, 0.17, 0.17))
    looks: dict[str, _Look] = {
        "person": person,
        "bicycle": _Bicycle(person, paint),
        "cart": _Cart(person, paint),
    }
    return looks[str(name)]


def _any_pose(look: _Look, rng: np.random.Generator) -> _Pose:
    turned = rng.uniform(-math.pi / 2, math.pi / 2) if rng.random() < 0.4 else 0.0
    heading = math.pi * int(rng.integers(2)) + turned
    fallen = float(rng.uniform(0.3, 1)) if rng.random() < 0.1 else 0.0
    return _Pose(float(heading), float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0, 0.8)), fallen)


def _visible_share(figure: _Placed, box: Box, nearer: Sequence[_Placed]) -> float:
    """How much of a figure, within its box, nearer ones leave to be seen."""
    covered = _silhouette(figure, box)
    hidden = np.zeros_like(covered)
    for other in nearer:
        hidden |= _silhouette(other, box)
    return 1 - float((covered & hidden).sum()) / max(1, int(covered.sum()))

"""People: how they look and how their bodies move, as coloured polygons."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastaed.walkway.shapes import Bone, Colour, Figure, Point, capsules, darker, random_colour

_HAIR: tuple[Colour, ...] = ((24, 20, 18), (58, 40, 28), (96, 66, 40), (150, 118, 70), (120, 118, 116))


@dataclass(frozen=True)
class Person:
    """How somebody looks: height in metres, girth relative to the average, clothes and skin.

    `half_length` (of all looks): metres from the middle to either end, seen from the side.
    """

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
class Pose:
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


def random_person(rng: np.random.Generator) -> Person:
    """Somebody nobody has seen before."""
    skin = float(rng.uniform(0.35, 1))
    return Person(
        height=float(rng.uniform(1.55, 1.9)),
        girth=float(rng.uniform(0.88, 1.2)),
        shirt=random_colour(rng, (0.1, 0.85), (0.3, 0.95)),
        trousers=random_colour(rng, (0.05, 0.5), (0.12, 0.5)),
        skin=(int(232 * skin), int(190 * skin), int(162 * skin)),
        hair=_HAIR[rng.integers(len(_HAIR))],
        bag=random_colour(rng, (0.2, 0.9), (0.2, 0.8)) if rng.random() < 0.3 else None,
        coat=bool(rng.random() < 0.3),
    )


def person_shapes(look: Person, pose: Pose) -> Figure:
    """Somebody in this pose, from the far side of the body to the near one."""
    return _fallen(capsules(_body(look, pose)), look, pose)


def _body(look: Person, pose: Pose) -> list[Bone]:
    """Bones of a walking, running or standing person, from the far side of the body to the near one."""
    h, swing = look.height, pose.swing
    forward, sideways = math.cos(pose.heading), -math.sin(pose.heading)
    running = min(1.0, max(0.0, (swing - 0.45) / 0.3))
    near = 1 if forward >= 0 else -1
    legs = {side: _leg(h, pose.phase + (0 if side > 0 else math.pi), swing) for side in (1, -1)}
    hip = -min(ankle[1] for _, ankle in legs.values()) + 0.03 * h
    lean = 0.05 + 0.2 * running

    def at(ahead: float, left: float, up: float) -> Point:
        return h * left * sideways + ahead * forward, up

    def trunk(up: float, left: float = 0.0) -> Point:
        return at(math.sin(lean) * up * h, left, hip + math.cos(lean) * up * h)

    def leg(side: int) -> list[Bone]:
        knee, ankle = legs[side]
        tone = look.trousers if side == near else darker(look.trousers)
        top, bend = at(0, 0.045 * side, hip), at(knee[0], 0.045 * side, hip + knee[1])
        sole = at(ankle[0], 0.05 * side, hip + ankle[1])
        toe = at(ankle[0] + 0.085 * h, 0.055 * side, hip + ankle[1] - 0.012 * h)
        width = h * look.girth
        return [
            (sole, toe, 0.021 * h, 0.018 * h, (34, 30, 30)),
            (bend, sole, 0.036 * width, 0.026 * width, tone),
            (top, bend, 0.052 * width, 0.038 * width, tone),
        ]

    def arm(side: int) -> list[Bone]:
        upper = -0.9 * swing * math.sin(pose.phase + (0 if side > 0 else math.pi))
        lower = upper + 0.2 + 0.4 * swing + 1.0 * running
        spread = (0.075 + 0.03 * abs(sideways)) * side
        shoulder = trunk(0.30, spread)
        ahead = math.sin(lean) * 0.30 * h + 0.165 * h * math.sin(upper)
        up = hip + 0.30 * h - 0.165 * h * math.cos(upper)
        elbow = at(ahead, spread * 1.15, up)
        hand = at(ahead + 0.15 * h * math.sin(lower), spread * 1.2, up - 0.15 * h * math.cos(lower))
        tone = look.shirt if side == near else darker(look.shirt)
        return [
            (shoulder, elbow, 0.032 * h * look.girth, 0.027 * h, darker(tone, 0.9)),
            (elbow, hand, 0.025 * h, 0.02 * h, look.skin if look.girth > 1.05 else darker(tone, 0.9)),
            (hand, hand, 0.021 * h, 0.021 * h, look.skin),
        ]

    breadth = h * look.girth * (0.066 + 0.03 * abs(sideways))
    torso: list[Bone] = [(trunk(0.02), trunk(0.28), 0.9 * breadth, breadth, look.shirt)]
    if look.coat:
        torso.append((trunk(-0.12), trunk(0.1), 1.05 * breadth, 0.9 * breadth, look.shirt))
    if look.bag is not None:
        bag: Bone = (
            at(-0.1 * h, 0, hip + 0.13 * h),
            at(-0.09 * h, 0, hip + 0.24 * h),
            0.05 * h,
            0.045 * h,
            look.bag,
        )
        torso.insert(0 if sideways >= 0 else len(torso), bag)
    return [*arm(-near), *leg(-near), *leg(near), *torso, *_head(look, trunk, forward, sideways), *arm(near)]


def _leg(height: float, phase: float, swing: float) -> tuple[Point, Point]:
    """Knee and ankle below the hip, (ahead, up) in metres; the knee bends while the thigh swings forward."""
    thigh = swing * math.sin(phase)
    shin = thigh - swing * (0.25 + 1.1 * max(0.0, math.cos(phase)))
    bone = 0.245 * height
    knee = bone * math.sin(thigh), -bone * math.cos(thigh)
    return knee, (knee[0] + bone * math.sin(shin), knee[1] - bone * math.cos(shin))


def _head(look: Person, trunk: Callable[[float], Point], forward: float, sideways: float) -> list[Bone]:
    h = look.height
    (neck_x, neck_y), (x, y) = trunk(0.33), trunk(0.42)
    hair_x, size = x - 0.022 * h * forward, (0.06 if sideways < -0.5 else 0.05) * h
    return [
        ((neck_x, neck_y), (x, y), 0.028 * h, 0.03 * h, look.skin),
        ((x, y - 0.012 * h), (x, y + 0.02 * h), 0.052 * h, 0.056 * h, look.skin),
        ((hair_x, y + 0.014 * h), (x, y + 0.042 * h), size, 0.042 * h, look.hair),
    ]


def _fallen(shapes: Figure, look: Person, pose: Pose) -> Figure:
    """The body tipped over its feet in walking direction."""
    if pose.fallen == 0:
        return shapes
    tilt = 0.48 * math.pi * pose.fallen * (1 if math.cos(pose.heading) >= 0 else -1)
    turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    lift = 0.09 * look.height * abs(math.sin(tilt))
    return [(polygon @ turn + (0.0, lift), colour) for polygon, colour in shapes]

"""Who is in a clip and what they do: the normal walkers, and the events of the test clips.

Everybody walks along the walkway, left or right, at a walking pace. An event is abnormal by *look* (a cart, a
bicycle), by *motion* (running, falling, crossing, stopping) or by *place* (on the lawn).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastaed.config import DemoSettings
from fastaed.walkway.camera import FRAMES_PER_SECOND, Camera
from fastaed.walkway.figures import Look
from fastaed.walkway.people import Person, Pose, random_person
from fastaed.walkway.scenery import LAWNS, WALKWAY
from fastaed.walkway.shapes import random_colour
from fastaed.walkway.vehicles import Bicycle, Cart

EVENTS = {
    "look": ("cart", "bicycle"),
    "motion": ("run", "fall", "cross", "stop"),
    "place": ("far lawn", "near lawn"),
}
KINDS = tuple(EVENTS)
WALK, HURRY, RUN, RIDE, DRIVE = 1.35, 1.9, 4.8, 5.2, 3.2  # metres a second

Waypoint = tuple[int, float, float]  # frame, and x and depth in metres


@dataclass(frozen=True)
class Actor:
    """One object of a clip and its whole route.

    Attributes:
        look: what it looks like.
        x: (T,) metres to the right of the middle of the picture.
        depth: (T,) metres from the camera.
        heading: (T,) radians, see `Pose`.
        speed: (T,) metres a second.
        fallen: (T,) 0 upright to 1 lying.
        abnormal: (T,) whether this is an event.
        kind: what kind of event, empty where it never is one.
    """

    look: Look
    x: NDArray[np.float64]
    depth: NDArray[np.float64]
    heading: NDArray[np.float64]
    speed: NDArray[np.float64]
    fallen: NDArray[np.float64]
    abnormal: NDArray[np.bool_]
    kind: str

    def poses(self) -> list[Pose]:
        """The body in each frame: faster people take longer steps and swing their legs further."""
        known = (0.0, WALK, RUN)
        swing = np.interp(self.speed, known, (0.0, 0.42, 0.78))
        cycle = 4.0 if isinstance(self.look, Bicycle) else np.interp(self.speed, known, (1.2, 1.45, 2.9))
        phase = self.x[0] + np.cumsum(2 * math.pi * self.speed / FRAMES_PER_SECOND / cycle)
        return [Pose(*map(float, row)) for row in zip(self.heading, phase, swing, self.fallen)]


def walkers(settings: DemoSettings, camera: Camera, rng: np.random.Generator) -> list[Actor]:
    """Normal people: in each of `walkers` lanes one after another, so that about as many are in view."""
    near, far = WALKWAY[0] + 0.6, WALKWAY[1] - 0.6
    actors = []
    for lane in range(settings.walkers):
        depth = near + (far - near) * (lane + rng.random()) / settings.walkers
        edge = camera.edge(depth) + Person.half_length
        frame = -rng.random() * 2 * edge / WALK * FRAMES_PER_SECOND
        while frame < settings.frames:
            speed = float(rng.uniform(0.85, 1.15)) * WALK
            heading = math.pi * int(rng.integers(2))
            entry = (round(frame), -edge * math.cos(heading), depth)
            actors.append(steady_actor(random_person(rng), entry, speed, heading, settings.frames))
            frame += 2 * edge / speed * FRAMES_PER_SECOND + rng.uniform(5, 30)
    return actors


def event_actors(settings: DemoSettings, index: int, camera: Camera, rng: np.random.Generator) -> list[Actor]:
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
            leaves=number == 0 and len(slots) == 2,  # to make room for the other
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
    slow = variant in ("cart", *LAWNS)
    shares = [early, late] if events == 2 else [late if slow else middle]
    return [(round(start * frames), round(stop * frames)) for start, stop in shares]


def _event(
    kind: str,
    variant: str,
    slot: tuple[int, int],
    leaves: bool,
    camera: Camera,
    rng: np.random.Generator,
    frames: int,
) -> Actor:
    """One abnormal object.

    Those that pass through leave the picture at the end of their slot or enter it at its start; those of the
    walkway that fall, cross or stop do so during the slot and walk like everybody before and after.
    """
    heading = math.pi * int(rng.integers(2))
    person = random_person(rng)
    looks: dict[str, tuple[Look, float]] = {
        "cart": (Cart(person, random_colour(rng, (0.4, 0.9), (0.6, 0.95))), DRIVE),
        "bicycle": (Bicycle(person, random_colour(rng, (0.4, 0.9), (0.4, 0.9))), RIDE),
        "run": (person, RUN),
    }
    if variant in ("fall", "cross", "stop"):
        return _interrupted_walk(variant, person, slot, heading, rng, frames)
    look, speed = looks.get(variant, (person, WALK))
    depth = float(rng.uniform(*LAWNS.get(variant, (WALKWAY[0] + 1, WALKWAY[1] - 1))))
    edge = (camera.edge(depth) + look.half_length) * math.cos(heading)
    through = (slot[1], edge, depth) if leaves else (slot[0], -edge, depth)
    return steady_actor(look, through, speed * float(rng.uniform(0.92, 1.08)), heading, frames, kind)


def _interrupted_walk(
    variant: str,
    person: Person,
    slot: tuple[int, int],
    heading: float,
    rng: np.random.Generator,
    frames: int,
) -> Actor:
    """Somebody who walks along, falls, crosses or stops during the slot near the middle, and walks on."""
    start, stop = slot
    moment = np.arange(frames)
    during = (moment >= start) & (moment < stop)
    change = {"fall": 12, "cross": 6, "stop": 4}[variant]
    event = np.clip(np.minimum(moment - start, stop - 1 - moment) / change, 0, 1)
    speed = WALK * (1 - event)
    headings = np.full(frames, heading)
    x, depth = float(rng.uniform(-1.5, 1.5)), float(rng.uniform(WALKWAY[0] + 1, WALKWAY[1] - 1))
    if variant == "cross":
        speed = WALK + (HURRY - WALK) * event
        towards = bool(rng.integers(2))
        depth = WALKWAY[1] - 0.6 if towards else WALKWAY[0] + 0.6
        side = -1 if towards else 1
        headings = heading + side * event * math.pi / 2 * math.cos(heading)
    fallen = event if variant == "fall" else None
    return _actor(person, (start, x, depth), speed, headings, "motion", during, fallen)


def steady_actor(
    look: Look, through: Waypoint, speed: float, heading: float, frames: int, kind: str = ""
) -> Actor:
    """Somebody who passes a point at constant speed (metres a second) and heading (radians)."""
    return _actor(look, through, np.full(frames, speed), np.full(frames, heading), kind)


def _actor(
    look: Look,
    through: Waypoint,
    speed: NDArray[np.float64],
    heading: NDArray[np.float64],
    kind: str = "",
    abnormal: NDArray[np.bool_] | None = None,
    fallen: NDArray[np.float64] | None = None,
) -> Actor:
    """The actor whose route, the sum of its velocities, passes a point."""
    frame, x, depth = through
    step = speed / FRAMES_PER_SECOND
    across, away = np.cumsum(step * np.cos(heading)), np.cumsum(step * np.sin(heading))
    at = min(max(frame, 0), len(speed) - 1)
    late = (frame - at) * step[at]  # where the point is passed before the clip or after it
    return Actor(
        look,
        across - across[at] + x - late * np.cos(heading[at]),
        away - away[at] + depth - late * np.sin(heading[at]),
        heading,
        speed,
        np.zeros(len(speed)) if fallen is None else fallen,
        np.full(len(speed), bool(kind)) if abnormal is None else abnormal,
        kind,
    )

"""Generated clips and the truth about them.

Everything follows from `DemoSettings.seed`: the background from the stream (seed, 0), training and test clips
from (seed, 1, index) and (seed, 2, index), so that more clips leave the first ones as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastaed.config import DemoSettings
from fastaed.progress import progress
from fastaed.walkway.actors import Actor, event_actors, walkers
from fastaed.walkway.camera import Camera, Picture, Sensor, clip_camera
from fastaed.walkway.figures import Placed, paint, place, silhouette, visible_box
from fastaed.walkway.scenery import LAWN_END, WALKWAY, background_picture

Track = tuple[int, int, int, int, int, int, str, str]  # track, frame, x1, y1, x2, y2, class, kind


@dataclass(frozen=True)
class Clip:
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
    tracks: list[Track]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(T,) 1 where a frame is abnormal."""
        return np.array([bool(kind) for kind in self.kinds], dtype=np.uint8)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Stretches of abnormal frames: (first frame, frame after the last)."""
        steps = np.diff(np.concatenate([[0], self.labels.astype(int), [0]]))
        return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist()))


def plan(settings: DemoSettings) -> dict[str, list[str]]:
    """Names of the clips of each split, in order."""
    return {"train": _numbers(settings.train_clips), "test": _numbers(settings.test_clips)}


def _numbers(count: int) -> list[str]:
    return [f"{number:02d}" for number in range(1, count + 1)]


def film(split: str, settings: DemoSettings) -> Iterator[Clip]:
    """Film all clips of a split, in order."""
    background = background_picture(
        clip_camera(settings), WALKWAY, LAWN_END, np.random.default_rng([settings.seed, 0])
    )
    names = plan(settings)[split]
    for index, name in enumerate(progress(names, f"demo {split}", unit="clips")):
        yield _clip(name, split, index, background, settings)


def _clip(name: str, split: str, index: int, background: Picture, settings: DemoSettings) -> Clip:
    rng = np.random.default_rng([settings.seed, {"train": 1, "test": 2}[split], index])
    camera = clip_camera(settings)
    abnormal = event_actors(settings, index, camera, rng) if split == "test" else []
    actors = [*walkers(settings, camera, rng), *abnormal]
    poses = [actor.poses() for actor in actors]
    sensor = Sensor(camera, rng)
    clip = _blank(name, settings)
    for frame in range(settings.frames):
        figures = {
            track: place(actor.look, pose[frame], float(actor.x[frame]), float(actor.depth[frame]), camera)
            for track, (actor, pose) in enumerate(zip(actors, poses))
            if _near_the_picture(actor, frame, camera)
        }
        picture = background.copy()
        paint(picture, figures.values())
        clip.frames[frame] = sensor.expose(picture, frame, rng)
        for track, figure in figures.items():
            _note(clip, track, frame, actors[track], figure, camera)
    return clip


def _blank(name: str, settings: DemoSettings) -> Clip:
    size = settings.frames, settings.height, settings.width
    return Clip(name, np.empty((*size, 3), np.uint8), np.zeros(size, bool), [""] * settings.frames, [])


def _near_the_picture(actor: Actor, frame: int, camera: Camera) -> bool:
    """Whether any of it may be in view; leaves out what costs time and shows nothing."""
    edge = camera.edge(float(actor.depth[frame]))
    return abs(float(actor.x[frame])) <= edge + 2 * actor.look.half_length


def _note(clip: Clip, track: int, frame: int, actor: Actor, figure: Placed, camera: Camera) -> None:
    """Add the truth about one figure in one frame to the clip's, if enough of it is in view."""
    box = visible_box(figure, camera)
    if box is None:
        return
    kind = actor.kind if actor.abnormal[frame] else ""
    clip.tracks.append((track, frame, *box, actor.look.name, kind))
    if kind:
        x1, y1, x2, y2 = box
        clip.masks[frame, y1:y2, x1:x2] |= silhouette(figure, box)
        clip.kinds[frame] = kind

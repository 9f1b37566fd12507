"""Pictures with labels to train a small general detector on, in the layout that ultralytics reads.

Scene n follows from the stream (seed, 3, n).
"""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fastaed.config import DemoSettings
from fastaed.files import replacing
from fastaed.progress import progress
from fastaed.walkway.camera import Camera, Picture, Sensor
from fastaed.walkway.figures import CLASSES, Box, Look, Placed, paint, place, silhouette, visible_box
from fastaed.walkway.media import encoded_picture
from fastaed.walkway.people import Pose, random_person
from fastaed.walkway.scenery import background_picture
from fastaed.walkway.shapes import random_colour
from fastaed.walkway.vehicles import Bicycle, Cart

_PICTURES_PER_SCENE = 4  # painting a background costs as much as four frames
_VALIDATION_EVERY = 7  # one scene in so many is for validation
_VISIBLE = 0.35  # share of a figure that nearer ones leave to be seen, from which the detector must find it


def write_detector_pictures(out: Path, settings: DemoSettings) -> None:
    """Write a detection data set.

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
        pictures = _pictures(settings)
        for split, name, picture, labels in progress(
            pictures, "detector pictures", total=settings.detector_images, unit="pictures"
        ):
            (part / "images" / split / f"{name}.jpg").write_bytes(encoded_picture(".jpg", picture))
            (part / "labels" / split / f"{name}.txt").write_text("".join(labels))


def _pictures(settings: DemoSettings) -> Iterator[tuple[str, str, Picture, list[str]]]:
    """Split, name, picture and label lines; both splits have scenes of their own."""
    scenes = max(2, settings.detector_images // _PICTURES_PER_SCENE)
    for scene in range(scenes):
        split = "val" if scene % _VALIDATION_EVERY == 0 else "train"
        rng = np.random.default_rng([settings.seed, 3, scene])
        camera, near, far = _any_camera(settings, rng)
        walkway = near + (far - near) * rng.uniform(0, 0.3), near + (far - near) * rng.uniform(0.45, 0.8)
        background = background_picture(camera, walkway, 1.05 * far, rng)
        sensor = Sensor(camera, rng)
        for number in range(scene, settings.detector_images, scenes):
            figures, classes = _anything_anywhere(camera, near, far, rng)
            picture = background.copy()
            paint(picture, figures)
            picture = sensor.expose(picture, int(rng.integers(1000)), rng)
            yield split, f"{number:05d}", picture, _label_lines(figures, classes, camera)


def _any_camera(settings: DemoSettings, rng: np.random.Generator) -> tuple[Camera, float, float]:
    """A camera, and the distances between which figures stand in its picture."""
    height = settings.height
    camera = Camera(
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
    camera: Camera, near: float, far: float, rng: np.random.Generator
) -> tuple[list[Placed], list[int]]:
    """Up to nine figures, spread evenly over the rows of the picture rather than over the ground."""
    figures, classes = [], []
    for _ in range(rng.integers(0, 10)):
        look = _any_look(rng)
        depth = 1 / float(rng.uniform(1 / far, 1 / near))
        x = float(rng.uniform(-1, 1)) * camera.edge(depth)
        figures.append(place(look, _any_pose(rng), x, depth, camera))
        classes.append(CLASSES.index(look.name))
    return figures, classes


def _any_look(rng: np.random.Generator) -> Look:
    person = random_person(rng)
    paint = random_colour(rng, (0.2, 0.95), (0.3, 0.95))
    name = rng.choice(CLASSES, p=(0.66, 0.17, 0.17))
    looks: dict[str, Look] = {
        "person": person,
        "bicycle": Bicycle(person, paint),
        "cart": Cart(person, paint),
    }
    return looks[str(name)]


def _any_pose(rng: np.random.Generator) -> Pose:
    turned = rng.uniform(-math.pi / 2, math.pi / 2) if rng.random() < 0.4 else 0.0
    heading = math.pi * int(rng.integers(2)) + turned
    fallen = float(rng.uniform(0.3, 1)) if rng.random() < 0.1 else 0.0
    return Pose(float(heading), float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0, 0.8)), fallen)


def _label_lines(figures: Sequence[Placed], classes: Sequence[int], camera: Camera) -> list[str]:
    """Class, middle and size of each box as shares of the picture; none for what is mostly hidden."""
    lines = []
    for figure, number in zip(figures, classes):
        box = visible_box(figure, camera)
        nearer = [other for other in figures if other.depth < figure.depth]
        if box is not None and _visible_share(figure, box, nearer) > _VISIBLE:
            x1, y1, x2, y2 = box
            width, height = camera.width, camera.height
            shares = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
            lines.append(f"{number} {' '.join(f'{share:.6f}' for share in shares)}\n")
    return lines


def _visible_share(figure: Placed, box: Box, nearer: Sequence[Placed]) -> float:
    """How much of a figure, within its box, nearer ones leave to be seen."""
    covered = silhouette(figure, box)
    hidden = np.zeros_like(covered)
    for other in nearer:
        hidden |= silhouette(other, box)
    return 1 - float((covered & hidden).sum()) / max(1, int(covered.sum()))

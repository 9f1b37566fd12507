"""Figures in the picture: silhouettes, boxes and paint agree, and nearer figures hide farther ones."""

import math

import cv2
import numpy as np
import pytest

from fastaed.config import DemoSettings
from fastaed.walkway import figures
from fastaed.walkway.camera import clip_camera
from fastaed.walkway.figures import CLASSES, Look, paint, place, silhouette, visible_box
from fastaed.walkway.people import Pose, random_person
from fastaed.walkway.vehicles import Bicycle, Cart


def look(name: str, seed: int = 3) -> Look:
    person = random_person(np.random.default_rng(seed))
    looks: dict[str, Look] = {
        "person": person,
        "bicycle": Bicycle(person, (200, 60, 40)),
        "cart": Cart(person, (240, 200, 60)),
    }
    return looks[name]


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("heading", [0.0, math.pi])
def test_a_silhouette_is_what_painting_changes(name: str, heading: float) -> None:
    camera = clip_camera(DemoSettings())
    placed = place(look(name), Pose(heading, 1.0, 0.4), 0.3, 14.0, camera)
    painted = np.full((180, 320, 3), (255, 0, 255), np.uint8)
    shadow = painted.copy()
    paint(painted, [placed])
    figures._shadow(shadow, placed)
    box = visible_box(placed, camera)
    assert box is not None
    x1, y1, x2, y2 = box
    covered = np.zeros((180, 320), bool)
    covered[y1:y2, x1:x2] = silhouette(placed, box)
    changed = (painted != shadow).any(axis=2)
    near = cv2.dilate(covered.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)  # antialiasing
    assert not (changed & ~near).any()
    assert (changed & covered).sum() > 0.98 * covered.sum()


def test_the_nearer_figure_hides_the_farther() -> None:
    camera = clip_camera(DemoSettings())
    near = place(look("cart"), Pose(0, 0, 0), 0.0, 13.0, camera)
    far = place(look("person"), Pose(0, 0, 0.3), 0.0, 15.0, camera)
    alone, both = np.zeros((180, 320, 3), np.uint8), np.zeros((180, 320, 3), np.uint8)
    paint(alone, [near])
    paint(both, [near, far])
    box = visible_box(near, camera)
    assert box is not None
    x1, y1, x2, y2 = box
    inner = cv2.erode(silhouette(near, box).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert np.array_equal(alone[y1:y2, x1:x2][inner], both[y1:y2, x1:x2][inner])
    assert (alone != both).any()


@pytest.mark.parametrize("x", [-30.0, -6.6, -6.0, 0.0, 5.5, 6.4, 30.0])
def test_a_box_is_of_the_visible_part_and_needs_enough_of_it(x: float) -> None:
    """Literal twin: paint on a wide canvas, cut the picture out, look for the outermost painted pixels."""
    camera = clip_camera(DemoSettings())
    placed = place(look("cart"), Pose(0, 0, 0), x, 14.0, camera)
    wide = silhouette(placed, (-1000, -1000, 1320, 1180))[1000:1180, 1000:1320]
    seen = [(u, v) for v in range(180) for u in range(320) if wide[v, u]]
    box = visible_box(placed, camera)
    left, top, right, bottom = placed.whole
    if not seen:
        assert box is None
        return
    columns, rows = zip(*seen)
    reach = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
    share = (reach[2] - reach[0]) * (reach[3] - reach[1]) / ((right - left) * (bottom - top))
    assert (box is not None) == (share > 0.25)
    if box is not None:
        assert np.abs(np.subtract(box, reach)).max() <= 1

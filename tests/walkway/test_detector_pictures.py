"""Labels of the detector's pictures; the files are tested with `fastaed.demo`."""

import numpy as np
import pytest

from fastaed.config import DemoSettings
from fastaed.walkway import detector_pictures
from fastaed.walkway.camera import clip_camera
from fastaed.walkway.figures import place, visible_box
from fastaed.walkway.people import Pose, random_person
from fastaed.walkway.vehicles import Cart


def test_hidden_figures_have_no_label() -> None:
    camera = clip_camera(DemoSettings())
    person = random_person(np.random.default_rng(3))
    walking = Pose(0, 1.2, 0.4)
    near = place(person, walking, 0.0, 12.0, camera)
    behind = place(person, walking, 0.0, 12.1, camera)
    beside = place(Cart(person, (240, 200, 60)), walking, 3.0, 12.6, camera)
    lines = detector_pictures._label_lines([behind, near, beside], [0, 0, 2], camera)
    assert [line.split()[0] for line in lines] == ["0", "2"]
    x1, y1, x2, y2 = visible_box(near, camera) or (0, 0, 0, 0)
    values = [float(value) for value in lines[0].split()[1:]]
    expected = [(x1 + x2) / 640, (y1 + y2) / 360, (x2 - x1) / 320, (y2 - y1) / 180]
    assert values == pytest.approx(expected, abs=1e-6)

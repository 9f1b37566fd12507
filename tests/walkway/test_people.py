"""People stand on the ground, whatever their legs do."""

import math

import numpy as np

from fastaed.walkway.people import Pose, person_shapes, random_person


def test_walking_feet_stay_on_the_ground() -> None:
    person = random_person(np.random.default_rng(3))
    for phase in np.linspace(0, 2 * math.pi, 9):
        corners = np.concatenate([polygon for polygon, _ in person_shapes(person, Pose(0, phase, 0.42))])
        assert -0.05 < corners[:, 1].min() < 0.05
        assert 1.4 < corners[:, 1].max() < 2.0

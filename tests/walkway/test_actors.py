"""Actors: events are what they are called and take turns; routes pass where they should."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaed.config import DemoSettings
from fastaed.walkway.actors import EVENTS, KINDS, WALK, event_actors, steady_actor
from fastaed.walkway.camera import clip_camera
from fastaed.walkway.people import random_person
from fastaed.walkway.scenery import WALKWAY


@pytest.mark.parametrize("index", range(12))
def test_events_are_what_they_are_called(index: int) -> None:
    settings = DemoSettings()
    camera = clip_camera(settings)
    planned = event_actors(settings, index, camera, np.random.default_rng(index))
    assert len(planned) == 1 + index % 2
    for event in planned:
        assert event.kind == KINDS[index % 3]
        on_walkway = (event.depth > WALKWAY[0]) & (event.depth < WALKWAY[1])
        assert on_walkway.all() if event.kind != "place" else not on_walkway.any()
        assert (event.look.name == "person") == (event.kind != "look")
        if event.kind == "place":
            assert np.allclose(event.speed, WALK, rtol=0.1)  # only the place is wrong
        if event.kind == "motion":
            during = event.abnormal
            usual = (event.speed > 0.8 * WALK) & (event.speed < 1.2 * WALK)
            usual &= (np.abs(np.sin(event.heading)) < 1e-6) & (event.fallen == 0)
            assert usual[~during].all()
            assert not usual[during].all()
            assert (~usual[during]).mean() > 0.9


def test_each_variant_has_its_turn() -> None:
    settings = DemoSettings()
    camera = clip_camera(settings)
    seen = set()
    for index in range(9):
        for event in event_actors(settings, index, camera, np.random.default_rng(index)):
            if event.kind == "look":
                seen.add(event.look.name)
            elif event.kind == "place":
                seen.add("far lawn" if event.depth[0] > WALKWAY[1] else "near lawn")
            elif event.fallen.any():
                seen.add("fall")
            elif event.speed.min() == 0:
                seen.add("stop")
            else:
                seen.add("run" if event.abnormal.all() else "cross")
    assert seen == {variant for variants in EVENTS.values() for variant in variants}


@given(
    frame=st.integers(-20, 60),
    x=st.floats(-5, 5),
    depth=st.floats(11, 20),
    speed=st.floats(0.2, 6),
    heading=st.sampled_from([0.0, math.pi / 2, math.pi, -math.pi / 2]),
)
def test_a_route_passes_through_its_point(
    frame: int, x: float, depth: float, speed: float, heading: float
) -> None:
    actor = steady_actor(random_person(np.random.default_rng(3)), (frame, x, depth), speed, heading, 40)
    for at in (0, 17, 39):
        distance = speed / 25 * (at - frame)
        assert actor.x[at] == pytest.approx(x + distance * math.cos(heading))
        assert actor.depth[at] == pytest.approx(depth + distance * math.sin(heading))

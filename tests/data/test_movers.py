"""Rectangles that walk over a still background are found, measured and cut out."""

import numpy as np
import pytest

from fastaed.data.movers import find_scene

FRAMES, HEIGHT, WIDTH = 120, 120, 200
ROWS = {"far": (30, 12, 6), "near": (70, 24, 10)}  # top, height, width
STEP = {"far": 0.5, "near": -1.0}  # pixels a frame


def footage(standing=False):
    rng = np.random.default_rng(0)
    background = rng.integers(60, 100, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    frames = np.repeat(background[None], FRAMES, axis=0)
    for t, frame in enumerate(frames):
        for name, (top, height, width) in ROWS.items():
            start = 40 if name == "far" else 160
            left = round(start + STEP[name] * t)
            frame[top : top + height, left : left + width] = 220
        if standing and t > 70:
            frame[100:118, 20:28] = 220
    return background, frames


def test_background_silhouettes_and_moving_boxes_of_known_footage():
    background, frames = footage()
    scene = find_scene(frames, 15)
    assert (np.abs(scene.background.astype(int) - background) <= 1).mean() > 0.99
    truth = (frames == 220).all(axis=3)
    assert (scene.silhouettes != truth).mean() < 0.01
    assert np.isin(np.arange(FRAMES), scene.moving.frame).all()
    assert len(scene.moving) == 2 * FRAMES


def test_walks_have_their_pace_and_place():
    scene = find_scene(footage()[1], 15)
    walks = sorted(scene.walks, key=lambda walk: walk.height)
    assert len(walks) == 2
    for walk, name in zip(walks, ("far", "near")):
        top, height, width = ROWS[name]
        assert len(walk) == FRAMES
        assert walk.velocity == pytest.approx([STEP[name], 0], abs=0.02)
        assert walk.height == pytest.approx(height, abs=1)
        assert walk.feet[:, 1] == pytest.approx(top + height, abs=1)
        assert width < walk.size[0] <= width + 5
    assert scene.pace == pytest.approx((0.5 / 12 + 1 / 24) / 2, rel=0.05)


def test_people_nearer_to_the_camera_are_taller():
    scene = find_scene(footage()[1], 15)
    assert scene.person_height(42) < scene.person_height(68) < scene.person_height(94)
    assert scene.person_height(-1000) == pytest.approx(6, abs=1)  # half of the least, never 0


def test_parts_of_people_and_several_at_once_are_no_walkers():
    """Four people of 24 pixels, half of somebody, and two of whom one walks behind the other."""
    tops_and_heights = [(10, 24), (50, 24), (90, 24), (130, 24), (170, 12), (200, 44)]
    frames = np.full((FRAMES, 260, WIDTH, 3), 80, np.uint8)
    for t, frame in enumerate(frames):
        for top, height in tops_and_heights:
            left = 20 + round(t * 1.1)
            frame[top : top + height, left : left + 8] = 220
    assert sorted(walk.height for walk in find_scene(frames, 15).walks) == pytest.approx([24] * 4, abs=2)


def test_where_nobody_is_as_tall_as_another_all_walk():
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 80, np.uint8)
    for t, frame in enumerate(frames):
        frame[30:42, 20 + t : 28 + t] = frame[60:96, 20 + t : 28 + t] = 220
    assert len(find_scene(frames, 15).walks) == 2


def test_a_cut_out_is_the_walker_alone():
    scene = find_scene(frames := footage()[1], 15)
    near = max(scene.walks, key=lambda walk: walk.height)
    look, opacity = scene.cut_out(frames, near, 50)
    assert look.shape[:2] == opacity.shape == near.size[::-1]
    assert (look[opacity > 0.9] > 200).all()
    assert opacity.sum() == pytest.approx(24 * 10, rel=0.1)


def test_what_stands_still_neither_moves_nor_walks():
    scene = find_scene(footage(standing=True)[1], 15)
    assert len(scene.walks) == 2
    assert not ((scene.moving.xyxy[:, 1] > 96) & (scene.moving.frame > 72)).any()


def test_an_empty_place_has_no_walks_but_a_prior():
    scene = find_scene(np.full((20, HEIGHT, WIDTH, 3), 90, np.uint8), 15)
    assert scene.walks == []
    assert len(scene.moving) == 0
    assert scene.person_height(50) == HEIGHT / 6
    assert scene.pace > 0

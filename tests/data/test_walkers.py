"""Somebody whose every moment is known is laid over frames once more, in each way there is."""

import numpy as np
import pytest

from fastaed.data.walkers import LEAST_FRAMES, Walker, Walkers, find_walkers, perform

HEIGHT, WIDTH, MOMENTS = 96, 128, 20
STEP = 1.5  # pixels a frame, to the right
TALL = 12  # pixels, at row 48; a row more is an eighth of a pixel taller


def _walker():
    """A rectangle whose grey level tells the moment: 100 + moment."""
    looks = [
        (np.full((TALL, 5, 3), 100 + moment, np.uint8), np.ones((TALL, 5), np.float32))
        for moment in range(MOMENTS)
    ]
    feet = np.array([[40 + STEP * moment, 48.0] for moment in range(MOMENTS)])
    return Walker(looks, feet)


@pytest.fixture(scope="module")
def walkers():
    heights = TALL + (np.arange(HEIGHT) - 48) / 8
    return Walkers([_walker()], heights, pace=STEP / TALL, colourless=True)


def _laid(what, walkers, seed):
    """Grey level and place of what was laid over black frames t-3, t, t+3; None where it is out of sight."""
    triplet = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    laid, visible = perform(what, triplet, walkers, np.random.default_rng(seed))
    assert not triplet.any()
    np.testing.assert_array_equal(visible > 0, laid[0].any(axis=2))
    seen = []
    for frame in laid[[1, 0, 2]]:
        rows, columns = np.nonzero(frame.any(axis=2))
        inside = len(rows) and rows.min() > 0 and columns.min() > 0
        if not inside or rows.max() == HEIGHT - 1 or columns.max() == WIDTH - 1:
            return None
        seen.append((int(frame.max()), columns.mean(), rows.max(), np.ptp(rows) + 1))
    return seen


def _many(what, walkers):
    found = [_laid(what, walkers, seed) for seed in range(60)]
    whole = [seen for seen in found if seen is not None]
    assert len(whole) > 20
    return whole


def test_a_replay_is_the_walk_as_it_was_somewhere_near_its_way(walkers):
    places = set()
    for before, now, after in _many("replay", walkers):
        assert (now[0] - before[0], after[0] - now[0]) == (3, 3)
        assert (now[1] - before[1], after[1] - now[1]) == pytest.approx((3 * STEP, 3 * STEP), abs=0.6)
        assert now[3] == pytest.approx(TALL + (now[2] + 1 - 48) / 8, abs=1.5)
        places.add(now[1])
    assert len(places) > 20


@pytest.mark.parametrize(("what", "slowest", "fastest"), [("fast", 1.4, 6.0), ("glide", 1.3, 4.0)])
def test_paces_are_within_their_range_even_and_along_the_way(walkers, what, slowest, fastest):
    paces = []
    for before, now, after in _many(what, walkers):
        usual = 3 * STEP * now[3] / TALL
        assert after[1] - now[1] == pytest.approx(now[1] - before[1], abs=1)
        assert abs(after[2] - before[2]) <= 1
        paces.append((after[1] - before[1]) / 2 / usual)
    assert slowest * 0.9 <= min(paces) < (slowest + fastest) / 2 < max(paces) <= fastest * 1.1


def test_who_glides_keeps_one_pose_and_who_is_fast_moves_at_least_as_before(walkers):
    assert all(before[0] == now[0] == after[0] for before, now, after in _many("glide", walkers))
    for before, now, after in _many("fast", walkers):
        assert now[0] - before[0] == after[0] - now[0]
        assert 3 <= now[0] - before[0] <= 6


def test_a_stranger_is_not_the_walker_alone_and_grey_where_all_is(walkers):
    triplet = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    levels = set()
    for seed in range(20):
        laid, _ = perform("stranger", triplet, walkers, np.random.default_rng(seed))
        assert (laid == laid[..., :1]).all()
        levels.add(int(laid.max()))
    assert len(levels - set(range(100, 100 + MOMENTS))) > 10
    coloured = Walkers(walkers.people, walkers.heights, walkers.pace, colourless=False)
    laid, _ = perform("stranger", triplet, coloured, np.random.default_rng(0))
    assert (laid != laid[..., :1]).any()


def test_a_thing_hidden_behind_somebody_is_drawn_anew(walkers, monkeypatch):
    hidden = (np.full((4, 2, 3), 255, np.uint8), np.ones((4, 2), np.float32))
    large = (np.full((40, 41, 3), 255, np.uint8), np.ones((40, 41), np.float32))
    black = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    draws = set()
    for seed in range(20):
        waiting = [hidden, hidden, large]
        monkeypatch.setattr("fastaed.data.walkers._thing", lambda *_, waiting=waiting: waiting.pop(0))
        perform("stranger", black, walkers, np.random.default_rng(seed))
        draws.add(3 - len(waiting))
    assert draws == {1, 3}, "one in front of somebody or alone, the third behind"


def test_the_same_generator_does_the_same(walkers):
    triplet = np.full((3, HEIGHT, WIDTH, 3), 60, np.uint8)
    for what in ("replay", "fast", "glide", "stranger"):
        one, other, another = (
            perform(what, triplet, walkers, np.random.default_rng(s))[0] for s in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, other)
        assert (one != another).any()


def test_walkers_are_found_in_footage_and_nobody_where_nobody_walks():
    frames = np.full((40, HEIGHT, WIDTH, 3), 80, np.uint8)
    for moment, frame in enumerate(frames):
        left = 10 + 2 * moment
        frame[40:64, left : left + 8] = 200
    found = find_walkers(frames, colourless=True)
    (walker,) = found.people
    assert LEAST_FRAMES <= len(walker.looks) == len(walker.feet) <= 40
    np.testing.assert_allclose(walker.ahead, [1, 0], atol=0.02)
    assert found.pace == pytest.approx(2 / 24, rel=0.05)
    assert found.height_at(64) == pytest.approx(24, abs=1)
    assert found.height_at(-50) == found.heights[0]
    assert find_walkers(np.full_like(frames, 80), colourless=True).people == []

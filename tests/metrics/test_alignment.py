"""Scores that are late are said to be late, and by how much; noise is not."""

import numpy as np
import pytest

from fastaed.errors import DataError
from fastaed.metrics.alignment import Alignment, best_shift, is_constant, tied_share
from fastaed.metrics.auc import micro_auc
from fastaed.metrics.smoothing import centred


def events(clips, rng):
    """(200,) labels a clip, with one event that begins and ends well inside."""
    labels = np.zeros((clips, 200), int)
    for row, start, frames in zip(labels, rng.integers(30, 100, clips), rng.integers(20, 70, clips)):
        row[start : start + frames] = 1
    return list(labels)


def late(labels, frames):
    """Scores that are the labels, some frames late (early, where below 0); the ends repeat."""
    t = np.clip(np.arange(len(labels)) - frames, 0, len(labels) - 1)
    return labels[t].astype(float)


@pytest.mark.parametrize("frames", [-6, -1, 1, 4])
def test_an_offset_is_found_and_said(frames):
    labels = events(12, np.random.default_rng(0))
    found = best_shift([late(y, frames) for y in labels], labels, most_frames=10)
    assert (found.shift, found.auc) == (frames, 1.0)
    assert (found.clips_better, found.clips_worse) == (12, 0)
    assert found.suspicious


def test_an_offset_is_found_under_noise():
    rng = np.random.default_rng(1)
    labels = events(12, rng)
    found = best_shift([late(y, 3) + 0.7 * rng.random(200) for y in labels], labels, most_frames=10)
    assert found.shift == 3
    assert found.suspicious


def test_scores_in_time_are_not_suspected():
    """Rising to an event and falling after it, alike on both sides; alone and under noise."""
    rng = np.random.default_rng(2)
    labels = events(12, rng)
    hills = [centred(y.astype(float), 10.0) for y in labels]
    assert best_shift(hills, labels, most_frames=10).shift == 0
    for _ in range(20):
        noisy = [hill + centred(rng.random(200), 5.0) for hill in hills]
        assert not best_shift(noisy, labels, most_frames=10).suspicious


def test_meaningless_scores_gain_by_some_shift_but_are_not_suspected():
    rng = np.random.default_rng(3)
    gains, suspected = [], 0
    for _ in range(20):
        labels = events(12, rng)
        found = best_shift([centred(rng.random(200), 10.0) for _ in labels], labels, most_frames=10)
        gains.append(found.gain)
        suspected += found.suspicious
    assert np.median(gains) > 0.005
    assert suspected == 0


def test_a_gain_in_few_clips_or_against_others_is_chance():
    assert not Alignment(2, 0.9, 0.8, clips_better=6, clips_worse=0).suspicious
    assert Alignment(2, 0.9, 0.8, clips_better=7, clips_worse=0).suspicious
    assert Alignment(2, 0.9, 0.8, clips_better=90, clips_worse=10).suspicious
    assert not Alignment(2, 0.9, 0.8, clips_better=89, clips_worse=11).suspicious
    assert not Alignment(2, 0.8001, 0.8, clips_better=100, clips_worse=0).suspicious


def test_equals_sliding_by_hand():
    """Labels 1 .. 4 of a clip of six are kept; scores 0 .. 3 (earlier), 1 .. 4 and 2 .. 5 (later)."""
    scores, labels = np.array([0.1, 0.6, 0.2, 0.3, 0.9, 0.4]), np.array([1, 0, 0, 1, 0, 1])
    inner = labels[1:5]
    aucs = {shift: micro_auc([scores[1 + shift : 5 + shift]], [inner]) for shift in (-1, 0, 1)}
    assert aucs == {-1: pytest.approx(1 / 3), 0: pytest.approx(1 / 3), 1: 1.0}
    assert best_shift([scores], [labels], 1) == Alignment(1, 1.0, aucs[0], 1, 0)


def test_of_equal_shifts_the_least_is_taken_and_short_clips_are_left_out():
    labels = events(3, np.random.default_rng(4))
    level = best_shift([np.zeros(200)] * 3, labels, 10)
    assert level == Alignment(0, 0.5, 0.5, 0, 0)
    short = np.array([0, 1] * 10)
    assert best_shift([np.zeros(200)] * 3 + [short / 2], [*labels, short], 10) == level


def test_is_undefined_where_nothing_is_left_to_compare():
    short, normal = np.array([0, 1]), np.zeros(50, int)
    assert best_shift([short / 2], [short], 1) is None
    assert best_shift([normal / 2], [normal], 3) is None
    assert best_shift([], [], 3) is None
    with pytest.raises(DataError, match="0 or more frames, not -1"):
        best_shift([normal / 2], [normal], -1)


def test_tied_share():
    assert tied_share(np.array([0.1, 0.2, 0.1, 0.1, 0.3])) == 3 / 5
    assert tied_share(np.arange(4.0)) == 0
    assert tied_share(np.ones(4)) == 1
    assert tied_share(np.zeros(0)) is None


def test_is_constant():
    assert is_constant(np.full(5, 0.3))
    assert is_constant(np.zeros(1))
    assert not is_constant(np.array([0.3, 0.3, 0.30001]))

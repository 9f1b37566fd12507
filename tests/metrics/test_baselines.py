"""The baselines are what their names say, and chance is chance."""

import numpy as np
import pytest

from fastaed.metrics import baselines
from fastaed.metrics.auc import auc, macro_auc, micro_auc


def test_constant_is_half_whatever_the_labels():
    labels = np.array([0, 1, 1, 1, 0, 1])
    assert auc(baselines.constant(6), labels) == 0.5


def test_ramp_runs_from_zero_to_one_in_equal_steps():
    assert baselines.ramp(5).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert baselines.ramp(1).tolist() == [0.0]
    assert baselines.ramp(0).tolist() == []


def test_ramp_is_perfect_for_an_event_at_the_end():
    assert auc(baselines.ramp(10), np.array([0] * 7 + [1] * 3)) == 1.0


def test_random_is_seeded_and_means_nothing():
    draw = baselines.random(20_000, np.random.default_rng(3))
    np.testing.assert_array_equal(draw, baselines.random(20_000, np.random.default_rng(3)))
    labels = (np.arange(20_000) % 3 == 0).astype(int)
    assert auc(draw, labels) == pytest.approx(0.5, abs=0.02)


def test_tent_rises_to_the_middle_and_falls_again():
    assert baselines.tent(5).tolist() == [0.0, 0.5, 1.0, 0.5, 0.0]
    assert baselines.tent(6) == pytest.approx([0, 0.4, 0.8, 0.8, 0.4, 0])
    assert baselines.tent(1).tolist() == [0.0]
    assert baselines.tent(0).tolist() == []
    for frames in (2, 99, 100):
        np.testing.assert_array_equal(baselines.tent(frames), baselines.tent(frames)[::-1])


def test_tent_is_perfect_for_an_event_in_the_middle():
    assert auc(baselines.tent(10), np.array([0] * 3 + [1] * 4 + [0] * 3)) == 1.0


def test_clip_length_tells_clips_apart_and_nothing_within_one():
    scores = [baselines.clip_length(frames) for frames in (3, 5)]
    labels = [np.array([0, 0, 1]), np.array([0, 1, 1, 1, 0])]
    assert [clip.tolist() for clip in scores] == [[3.0] * 3, [5.0] * 5]
    assert macro_auc(scores, labels).value == 0.5
    assert micro_auc(scores, labels) == 0.625
    assert baselines.clip_length(0).tolist() == []

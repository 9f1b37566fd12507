"""The baselines are what their names say, and chance is chance."""

import numpy as np
import pytest

from fastaed.metrics import baselines
from fastaed.metrics.auc import auc


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

"""Filters against literal twins; what must not change does not, bit for bit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastaed.errors import DataError
from fastaed.metrics.smoothing import SMOOTHINGS, causal, centred, smooth

clip_scores = arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1, width=32))
sigmas = st.sampled_from([0.5, 1.0, 3.0, 21.0])


def literal_centred(scores, sigma):
    """The definition: for each frame, the sum over the frames of the clip within 4 sigma."""
    reach = math.ceil(4 * sigma)
    smoothed = []
    for t in range(len(scores)):
        near = range(max(0, t - reach), min(len(scores), t + reach + 1))
        weights = {u: math.exp(-((u - t) ** 2) / (2 * sigma**2)) for u in near}
        smoothed.append(sum(weights[u] * scores[u] for u in near) / sum(weights.values()))
    return np.array(smoothed)


def literal_causal(scores, sigma):
    """As above, over frames up to t."""
    return np.array([literal_centred_at_the_end(scores[: t + 1], sigma) for t in range(len(scores))])


def literal_centred_at_the_end(past, sigma):
    return literal_centred(past, sigma)[-1]


@given(clip_scores, sigmas)
def test_equals_the_literal_twins(scores, sigma):
    np.testing.assert_allclose(centred(scores, sigma), literal_centred(scores, sigma), atol=1e-12)
    np.testing.assert_allclose(causal(scores, sigma), literal_causal(scores, sigma), atol=1e-12)


@given(st.floats(-10, 10), st.integers(1, 400), sigmas)
def test_a_constant_stays_exactly_constant(level, frames, sigma):
    for smoothing in SMOOTHINGS:
        assert (smooth(np.full(frames, level), smoothing, sigma) == level).all()


def test_equal_plateaus_stay_equal_wherever_they_lie():
    """Otherwise rounding would break ties, and a tie is worth half a pair."""
    level = 0.1 + 0.2
    early = np.concatenate([np.full(60, level), np.random.default_rng(0).random(40)])
    late = np.concatenate([np.random.default_rng(1).random(90), np.full(70, level)])
    for filtered in (centred, causal):
        values = np.concatenate([filtered(early, 3.0)[:40], filtered(late, 3.0)[-50:]])
        assert len(set(values.tolist())) == 1


@given(clip_scores, sigmas)
def test_stays_within_the_range_of_the_scores(scores, sigma):
    for smoothing in SMOOTHINGS:
        smoothed = smooth(scores, smoothing, sigma)
        assert smoothed.shape == scores.shape
        assert smoothed.min() >= scores.min() - 1e-12
        assert smoothed.max() <= scores.max() + 1e-12


@given(clip_scores, sigmas)
def test_centred_does_not_know_the_direction_of_time(scores, sigma):
    np.testing.assert_allclose(centred(scores[::-1], sigma), centred(scores, sigma)[::-1], atol=1e-12)


def test_a_single_peak_stays_on_its_frame_and_spreads_evenly():
    """The published kernel sat one frame off its centre."""
    scores = np.zeros(401)
    scores[200] = 1.0
    smoothed = centred(scores, 21.0)
    assert smoothed.argmax() == 200
    np.testing.assert_array_equal(smoothed[200:285], smoothed[116:201][::-1])
    assert np.flatnonzero(smoothed).tolist() == list(range(116, 285))
    assert smoothed.sum() == pytest.approx(1.0)


@given(clip_scores, st.data())
def test_causal_never_looks_ahead(scores, data):
    now = data.draw(st.integers(0, len(scores) - 1))
    other = scores.copy()
    other[now + 1 :] = 1 - other[now + 1 :]
    np.testing.assert_array_equal(causal(scores, 3.0)[: now + 1], causal(other, 3.0)[: now + 1])


def test_causal_starts_with_the_first_score_and_falls_behind():
    scores = np.linspace(0, 1, 200)
    smoothed = causal(scores, 5.0)
    assert smoothed[0] == scores[0]
    assert (smoothed[1:] < scores[1:]).all()


def test_raw_is_a_copy():
    scores = np.array([0.5, 0.25], np.float32)
    smoothed = smooth(scores, "raw", 21.0)
    assert smoothed.dtype == np.float64
    assert smoothed.tolist() == [0.5, 0.25]


def test_no_clip_reaches_into_another():
    """Two clips smoothed one by one are not what their concatenation would give."""
    first, second = np.zeros(30), np.ones(30)
    assert (centred(first, 21.0) == 0).all()
    assert (centred(second, 21.0) == 1).all()
    assert 0 < centred(np.concatenate([first, second]), 21.0)[29] < 1


def test_nothing_comes_of_nothing():
    for smoothing in SMOOTHINGS:
        assert smooth(np.zeros(0), smoothing, 21.0).shape == (0,)


def test_refuses_scores_that_are_no_numbers():
    for filtered in (centred, causal):
        with pytest.raises(DataError, match="NaN or infinite"):
            filtered(np.array([0.1, np.nan]), 21.0)

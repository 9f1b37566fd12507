"""Resampled measures against clips that are literally repeated, and the intervals made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastaed.errors import DataError
from fastaed.metrics import bootstrap
from fastaed.metrics.bootstrap import (
    FRAME_METRICS,
    Interval,
    clip_weights,
    frame_metrics,
    interval,
    resampled,
)

clip = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), max_size=8).map(
    lambda rows: (np.array([k / 8 for k, _ in rows]), np.array([label for _, label in rows], int))
)
test_sets = st.lists(clip, min_size=1, max_size=5)


def repeated(scores, labels, weights):
    """The measures of a test set in which every clip stands as often as it weighs."""
    again = [k for k, times in enumerate(weights) for _ in range(times)]
    return frame_metrics([scores[k] for k in again], [labels[k] for k in again])


def assert_equals_the_literal_twin(scores, labels, weights):
    values = resampled(scores, labels, weights)
    assert tuple(values) == FRAME_METRICS
    for row, counts in enumerate(weights):
        for name, expected in repeated(scores, labels, counts).items():
            if expected is None:
                assert np.isnan(values[name][row]), name
            else:
                assert values[name][row] == pytest.approx(expected, abs=1e-12), name


@given(test_sets, st.data())
def test_equals_the_literal_twin(clips, data):
    times = st.lists(st.integers(0, 3), min_size=len(clips), max_size=len(clips))
    weights = np.array(data.draw(st.lists(times, min_size=1, max_size=4)))
    assert_equals_the_literal_twin([s for s, _ in clips], [y for _, y in clips], weights)


def events(lengths, rng):
    """An event in the middle of each clip but the first, which is normal, and the last, wholly abnormal."""
    labels = [(abs(np.arange(n) - n / 2) < n / 5).astype(np.uint8) for n in lengths]
    labels[0][:], labels[-1][:] = 0, 1
    return [rng.random(len(y)) + 0.4 * y for y in labels], labels


@pytest.mark.parametrize("decimals", [0, 2, 16])
def test_equals_the_literal_twin_on_longer_clips(decimals, monkeypatch):
    scores, labels = events([40, 300, 180, 120, 60], np.random.default_rng(decimals))
    monkeypatch.setattr(bootstrap, "ENTRIES_AT_ONCE", 3 * 700)  # blocks of three resamples, the last of one
    scores = [np.round(one, decimals).astype(np.float32) for one in scores]
    assert_equals_the_literal_twin(scores, labels, clip_weights(5, 10, seed=decimals))


def test_with_every_clip_once_it_is_the_measure_itself():
    scores, labels = events([50, 80, 80, 60], np.random.default_rng(4))
    values = resampled(scores, labels, np.ones((1, 4), int))
    for name, value in frame_metrics(scores, labels).items():
        assert values[name] == pytest.approx([value], abs=1e-12)


@given(test_sets)
@settings(max_examples=30)
def test_weighing_all_clips_twice_changes_nothing(clips):
    scores, labels = [s for s, _ in clips], [y for _, y in clips]
    once = np.ones((1, len(clips)), int)
    values, doubled = resampled(scores, labels, once), resampled(scores, labels, 2 * once)
    for name in FRAME_METRICS:
        np.testing.assert_allclose(values[name], doubled[name], atol=1e-12)


def test_what_a_resample_lacks_is_undefined_and_of_no_other_is():
    """Clip 0 has normal frames only, clip 1 abnormal ones only: each of them alone has no measure."""
    scores, labels = [np.array([0.1, 0.2]), np.array([0.3])], [np.zeros(2, int), np.ones(1, int)]
    values = resampled(scores, labels, np.array([[2, 0], [0, 2], [1, 1], [0, 0]]))
    assert np.isnan(values["macro_auc"]).all()
    for name, perfect in (("micro_auc", 1), ("average_precision", 1), ("equal_error_rate", 0)):
        np.testing.assert_array_equal(values[name], [np.nan, np.nan, perfect, np.nan])
    assert all(np.isnan(v).all() for v in resampled(scores[:1], labels[:1], np.ones((2, 1), int)).values())
    assert frame_metrics([], []) == dict.fromkeys(FRAME_METRICS)


def test_weights_draw_as_many_clips_as_there_are_by_a_fixed_seed():
    weights = clip_weights(12, 3_000, seed=5)
    assert weights.shape == (3_000, 12)
    assert (weights.sum(axis=1) == 12).all()
    np.testing.assert_array_equal(weights, clip_weights(12, 3_000, seed=5))
    assert (weights != clip_weights(12, 3_000, seed=6)).any()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)
    assert weights.var() == pytest.approx(11 / 12, rel=0.05)  # of a binomial count, 12 draws of 1 in 12


def test_interval_is_of_the_resamples_that_have_the_measure():
    values = np.concatenate([np.arange(101.0), np.full(100, np.nan)])
    assert interval(values) == pytest.approx((2.5, 97.5, 101))
    assert interval(values, level=0.5) == Interval(25, 75, 101)
    assert interval(np.concatenate([values, [np.nan, np.nan]])) is None
    assert interval(np.zeros(0)) is None


def test_interval_holds_the_measure_about_as_often_as_it_says():
    """60 test sets of 30 clips whose mean score is 0: close to 95 % of the intervals of the mean hold it."""
    rng = np.random.default_rng(1)
    weights = clip_weights(30, 1_000, seed=1)
    held = 0
    for _ in range(60):
        ends = interval(weights @ rng.normal(size=30) / 30)
        held += ends.low <= 0 <= ends.high
    assert 51 <= held <= 60


def test_a_paired_interval_is_narrower_than_its_parts():
    """The same clips are hard for both scorers, and one is a little better in each."""
    rng = np.random.default_rng(2)
    labels = [np.repeat([0, 1], 30)] * 20
    level = [rng.normal(0, 1, 60) + hard * y for hard, y in zip(rng.uniform(0, 3, 20), labels)]
    better = [s + 0.3 * y for s, y in zip(level, labels)]
    weights = clip_weights(20, 500, seed=0)
    first, second = (resampled(s, labels, weights)["micro_auc"] for s in (better, level))
    gain, alone = interval(first - second), interval(first)
    assert gain.low > 0
    assert gain.high - gain.low < (alone.high - alone.low) / 2


def test_refuses_what_does_not_fit():
    scores, labels = [np.zeros(2)] * 2, [np.array([0, 1])] * 2
    with pytest.raises(DataError, match=r"weights of shape \(1, 3\) do not match scores of 2 clips"):
        resampled(scores, labels, np.ones((1, 3), int))
    with pytest.raises(DataError, match="1 of 2 anomaly scores are NaN"):
        resampled([np.array([np.nan, 1])] * 2, labels, np.ones((1, 2), int))

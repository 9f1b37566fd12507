"""Average precision, equal error rate and rates on the ROC curve: known values, twins and scikit-learn."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from sklearn.metrics import precision_recall_curve as sklearn_precision_recall_curve

from fastaed.errors import DataError
from fastaed.metrics.curves import (
    average_precision,
    equal_error_rate,
    precision_recall_curve,
    true_positive_rate_at,
)

# Scores from a small set, so that ties are the rule; both classes present.
frames_of_both_classes = (
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=2, max_size=40)
    .filter(lambda rows: len({label for _, label in rows}) == 2)
    .map(lambda rows: (np.array([k / 8 for k, _ in rows]), np.array([label for _, label in rows])))
)
rates = st.integers(0, 100).map(lambda percent: percent / 100)


def corners(scores, labels):
    """(FPR, TPR) by calling frames abnormal at +infinity and then at each distinct score, one by one."""
    thresholds = [np.inf, *sorted(set(scores.tolist()), reverse=True)]
    called = [scores >= threshold for threshold in thresholds]
    return [(c[labels == 0].mean(), c[labels == 1].mean()) for c in called]


def literal_average_precision(scores, labels):
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        called = scores >= threshold
        recall = called[labels == 1].mean()
        total += (recall - recall_before) * labels[called].mean()
        recall_before = recall
    return total


def literal_true_positive_rate_at(scores, labels, rate):
    """The highest point of the joined curve above this FPR, segment by segment."""
    points = corners(scores, labels)
    best = 0.0
    for (x, y), (right, top) in pairwise(points):
        if x == right == rate:
            best = max(best, top)
        elif x <= rate <= right and x < right:
            best = max(best, y + (top - y) * (rate - x) / (right - x))
    return best


def literal_equal_error_rate(scores, labels):
    """Bisection along each segment for FPR = 1 - TPR."""
    points = corners(scores, labels)
    for (x, y), (right, top) in pairwise(points):
        if x + y <= 1 <= right + top:
            low, high = 0.0, 1.0
            for _ in range(60):
                middle = (low + high) / 2
                short = x + middle * (right - x) + y + middle * (top - y) < 1
                low, high = (middle, high) if short else (low, middle)
            return x + high * (right - x)
    raise AssertionError("the curve never meets FPR = 1 - TPR")


def test_known_values():
    """Scores .9 .8 .7 .6 of frames abnormal, normal, abnormal, normal: the ROC goes up, right, up, right."""
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0])
    assert average_precision(scores, labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert equal_error_rate(scores, labels) == 0.5
    assert true_positive_rate_at(scores, labels, 0.0) == 0.5
    assert true_positive_rate_at(scores, labels, 0.49) == 0.5
    assert true_positive_rate_at(scores, labels, 0.5) == 1.0
    curve = precision_recall_curve(scores, labels)
    assert curve.precision.tolist() == [1, 1 / 2, 2 / 3, 1 / 2]
    assert curve.recall.tolist() == [0.5, 0.5, 1, 1]
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]


def test_a_constant_score_is_worth_what_chance_is():
    scores, labels = np.full(10, 0.3), np.array([1] * 4 + [0] * 6)
    assert average_precision(scores, labels) == pytest.approx(0.4)
    assert equal_error_rate(scores, labels) == 0.5
    for rate in (0.0, 0.01, 0.05, 1.0):
        assert true_positive_rate_at(scores, labels, rate) == pytest.approx(rate)


def test_perfect_and_reversed_scores():
    labels = np.array([0, 0, 1, 1])
    assert average_precision(labels / 2, labels) == 1.0
    assert equal_error_rate(labels / 2, labels) == 0.0
    assert true_positive_rate_at(labels / 2, labels, 0.0) == 1.0
    assert equal_error_rate(-labels / 2, labels) == 1.0
    assert true_positive_rate_at(-labels / 2, labels, 0.99) == 0.0


@given(frames_of_both_classes, rates)
def test_equal_the_literal_twins(frames, rate):
    assert average_precision(*frames) == pytest.approx(literal_average_precision(*frames), abs=1e-12)
    assert equal_error_rate(*frames) == pytest.approx(literal_equal_error_rate(*frames), abs=1e-12)
    assert true_positive_rate_at(*frames, rate) == pytest.approx(
        literal_true_positive_rate_at(*frames, rate), abs=1e-12
    )


@given(frames_of_both_classes)
def test_agrees_with_scikit_learn(frames):
    scores, labels = frames
    assert average_precision(*frames) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    curve = precision_recall_curve(*frames)
    precision, recall, threshold = sklearn_precision_recall_curve(labels, scores)
    np.testing.assert_array_equal(curve.threshold, threshold[::-1])
    # Theirs has one point more: precision 1 at recall 0, where nothing is called abnormal.
    np.testing.assert_allclose(curve.precision, precision[-2::-1], atol=1e-12)
    np.testing.assert_allclose(curve.recall, recall[-2::-1], atol=1e-12)


def test_agrees_with_scikit_learn_on_many_frames():
    rng = np.random.default_rng(0)
    labels = (rng.random(40_000) < 0.4).astype(np.uint8)
    for decimals in (1, 3, 16):
        scores = np.round(rng.random(40_000) + 0.2 * labels, decimals)
        expected = average_precision_score(labels, scores)
        assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)


@given(frames_of_both_classes, rates)
def test_do_not_change_under_increasing_maps(frames, rate):
    scores, labels = frames
    for stretched in (np.exp(3 * scores), scores**3 - 7):
        assert average_precision(stretched, labels) == average_precision(scores, labels)
        assert equal_error_rate(stretched, labels) == equal_error_rate(scores, labels)
        assert true_positive_rate_at(stretched, labels, rate) == true_positive_rate_at(scores, labels, rate)


@given(frames_of_both_classes)
def test_equal_error_rate_mirrors(frames):
    scores, labels = frames
    error = equal_error_rate(scores, labels)
    assert equal_error_rate(-scores, labels) == pytest.approx(1 - error, abs=1e-12)
    assert equal_error_rate(-scores, 1 - labels) == pytest.approx(error, abs=1e-12)


@given(frames_of_both_classes)
def test_true_positive_rate_never_falls(frames):
    found = [true_positive_rate_at(*frames, k / 50) for k in range(51)]
    assert (np.diff(found) >= -1e-12).all()
    assert found[-1] == 1.0


def test_of_one_class_are_undefined():
    scores = np.linspace(0, 1, 5)
    for labels in (np.zeros(5, int), np.ones(5, int)):
        assert precision_recall_curve(scores, labels) is None
        assert average_precision(scores, labels) is None
        assert equal_error_rate(scores, labels) is None
        assert true_positive_rate_at(scores, labels, 0.01) is None


def test_refuses_a_rate_that_is_none():
    with pytest.raises(DataError, match=r"in \[0, 1\], not 5"):
        true_positive_rate_at(np.zeros(2), np.array([0, 1]), 5)

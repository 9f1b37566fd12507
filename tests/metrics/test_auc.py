"""AUC against a literal twin, its own symmetries and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from fastaed.errors import DataError
from fastaed.metrics.auc import auc, macro_auc, micro_auc, roc_curve

# Scores from a small set, so that ties are the rule; both classes present.
frames_of_both_classes = st.lists(
    st.tuples(st.integers(0, 6).map(lambda k: k / 8), st.integers(0, 1)), min_size=2, max_size=40
).filter(lambda rows: len({label for _, label in rows}) == 2)


def arrays(rows):
    return np.array([score for score, _ in rows]), np.array([label for _, label in rows])


def literal_auc(scores, labels):
    """Every abnormal frame against every normal one: 1 for a win, 1/2 for a tie."""
    wins = pairs = 0.0
    for abnormal in scores[labels == 1]:
        for normal in scores[labels == 0]:
            wins += 1.0 if abnormal > normal else 0.5 if abnormal == normal else 0.0
            pairs += 1
    return wins / pairs


def test_known_values():
    labels = np.array([0, 0, 1, 1])
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), labels) == 1.0
    assert auc(np.array([0.4, 0.3, 0.2, 0.1]), labels) == 0.0
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), labels) == 0.75
    assert auc(np.array([0.0, 0.5, 0.5, 1.0]), labels) == 0.875
    assert auc(np.ones(4), labels) == 0.5


@given(frames_of_both_classes)
def test_equals_the_literal_twin_and_scikit_learn(rows):
    scores, labels = arrays(rows)
    assert auc(scores, labels) == pytest.approx(literal_auc(scores, labels), abs=1e-12)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_equals_scikit_learn_on_many_frames():
    rng = np.random.default_rng(0)
    labels = (rng.random(40_000) < 0.4).astype(np.uint8)
    for decimals in (1, 3, 16):
        scores = np.round(rng.random(40_000) + 0.2 * labels, decimals)
        assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(frames_of_both_classes)
def test_does_not_change_under_increasing_maps(rows):
    scores, labels = arrays(rows)
    assert auc(np.exp(3 * scores), labels) == auc(scores, labels)
    assert auc(scores**3 - 7, labels) == auc(scores, labels)


@given(frames_of_both_classes)
def test_reversed_scores_or_swapped_labels_give_one_minus_auc(rows):
    scores, labels = arrays(rows)
    assert auc(-scores, labels) == pytest.approx(1 - auc(scores, labels), abs=1e-12)
    assert auc(scores, 1 - labels) == pytest.approx(1 - auc(scores, labels), abs=1e-12)


@given(frames_of_both_classes, st.randoms(use_true_random=False))
def test_does_not_depend_on_the_order_of_frames(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert auc(*arrays(shuffled)) == auc(*arrays(rows))


def test_of_one_class_is_undefined_and_never_a_number():
    scores = np.linspace(0, 1, 5)
    for labels in (np.zeros(5, int), np.ones(5, int)):
        assert auc(scores, labels) is None
        assert roc_curve(scores, labels) is None
        assert micro_auc([scores], [labels]) is None
        assert macro_auc([scores], [labels]) == (None, 0)
    assert micro_auc([], []) is None
    assert macro_auc([], []) == (None, 0)


def test_macro_leaves_out_clips_of_one_class_and_counts_the_others():
    both = np.array([0, 1])
    right, wrong, any_order = np.array([0.1, 0.9]), np.array([0.9, 0.1]), np.array([0.3, 0.6])
    scores = [right, wrong, right, any_order]
    labels = [both, both, both, np.ones(2, int)]
    assert macro_auc(scores, labels) == (pytest.approx(2 / 3), 3)
    assert macro_auc(scores[:3], labels[:3]) == macro_auc(scores, labels)


def test_micro_pools_frames_where_macro_does_not():
    """Each clip is ranked perfectly, but the second clip lies above the first as a whole."""
    scores = [np.array([0.1, 0.2]), np.array([0.8, 0.9])]
    labels = [np.array([0, 1]), np.array([0, 1])]
    assert macro_auc(scores, labels).value == 1.0
    assert micro_auc(scores, labels) == 0.75


@given(frames_of_both_classes)
def test_roc_curve_encloses_the_auc_and_passes_through_scikit_learns_corners(rows):
    scores, labels = arrays(rows)
    curve = roc_curve(scores, labels)
    x, y = curve.false_positive_rate, curve.true_positive_rate
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(auc(scores, labels), abs=1e-12)
    expected = sklearn_roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(x, expected[0])
    np.testing.assert_allclose(y, expected[1])
    np.testing.assert_array_equal(curve.threshold, expected[2])
    for k in range(1, len(x)):
        assert y[k] == pytest.approx((scores[labels == 1] >= curve.threshold[k]).mean())


def test_refuses_what_has_no_rank():
    with pytest.raises(DataError, match="1 of 2 anomaly scores are NaN"):
        auc(np.array([0.1, np.nan]), np.array([0, 1]))
    with pytest.raises(DataError, match=r"shape \(3,\) do not match labels of shape \(2,\)"):
        auc(np.zeros(3), np.array([0, 1]))
    with pytest.raises(DataError, match="must be 0 or 1, not 2"):
        auc(np.zeros(3), np.array([0, 1, 2]))
    with pytest.raises(DataError, match="1 clips do not match labels of 2 clips"):
        macro_auc([np.zeros(2)], [np.array([0, 1])] * 2)
    with pytest.raises(DataError, match=r"shape \(2,\) do not match labels of shape \(3,\)"):
        micro_auc([np.zeros(2), np.zeros(3)], [np.array([0, 1, 1]), np.array([0, 1])])  # 5 frames each

"""Calibration brings raw scores of any range to one scale without changing their order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaed.errors import DataError
from fastaed.teachers.calibration import Calibration, calibration_of

SCORES = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50)


def test_low_becomes_0_and_high_becomes_one_half() -> None:
    calibrated = Calibration(low=2.0, high=4.0)(np.array([-7.0, 2.0, 3.0, 4.0, 8.0, 202.0]))
    np.testing.assert_allclose(calibrated, [0, 0, 1 / 3, 0.5, 0.75, 100 / 101], rtol=1e-6)
    assert calibrated.dtype == np.float32


@given(SCORES, st.floats(-100, 100), st.floats(0.01, 100))
def test_calibrated_scores_keep_their_order_within_0_and_1(
    scores: list[float], low: float, width: float
) -> None:
    calibrated = Calibration(low, low + width)(np.sort(np.array(scores)))
    assert (np.diff(calibrated) >= 0).all()
    assert (calibrated >= 0).all()
    assert (calibrated < 1).all()


def test_percentiles_of_held_out_scores_are_where_they_should_be() -> None:
    scores = np.random.default_rng(0).permutation(101).astype(np.float32) * 0.5
    calibration = calibration_of(scores, 50, 99)
    assert calibration == Calibration(25.0, 49.5)
    assert (calibration(scores) > 0.5).sum() == 1
    assert (calibration(scores) == 0).sum() == 51


def test_the_unit_of_raw_scores_does_not_matter() -> None:
    scores = np.random.default_rng(1).normal(size=200)
    plain = calibration_of(scores, 40, 95)(scores)
    np.testing.assert_allclose(calibration_of(scores * 7 - 3, 40, 95)(scores * 7 - 3), plain, atol=1e-6)


def test_no_held_out_object_is_an_error() -> None:
    with pytest.raises(DataError, match="no held-out object"):
        calibration_of(np.zeros(0), 50, 99)


def test_equal_scores_are_an_error() -> None:
    with pytest.raises(DataError, match=r"5 held-out objects all score 0\.3"):
        calibration_of(np.full(5, 0.3), 50, 99)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_undefined_scores_are_an_error(bad: float) -> None:
    with pytest.raises(DataError, match="diverged"):
        calibration_of(np.array([0.0, 1.0, bad]), 50, 99)
    with pytest.raises(DataError, match="diverged"):
        Calibration(0, 1)(np.array([bad]))

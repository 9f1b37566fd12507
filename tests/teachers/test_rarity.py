"""Fisher's score against sums on paper."""

import numpy as np
import pytest

from fastaed.teachers.rarity import fisher_score


def test_fisher_score_on_paper() -> None:
    """Ten normal objects of rarity 1 to 10 (the rarest tenth is 10 alone), 10 to 100 in another respect."""
    normal = np.arange(1.0, 11)[:, None] * np.array([1, 10])
    rarity = np.array([[0.0, 5.0], [2.0, 95.0], [10.0, 100.0]])
    found = fisher_score(rarity, normal)
    np.testing.assert_allclose(found, -np.log([1, (10 / 11) * (2 / 11), (2 / 11) * (2 / 11)]), rtol=1e-6)
    twenty = np.arange(1.0, 21)[:, None]  # the rarest tenth is 19 and 20, on average 0.5 above its least
    beyond = fisher_score(np.array([[21.0], [23.0]]), twenty)
    np.testing.assert_allclose(beyond, [np.log(21 * 3), np.log(21 * 7)], rtol=1e-6)
    few = fisher_score(np.array([[5.0]]), np.array([[1.0], [3.0]]))  # excess over the least: 1 on average
    np.testing.assert_allclose(few, [np.log(3 * 3)], rtol=1e-6)
    assert np.isfinite(fisher_score(np.array([[5.0]]), np.array([[1.0], [1.0]]))).all()


def test_a_least_p_bounds_what_a_respect_adds_and_changes_no_order() -> None:
    normal = np.arange(1.0, 11)[:, None]
    rarity = np.array([[0.0], [9.5], [11.0], [1e9]])
    plain, bounded = (fisher_score(rarity, normal, least)[:, None] for least in (None, [0.2]))
    np.testing.assert_allclose(bounded, -np.log(0.2 + 0.8 * np.exp(-plain)), rtol=1e-6)
    assert bounded[0] == 0
    assert (np.diff(bounded[:3], axis=0) > 0).all()
    assert bounded[3] == pytest.approx(np.log(5))
    np.testing.assert_array_equal(fisher_score(rarity, normal, [0]), plain[:, 0])

"""Neighbour distance against another way to compute it."""

import numpy as np
import pytest
import torch

from fastaed.models.neighbours import neighbour_distance


@pytest.mark.parametrize(("neighbours", "bank_size"), [(1, 9), (3, 9), (3, 200), (5, 2)])
def test_distance_is_the_mean_over_the_nearest(neighbours, bank_size):
    rng = np.random.default_rng(1)
    x, bank = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(bank_size, 5)).astype(np.float32)
    expected = [np.mean(sorted(np.linalg.norm(row - known) for known in bank)[:neighbours]) for row in x]
    found = neighbour_distance(torch.from_numpy(x), torch.from_numpy(bank), neighbours, block=3)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_nothing_to_compare_gives_nothing():
    assert neighbour_distance(torch.zeros(0, 3), torch.zeros(4, 3), 1).shape == (0,)

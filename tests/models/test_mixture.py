"""Mixture likelihood and neighbour distance against other ways to compute them."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from fastaed.models.mixture import Mixture, neighbour_distance


def test_likelihood_is_the_literal_sum_of_normal_densities():
    rng = np.random.default_rng(0)
    weights, means = np.array([0.2, 0.5, 0.3]), rng.normal(size=(3, 4))
    roots = rng.normal(size=(3, 4, 4))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.5 * np.eye(4)
    x = rng.normal(size=(6, 4))
    expected = np.log(
        sum(w * multivariate_normal(m, c).pdf(x) for w, m, c in zip(weights, means, covariances))
    )
    # U upper triangular with U U^T the precision: the transposed inverse of the lower root of the covariance
    upper = np.linalg.inv(np.linalg.cholesky(covariances)).transpose(0, 2, 1)
    mixture = Mixture(*(torch.from_numpy(np.ascontiguousarray(v)) for v in (np.log(weights), means, upper)))
    np.testing.assert_allclose(mixture.log_likelihood(torch.from_numpy(x)), expected, rtol=1e-10)


@pytest.mark.parametrize(("neighbours", "bank_size"), [(1, 9), (3, 9), (3, 200), (5, 2)])
def test_distance_is_the_mean_over_the_nearest(neighbours, bank_size):
    rng = np.random.default_rng(1)
    x, bank = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(bank_size, 5)).astype(np.float32)
    expected = [np.mean(sorted(np.linalg.norm(row - known) for known in bank)[:neighbours]) for row in x]
    found = neighbour_distance(torch.from_numpy(x), torch.from_numpy(bank), neighbours, block=3)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_nothing_to_compare_gives_nothing():
    assert neighbour_distance(torch.zeros(0, 3), torch.zeros(4, 3), 1).shape == (0,)

"""Likelihood under a Gaussian mixture and distance to the nearest known vectors."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Mixture:
    """Gaussian mixture of K components over D values.

    Attributes:
        log_weights: (K,) logarithms of the components' shares.
        means: (K, D).
        precision_roots: (K, D, D) upper-triangular roots U of the precisions, U U^T = covariance^-1.
    """

    log_weights: torch.Tensor
    means: torch.Tensor
    precision_roots: torch.Tensor

    def log_likelihood(self, x: torch.Tensor) -> torch.Tensor:
        """Logarithm of sum_k w_k N(x; mu_k, C_k) of (N, D) vectors, as (N,).

        log N(x; mu, C) = -1/2 (D log 2 pi + |U^T (x - mu)|^2) + log det U
        """
        away = torch.einsum("nkd,kde->nke", x[:, None] - self.means, self.precision_roots)
        log_root = torch.diagonal(self.precision_roots, dim1=1, dim2=2).log().sum(1)
        log_normal = log_root - 0.5 * (x.shape[1] * math.log(2 * math.pi) + away.square().sum(2))
        return torch.logsumexp(self.log_weights + log_normal, dim=1)


def neighbour_distance(
    x: torch.Tensor, bank: torch.Tensor, neighbours: int, block: int = 1024
) -> torch.Tensor:
    """Mean Euclidean distance to the nearest vectors of a bank (Reiss & Hoshen, AI-VAD, section 3.3).

    d(x) = 1/k sum over the k nearest b in the bank of |x - b|

    Args:
        x: (N, D).
        bank: (M, D).
        neighbours: k; all of the bank where it holds fewer.
        block: vectors compared at once, which bounds the memory to block x M distances.

    Returns:
        (N,).
    """
    k = min(neighbours, len(bank))
    exact = "donot_use_mm_for_euclid_dist" if len(bank) < 64 else "use_mm_for_euclid_dist_if_necessary"
    nearest = [
        torch.cdist(part, bank, compute_mode=exact).topk(k, largest=False).values.mean(1)
        for part in torch.split(x, block)
    ]
    return torch.cat(nearest) if nearest else x.new_zeros(0)

"""Distance to the nearest known vectors."""

import torch


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
    mode = (
        "donot_use_mm_for_euclid_dist"  # products round near distances, and gain nothing on short vectors
        if len(bank) < 64 or x.shape[1] < 8
        else "use_mm_for_euclid_dist_if_necessary"
    )
    nearest = [
        torch.cdist(part, bank, compute_mode=mode).topk(k, largest=False).values.mean(1)
        for part in torch.split(x, block)
    ]
    return torch.cat(nearest) if nearest else x.new_zeros(0)

"""What the student and the discriminators minimise (Croitoru et al., CVIU 2024, section 3.3).

The verbs of the method: a discriminator *judges* (`real_fake_loss`), the student *imitates* the teachers
(`pyramid_mse`) and *deceives* the discriminators (`deception_loss`).
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from fastaed.pyramid import MapPyramid

Judge = Callable[[MapPyramid[Tensor]], Tensor]


def pyramid_mse(
    prediction: MapPyramid[Tensor], target: MapPyramid[Tensor], weights: Iterable[float] = (1, 1, 1)
) -> Tensor:
    """Weighted sum over the three scales of the mean squared difference (the standard distillation loss).

    Args:
        prediction: (B, 1, 1), (B, 4, 4), (B, 16, 16) in [0, 1].
        target: the same shapes and range.
        weights: of the scales, coarsest first; as published, all 1.
    """
    return total(
        weight * F.mse_loss(ours, theirs)
        for weight, ours, theirs in zip(weights, prediction, target, strict=True)
    )


def real_fake_loss(judge: Judge, real: MapPyramid[Tensor], fake: MapPyramid[Tensor]) -> Tensor:
    """-log D(real) - log(1 - D(fake)), averaged over the batch: what a discriminator minimises.

    `fake` is cut from its graph by the caller (`detach` on the prediction, never on the judge's output, which
    would hide the student from the discriminator).

    Args:
        judge: pyramid to (B,) logits of being the teacher's.
        real: the teacher's maps.
        fake: the student's maps.
    """
    return F.softplus(-judge(real)).mean() + F.softplus(judge(fake)).mean()


def deception_loss(judge: Judge, prediction: MapPyramid[Tensor]) -> Tensor:
    """-log D(prediction), averaged over the batch: small where the student passes for the teacher."""
    return F.softplus(-judge(prediction)).mean()


def detached(maps: MapPyramid[Tensor]) -> MapPyramid[Tensor]:
    """The same maps, cut from the graph that made them."""
    return MapPyramid(*(level.detach() for level in maps))


def total(terms: Iterable[Tensor]) -> Tensor:
    """Sum of scalar losses."""
    return torch.stack(tuple(terms)).sum()

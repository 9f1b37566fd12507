import math

import pytest
import torch

from fastaed.losses import deception_loss, detached, pyramid_mse, real_fake_loss, total
from fastaed.models.discriminator import Discriminator
from fastaed.pyramid import MapPyramid


def _maps(seed, count=3):
    generator = torch.Generator().manual_seed(seed)
    return MapPyramid(*(torch.rand(count, side, side, generator=generator) for side in (1, 4, 16)))


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 4, 16), (0.5, 0, 3)])
def test_pyramid_mse_against_loops(weights):
    ours, theirs = _maps(0), _maps(1)
    expected = 0.0
    for weight, one, other in zip(weights, ours, theirs):
        squares = [(a - b) ** 2 for a, b in zip(one.flatten().tolist(), other.flatten().tolist())]
        expected += weight * sum(squares) / len(squares)
    assert pyramid_mse(ours, theirs, weights).item() == pytest.approx(expected, rel=1e-5)


def test_pyramid_mse_is_zero_for_equal_maps_and_weighs_scales_alike():
    maps = _maps(0)
    assert pyramid_mse(maps, maps).item() == 0
    for level in range(3):
        shifted = MapPyramid(*(m + 0.5 if i == level else m for i, m in enumerate(maps)))
        assert pyramid_mse(shifted, maps).item() == pytest.approx(0.25)


def _mean_logit(maps):
    return maps.four.mean((1, 2)) * 8 - 4


def test_real_fake_loss_against_the_logarithms():
    real, fake = _maps(0), _maps(1)
    expected = 0.0
    for x, y in zip(_mean_logit(real).tolist(), _mean_logit(fake).tolist()):
        expected -= (math.log(1 / (1 + math.exp(-x))) + math.log(1 - 1 / (1 + math.exp(-y)))) / 3
    assert real_fake_loss(_mean_logit, real, fake).item() == pytest.approx(expected, rel=1e-5)


def test_deception_loss_against_the_logarithm():
    maps = _maps(2)
    expected = -sum(math.log(1 / (1 + math.exp(-x))) for x in _mean_logit(maps).tolist()) / 3
    assert deception_loss(_mean_logit, maps).item() == pytest.approx(expected, rel=1e-5)


def test_a_judge_that_is_sure_and_right_has_no_loss_and_no_overflow():
    real, fake = _maps(0), _maps(1)
    certain = {id(real): 500.0, id(fake): -500.0}
    loss = real_fake_loss(lambda maps: torch.full((3,), certain[id(maps)]), real, fake)
    assert loss.item() == 0
    assert deception_loss(lambda maps: torch.full((3,), -500.0), fake).item() == 500


def test_the_discriminator_learns_from_the_student():
    """Cutting the judge's output instead of the prediction, as published, leaves this gradient at zero."""
    torch.manual_seed(0)
    judge = Discriminator()
    prediction = MapPyramid(*(level.requires_grad_() for level in _maps(0)))
    real = MapPyramid(*(torch.zeros_like(level) for level in prediction))

    with_student = torch.autograd.grad(
        real_fake_loss(judge, real, detached(prediction)), list(judge.parameters())
    )
    only_real = torch.autograd.grad(
        torch.nn.functional.softplus(-judge(real)).mean(), list(judge.parameters())
    )
    assert any(not torch.allclose(a, b) for a, b in zip(with_student, only_real))


def test_judging_leaves_the_student_alone():
    torch.manual_seed(0)
    judge = Discriminator()
    prediction = MapPyramid(*(level.requires_grad_() for level in _maps(0)))
    real_fake_loss(judge, _maps(1), detached(prediction)).backward()
    assert all(level.grad is None for level in prediction)
    deception_loss(judge, prediction).backward()
    assert all(level.grad.abs().sum() > 0 for level in prediction)


def test_a_discriminator_comes_to_tell_the_two_apart_and_the_student_to_deceive_it():
    torch.manual_seed(0)
    judge = Discriminator()
    optimizer = torch.optim.Adam(judge.parameters(), lr=1e-2)
    real, fake = _maps(0, 8), MapPyramid(*(level * 0.2 for level in _maps(1, 8)))
    for _ in range(150):
        optimizer.zero_grad()
        loss = real_fake_loss(judge, real, fake)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    assert deception_loss(judge, fake) > deception_loss(judge, real)


def test_total_is_the_sum():
    assert total(torch.tensor(float(x)) for x in (1, 2, 4)).item() == 7

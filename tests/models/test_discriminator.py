import torch
from torch.nn import functional as F

from fastaed.models.discriminator import Discriminator
from fastaed.pyramid import MapPyramid


def _maps(count):
    generator = torch.Generator().manual_seed(1)
    return MapPyramid(*(torch.rand(count, side, side, generator=generator) for side in (1, 4, 16)))


def test_it_has_the_published_number_of_parameters():
    assert sum(weight.numel() for weight in Discriminator().parameters()) == 959


def test_one_logit_a_pyramid_whatever_the_batch():
    torch.manual_seed(0)
    judge = Discriminator()
    maps = _maps(3)
    logits = judge(maps)
    assert logits.shape == (3,)
    alone = judge(MapPyramid(*(level[1:2] for level in maps)))
    torch.testing.assert_close(alone[0], logits[1])


def test_the_scales_join_where_the_paper_says():
    torch.manual_seed(0)
    judge = Discriminator()
    maps = _maps(1)
    fine = torch.relu(judge.fine(maps.sixteen[None]))
    at_four = torch.stack([block.amax((-1, -2)) for row in fine[0].split(4, 1) for block in row.split(4, 2)])
    at_four = torch.cat([at_four.T.reshape(4, 4, 4), maps.four])
    at_one = torch.cat([torch.relu(judge.coarse(at_four[None]))[0].amax((1, 2)), maps.one.flatten()])
    hidden = F.leaky_relu(judge.decide[0](at_one), 0.01)
    torch.testing.assert_close(judge(maps), judge.decide[2](hidden))


def test_every_scale_matters():
    torch.manual_seed(0)
    judge = Discriminator()
    maps = MapPyramid(*(level.requires_grad_() for level in _maps(4)))
    judge(maps).sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in maps)

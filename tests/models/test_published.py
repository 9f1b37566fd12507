import pytest
import torch
from lively import enliven
from torch import nn

from fastaed.config import StudentSettings
from fastaed.models.published import build_published, published_twin
from fastaed.models.student import Student, build_student

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=2, heads=2, head_width=4, map_channels=4)


def lively_student(settings: StudentSettings) -> Student:
    """A student whose batch norms have seen something, so that folding or forgetting one shows."""
    torch.manual_seed(0)
    student = build_student(settings)
    enliven(student)
    return student.eval()


@pytest.mark.parametrize(("height", "width"), [(360, 640), (97, 150)])
@torch.inference_mode()
def test_ours_with_the_same_weights_says_the_same_maps(height: int, width: int) -> None:
    student = lively_student(StudentSettings())
    clip = torch.randint(0, 256, (1, 9, height, width), dtype=torch.uint8)
    twin = published_twin(student, StudentSettings())
    for ours, theirs in zip(student(clip), twin(clip), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_each_weight_counts_in_both() -> None:
    """Weights are mapped by their order: a change of any one of them must change both networks alike."""
    student = lively_student(TINY)
    clip = torch.randint(0, 256, (1, 9, 64, 80), dtype=torch.uint8)
    for name, weight in student.named_parameters():
        kept = weight.clone()
        weight.add_(torch.randn_like(weight), alpha=0.3)
        for ours, theirs in zip(student(clip), published_twin(student, TINY)(clip), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0, msg=name)
        weight.copy_(kept)


@torch.inference_mode()
def test_as_published_map_heads_end_in_a_relu() -> None:
    network = build_published(TINY).eval()
    clip = torch.randint(0, 256, (2, 9, 64, 80), dtype=torch.uint8)
    nn.init.constant_(network.four.convolutions[-1].bias, 3.0)
    nn.init.constant_(network.sixteen.convolutions[-1].bias, -3.0)
    maps = network(clip)
    assert [tuple(level.shape) for level in maps] == [(2, 1, 1), (2, 4, 4), (2, 16, 16)]
    assert maps.four.max() > 1
    assert maps.sixteen.abs().max() == 0


def test_it_has_the_published_number_of_parameters() -> None:
    network = build_published(StudentSettings())
    assert sum(weight.numel() for weight in network.parameters()) == 4_997_747

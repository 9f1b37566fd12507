import copy

import pytest
import torch
from lively import enliven
from torch import Tensor, nn

from fastaed.config import StudentSettings
from fastaed.models.fast import fast_student
from fastaed.models.student import Student, build_student
from fastaed.pyramid import MapPyramid

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=2, heads=2, head_width=4, map_channels=4)
BFLOAT16_TOLERANCE = 0.02


@pytest.fixture(scope="module", params=[None, (2, 4, 4, 6)], ids=["blind", "with eyes"])
def student(request: pytest.FixtureRequest) -> Student:
    """A student whose norms and biases are no longer those of its first day, so that a lost one shows."""
    torch.manual_seed(0)
    network = build_student(TINY.model_copy(update={"eyes": request.param})).eval()
    enliven(network)
    return network


def pixels(height: int, width: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 9, height, width), dtype=torch.uint8, generator=generator)


def difference(one: MapPyramid[Tensor], other: MapPyramid[Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (45, 71), (64, 80), (90, 161)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.inference_mode()
def test_same_maps_in_float32(student: Student, height: int, width: int, layout: torch.memory_format) -> None:
    clip = pixels(height, width).contiguous(memory_format=layout)
    maps = fast_student(student)(clip)
    assert difference(maps, student(clip)) < 1e-5
    assert [tuple(level.shape) for level in maps] == [(2, 1, 1), (2, 4, 4), (2, 16, 16)]


@pytest.mark.parametrize("name", ["published", "bolt", "hawk"])
@torch.inference_mode()
def test_same_maps_at_the_full_size(name: str) -> None:
    torch.manual_seed(0)
    network = build_student(StudentSettings.model_validate(name)).eval()
    clip = pixels(360, 640, 1)
    assert difference(fast_student(network)(clip), network(clip)) < 1e-5


@torch.inference_mode()
def test_bfloat16_maps_are_close_and_float32(student: Student) -> None:
    maps = fast_student(student, torch.bfloat16)(pixels(64, 80))
    assert 0 < difference(maps, student(pixels(64, 80))) < BFLOAT16_TOLERANCE
    assert {level.dtype for level in maps} == {torch.float32}


@torch.inference_mode()
def test_every_weight_of_the_student_counts(student: Student) -> None:
    changed = copy.deepcopy(student)
    clip = pixels(48, 64)
    for name, weight in changed.named_parameters():
        kept = weight.clone()
        weight.add_(torch.randn_like(weight), alpha=0.3)
        assert difference(fast_student(changed)(clip), changed(clip)) < 1e-5, name
        weight.copy_(kept)


def test_the_student_itself_is_left_as_it_was(student: Student) -> None:
    before = copy.deepcopy(student.state_dict())
    network = fast_student(student, torch.bfloat16)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@torch.inference_mode()
def test_it_compiles_as_one_graph(student: Student) -> None:
    network = fast_student(student)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert difference(compiled(pixels(48, 64)), network(pixels(48, 64))) == 0


@torch.inference_mode()
def test_fused_attention_of_other_devices_is_the_same(
    student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = pixels(48, 64)
    products = fast_student(student)(clip)
    monkeypatch.setattr("fastaed.models.student.products_are_faster", lambda query: False)
    assert difference(fast_student(student)(clip), products) < 1e-5

"""The classifier shows its network what ImageNet networks are trained on, and answers with probabilities."""

import pytest
import torch
from torch import Tensor, nn

from fastaed.models.resnet import CLASSES, ImageNetClassifier, empty_resnet50


class Witness(nn.Module):
    """Keeps what it is shown; its logits are four corners of the first channel."""

    def forward(self, pictures: Tensor) -> Tensor:
        self.seen = pictures
        return pictures[:, 0, ::223, ::223].flatten(1)


def test_the_network_is_shown_normalised_pictures_of_its_size() -> None:
    witness = Witness()
    colours = torch.tensor([[0.485, 0.456, 0.406], [0.485 + 0.229, 0.456 - 2 * 0.224, 0.406 + 0.5 * 0.225]])
    ImageNetClassifier(witness)(colours[:, :, None, None].expand(2, 3, 64, 64))
    assert witness.seen.shape == (2, 3, 224, 224)
    expected = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]])[:, :, None, None].expand(2, 3, 224, 224)
    torch.testing.assert_close(witness.seen, expected, atol=1e-6, rtol=0)


def test_pictures_are_enlarged_bilinearly() -> None:
    witness = Witness()
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)  # from left to right
    ImageNetClassifier(witness)(ramp)
    row = witness.seen[0, 0, 100] * 0.229 + 0.485
    centres = ((torch.arange(224) + 0.5) * 64 / 224 - 0.5).clamp(0, 63)  # of the pixels, in those of the crop
    torch.testing.assert_close(row, centres / 63, atol=1e-6, rtol=0)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_answers_are_probabilities_in_any_precision(precision: torch.dtype) -> None:
    torch.manual_seed(1)
    classifier = ImageNetClassifier(nn.Sequential(nn.AvgPool2d(112), nn.Flatten(), nn.Linear(12, 5)))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        answers = classifier(torch.rand(4, 3, 64, 64))
    assert answers.dtype == torch.float32
    assert (answers > 0).all()
    torch.testing.assert_close(answers.sum(dim=1), torch.ones(4))


def test_building_resnet50_draws_nothing_and_has_the_published_size() -> None:
    torch.manual_seed(2)
    before = torch.get_rng_state()
    network = empty_resnet50()
    assert torch.equal(torch.get_rng_state(), before)
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_557_032
    assert network.get_parameter("fc.weight").shape == (CLASSES, 2048)
    assert all(parameter.is_meta for parameter in network.parameters())

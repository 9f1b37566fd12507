"""SSMTL's network has the published shape, and its parts do what their names say."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fastaed.models.cnn3d import ClassHead, Cnn3d, FramePool, MultiTaskNetwork, PictureHead


def test_the_published_network_has_the_published_parameters() -> None:
    shared = Cnn3d((32, 64, 64), 2)
    convs = [layer for layer in shared.modules() if isinstance(layer, nn.Conv3d)]
    shapes = [(conv.in_channels, conv.out_channels) for conv in convs]
    assert shapes == [(3, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 64)]
    weights = 27 * (3 * 32 + 32 * 32 + 32 * 64 + 3 * 64 * 64)
    norms = 2 * (32 + 32 + 4 * 64)
    assert sum(parameter.numel() for parameter in shared.parameters()) == weights + norms


@pytest.mark.parametrize("frames", [1, 3, 6, 7])
def test_features_are_8_by_8_for_any_length(frames: int) -> None:
    features = Cnn3d((2, 3, 4), 1)(torch.rand(2, 3, frames, 64, 64))
    assert features.shape == (2, 4, 8, 8)


def test_the_shared_network_is_its_literal_twin() -> None:
    torch.manual_seed(0)
    shared = Cnn3d((2, 3, 4), 2)
    tubes = torch.rand(2, 3, 5, 64, 64)
    expected = tubes
    layers = [layer for layer in shared.stages if isinstance(layer, nn.Conv3d | nn.BatchNorm3d)]
    for stage, pool in zip(range(3), [(1, 2, 2), (1, 2, 2), (5, 2, 2)]):
        for conv, norm in (
            (layers[4 * stage], layers[4 * stage + 1]),
            (layers[4 * stage + 2], layers[4 * stage + 3]),
        ):
            expected = torch.relu(norm(conv(expected)))
        expected = F.max_pool3d(expected, pool)
    torch.testing.assert_close(shared(tubes), expected.squeeze(2))


def test_frame_pool_is_max_pool_3d() -> None:
    features = torch.randn(2, 3, 4, 8, 8)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        laid_out = features.contiguous(memory_format=layout)
        torch.testing.assert_close(FramePool()(laid_out), F.max_pool3d(features, (1, 2, 2)), rtol=0, atol=0)


def test_each_head_answers_about_its_own_view() -> None:
    torch.manual_seed(0)
    network = MultiTaskNetwork(
        Cnn3d((2, 3, 4), 1), ClassHead(4, 2), ClassHead(4, 2), PictureHead(4, (4, 3, 2)), ClassHead(4, 5)
    ).eval()
    motion, context, appearance = (torch.rand(n, 3, t, 64, 64) for n, t in ((6, 7), (2, 7), (2, 7)))
    answers = network(motion, context, appearance)
    assert answers.arrow.shape == answers.irregularity.shape == (6, 2)
    assert answers.middle.shape == (2, 3, 64, 64)
    assert answers.classes.shape == (2, 5)
    for answer in (answers.middle, answers.classes):
        assert answer.min() >= 0
        assert answer.max() <= 1
    changed = network(motion, context + 1, appearance)
    assert not torch.equal(changed.middle, answers.middle)
    for head in ("arrow", "irregularity", "classes"):
        torch.testing.assert_close(getattr(changed, head), getattr(answers, head))


def test_training_leaves_statistics_that_evaluation_agrees_with() -> None:
    torch.manual_seed(0)
    network = MultiTaskNetwork(
        Cnn3d((2, 3, 4), 1), ClassHead(4, 2), ClassHead(4, 2), PictureHead(4, (4, 3, 2)), ClassHead(4, 5)
    )
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            layer.momentum = None  # running statistics are the mean over all batches, here of one
    views = torch.rand(6, 3, 7, 64, 64), torch.rand(2, 3, 7, 64, 64) * 0.1, torch.ones(2, 3, 7, 64, 64)
    with torch.no_grad():
        training = network.train()(*views)
        for one, other in zip(training, network.eval()(*views)):
            torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2)


def test_without_classes_there_is_no_class_head() -> None:
    network = MultiTaskNetwork(
        Cnn3d((2, 3, 4), 1), ClassHead(4, 2), ClassHead(4, 2), PictureHead(4, (4, 3, 2)), None
    )
    tubes = torch.rand(2, 3, 7, 64, 64)
    assert network(tubes, tubes, tubes).classes is None

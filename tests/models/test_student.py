import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fastaed.config import STUDENTS, StudentSettings
from fastaed.errors import WeightsError
from fastaed.models.decoder import Autoencoder, Decoder, halved_frame
from fastaed.models.student import (
    ChannelNorm,
    ConvolutionalAttention,
    DepthwiseConvolution,
    FrameHead,
    MapHead,
    SharedHead,
    adaptive_max_pool,
    build_student,
    normalised,
    restored_student,
)

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)


def test_the_default_student_has_the_published_number_of_parameters():
    student = build_student(StudentSettings())
    assert sum(weight.numel() for weight in student.parameters()) == 4_997_747


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 50), (64, 48), (90, 160)])
def test_any_size_gives_the_three_scales_in_0_to_1(height, width):
    torch.manual_seed(0)
    student = build_student(TINY)
    clip = torch.randint(0, 256, (2, 9, height, width), dtype=torch.uint8)
    maps = student(clip)
    assert [tuple(level.shape) for level in maps] == [(2, 1, 1), (2, 4, 4), (2, 16, 16)]
    for level in maps:
        assert level.dtype == torch.float32
        assert 0 <= level.min() <= level.max() <= 1


def test_features_halve_four_times_rounding_up():
    features = build_student(TINY).encoder(torch.zeros(2, 9, 45, 70))
    assert [tuple(level.shape[2:]) for level in features] == [(45, 70), (23, 35), (12, 18), (6, 9), (3, 5)]


@pytest.mark.parametrize(("stride", "channels"), [(2, (4, 4, 8, 8)), (4, (4, 8, 8))])
def test_a_stem_of_stride_ends_at_a_sixteenth_too(stride, channels):
    settings = StudentSettings(
        stem_stride=stride, channels=channels, blocks=1, heads=1, head_width=4, mlp_ratio=1, shared_head=True
    )
    student = build_student(settings)
    features = student.encoder(torch.zeros(1, 9, 45, 70))
    assert tuple(features[-1].shape) == (1, 8, 3, 5)
    assert len(features) == len(channels)
    clip = torch.randint(0, 256, (2, 9, 45, 70), dtype=torch.uint8)
    autoencoder = Autoencoder(student, Decoder(channels))
    assert autoencoder(clip).shape == halved_frame(clip).shape


def test_scales_of_a_shared_head_are_pooled_from_channels_of_their_own():
    torch.manual_seed(0)
    head = SharedHead(6, 4)
    features = torch.randn(2, 6, 15, 23)
    logits = head.convolutions(features)
    for number, (level, size) in enumerate(zip(head(features), (1, 4, 16))):
        expected = torch.sigmoid(F.adaptive_max_pool2d(logits[:, number], size))
        torch.testing.assert_close(level, expected)


def test_one_step_of_the_optimizer_does_not_kill_the_published_frame_head():
    torch.manual_seed(0)
    head = FrameHead(256)
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)
    features = 3 * torch.randn(8, 256, 15, 23)
    head(features).square().mean().backward()
    optimizer.step()
    assert 0.2 < head(features).min().item() < 0.8


def test_bolt_needs_a_quarter_of_the_published_operations():
    operations = {}
    for name in STUDENTS:
        student = build_student(StudentSettings.model_validate(name)).eval()
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            student(torch.zeros(1, 9, 360, 640))
        operations[name] = counter.get_total_flops()
    assert operations["published"] == pytest.approx(14.1e9, rel=0.01)
    assert operations["bolt"] <= operations["published"] / 4


def test_published_size_at_360_by_640_has_920_places():
    student = build_student(StudentSettings()).eval()
    with torch.inference_mode():
        assert student.encoder(torch.zeros(1, 9, 360, 640))[-1].shape == (1, 256, 23, 40)


def test_pixels_are_normalised_inside_and_uint8_equals_float():
    pixels = torch.tensor([127, 255, 0], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert normalised(pixels).flatten().tolist() == [0.0, 1.0, -127 / 128]
    student = build_student(TINY).eval()
    clip = torch.randint(0, 256, (1, 9, 32, 40), dtype=torch.uint8)
    for ours, theirs in zip(student(clip), student(clip.float())):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("size", [1, 2, 4, 16])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (23, 40), (15, 23), (16, 16), (7, 33)])
def test_adaptive_max_pool_is_torchs(size, shape):
    values = torch.from_numpy(np.random.default_rng(size).normal(size=(2, 3, *shape)))
    assert torch.equal(adaptive_max_pool(values, size), F.adaptive_max_pool2d(values, size))


def test_pooling_is_written_in_operators_that_export():
    """ONNX has no adaptive max pooling, and its exporter refuses 16 cells from 23 x 40 places."""
    student = build_student(TINY).eval()
    program = torch.export.export(student, (torch.zeros(1, 9, 360, 640),))
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "aten.amax.default" in operators
    assert not [operator for operator in operators if "adaptive" in operator]


def test_a_map_head_is_never_dead():
    """The published head (ReLU before pooling) has no gradient once its values are negative; ours has."""
    torch.manual_seed(0)
    head = MapHead(4, 3, 4)
    torch.nn.init.constant_(head.convolutions[-1].bias, -20.0)
    features = torch.randn(2, 4, 6, 8)
    (1 - head(features)).sum().backward()
    assert head.convolutions[-1].bias.grad.abs().item() > 0
    assert all(weight.grad.abs().sum() > 0 for weight in head.parameters())
    published = F.adaptive_max_pool2d(F.relu(head.convolutions(features)), 4)
    assert torch.autograd.grad((1 - published).sum(), head.convolutions[-1].bias)[0].item() == 0


def test_channel_norm_against_its_definition():
    torch.manual_seed(0)
    features = torch.randn(2, 5, 3, 4)
    normed = ChannelNorm(5)(features)
    place = features[1, :, 2, 3]
    expected = (place - place.mean()) / (place.var(unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(normed[1, :, 2, 3], expected)


def test_attention_against_loops_over_heads_and_places():
    torch.manual_seed(0)
    attention = ConvolutionalAttention(6, heads=2, head_width=3).eval()
    features = torch.randn(1, 6, 4, 5)
    query = attention.query(features)
    key, value = attention.key_value(features).split(6, dim=1)
    assert key.shape[2:] == (2, 3)
    mixed = torch.zeros(1, 6, 4, 5)
    for head in range(2):
        of_head = slice(3 * head, 3 * head + 3)
        keys = key[0, of_head].reshape(3, -1)
        values = value[0, of_head].reshape(3, -1)
        for y in range(4):
            for x in range(5):
                weights = torch.softmax(query[0, of_head, y, x] @ keys / 3**0.5, dim=0)
                mixed[0, of_head, y, x] = values @ weights
    torch.testing.assert_close(attention(features), attention.out(mixed))


def test_maps_follow_a_shift_of_the_scene():
    """Row 0 is the top and column 0 the left: what changes in a corner changes that corner's cells most."""
    torch.manual_seed(0)
    student = build_student(TINY).eval()
    clip = torch.full((1, 9, 256, 256), 127.0)
    marked = clip.clone()
    marked[..., :32, -32:] = 255
    change = (student(marked).sixteen - student(clip).sixteen)[0].abs()
    assert change[:4, 12:].max() == change.max() > 0


def test_a_restored_student_is_the_same_and_other_weights_are_refused():
    student = build_student(TINY).eval()
    facts = {"student": TINY.model_dump(mode="json")}
    again = restored_student(student.state_dict(), facts)
    clip = torch.randint(0, 256, (1, 9, 32, 40), dtype=torch.uint8)
    assert torch.equal(again(clip).sixteen, student(clip).sixteen)
    assert not again.training
    with pytest.raises(WeightsError, match="run distill again"):
        restored_student({"weight": torch.zeros(1)}, facts)
    with pytest.raises(WeightsError, match="run distill again"):
        restored_student(student.state_dict(), {"teacher": "ssmtl"})


@pytest.mark.parametrize(("height", "width"), [(32, 48), (45, 71)])
def test_autoencoder_says_frame_t_at_half_size(height, width):
    autoencoder = Autoencoder(build_student(TINY), Decoder(TINY.channels))
    clip = torch.randint(0, 256, (2, 9, height, width), dtype=torch.uint8)
    assert autoencoder(clip).shape == halved_frame(clip).shape == (2, 3, -(-height // 2), -(-width // 2))


def test_halved_frame_is_the_mean_of_four_pixels_of_frame_t():
    clip = torch.randint(0, 256, (1, 9, 4, 6), dtype=torch.uint8)
    four = [clip[0, 1, 2 + dy, 4 + dx].item() for dy in (0, 1) for dx in (0, 1)]
    assert halved_frame(clip)[0, 1, 1, 2].item() == pytest.approx((sum(four) / 4 - 127) / 128)


def test_pixels_lose_nothing_in_the_type_of_an_autocast():
    every_value = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    exact = normalised(every_value)
    with torch.autocast("cpu", torch.bfloat16):
        reduced, of_floats = normalised(every_value), normalised(every_value + 0.3)
    assert reduced.dtype == torch.bfloat16
    torch.testing.assert_close(reduced.float(), exact, rtol=0, atol=0)
    assert of_floats.dtype == torch.float32


def test_under_autocast_the_margin_is_mirrored_in_the_type_of_the_frames():
    frames = torch.rand(1, 2, 6, 7).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        padded = build_student(TINY).encoder.stem[0](frames)
    assert padded.dtype == torch.bfloat16
    torch.testing.assert_close(padded, F.pad(frames, (3,) * 4, mode="reflect"), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(7, 10), (8, 9)])
def test_a_strided_depthwise_convolution_learns_as_torchs(size):
    torch.manual_seed(0)
    ours = DepthwiseConvolution(5, stride=2)
    torchs = torch.nn.Conv2d(5, 5, 3, stride=2, padding=1, groups=5, bias=False)
    torchs.load_state_dict(ours.state_dict())
    features = torch.randn(2, 5, *size)
    for convolution in (ours, torchs):
        convolution(features).square().sum().backward()
    torch.testing.assert_close(ours(features), torchs(features))
    torch.testing.assert_close(ours.weight.grad, torchs.weight.grad)
    torch.testing.assert_close(ours.eval()(features), torchs(features), rtol=0, atol=0)

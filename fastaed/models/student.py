"""The student: one small network from three frames to a pyramid of anomaly maps.

Fast-AED (Croitoru et al., CVIU 2024, arXiv 2211.15597), section 3: a convolutional encoder, convolutional
transformer blocks and one head a scale. At the default settings it has the published 4.998 M parameters.
Three things differ from the published network: the map heads end in max pooling and a sigmoid (not in a ReLU,
which leaves dead units and unbounded maps), the answer of the 1x1 head is scaled (so that it does not die),
and the pooling is written so that it exports to ONNX from any size. Beyond it, a student may see frame t
through the first layers of the detector as well (`fastaed.models.eyes`).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastaed.config import StudentSettings
from fastaed.errors import WeightsError
from fastaed.models.eyes import Eyes
from fastaed.pyramid import MapPyramid

INPUT_CHANNELS = 9  # frames t, t-3, t+3, each RGB
SMALLEST_SIDE = 32  # pixels of the input


def build_student(settings: StudentSettings) -> "Student":
    """A student of this size with fresh weights, laid out channels last (a tenth faster, on any device)."""
    width = settings.channels[-1]
    blocks = [
        Block(
            ChannelNorm(width),
            ConvolutionalAttention(width, settings.heads, settings.head_width),
            ChannelNorm(width),
            ConvolutionalMlp(width, settings.mlp_ratio),
        )
        for _ in range(settings.blocks)
    ]
    encoder = Encoder(settings.channels, settings.stem_stride)
    sight = Sight(settings.eyes, width) if settings.eyes else None
    student = Student(encoder, nn.Sequential(*blocks), _heads(width, settings), sight)
    return student.to(memory_format=torch.channels_last)


def _heads(width: int, settings: StudentSettings) -> "Heads | SharedHead":
    if settings.shared_head:
        return SharedHead(width, settings.map_channels)
    maps = (MapHead(width, settings.map_channels, size) for size in (4, 16))
    return Heads(FrameHead(width), *maps)


def restored_student(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> "Student":
    """The trained student of a weights file, in evaluation mode.

    Args:
        tensors: the weights.
        facts: what was saved with them; `student` holds the size.

    Raises:
        WeightsError: these are not the weights of a student.
    """
    try:
        student = build_student(StudentSettings.model_validate(facts["student"]))
        student.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"the weights are not those of a student ({reason}); run distill again") from error
    return student.eval()


def normalised(clip: Tensor) -> Tensor:
    """Pixel values in [0, 255] as floats in about [-1, 1]: (x - 127) / 128, laid out channels last.

    Float32, or the type of the autocast around it where the values are whole: these it holds exactly, in half
    the memory.
    """
    device = clip.device.type
    exact = torch.is_autocast_enabled(device) and not clip.is_floating_point()
    dtype = torch.get_autocast_dtype(device) if exact else torch.float32
    return (clip.to(dtype, memory_format=torch.channels_last) - 127.0) / 128.0


class Student(nn.Module):
    """Student input to map pyramid.

    Args:
        encoder: to features at 1/16 of the input's size.
        blocks: refine the features, same shape.
        heads: features to maps.
        sight: if any, adds what it sees to the encoder's features.
    """

    def __init__(
        self,
        encoder: "Encoder",
        blocks: nn.Sequential,
        heads: "Heads | SharedHead",
        sight: "Sight | None" = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.blocks = blocks
        self.heads = heads
        self.sight = sight

    def forward(self, clip: Tensor) -> MapPyramid[Tensor]:
        """Anomaly maps of frame t.

        Args:
            clip: (B, 9, H, W) frames t, t-3, t+3 in RGB, uint8 or float, [0, 255]; H and W at least 32.

        Returns:
            (B, 1, 1), (B, 4, 4), (B, 16, 16) float32 in [0, 1].
        """
        features = self.encoder(clip)[-1]
        if self.sight is not None:
            features = features + self.sight(clip)
        maps: MapPyramid[Tensor] = self.heads(self.blocks(features))
        return maps


class Sight(nn.Module):
    """What the detector's first layers say of frame t, as features like the encoder's.

    Args:
        widths: of the eyes.
        channels: of the encoder's features.
    """

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.eyes = Eyes(widths)
        self.near = nn.Conv2d(widths[2], channels, 3, stride=2, padding=1, bias=False)
        self.far = nn.Conv2d(widths[3], channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 9, H, W) in [0, 255] to (B, C, H / 16, W / 16), rounded up."""
        frame = clip[:, :3].to(torch.float32, memory_format=torch.channels_last) / 255
        near, far = self.eyes(frame)
        return F.relu(self.norm(self.near(near) + self.far(far)))


class Encoder(nn.Module):
    """Stem, published at full size, then convolutions of stride 2 down to 1/16 of it.

    Args:
        channels: of the stem and of each convolution after it.
        stem_stride: of the stem.
    """

    def __init__(self, channels: Sequence[int], stem_stride: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ReflectionPad(3),
            nn.Conv2d(INPUT_CHANNELS, channels[0], 7, stride=stem_stride, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
        )
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()
            )
            for inner, outer in pairwise(channels)
        )

    def forward(self, clip: Tensor) -> list[Tensor]:
        """Features at 1 / stem stride of the size and each half of it down to 1/16 (rounded up).

        Args:
            clip: (B, 9, H, W) in [0, 255].
        """
        features = [self.stem(normalised(clip))]
        for convolution in self.down:
            features.append(convolution(features[-1]))
        return features


class ReflectionPad(nn.ReflectionPad2d):
    """torch's, in the type of its input: under autocast, torch's own widens it to float32."""

    def forward(self, frames: Tensor) -> Tensor:
        """Frames with mirrored margins."""
        device = frames.device.type
        if not torch.is_autocast_enabled(device):
            return super().forward(frames)
        with torch.autocast(device, enabled=False):
            return super().forward(frames)


class Block(nn.Module):
    """Attention and MLP, each behind its norm and with a residual; (B, C, h, w) to the same."""

    def __init__(self, norm: nn.Module, attention: nn.Module, second_norm: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.attention = attention
        self.second_norm = second_norm
        self.mlp = mlp

    def forward(self, features: Tensor) -> Tensor:
        """Refined features."""
        attended: Tensor = features + self.attention(self.norm(features))
        refined: Tensor = attended + self.mlp(self.second_norm(attended))
        return refined


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each place of (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Features of zero mean and unit variance over the channels, scaled and shifted."""
        normed: Tensor = self.norm(features.permute(0, 2, 3, 1))
        channels_first: Tensor = normed.permute(0, 3, 1, 2)
        return channels_first


class ConvolutionalAttention(nn.Module):
    """Multi-head attention whose projections are depthwise convolutions; keys and values at half the size.

    Args:
        channels: C of the features.
        heads: number of heads.
        head_width: channels of a head.
    """

    def __init__(self, channels: int, heads: int, head_width: int) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.query = _projection(channels, inner, stride=1)
        self.key_value = _projection(channels, 2 * inner, stride=2)
        self.out = nn.Conv2d(inner, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """softmax(q k' / sqrt(d)) v over all places, (B, C, h, w) to the same."""
        query = self.query(features)
        key, value = self.key_value(features).chunk(2, dim=1)
        scale = float(query.shape[1] // self.heads) ** -0.5
        mixed = attend(self._tokens(query) * scale, self._tokens(key), self._tokens(value))
        projected: Tensor = self.out(mixed.transpose(2, 3).reshape(query.shape))
        return projected

    def _tokens(self, features: Tensor) -> Tensor:
        """(B, heads * d, h, w) to (B, heads, h * w, d)."""
        count, channels, height, width = features.shape
        return features.reshape(count, self.heads, channels // self.heads, height * width).transpose(2, 3)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k') v of (B, heads, N, d), queries scaled beforehand."""
    if products_are_faster(query):
        return torch.softmax(query @ key.transpose(-1, -2), dim=-1) @ value
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)


def products_are_faster(query: Tensor) -> bool:
    """Whether two products take less time than torch's fused attention: half of it on CPUs."""
    return query.device.type == "cpu"


class DepthwiseConvolution(nn.Conv2d):
    """3x3, every channel by itself; learning on a CPU, a stride is taken by leaving out places of the result.

    The values are the same. The gradient of a strided depthwise convolution takes a CPU 25 times as long as
    that of an unstrided one.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h / stride, w / stride), rounded up."""
        step = self.stride[0]
        if step == 1 or not self.training or features.device.type != "cpu":
            return super().forward(features)
        return F.conv2d(features, self.weight, padding=1, groups=self.groups)[:, :, ::step, ::step]


def _projection(channels: int, outer: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        DepthwiseConvolution(channels, stride),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, outer, 1, bias=False),
    )


class ConvolutionalMlp(nn.Sequential):
    """Two 1x1 convolutions with `ratio` times the channels between them; published 4."""

    def __init__(self, channels: int, ratio: int = 4) -> None:
        inner = ratio * channels
        super().__init__(nn.Conv2d(channels, inner, 1), nn.GELU(), nn.Conv2d(inner, channels, 1))


class Heads(nn.Module):
    """One head a scale."""

    def __init__(self, one: nn.Module, four: nn.Module, sixteen: nn.Module) -> None:
        super().__init__()
        self.one = one
        self.four = four
        self.sixteen = sixteen

    def forward(self, features: Tensor) -> MapPyramid[Tensor]:
        """(B, C, h, w) to the pyramid."""
        return MapPyramid(self.one(features), self.four(features), self.sixteen(features))


class SharedHead(nn.Module):
    """One head for all scales: they share its first convolution, and each has a channel of the second.

    Scales that are maxima of the finest would copy its mistakes; these do not, and cost as little.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.convolutions = _map_convolutions(channels, inner, scales=3)

    def forward(self, features: Tensor) -> MapPyramid[Tensor]:
        """(B, C, h, w) to the pyramid."""
        logits = adaptive_max_pool(self.convolutions(features), 16).float()
        one = logits[:, 0].amax((1, 2)).reshape(-1, 1, 1)
        four = logits[:, 1].reshape(-1, 4, 4, 4, 4).amax((2, 4))
        return MapPyramid(torch.sigmoid(one), torch.sigmoid(four), torch.sigmoid(logits[:, 2]))


class FrameHead(nn.Module):
    """One number a frame, as published: max pooling to 2x2, ReLU, a linear layer, a sigmoid.

    The linear layer's answer is divided by the square root of its inputs' number. All of these are positive,
    so that without it a step of the optimizer moves the answer by whole units, to an end of the sigmoid from
    which nothing comes back.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * channels, 1)
        self.scale = float(4 * channels) ** -0.5

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, 1, 1) in [0, 1]."""
        pooled = F.relu(adaptive_max_pool(features, 2)).flatten(1)
        return torch.sigmoid(self.linear(pooled).float() * self.scale).unsqueeze(2)


class MapHead(nn.Module):
    """A coarse map: two convolutions, max pooling to the map's size, a sigmoid.

    The published head has a ReLU before the pooling: a map of negative values is 0 there, without a gradient
    to leave it. The sigmoid bounds the map and never dies.
    """

    def __init__(self, channels: int, inner: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.convolutions = _map_convolutions(channels, inner, scales=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, size, size) in [0, 1]."""
        logits = self.convolutions(features).squeeze(1)
        return torch.sigmoid(adaptive_max_pool(logits, self.size).float())


def _map_convolutions(channels: int, inner: int, scales: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, scales, 3, padding=1)
    )


def adaptive_max_pool(values: Tensor, size: int) -> Tensor:
    """Maxima over `size` x `size` windows that cover (..., h, w), as torch's adaptive max pooling.

    Written as gathers and maxima because torch's own exports to ONNX only for multiples of `size`.
    """
    return _window_maxima(_window_maxima(values, size).transpose(-1, -2), size).transpose(-1, -2)


def _window_maxima(values: Tensor, size: int) -> Tensor:
    """(..., n) to (..., size): window i reaches from floor(i n / size) to ceil((i + 1) n / size)."""
    length = int(values.shape[-1])
    starts = [i * length // size for i in range(size)]
    stops = [-(-(i + 1) * length // size) for i in range(size)]
    longest = max(stop - start for start, stop in zip(starts, stops))
    places = [min(start + step, stop - 1) for start, stop in zip(starts, stops) for step in range(longest)]
    gathered = values.index_select(-1, torch.tensor(places, device=values.device))
    return gathered.reshape(*values.shape[:-1], size, longest).amax(-1)

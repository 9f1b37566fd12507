"""The student exactly as published, kept as a literal twin that ours is compared with, in speed and in maps.

Fast-AED (Croitoru et al., CVIU 2024, arXiv 2211.15597), section 3. Layer by layer as the paper has it, in
float32 and torch's default layout: batch norms by themselves, attention as two matrix products with a softmax
between, torch's adaptive max pooling, map heads that end in a ReLU. Nothing here is meant to be fast.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastaed.config import StudentSettings
from fastaed.models.student import INPUT_CHANNELS, FrameHead, Heads, Student
from fastaed.pyramid import MapPyramid

Activation = Callable[[Tensor], Tensor]


def build_published(settings: StudentSettings, map_end: Activation = torch.relu) -> "PublishedStudent":
    """The published network of this size with fresh weights.

    Args:
        settings: sizes.
        map_end: what a map head ends in before its pooling; a ReLU as published, `torch.sigmoid` as ours.
    """
    width = settings.channels[-1]
    blocks = [PublishedBlock(width, settings.heads, settings.head_width) for _ in range(settings.blocks)]
    return PublishedStudent(
        _encoder(settings.channels),
        nn.Sequential(*blocks),
        PublishedFrameHead(width),
        PublishedMapHead(width, settings.map_channels, 4, map_end),
        PublishedMapHead(width, settings.map_channels, 16, map_end),
    )


def published_twin(student: Student, settings: StudentSettings) -> "PublishedStudent":
    """The published network with a student's weights and its sigmoids, so that both say the same maps.

    Args:
        student: in evaluation mode; left as it is.
        settings: its size.
    """
    twin = build_published(settings, torch.sigmoid)
    theirs, ours = twin.state_dict(), student.state_dict()
    # Both define the same layers in the same order; only their names differ, and the scale of the frame head.
    weights = {name: ours[key] for name, key in zip(theirs, ours, strict=True)}
    scale = cast(FrameHead, cast(Heads, student.heads).one).scale
    twin.load_state_dict(
        {name: scale * tensor if name.startswith("one.") else tensor for name, tensor in weights.items()}
    )
    return twin.eval()


class PublishedStudent(nn.Module):
    """Student input to map pyramid, as published."""

    def __init__(
        self,
        encoder: nn.Sequential,
        blocks: nn.Sequential,
        one: nn.Module,
        four: nn.Module,
        sixteen: nn.Module,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.blocks = blocks
        self.one = one
        self.four = four
        self.sixteen = sixteen

    def forward(self, clip: Tensor) -> MapPyramid[Tensor]:
        """Anomaly maps of frame t.

        Args:
            clip: (B, 9, H, W) frames t, t-3, t+3 in RGB, uint8 or float, [0, 255].

        Returns:
            (B, 1, 1), (B, 4, 4), (B, 16, 16) float32.
        """
        features = self.blocks(self.encoder((clip.float() - 127.0) / 128.0))
        return MapPyramid(self.one(features), self.four(features), self.sixteen(features))


def _encoder(channels: Sequence[int]) -> nn.Sequential:
    stem = [
        nn.ReflectionPad2d(3),
        nn.Conv2d(INPUT_CHANNELS, channels[0], 7, bias=False),
        nn.BatchNorm2d(channels[0]),
        nn.ReLU(),
    ]
    down = [
        layer
        for inner, outer in pairwise(channels)
        for layer in (
            nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(),
        )
    ]
    return nn.Sequential(*stem, *down)


class PublishedBlock(nn.Module):
    """Attention and MLP, each behind its norm and with a residual."""

    def __init__(self, channels: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.norm = PublishedNorm(channels)
        self.attention = PublishedAttention(channels, heads, head_width)
        self.second_norm = PublishedNorm(channels)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Refined features, (B, C, h, w) to the same."""
        features = features + self.attention(self.norm(features))
        refined: Tensor = features + self.mlp(self.second_norm(features))
        return refined


class PublishedNorm(nn.Module):
    """(x - mean) / sqrt(variance + 1e-5) over the channels, scaled and shifted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        variance, mean = torch.var_mean(features, dim=1, unbiased=False, keepdim=True)
        return (features - mean) / (variance + 1e-5).sqrt() * self.scale[:, None, None] + self.shift[
            :, None, None
        ]


class PublishedAttention(nn.Module):
    """Attention of h w queries to a quarter as many keys and values."""

    def __init__(self, channels: int, heads: int, head_width: int) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.query = _projection(channels, inner, 1)
        self.key_value = _projection(channels, 2 * inner, 2)
        self.out = nn.Conv2d(inner, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """softmax(q k' / sqrt(d)) v, (B, C, h, w) to the same."""
        query = self.query(features)
        key, value = self.key_value(features).chunk(2, dim=1)
        q, k, v = (self._heads(part) for part in (query, key, value))  # (B heads, d, places)
        weights = torch.softmax(q.transpose(1, 2) @ k * q.shape[1] ** -0.5, dim=-1)
        mixed = (weights @ v.transpose(1, 2)).transpose(1, 2)
        projected: Tensor = self.out(mixed.reshape(query.shape))
        return projected

    def _heads(self, features: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        return features.reshape(count * self.heads, channels // self.heads, height * width)


def _projection(channels: int, outer: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, outer, 1, bias=False),
    )


class PublishedFrameHead(nn.Module):
    """Adaptive max pooling to 2x2, ReLU, a linear layer, a sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, 1, 1)."""
        pooled = F.relu(F.adaptive_max_pool2d(features, 2).flatten(1))
        return torch.sigmoid(self.linear(pooled)).unsqueeze(2)


class PublishedMapHead(nn.Module):
    """Two convolutions, an activation, adaptive max pooling."""

    def __init__(self, channels: int, inner: int, size: int, end: Activation) -> None:
        super().__init__()
        self.size = size
        self.end = end
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, 1, 3, padding=1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, size, size)."""
        return F.adaptive_max_pool2d(self.end(self.convolutions(features)), self.size).squeeze(1)

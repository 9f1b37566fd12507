"""The trained student rewritten for speed: the same weights, the same maps, fewer and larger operations.

Nothing is approximated but the numbers' precision. Batch norms become part of the convolutions before them,
the normalisation of pixels part of the stem, the first convolutions of both map heads one; all runs channels
last, so that the blocks work on rows of tokens and copy nothing; the input stays uint8 up to the device.
"""

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fastaed.models.student import (
    Block,
    ChannelNorm,
    ConvolutionalAttention,
    Heads,
    MapHead,
    SharedHead,
    Sight,
    Student,
    adaptive_max_pool,
    attend,
)
from fastaed.pyramid import MapPyramid

_REACH = 3  # pixels, of the stem's 7x7 kernel
_MIDDLE, _SPREAD = 127, 128  # of pixel values
_WHITE = 255


def fast_student(student: Student, dtype: torch.dtype = torch.float32) -> "FastStudent":
    """An inference network with the weights of `student`, which is left as it is.

    Args:
        student: in evaluation mode.
        dtype: of weights and features: `torch.float32`, or `torch.bfloat16` where the device multiplies it
            natively.
    """
    stem, *down = (_folded(stage) for stage in (student.encoder.stem[1:], *student.encoder.down))
    blocks = [FastBlock(cast(Block, block)) for block in student.blocks]
    heads = student.heads
    fast_heads = copy.deepcopy(heads) if isinstance(heads, SharedHead) else FastHeads(heads)
    sight = None if student.sight is None else FastSight(student.sight)
    network = FastStudent(_of_pixels(stem), down, blocks, fast_heads, sight)
    return network.to(dtype).to(memory_format=torch.channels_last).eval().requires_grad_(False)


class FastStudent(nn.Module):
    """Student input to map pyramid, for inference."""

    def __init__(
        self,
        stem: nn.Conv2d,
        down: Sequence[nn.Conv2d],
        blocks: Sequence[nn.Module],
        heads: nn.Module,
        sight: nn.Module | None,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.down = nn.ModuleList(down)
        self.blocks = nn.Sequential(*blocks)
        self.heads = heads
        self.sight = sight

    def forward(self, clip: Tensor) -> MapPyramid[Tensor]:
        """Anomaly maps of frame t.

        Args:
            clip: (B, 9, H, W) uint8 frames t, t-3, t+3 in RGB; H and W at least 32.

        Returns:
            (B, 1, 1), (B, 4, 4), (B, 16, 16) float32 in [0, 1].
        """
        framed = F.pad(clip, (_REACH,) * 4, mode="reflect")
        features = F.relu_(self.stem(framed.to(self.stem.weight.dtype) - _MIDDLE))
        for convolution in self.down:
            features = F.relu_(convolution(features))
        if self.sight is not None:
            features = features + self.sight(clip)
        maps: MapPyramid[Tensor] = self.heads(self.blocks(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return maps


class FastSight(nn.Module):
    """The detector's first layers and what is made of them, from whole pixel values."""

    def __init__(self, sight: Sight) -> None:
        super().__init__()
        self.eyes = copy.deepcopy(sight.eyes)
        first = cast(nn.Conv2d, self.eyes.layers[0].conv)
        first.weight.data /= _WHITE
        self.near, self.far = (fuse_conv_bn_eval(way, sight.norm) for way in (sight.near, sight.far))
        self.far.bias = None  # of their sum, which near has

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 9, H, W) uint8 to (B, C, H / 16, W / 16), rounded up."""
        frame = clip[:, :3].to(self.far.weight.dtype, memory_format=torch.channels_last)
        near, far = self.eyes(frame)
        return F.relu_(self.near(near) + self.far(far))


class FastBlock(nn.Module):
    """Attention and MLP on (B, h, w, C), where a 1x1 convolution is a product with a matrix.

    The products are of (B, h w, C): to tensors of more dimensions some runtimes add a bias by itself.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        attention = cast(ConvolutionalAttention, block.attention)
        self.heads = attention.heads
        width = attention.out.in_channels // self.heads
        self.norm = copy.deepcopy(cast(ChannelNorm, block.norm).norm)
        self.near_query, self.query = _folded(attention.query), _linear(attention.query[2], width**-0.5)
        self.near_key_value = _folded(attention.key_value)
        self.key_value = _linear(attention.key_value[2])
        self.out = _linear(attention.out)
        self.second_norm = copy.deepcopy(cast(ChannelNorm, block.second_norm).norm)
        wide, _, narrow = cast(nn.Sequential, block.mlp)
        self.wide, self.narrow = _linear(wide), _linear(narrow)

    def forward(self, features: Tensor) -> Tensor:
        """Refined features."""
        attended = features.flatten(1, 2) + self._attention(self.norm(features))
        refined: Tensor = attended + self.narrow(F.gelu(self.wide(self.second_norm(attended))))
        return refined.reshape(features.shape)

    def _attention(self, features: Tensor) -> Tensor:
        planes = features.permute(0, 3, 1, 2)
        query = self.query(_tokens(self.near_query(planes)))
        key, value = self.key_value(_tokens(self.near_key_value(planes))).chunk(2, dim=-1)
        mixed = attend(self._by_head(query), self._by_head(key), self._by_head(value))
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected

    def _by_head(self, tokens: Tensor) -> Tensor:
        """(B, N, heads * d) to (B, heads, N, d)."""
        count, places, channels = tokens.shape
        return tokens.reshape(count, places, self.heads, channels // self.heads).transpose(1, 2)


class FastHeads(nn.Module):
    """The three heads; the map heads' convolutions side by side."""

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        four, sixteen = cast(MapHead, heads.four), cast(MapHead, heads.sixteen)
        self.one = copy.deepcopy(heads.one)
        self.inner = _side_by_side(four.convolutions[0], sixteen.convolutions[0], groups=1)
        self.outer = _side_by_side(four.convolutions[2], sixteen.convolutions[2], groups=2)
        self.sizes = four.size, sixteen.size

    def forward(self, features: Tensor) -> MapPyramid[Tensor]:
        """(B, C, h, w) to the pyramid."""
        logits = self.outer(F.relu_(self.inner(features))).float()
        four, sixteen = (
            torch.sigmoid(adaptive_max_pool(logits[:, number], size))
            for number, size in enumerate(self.sizes)
        )
        return MapPyramid(self.one(features), four, sixteen)


def _tokens(planes: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h w, C)."""
    return planes.flatten(2).transpose(1, 2)


def _folded(layers: nn.Module) -> nn.Conv2d:
    """A convolution and the batch norm after it as one convolution."""
    convolution, norm, *_ = cast(nn.Sequential, layers)
    return fuse_conv_bn_eval(cast(nn.Conv2d, convolution), cast(nn.BatchNorm2d, norm))


def _of_pixels(stem: nn.Conv2d) -> nn.Conv2d:
    """The stem for pixel values less 127, which are whole numbers: exact in bfloat16, unlike the weights."""
    stem.weight.data /= _SPREAD
    return stem


def _linear(convolution: nn.Module, factor: float = 1.0) -> nn.Linear:
    """A 1x1 convolution as a product with a matrix, times `factor`."""
    one = cast(nn.Conv2d, convolution)
    linear = nn.Linear(one.in_channels, one.out_channels, bias=one.bias is not None)
    linear.weight.data = one.weight.data.flatten(1) * factor
    if one.bias is not None:
        linear.bias.data = one.bias.data * factor
    return linear


def _side_by_side(one: nn.Module, other: nn.Module, groups: int) -> nn.Conv2d:
    """Two convolutions of one shape as one; `groups` 1: both read the same channels, 2: each its own half."""
    pair = cast(tuple[nn.Conv2d, nn.Conv2d], (one, other))
    both = nn.Conv2d(groups * pair[0].in_channels, 2 * pair[0].out_channels, 3, padding=1, groups=groups)
    weights = {name: torch.cat([part.state_dict()[name] for part in pair]) for name in ("weight", "bias")}
    both.load_state_dict(weights)
    return both

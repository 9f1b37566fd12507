"""SSMTL's network: one 3-D CNN shared by four heads (Georgescu et al., CVPR 2021).

Built from parts: `Cnn3d` sees the tube, `ClassHead` and `PictureHead` answer the questions put to it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURE_SIDE = 8  # of the 64 x 64 tube after three poolings


class Answers(NamedTuple):
    """What the four heads say about N tubes, each about a view of its own."""

    arrow: Tensor  # (N, 2) logits: forward, backward
    irregularity: Tensor  # (N, 2) logits: consecutive, irregular
    middle: Tensor  # (N, 3, 64, 64) RGB in [0, 1]
    classes: Tensor | None  # (N, K) in [0, 1]


class Cnn3d(nn.Module):
    """Object tubes to features: three stages of 3x3x3 convolutions, BN, ReLU, pooled 1x2x2; then all time.

    Args:
        channels: of the three stages; published (32, 64, 64), narrow (16, 32, 32).
        convs_per_stage: published 2, shallow 1.
    """

    def __init__(self, channels: Sequence[int], convs_per_stage: int) -> None:
        super().__init__()
        first, second, third = channels
        self.stages = nn.Sequential(
            *_stage(3, first, convs_per_stage),
            *_stage(first, second, convs_per_stage),
            *_stage(second, third, convs_per_stage),
        )
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, tubes: Tensor) -> Tensor:
        """Features (N, C, 8, 8) of tubes (N, 3, T, 64, 64), RGB in [0, 1], any T from 1."""
        features: Tensor = self.stages(tubes)
        return features.amax(dim=2)


class ClassHead(nn.Sequential):
    """Features (N, C, 8, 8) to (N, answers) logits: a convolution, 2x2 max pooling, a linear layer."""

    def __init__(self, channels: int, answers: int, width: int = 32) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(width * (FEATURE_SIDE // 2) ** 2, answers),
        )


class PictureHead(nn.Sequential):
    """Features (N, C, 8, 8) to an RGB picture (N, 3, 64, 64) in [0, 1]: three upsampling convolutions.

    Args:
        channels: of the features.
        widths: channels at 16 x 16, 32 x 32 and 64 x 64.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for wide, narrow in zip((channels, *widths), widths):
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(wide, narrow, 3, padding=1, bias=False),
                nn.BatchNorm2d(narrow),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.Conv2d(widths[-1], 3, 3, padding=1), nn.Sigmoid())


class MultiTaskNetwork(nn.Module):
    """The shared 3-D CNN with its four heads.

    Args:
        shared: tubes (N, 3, T, 64, 64) to features.
        arrow: features to (N, 2) logits.
        irregularity: features to (N, 2) logits.
        middle: features to pictures (N, 3, 64, 64) in [0, 1].
        classes: features to (N, K) logits; none where the detector gives no class probabilities.
    """

    def __init__(
        self,
        shared: nn.Module,
        arrow: nn.Module,
        irregularity: nn.Module,
        middle: nn.Module,
        classes: nn.Module | None,
    ) -> None:
        super().__init__()
        self.shared = shared
        self.arrow = arrow
        self.irregularity = irregularity
        self.middle = middle
        self.classes = classes

    def forward(self, motion: Tensor, context: Tensor, appearance: Tensor) -> Answers:
        """Ask every head about the view that is its own.

        All views go through the shared network as one batch: batch normalisation then sees the same mixture
        in every step, which its running statistics describe. Normalised view by view, they would fit none.

        Args:
            motion: (M, 3, T, 64, 64) tubes whose order and regularity are asked for.
            context: (N, 3, T, 64, 64) tubes with a blank middle, which is to be predicted.
            appearance: (N, 3, T, 64, 64) middle crops standing still, whose class is asked for.
        """
        features: Tensor = self.shared(torch.cat([motion, context, appearance]))
        moving, around = features[: len(motion)], features[len(motion) : len(motion) + len(context)]
        classes = None if self.classes is None else self.classes(features[len(motion) + len(context) :])
        return Answers(
            self.arrow(moving),
            self.irregularity(moving),
            self.middle(around),
            None if classes is None else torch.sigmoid(classes),
        )


class FramePool(nn.Module):
    """Max pooling 1x2x2 as 2-D pooling of N x T frames: the same, and four times faster on a CPU."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, T, H / 2, W / 2) of (N, C, T, H, W)."""
        frames = features.transpose(1, 2)
        pooled: Tensor = F.max_pool2d(frames.flatten(0, 1), 2)
        return pooled.reshape(*frames.shape[:2], *pooled.shape[1:]).transpose(1, 2)


def _stage(inputs: int, outputs: int, convs: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for position in range(convs):
        layers += [
            nn.Conv3d(inputs if position == 0 else outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm3d(outputs),
            nn.ReLU(),
        ]
    return [*layers[:-1], FramePool(), layers[-1]]  # ReLU and maximum commute: a quarter of the work for ReLU

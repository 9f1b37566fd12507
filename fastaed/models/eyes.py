"""Eyes: the first layers of the detector, as they are. A student sees frame t through them, density objects.

Those of YOLOv8 (ultralytics, 2023) down to 1/16 of the frame's size. What a bicycle has and a person has not,
they have learnt from a hundred thousand pictures; the footage of one camera shows people and little else.
Nothing of them is trained further, so that they cannot forget it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastaed.errors import WeightsError

_DEPTHS = (1, 2, 2)  # bottlenecks in the stages at 1/4, 1/8 and 1/16, of the sizes n and s


class Eyes(nn.Module):
    """Frame t to features at 1/8 and 1/16 of its size (rounded up), by layers 0 to 6 of YOLOv8.

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16: (16, 32, 64, 128) of YOLOv8n.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = widths
        self.layers = nn.ModuleList(
            [
                Unit(3, half, 3, stride=2),
                Unit(half, quarter, 3, stride=2),
                Stage(quarter, _DEPTHS[0]),
                Unit(quarter, eighth, 3, stride=2),
                Stage(eighth, _DEPTHS[1]),
                Unit(eighth, sixteenth, 3, stride=2),
                Stage(sixteenth, _DEPTHS[2]),
            ]
        )
        self.requires_grad_(False)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Features.

        Args:
            frame: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B, C, H / 8, W / 8) and (B, C', H / 16, W / 16).
        """
        near = frame
        for layer in self.layers[:5]:
            near = layer(near)
        return near, self.layers[6](self.layers[5](near))


class Unit(nn.Module):
    """A convolution, with the batch norm after it folded into it, and SiLU."""

    def __init__(self, inner: int, outer: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, side, stride=stride, padding=side // 2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h / stride, w / stride), rounded up."""
        return F.silu(self.conv(features))


class Stage(nn.Module):
    """Half of the channels goes through bottlenecks, of which all that comes out is mixed (C2f)."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = Unit(channels, channels, 1)
        self.m = nn.ModuleList(Bottleneck(half) for _ in range(depth))
        self.cv2 = Unit((2 + depth) * half, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        parts = list(self.cv1(features).chunk(2, dim=1))
        for bottleneck in self.m:
            parts.append(bottleneck(parts[-1]))
        mixed: Tensor = self.cv2(torch.cat(parts, dim=1))
        return mixed


class Bottleneck(nn.Module):
    """Two 3x3 and a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = Unit(channels, channels, 3)
        self.cv2 = Unit(channels, channels, 3)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        refined: Tensor = features + self.cv2(self.cv1(features))
        return refined


def open_eyes(eyes: Eyes, detector: Mapping[str, Tensor]) -> None:
    """Give `eyes` the weights of a detector.

    Args:
        eyes: changed in place.
        detector: `yolo.layer_weights` of it.

    Raises:
        WeightsError: it is not built like YOLOv8, or of other widths.
    """
    theirs = {name.replace("model.", "layers.", 1): tensor for name, tensor in detector.items()}
    wanted = eyes.state_dict()
    for name, own in sorted(wanted.items()):
        if name in theirs and theirs[name].shape == own.shape:
            continue
        shape = f"one of shape {tuple(theirs[name].shape)}" if name in theirs else "none"
        raise WeightsError(
            f"these eyes need a detector whose {name.replace('layers', 'model')} has the shape "
            f"{tuple(own.shape)}, this one has {shape}; set detect.weights to yolov8n.pt, or "
            "pretrain.student and distill.student to bolt and teach.density.eyes to null"
        )
    eyes.load_state_dict({name: theirs[name] for name in wanted})

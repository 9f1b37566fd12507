"""The decoder of phase 1: frame t from the student's features. It is thrown away after pre-training."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from fastaed.models.student import Student, normalised


class Decoder(nn.Module):
    """Three transposed convolutions to half the frame's size; features of the encoder are added on the way.

    The skips join at 1/8 and 1/4 of the size. None joins at 1/2, where it would hand over the answer.

    Args:
        channels: of the encoder's levels.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        quarter, eighth, sixteenth = channels[-3:]
        half = -(-quarter // 2)
        self.to_eighth = _doubling(sixteenth, eighth)
        self.to_quarter = _doubling(eighth, quarter)
        self.to_half = _doubling(quarter, half)
        self.to_rgb = nn.Conv2d(half, 3, 3, padding=1)

    def forward(self, clip: Tensor, features: Sequence[Tensor], refined: Tensor) -> Tensor:
        """(B, 3, H/2, W/2) frame t in about [-1, 1].

        Args:
            clip: (B, 9, H, W) student input, whose size is halved.
            features: the encoder's levels of it.
            refined: (B, C, h, w) the last of them after the blocks.
        """
        quarter, eighth, _ = features[-3:]
        half = [-(-side // 2) for side in clip.shape[2:]]
        at_eighth = F.relu(self.to_eighth(refined, output_size=eighth.shape[2:])) + eighth
        at_quarter = F.relu(self.to_quarter(at_eighth, output_size=quarter.shape[2:])) + quarter
        at_half = F.relu(self.to_half(at_quarter, output_size=half))
        frame: Tensor = self.to_rgb(at_half)
        return frame


class Autoencoder(nn.Module):
    """The student's encoder and blocks with a decoder in the place of the heads."""

    def __init__(self, student: Student, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = student.encoder
        self.blocks = student.blocks
        self.decoder = decoder

    def forward(self, clip: Tensor) -> Tensor:
        """(B, 9, H, W) student input to (B, 3, H/2, W/2) frame t in about [-1, 1]."""
        features = self.encoder(clip)
        frame: Tensor = self.decoder(clip, features, self.blocks(features[-1]))
        return frame


def halved_frame(clip: Tensor) -> Tensor:
    """Frame t of a student input at half its size, normalised: what the autoencoder has to say.

    Args:
        clip: (B, 9, H, W) in [0, 255].

    Returns:
        (B, 3, H/2, W/2) in about [-1, 1], sizes rounded up.
    """
    height, width = clip.shape[2:]
    return F.adaptive_avg_pool2d(normalised(clip[:, :3]), (-(-height // 2), -(-width // 2)))


def _doubling(inner: int, outer: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inner, outer, 3, stride=2, padding=1)

"""Convolutional autoencoder with an adversarial decoder, and the classifier that judges its residual.

After Georgescu et al., "A Background-Agnostic Framework with Adversarial Training for Abnormal Event
Detection in Video", TPAMI 2022, sections 3.2 to 3.4.
"""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional


class Latent(NamedTuple):
    """What the encoder hands to decoders: the deepest features, and those they meet on the way up."""

    deepest: torch.Tensor  # (N, c3, 8, 8) of a 64 x 64 crop
    middle: torch.Tensor  # (N, c2, 16, 16)
    shallow: torch.Tensor  # (N, c1, 32, 32)


class Encoder(nn.Module):
    """Three times: 3x3 convolution, ReLU, 2x2 max-pooling; 64 x 64 to 8 x 8.

    Args:
        inputs: channels of a crop.
        channels: c1, c2, c3; published 32, 32, 16.
    """

    def __init__(self, inputs: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        widths = (inputs, *channels)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, channels))

    def forward(self, crops: torch.Tensor) -> Latent:
        """(N, inputs, 64, 64) crops to their latent features."""
        features = [crops]
        for conv in self.convs:
            features.append(functional.max_pool2d(functional.relu(conv(features[-1])), 2))
        return Latent(features[3], features[2], features[1])


class Decoder(nn.Module):
    """The encoder mirrored: three times nearest-neighbour doubling and 3x3 convolution, with additive skips.

    Args:
        outputs: channels of what is decoded.
        channels: c1, c2, c3 of the encoder.
        last: brings the output to its range: sigmoid for grey values, tanh for motion.
    """

    def __init__(self, outputs: int, channels: tuple[int, int, int], last: nn.Module) -> None:
        super().__init__()
        shallow, middle, deepest = channels
        self.to_middle = nn.Conv2d(deepest, middle, 3, padding=1)
        self.to_shallow = nn.Conv2d(middle, shallow, 3, padding=1)
        self.to_output = nn.Conv2d(shallow, outputs, 3, padding=1)
        self.last = last

    def forward(self, latent: Latent) -> torch.Tensor:
        """Latent features to (N, outputs, 64, 64)."""
        middle = functional.relu(self.to_middle(_doubled(latent.deepest))) + latent.middle
        shallow = functional.relu(self.to_shallow(_doubled(middle))) + latent.shallow
        return self.last(self.to_output(_doubled(shallow)))  # type: ignore[no-any-return]


class ResidualClassifier(nn.Module):
    """Logit of "abnormal" from what an autoencoder left over and the latent that it went through.

    The residual |x - x'| passes an encoder like the autoencoder's own; its deepest features are joined with
    the latent, convolved, and their largest and mean values decide.

    Args:
        inputs: channels of the residual.
        channels: c1, c2, c3 of the autoencoder.
    """

    def __init__(self, inputs: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.encoder = Encoder(inputs, channels)
        self.join = nn.Conv2d(2 * channels[2], channels[1], 3, padding=1)
        self.decide = nn.Linear(2 * channels[1], 1)

    def forward(self, residual: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """(N, inputs, 64, 64) residuals and (N, c3, 8, 8) latents to (N,) logits."""
        joined = torch.cat([self.encoder(residual).deepest, latent], dim=1)
        features = functional.relu(self.join(joined))
        summary = torch.cat([features.amax(dim=(2, 3)), features.mean(dim=(2, 3))], dim=1)
        return self.decide(summary).squeeze(1)  # type: ignore[no-any-return]


class JudgedAutoencoder(nn.Module):
    """One of the framework's three: an autoencoder, its encoder's adversary, and its residual's judge.

    Args:
        encoder: shared by all three others.
        decoder: reproduces normal crops.
        adversary: tries to reproduce pseudo-abnormal crops, against the encoder's will.
        classifier: normal or pseudo-abnormal, from the residual of `decoder`.
    """

    def __init__(
        self, encoder: Encoder, decoder: Decoder, adversary: Decoder, classifier: ResidualClassifier
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.adversary, self.classifier = adversary, classifier

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """(N,) logits of "abnormal" of (N, C, 64, 64) crops; only the classifier learns from them."""
        with torch.no_grad():
            latent = self.encoder(crops)
            residual = (crops - self.decoder(latent)).abs()
        return self.classifier(residual, latent.deepest)  # type: ignore[no-any-return]


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.weight * gradient, None


def reversed_gradient(latent: Latent, weight: float) -> Latent:
    """The same features, whose gradient comes back times -weight (Ganin & Lempitsky, ICML 2015).

    A decoder behind it learns to reproduce while the encoder before it learns to make that impossible: one
    descent on the decoder's loss is gradient ascent for the encoder.
    """
    return Latent(*(_Reversal.apply(part, weight) for part in latent))


def _doubled(features: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")

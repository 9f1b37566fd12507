"""Shapes, ranges, gradient reversal, and who learns from what."""

import pytest
import torch
from torch import nn

from fastaed.models.autoencoder import (
    Decoder,
    Encoder,
    JudgedAutoencoder,
    Latent,
    ResidualClassifier,
    reversed_gradient,
)

CHANNELS = (5, 4, 3)


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return JudgedAutoencoder(
        Encoder(2, CHANNELS),
        Decoder(2, CHANNELS, nn.Tanh()),
        Decoder(2, CHANNELS, nn.Tanh()),
        ResidualClassifier(2, CHANNELS),
    )


def test_latent_and_reconstruction_have_the_published_sizes():
    latent = Encoder(1, (32, 32, 16))(torch.rand(2, 1, 64, 64))
    assert [tuple(part.shape) for part in latent] == [(2, 16, 8, 8), (2, 32, 16, 16), (2, 32, 32, 32)]
    decoded = Decoder(1, (32, 32, 16), nn.Sigmoid())(latent)
    assert decoded.shape == (2, 1, 64, 64)
    assert 0 < decoded.min() < decoded.max() < 1


def test_the_decoder_uses_both_skips(autoencoder):
    latent = autoencoder.encoder(torch.rand(1, 2, 64, 64))
    whole = autoencoder.decoder(latent)
    for name in ("middle", "shallow"):
        without = latent._replace(**{name: torch.zeros_like(getattr(latent, name))})
        assert not torch.allclose(whole, autoencoder.decoder(without))


def test_reversed_gradient_is_the_identity_forwards_and_minus_the_weight_backwards():
    parts = [torch.rand(2, 3, requires_grad=True) for _ in range(3)]
    reversed_parts = reversed_gradient(Latent(*parts), 0.25)
    factors = torch.tensor([2.0, 3.0, 5.0])
    sum(factor * part.sum() for factor, part in zip(factors, reversed_parts)).backward()
    for part, same, factor in zip(parts, reversed_parts, factors):
        torch.testing.assert_close(part, same)
        torch.testing.assert_close(part.grad, torch.full_like(part, -0.25 * float(factor)))


def test_the_encoder_climbs_what_the_adversary_descends(autoencoder):
    """One small step of descent: the adversary alone lowers its loss, the encoder alone raises it."""
    strange = torch.rand(4, 2, 64, 64) * 2 - 1

    def loss():
        return (
            (autoencoder.adversary(reversed_gradient(autoencoder.encoder(strange), 1.0)) - strange)
            .square()
            .mean()
        )

    before = loss()
    before.backward()
    for part, sign in ((autoencoder.adversary, -1), (autoencoder.encoder, 1)):
        with torch.no_grad():
            for value in part.parameters():
                value -= 0.01 * value.grad
            assert sign * (loss() - before) > 0
            for value in part.parameters():
                value += 0.01 * value.grad


def test_only_the_classifier_learns_from_its_verdict(autoencoder):
    logits = autoencoder(torch.rand(3, 2, 64, 64))
    assert logits.shape == (3,)
    logits.sum().backward()
    learns = {name.split(".")[0] for name, value in autoencoder.named_parameters() if value.grad is not None}
    assert learns == {"classifier"}


def test_the_verdict_is_of_the_residual_and_the_latent(autoencoder):
    crops = torch.rand(2, 2, 64, 64)
    with torch.no_grad():
        latent = autoencoder.encoder(crops)
        residual = (crops - autoencoder.decoder(latent)).abs()
        torch.testing.assert_close(autoencoder(crops), autoencoder.classifier(residual, latent.deepest))
        other = autoencoder.classifier(residual, latent.deepest + 1)
    assert not torch.allclose(autoencoder(crops), other)

"""Pretrain: the student's encoder and blocks learn to reproduce frames.

From the training clips' frame stores to the weights that distillation starts from. Phase 1 of Fast-AED
(Croitoru et al., CVIU 2024): an autoencoder whose target is frame t at half its size, under the mean squared
error; its decoder is thrown away.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from fastaed.codehash import code_hash
from fastaed.config import PretrainSettings, settings_json
from fastaed.data.clips import Clips, Samples, equal_parts, read_ahead, student_input
from fastaed.files import input_digests
from fastaed.models.decoder import Autoencoder, Decoder, halved_frame
from fastaed.models.student import build_student
from fastaed.progress import progress, say
from fastaed.training import (
    Checkpoint,
    autocast,
    check_finite,
    descend,
    epoch_rng,
    pick_device,
    seed_everything,
    write_losses,
)
from fastaed.weights import save_weights

COLUMNS = ("epoch", "reproduce", "learning_rate", "samples_per_second")


def run(stores: Sequence[Path], out: Path, losses: Path, settings: PretrainSettings) -> None:
    """Train the autoencoder and write the weights of its encoder and blocks.

    An interrupted run goes on after its last whole epoch, from a checkpoint beside `out`.

    Args:
        stores: frame stores of the training clips.
        out: weights to write, safetensors.
        losses: table to write, CSV, a row an epoch.
        settings: of this stage.

    Raises:
        DataError: there is no clip, or clips of two sizes.
        StoreError: a store is missing or damaged.
    """
    clips = Clips(stores)
    device = pick_device(settings.device)
    seed_everything(settings.seed)
    student = build_student(settings.student)
    autoencoder = Autoencoder(student, Decoder(settings.student.channels)).to(device)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=settings.learning_rate)
    checkpoint = Checkpoint(
        out.with_suffix(".checkpoint"),
        _identity(clips, settings),
        {"autoencoder": autoencoder, "optimizer": optimizer},
    )
    done, history = checkpoint.resume()
    for epoch in range(done, settings.epochs):
        history.append(_epoch(epoch, clips, autoencoder, optimizer, settings))
        checkpoint.save(epoch + 1, history)
    kept = {
        name: tensor
        for name, tensor in student.state_dict().items()
        if name.startswith(("encoder.", "blocks."))
    }
    save_weights(out, kept, _facts(stores, clips, settings))
    write_losses(losses, history, COLUMNS)
    checkpoint.remove()


def _facts(stores: Sequence[Path], clips: Clips, settings: PretrainSettings) -> dict[str, Any]:
    return {
        "student": settings.student.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "code": code_hash("fastaed.pretrain"),
        "inputs": input_digests(stores),
        "clips": clips.names,
        "epochs": settings.epochs,
        "height": clips.height,
        "width": clips.width,
    }


def _identity(clips: Clips, settings: PretrainSettings) -> Mapping[str, Any]:
    return {
        "settings": settings_json(settings),
        "code": code_hash("fastaed.pretrain"),
        "clips": clips.fingerprints(),
    }


def _epoch(
    epoch: int,
    clips: Clips,
    autoencoder: Autoencoder,
    optimizer: torch.optim.Optimizer,
    settings: PretrainSettings,
) -> dict[str, float]:
    """One pass over the samples; its row of the table of losses."""
    device = next(autoencoder.parameters()).device

    def inputs(batch: Samples) -> torch.Tensor:
        triplets = [clips.triplet(clip, frame) for clip, frame in batch]
        return torch.from_numpy(student_input(np.stack(triplets)))

    samples = clips.drawn(settings.samples_per_epoch, epoch_rng(settings.seed, epoch))
    batches = equal_parts(samples, settings.batch_size)
    autoencoder.train()
    start = time.monotonic()
    loss_sum = 0.0
    for batch in progress(
        read_ahead(inputs, batches), f"pretrain epoch {epoch + 1}", len(batches), "batches"
    ):
        clip = batch.to(device)
        with autocast(device, settings.precision):
            frame = autoencoder(clip)
        reproduce = F.mse_loss(frame.float(), halved_frame(clip))
        descend(optimizer, reproduce)
        loss_sum += reproduce.item() * len(batch)
    rate = len(samples) / (time.monotonic() - start)
    row = {
        "epoch": epoch + 1,
        "reproduce": loss_sum / len(samples),
        "learning_rate": settings.learning_rate,
        "samples_per_second": rate,
    }
    name = f"pretrain epoch {epoch + 1}/{settings.epochs}"
    check_finite({"reproduce": row["reproduce"]}, epoch + 1, "pretrain")
    say(f"{name}: reproduce {row['reproduce']:.5f}, {rate:.1f} samples/s")
    return row

"""Distill: the student learns the teachers' maps.

From training frames, detections, every teacher's map pyramids and the weights of phase 1 to the student; one
that has eyes gets them from the detector and keeps them as they are.
Phase 2 of Fast-AED (Croitoru et al., CVIU 2024, section 3.3): the student imitates the teachers' maps at
three scales (mean squared error) and deceives one discriminator for each teacher. Beyond the paper, a share
of the samples holds synthetic anomalies (`fastaed.data.positives`), and the weights that are kept are an
average over the steps; no test footage is seen and no epoch is chosen.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from fastaed.codehash import code_hash
from fastaed.config import DistillSettings, StudentSettings, settings_json
from fastaed.data.boxes import Detections, check_frames_exist, detection_tables, read_detections
from fastaed.data.clips import Clips, Samples, equal_parts, read_ahead, student_input
from fastaed.data.positives import (
    Positive,
    Positives,
    Surroundings,
    cut_objects,
    walkers_of,
    write_contact_sheet,
)
from fastaed.data.store import Maps, map_clips, read_maps
from fastaed.data.walkers import Walkers
from fastaed.errors import ConfigError, DataError, TrainingError, WeightsError
from fastaed.files import content_digest, input_digests, replacing
from fastaed.losses import deception_loss, detached, pyramid_mse, real_fake_loss, total
from fastaed.models.discriminator import Discriminator
from fastaed.models.eyes import open_eyes
from fastaed.models.student import build_student
from fastaed.parallel import added, count, inner, leads, own_part, shared
from fastaed.progress import progress, say
from fastaed.pyramid import SCALES, MapPyramid
from fastaed.sources import signature
from fastaed.training import (
    AtOnce,
    AveragedModel,
    Checkpoint,
    Timed,
    autocast,
    check_finite,
    descend,
    epoch_rng,
    in_parts,
    made_by_processes,
    pick_device,
    seed_everything,
    write_losses,
)
from fastaed.weights import load_weights, save_weights, weights_digest
from fastaed.yolo import find_weights, layer_weights

Made = Callable[[int, Sequence[Samples]], Iterator["TrainingBatch"]]  # `maker` gives one
History = list[dict[str, float]]  # a row an epoch
COLUMNS = ("epoch", "judge", "imitate", "deceive", "learning_rate", "samples_per_second", "waiting_share")
_SHEET_POSITIVES = 24
_ALIVE_EXAMPLES = 8  # looked at after each epoch
_DEAD_RANGE = 1e-6  # of the maps of these, anomalies and all; of hardly trained ones it may be below 1e-4
_BANK_DRAW = 1_000_000  # names the draws that belong to no epoch
_SHEET_DRAW = 1_000_001


def run(
    stores: Sequence[Path],
    detections: Sequence[Path],
    maps: Mapping[str, Sequence[Path]],
    pretrained: Path,
    out: Path,
    losses: Path,
    curves: Path,
    positives_sheet: Path,
    settings: DistillSettings,
    detector: str | None = None,
) -> None:
    """Train the student and write it.

    An interrupted run goes on after its last whole epoch, from a checkpoint beside `out`; so does one that
    ran out of memory, with half as many samples at once. Of several processes (`fastaed.parallel`), the first
    writes.

    Args:
        stores: frame stores of the training clips.
        detections: tables `<clip>.parquet` of the training clips, or folders that hold them.
        maps: teacher -> stores of its map pyramids of the training clips.
        pretrained: weights of phase 1.
        out: student to write, safetensors.
        losses: table to write, CSV, a row an epoch.
        curves: picture of the losses to write, PNG.
        positives_sheet: picture of some synthetic anomalies to write, PNG.
        settings: of this stage.
        detector: weights whose first layers are the student's eyes, if it has any: as detect.weights.

    Raises:
        ConfigError: the student has eyes and no detector is named.
        DataError: clips, detections and maps do not belong together.
        TrainingError: the student diverged or died.
        StoreError: a store or table is missing or damaged.
        WeightsError: `pretrained` is missing or of another student, or the detector's weights are missing or
            not built like the student's eyes.
        DeviceMemoryError: the device's memory does not hold one sample.
    """
    eyes = _eyes(detector, settings)
    footage = read_footage(stores, detections, maps, settings)
    examples = _examples(footage, settings)
    if leads():
        write_contact_sheet(positives_sheet, examples)
    identity = _identity(footage, detections, maps, pretrained, eyes, settings)
    path = out.with_suffix(".checkpoint")
    made = maker(footage, partial(read_footage, stores, detections, maps, settings), settings)

    def train(at_once: int) -> tuple[Training, Checkpoint, History]:
        training = new_training(list(maps), pretrained, settings, at_once, eyes)
        checkpoint = Checkpoint(path, identity, training.parts())
        done, history = checkpoint.resume()
        for epoch in range(done, settings.epochs):
            history.append(train_epoch(epoch, footage, training, settings, made))
            check_alive(training.averaged.average, examples[:_ALIVE_EXAMPLES], epoch + 1)
            if leads():
                checkpoint.save(epoch + 1, history)
        return training, checkpoint, history

    training, checkpoint, history = AtOnce("distill", halves=count() == 1).fit(train, settings.batch_size)
    if not leads():
        return
    inputs = [*stores, *detections, *(path for paths in maps.values() for path in paths), pretrained]
    facts = {
        **_facts(footage.clips, maps, pretrained, settings),
        "inputs": input_digests(inputs),
        "source": signature([eyes] if eyes else []),
    }
    save_weights(out, training.averaged.average.state_dict(), facts)
    write_losses(losses, history, COLUMNS)
    draw_losses(curves, history)
    checkpoint.remove()


@dataclass(frozen=True)
class Footage:
    """All that the student learns from; position i of every sequence belongs to clip i of `clips`."""

    clips: Clips
    detections: list[Detections]
    maps: dict[str, list[Maps]]  # teacher -> a pyramid a clip
    positives: Positives | None
    walkers: list[Walkers]  # none without positives


def read_footage(
    stores: Sequence[Path],
    detections: Sequence[Path],
    maps: Mapping[str, Sequence[Path]],
    settings: DistillSettings,
) -> Footage:
    """Clips with their detections and maps, brought together by the clip's name.

    Raises:
        DataError: no teacher is named, or others than in the settings; or a clip has no detections or no
            maps, two of them, detections beyond its last frame, or not one map a frame.
        StoreError: a store or table is missing or damaged.
    """
    if not maps:
        raise DataError("there is nothing to distill: name the maps of one teacher or more")
    if settings.teachers is not None and set(settings.teachers) != set(maps):
        raise DataError(
            f"distill.teachers is {', '.join(settings.teachers)} but the maps are of {', '.join(maps)}; "
            "hand over the maps of these teachers"
        )
    clips = Clips(stores)
    tables = _tables(clips, detections)
    pyramids = {teacher: _pyramids(clips, teacher, paths) for teacher, paths in maps.items()}
    if settings.positives is None:
        return Footage(clips, tables, pyramids, None, [])
    rng = epoch_rng(settings.seed, _BANK_DRAW)
    positives = Positives(settings.positives, cut_objects(clips, tables, rng))
    return Footage(clips, tables, pyramids, positives, walkers_of(clips, rng))


def _tables(clips: Clips, detections: Sequence[Path]) -> list[Detections]:
    paths = detection_tables(clips.names, detections)
    tables = [read_detections(paths[clip], lists=()) for clip in clips.names]
    for (clip, frames), table in zip(clips.sizes().items(), tables):
        check_frames_exist(table, frames, f"clip {clip}")
    return tables


def _pyramids(clips: Clips, teacher: str, stores: Sequence[Path]) -> list[Maps]:
    named = ((clip, store) for store in stores for clip in map_clips(store))
    by_clip = _one_each(named, f"stores of {teacher}'s maps")
    what = f"map of teacher {teacher}"
    pyramids = [read_maps(_of_clip(by_clip, clip, what, "label"), clip) for clip in clips.names]
    for (clip, frames), pyramid in zip(clips.sizes().items(), pyramids):
        if len(pyramid.one) != frames:
            raise DataError(
                f"clip {clip} has {frames} frames but teacher {teacher} has {len(pyramid.one)} maps of it; "
                "run label again"
            )
    return pyramids


def _one_each(named: Iterable[tuple[str, Path]], what: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for clip, path in named:
        if clip in found:
            raise DataError(f"clip {clip} is in two {what}, {found[clip]} and {path}; leave out one")
        found[clip] = path
    return found


def _of_clip(by_clip: Mapping[str, Path], clip: str, what: str, stage: str) -> Path:
    if clip not in by_clip:
        raise DataError(f"no {what} for training clip {clip}; run {stage} on it")
    return by_clip[clip]


@dataclass(frozen=True)
class Training:
    """The networks, as they take part in training (`fastaed.parallel.shared`), and their optimizers."""

    student: nn.Module
    averaged: AveragedModel[nn.Module]
    discriminators: dict[str, nn.Module]
    student_optimizer: torch.optim.Optimizer
    judge_optimizer: torch.optim.Optimizer
    schedules: tuple[torch.optim.lr_scheduler.LRScheduler, torch.optim.lr_scheduler.LRScheduler]
    at_once: int = sys.maxsize  # samples that fit into memory

    def parts(self) -> dict[str, Any]:
        """Everything with a state, for the checkpoint."""
        return {
            "student": inner(self.student),
            "averaged": self.averaged,
            **{f"discriminator {name}": inner(network) for name, network in self.discriminators.items()},
            "student_optimizer": self.student_optimizer,
            "judge_optimizer": self.judge_optimizer,
            "student_schedule": self.schedules[0],
            "judge_schedule": self.schedules[1],
        }


def new_training(
    teachers: Sequence[str],
    pretrained: Path,
    settings: DistillSettings,
    at_once: int = sys.maxsize,
    eyes: Path | None = None,
) -> Training:
    """Fresh networks, the student's encoder and blocks taken from phase 1, its eyes from the detector.

    Args:
        teachers: whose maps there are.
        pretrained: weights of phase 1.
        settings: of this stage.
        at_once: samples that fit into memory.
        eyes: weights of the detector, for a student that has eyes.

    Raises:
        WeightsError: `pretrained` is missing or of another student, or the detector's layers do not fit.
    """
    device = pick_device(settings.device)
    seed_everything(settings.seed)
    student = build_student(settings.student)
    tensors, facts = load_weights(pretrained)
    if "student" not in facts or StudentSettings.model_validate(facts["student"]) != settings.student:
        raise WeightsError(
            f"{pretrained} holds a student of another size; run pretrain with the same settings"
        )
    student.load_state_dict({**student.state_dict(), **tensors})
    if student.sight and eyes:
        open_eyes(student.sight.eyes, layer_weights(eyes))
    student.to(device)
    discriminators: dict[str, nn.Module] = {teacher: Discriminator().to(device) for teacher in teachers}
    judged = [weight for network in discriminators.values() for weight in network.parameters()]
    optimizers = (
        _optimizer([weight for weight in student.parameters() if weight.requires_grad], settings),
        _optimizer(judged, settings),
    )
    schedules = (_schedule(optimizers[0], settings), _schedule(optimizers[1], settings))
    return Training(
        shared(student),
        AveragedModel[nn.Module](student, settings.average_decay),
        {teacher: shared(network) for teacher, network in discriminators.items()},
        *optimizers,
        schedules,
        at_once,
    )


def _eyes(detector: str | None, settings: DistillSettings) -> Path | None:
    """The detector's weights, if the student has eyes."""
    if settings.student.eyes is None:
        return None
    if detector is None:
        raise ConfigError("the student has a detector's eyes; name its weights with --detector, or use bolt")
    return find_weights(detector)


def _optimizer(weights: list[nn.Parameter], settings: DistillSettings) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _schedule(
    optimizer: torch.optim.Optimizer, settings: DistillSettings
) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.StepLR(optimizer, settings.halve_every_epochs, 0.5)


class TrainingBatch(NamedTuple):
    """Student inputs and what each teacher says about them."""

    clip: Tensor  # (B, 9, H, W) uint8
    targets: dict[str, MapPyramid[Tensor]]  # teacher -> (B, 1, 1), (B, 4, 4), (B, 16, 16) float32 in [0, 1]

    def to(self, device: torch.device) -> "TrainingBatch":
        """The same batch on a device."""
        targets = {
            teacher: MapPyramid(*(level.to(device, non_blocking=True) for level in pyramid))
            for teacher, pyramid in self.targets.items()
        }
        return TrainingBatch(self.clip.to(device, non_blocking=True), targets)


class StepLosses(NamedTuple):
    """Losses of one step, or their means over an epoch: the verbs of the method."""

    judge: float
    imitate: float
    deceive: float


def maker(footage: Footage, opened: Callable[[], Footage], settings: DistillSettings) -> Made:
    """Number of an epoch and batches of samples to batches for the networks, in order, made ahead.

    Args:
        footage: for threads of this process.
        opened: reads the same footage in another process.
        settings: `workers` of these, or threads; the batches are the same.
    """
    if settings.workers == 0:
        return lambda epoch, batches: read_ahead(
            lambda samples: training_batch(footage, samples, settings.seed, epoch), batches
        )
    made = made_by_processes(settings.workers, opened, training_batch)
    return lambda epoch, batches: made((samples, settings.seed, epoch) for samples in batches)


def train_epoch(
    epoch: int, footage: Footage, training: Training, settings: DistillSettings, made: Made
) -> dict[str, float]:
    """One pass over the samples; its row of the table of losses."""
    device = next(training.student.parameters()).device
    samples = footage.clips.drawn(settings.samples_per_epoch, epoch_rng(settings.seed, epoch))
    batches, weights = own_part(equal_parts(samples, settings.batch_size))
    rate = training.student_optimizer.param_groups[0]["lr"]
    training.student.train()
    start = time.monotonic()
    sums = np.zeros(3)
    ready = Timed(made(epoch, batches))
    shown = progress(ready, f"distill epoch {epoch + 1}", len(batches), "batches")
    for batch, weight in zip(shown, weights, strict=True):
        losses = train_step(batch.to(device), training, settings, weight)
        sums += np.array(losses) * len(batch.clip)
    for schedule in training.schedules:
        schedule.step()
    mean = StepLosses(*(added(sums) / len(samples)).tolist())
    check_finite(mean._asdict(), epoch + 1, "distill")
    seconds = time.monotonic() - start
    speed, waiting = len(samples) / seconds, ready.seconds / seconds
    say(
        f"distill epoch {epoch + 1}/{settings.epochs}: judge {mean.judge:.4f}, imitate {mean.imitate:.5f}, "
        f"deceive {mean.deceive:.4f}, {speed:.1f} samples/s, {waiting:.0%} of the time waiting for them"
    )
    return dict(zip(COLUMNS, (epoch + 1, *mean, rate, speed, waiting), strict=True))


@torch.inference_mode()
def check_alive(student: nn.Module, examples: Sequence[Positive], epoch: int) -> None:
    """Stop a training run whose maps are all one value: a sigmoid at its flat end never comes back.

    Raises:
        TrainingError: at one of the scales, the maps of the examples, which have anomalies, do not differ
            anywhere.
    """
    if not examples:
        return
    device = next(student.parameters()).device
    inputs = torch.from_numpy(student_input(np.stack([example.triplet for example in examples])))
    for scale, maps in zip(SCALES, student(inputs.to(device))):
        if float(maps.max() - maps.min()) < _DEAD_RANGE:
            raise TrainingError(
                f"distill died: after epoch {epoch} every cell of the student's {scale} maps is "
                f"{float(maps.mean()):.1e} whether or not there is an anomaly; lower distill.learning_rate "
                "and run it again"
            )


def train_step(
    batch: TrainingBatch, training: Training, settings: DistillSettings, weight: float = 1.0
) -> StepLosses:
    """The discriminators judge, then the student imitates and deceives.

    Args:
        batch: on the networks' device.
        training: networks and optimizers, which make a step each.
        settings: of this stage.
        weight: of this batch's gradients among those of other processes.
    """
    targets, discriminators = batch.targets, training.discriminators
    with autocast(batch.clip.device, settings.precision):
        parts = in_parts(training.student, batch.clip, training.at_once)
    prediction = MapPyramid(*(torch.cat(level) for level in zip(*parts)))

    fake = detached(prediction)
    judge = total(real_fake_loss(discriminators[t], y, fake) for t, y in targets.items())
    descend(training.judge_optimizer, weight * judge)

    imitate = total(pyramid_mse(prediction, y, settings.scale_weights) for y in targets.values())
    deceive = total(deception_loss(discriminators[t], prediction) for t in targets)
    descend(training.student_optimizer, weight * (imitate + settings.adversarial_weight * deceive))
    training.averaged.update(inner(training.student))

    return StepLosses(judge.item(), imitate.item(), deceive.item())


def training_batch(footage: Footage, samples: Samples, seed: int, epoch: int) -> TrainingBatch:
    """Samples as the networks see them; the same whatever batch and thread they are made in.

    Args:
        footage: where they come from.
        samples: which.
        seed: of the run.
        epoch: positives are drawn anew in each.
    """
    clips, frames = footage.clips, []
    targets: dict[str, list[Maps]] = {teacher: [] for teacher in footage.maps}
    for clip, frame in samples:
        positive = _positive(footage, clip, frame, np.random.default_rng((seed, epoch, clip, frame)))
        frames.append(clips.triplet(clip, frame) if positive is None else positive.triplet)
        for teacher, pyramids in footage.maps.items():
            pyramid = MapPyramid(*(level[frame] for level in pyramids[clip]))
            targets[teacher].append(pyramid if positive is None else raised(pyramid, positive.target))
    return TrainingBatch(
        torch.from_numpy(student_input(np.stack(frames))),
        {teacher: _stacked(pyramids) for teacher, pyramids in targets.items()},
    )


def _positive(footage: Footage, clip: int, frame: int, rng: np.random.Generator) -> Positive | None:
    if footage.positives is None:
        return None
    return footage.positives.maybe(_surroundings(footage, clip, frame), rng)


def _surroundings(footage: Footage, clip: int, frame: int) -> Surroundings:
    table = footage.detections[clip]
    boxes = table.xyxy[table.frame == frame]
    return Surroundings(partial(footage.clips.triplet, clip, frame), boxes, footage.walkers[clip])


def raised(pyramid: Maps, target: NDArray[np.float32]) -> Maps:
    """A teacher's pyramid of one frame, lifted to a synthetic anomaly's map where that is higher.

    Args:
        pyramid: (1, 1), (4, 4), (16, 16).
        target: (16, 16), 0 or 1.
    """
    four = target.reshape(4, 4, 4, 4).max(axis=(1, 3))
    levels = (four.max(keepdims=True), four, target)
    return MapPyramid(*(np.maximum(theirs, ours) for theirs, ours in zip(pyramid, levels)))


def _stacked(pyramids: Sequence[Maps]) -> MapPyramid[Tensor]:
    return MapPyramid(*(torch.from_numpy(np.stack(level)) for level in zip(*pyramids)))


def _examples(footage: Footage, settings: DistillSettings) -> list[Positive]:
    """Positives of random samples, for the eye."""
    if footage.positives is None:
        return []
    rng = epoch_rng(settings.seed, _SHEET_DRAW)
    samples = footage.clips.samples()
    drawn = samples.take(rng.permutation(len(samples))[:_SHEET_POSITIVES])
    made = (footage.positives.make(_surroundings(footage, *sample), rng) for sample in drawn)
    return [positive for positive in made if positive is not None]


def _identity(
    footage: Footage,
    detections: Sequence[Path],
    maps: Mapping[str, Sequence[Path]],
    pretrained: Path,
    eyes: Path | None,
    settings: DistillSettings,
) -> Mapping[str, Any]:
    return {
        "settings": settings_json(settings),
        "code": code_hash("fastaed.distill"),
        "clips": footage.clips.fingerprints(),
        "detections": [content_digest(path) for path in detections],
        "maps": {teacher: [content_digest(path) for path in paths] for teacher, paths in maps.items()},
        "pretrained": weights_digest(pretrained),
        "eyes": weights_digest(eyes) if eyes else None,
    }


def _facts(
    clips: Clips, maps: Mapping[str, Sequence[Path]], pretrained: Path, settings: DistillSettings
) -> dict[str, Any]:
    return {
        "student": settings.student.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "code": code_hash("fastaed.distill"),
        "height": clips.height,
        "width": clips.width,
        "clips": clips.names,
        "teachers": sorted(maps),
        "pretrained": weights_digest(pretrained),
    }


def draw_losses(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """A picture of the three losses over the epochs.

    Args:
        path: PNG to write.
        history: rows of the table of losses.
    """
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), ("imitate", "judge", "deceive")):
        axes.plot([row["epoch"] for row in history], [row[name] for row in history], marker=".")
        axes.set(title=name, xlabel="epoch", ylim=(0, None))
        axes.grid(alpha=0.3)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=120)

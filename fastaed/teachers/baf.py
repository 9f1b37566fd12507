"""Teacher `baf`: three autoencoders that must not learn to reproduce what is abnormal, each with a judge.

After Georgescu, Ionescu, Khan, Popescu & Shah, "A Background-Agnostic Framework with Adversarial Training for
Abnormal Event Detection in Video", TPAMI 2022. Per object: its look (grey crop of frame t), its motion before
(flow t-1 -> t) and after (t -> t+1). Each encoder feeds a decoder of normal objects and an adversarial
decoder of pseudo-abnormal ones whose gradient reaches the encoder reversed. Then one binary classifier each
learns to tell normal objects from pseudo-abnormal ones by the residual and the latent.

Where this departs from the paper:

- pseudo-abnormal looks are made on the spot (textures, rearranged and magnified parts of normal objects)
  instead of being taken from other data sets, which leaves nothing to download;
- the mask that the look's latent must also give away is the difference from the clip's background (the median
  of its frames) instead of a segmentation network's: soft, in [0, 1], and imitated with a squared error;
- motion enters as tanh(flow / unit), unit being the 99th percentile over normal objects: bounded, so that the
  encoder's ascent is, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fastaed.config import BafSettings
from fastaed.data.boxes import Detections
from fastaed.data.flow import cut_boxes, cut_flow, grey_frame, stream_flow
from fastaed.data.store import FrameStore
from fastaed.data.tubes import SIDE, ClipObjects, cut_tubes
from fastaed.models.autoencoder import (
    Decoder,
    Encoder,
    JudgedAutoencoder,
    ResidualClassifier,
    reversed_gradient,
)
from fastaed.progress import progress, say
from fastaed.teachers.objects import blocks, draw_objects
from fastaed.training import Checkpoint, autocast, epoch_rng, pick_device, seed_everything

VIEWS = ("look", "before", "after")

_REGULAR = np.array([[-1, 0], [0, 1]])
_GAPS = (2, 4)  # frames between the two of an irregular pair, from and to
_MIDDLE = np.array([0])
_BACKGROUND_FRAMES = 25
_FOREGROUND = 32.0  # grey levels from the background that count as wholly object
_UNIT_PERCENTILE = 99.0
_SMALLEST_UNIT = 1e-3  # box heights per step
_OBJECTS_AT_ONCE = 256

Crops = NDArray[np.float32]
Views = dict[str, torch.Tensor]  # view -> (N, C, 64, 64)


@dataclass(frozen=True)
class Bank:
    """What the teacher learns from: N objects of normal clips, cut once and held in memory.

    Attributes:
        look: (N, 64, 64) uint8 grey.
        mask: (N, 64, 64) uint8, 255 where the object differs clearly from the background.
        motion: (N, 2, 2, 64, 64) float16 flow before and after, in box heights per step.
        irregular: the same over gaps of 2 to 4 frames.
        gain: (N,) float64 by how much the irregular motion is stronger than the regular.
    """

    look: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    motion: NDArray[np.float16]
    irregular: NDArray[np.float16]
    gain: NDArray[np.float64]


class BafNetworks(nn.Module):
    """The three judged autoencoders, the decoder of masks, and the unit that motion is measured in.

    Args:
        channels: of the encoders.
    """

    flow_unit: torch.Tensor

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.views = nn.ModuleDict(
            {
                view: JudgedAutoencoder(
                    Encoder(inputs, channels),
                    Decoder(inputs, channels, last()),
                    Decoder(inputs, channels, last()),
                    ResidualClassifier(inputs, channels),
                )
                for view, inputs, last in zip(VIEWS, (1, 2, 2), (nn.Sigmoid, nn.Tanh, nn.Tanh))
            }
        )
        self.mask = Decoder(1, channels, nn.Sigmoid())
        self.register_buffer("flow_unit", torch.ones(()))

    def forward(self, crops: Views) -> torch.Tensor:
        """(N,) mean over the views of P(abnormal)."""
        return torch.stack([self.views[view](crops[view]).float().sigmoid() for view in VIEWS]).mean(0)

    def view(self, name: str) -> JudgedAutoencoder:
        """The one of `look`, `before` or `after`."""
        part = self.views[name]
        assert isinstance(part, JudgedAutoencoder)
        return part

    def classifiers(self) -> list[nn.Parameter]:
        """What the second phase trains; the first trains the rest."""
        return [value for name, value in self.named_parameters() if ".classifier." in name]

    def autoencoders(self) -> list[nn.Parameter]:
        """What the first phase trains."""
        return [value for name, value in self.named_parameters() if ".classifier." not in name]


class Baf:
    """The background-agnostic teacher.

    Args:
        settings: its section of the configuration.
    """

    def __init__(self, settings: BafSettings) -> None:
        self._settings = settings
        self._device = pick_device(settings.device)
        self._networks = self._untrained()

    def fit(
        self, clips: Sequence[ClipObjects], checkpoint: Path, identity: Mapping[str, Any], seed: int
    ) -> list[dict[str, float]]:
        """Train the autoencoders, then the classifiers; a row of losses for each epoch of both."""
        bank = cut_bank(
            draw_objects(clips, self._settings.bank_size, np.random.default_rng(seed)),
            np.random.default_rng((seed, 0, 1)),
        )
        seed_everything(seed)
        self._networks = self._untrained()
        self._networks.flow_unit.fill_(_flow_unit(bank.motion))
        optimizers = {
            "autoencoders": torch.optim.Adam(self._networks.autoencoders(), self._settings.learning_rate),
            "classifiers": torch.optim.Adam(self._networks.classifiers(), self._settings.learning_rate),
        }
        state = Checkpoint(checkpoint, identity, {"networks": self._networks, **optimizers})
        done, history = state.resume()
        learning, watching = self._split(len(bank.look), seed)
        for epoch in range(done, self._settings.epochs + self._settings.classifier_epochs):
            phase = "autoencoders" if epoch < self._settings.epochs else "classifiers"
            row = self._epoch(bank, learning, epoch_rng(seed, epoch), phase, optimizers[phase])
            row |= self._validation(bank, watching, np.random.default_rng((seed, 0, 3)), phase)
            history.append({"epoch": epoch + 1, **row})
            say(f"baf {phase} {epoch + 1}: " + ", ".join(f"{key} {value:.4f}" for key, value in row.items()))
            state.save(epoch + 1, history)
        return history

    def score(self, clip: ClipObjects) -> NDArray[np.float32]:
        """(N,) mean of the three classifiers' P(abnormal), in [0, 1]."""
        scores = [np.zeros(0, np.float32)]
        for block in blocks(clip.detections):
            look = grey_crops(clip.frames, block)
            motion = flow_crops(clip.frames, block, _REGULAR)
            for start in range(0, len(block), _OBJECTS_AT_ONCE):
                part = slice(start, start + _OBJECTS_AT_ONCE)
                scores.append(self._score_of(look[part], motion[part]))
        return np.concatenate(scores)

    def state(self) -> dict[str, torch.Tensor]:
        """All weights, and the unit of motion."""
        return dict(self._networks.state_dict())

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        self._networks.load_state_dict(dict(state))

    def _untrained(self) -> BafNetworks:
        """Networks on the device, channels last, which halves the time of small convolutions on a CPU."""
        networks = BafNetworks(self._settings.channels).to(self._device)
        return networks.to(memory_format=torch.channels_last)

    def _split(self, objects: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Objects to learn from, and objects whose losses are only watched."""
        order = np.random.default_rng((seed, 0, 2)).permutation(objects)
        watched = int(objects * self._settings.validation_share)
        return order[watched:], order[:watched]

    def _epoch(
        self,
        bank: Bank,
        objects: NDArray[np.int64],
        rng: np.random.Generator,
        phase: str,
        optimizer: torch.optim.Optimizer,
    ) -> dict[str, float]:
        losses = []
        for batch in _batches(rng.permutation(objects), self._settings.batch_size):
            parts = self._losses(bank, objects, batch, rng, phase)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append({name: loss.detach() for name, loss in parts.items()})
        return _means(losses)

    @torch.no_grad()
    def _validation(
        self, bank: Bank, objects: NDArray[np.int64], rng: np.random.Generator, phase: str
    ) -> dict[str, float]:
        losses = [
            self._losses(bank, objects, batch, rng, phase)
            for batch in _batches(objects, self._settings.batch_size)
        ]
        return {f"validation_{name}": mean for name, mean in _means(losses).items()}

    def _losses(
        self,
        bank: Bank,
        objects: NDArray[np.int64],
        batch: NDArray[np.int64],
        rng: np.random.Generator,
        phase: str,
    ) -> dict[str, torch.Tensor]:
        normal = self._tensors(bank.look[batch], bank.motion[batch])
        others = faster_objects(bank.gain, objects, len(batch), rng)
        strange = self._tensors(pseudo_abnormal_crops(bank.look[batch], rng), bank.irregular[others])
        with autocast(self._device, self._settings.precision):
            if phase == "classifiers":
                return classifier_losses(self._networks, normal, strange)
            mask = torch.from_numpy(bank.mask[batch]).to(self._device).float().unsqueeze(1) / 255
            return autoencoder_losses(
                self._networks, normal, strange, mask, self._settings.adversarial_weight
            )

    def _tensors(self, look: NDArray[np.uint8], motion: NDArray[np.float16] | NDArray[np.float32]) -> Views:
        """Crops as the networks take them: grey in [0, 1], motion in (-1, 1)."""
        grey = torch.from_numpy(look).to(self._device).float().unsqueeze(1) / 255
        flow = torch.from_numpy(motion).to(self._device).float()
        flow = (flow / self._networks.flow_unit).tanh()
        return {"look": grey, "before": flow[:, 0], "after": flow[:, 1]}

    @torch.inference_mode()
    def _score_of(self, look: NDArray[np.uint8], motion: NDArray[np.float32]) -> NDArray[np.float32]:
        crops = self._tensors(look, motion)
        with autocast(self._device, self._settings.precision):
            scores: NDArray[np.float32] = self._networks(crops).cpu().numpy()
        return scores


def autoencoder_losses(
    networks: BafNetworks, normal: Views, strange: Views, mask: torch.Tensor, adversarial_weight: float
) -> dict[str, torch.Tensor]:
    """Mean squared errors of views, mask and adversaries (Georgescu et al., TPAMI 2022, section 3.3).

    |x - D(E(x))|^2 + |m - D_mask(E(x))|^2 + |z - D_adv(E(z))|^2, the last one reversed at the latent.

    Args:
        networks: all of them.
        normal: crops x of normal objects.
        strange: crops z of pseudo-abnormal ones.
        mask: (N, 1, 64, 64) in [0, 1].
        adversarial_weight: of the reversed gradient.
    """
    losses = {}
    for view in VIEWS:
        part = networks.view(view)
        latent = part.encoder(normal[view])
        losses[view] = functional.mse_loss(part.decoder(latent).float(), normal[view])
        if view == "look":
            losses["mask"] = functional.mse_loss(networks.mask(latent).float(), mask)
        unwilling = reversed_gradient(part.encoder(strange[view]), adversarial_weight)
        losses[f"{view}_adversary"] = functional.mse_loss(part.adversary(unwilling).float(), strange[view])
    return losses


def classifier_losses(networks: BafNetworks, normal: Views, strange: Views) -> dict[str, torch.Tensor]:
    """Binary cross-entropy of each view's classifier, normal objects being 0 and pseudo-abnormal ones 1."""
    losses = {}
    for view in VIEWS:
        logits = networks.views[view](torch.cat([normal[view], strange[view]])).float()
        truth = torch.zeros_like(logits)
        truth[len(normal[view]) :] = 1
        losses[f"{view}_classifier"] = functional.binary_cross_entropy_with_logits(logits, truth)
    return losses


def cut_bank(clips: Sequence[ClipObjects], rng: np.random.Generator) -> Bank:
    """Cut all detections of some clips, each frame's irregular gaps drawn from `rng`."""
    bank = _empty_bank(sum(len(clip.detections) for clip in clips))
    done = 0
    for clip in progress(clips, "baf: objects", unit="clips"):
        for part in _bank_of_clip(clip, rng):
            rows = slice(done, done + len(part.look))
            for field in fields(Bank):
                getattr(bank, field.name)[rows] = getattr(part, field.name)
            done = rows.stop
    return bank


def _empty_bank(objects: int) -> Bank:
    crop, motion = (objects, SIDE, SIDE), (objects, len(_REGULAR), 2, SIDE, SIDE)
    return Bank(
        np.empty(crop, np.uint8),
        np.empty(crop, np.uint8),
        np.empty(motion, np.float16),
        np.empty(motion, np.float16),
        np.empty(objects),
    )


def _bank_of_clip(clip: ClipObjects, rng: np.random.Generator) -> Iterator[Bank]:
    if not len(clip.detections):
        return
    background = _background(clip.frames)
    gaps = rng.integers(_GAPS[0], _GAPS[1], (clip.frames.length, 2), endpoint=True)
    zero = np.zeros_like(gaps[:, 0])
    offsets = np.stack([-gaps[:, 0], zero, zero, gaps[:, 1]], axis=1).reshape(-1, 2, 2)
    for block in blocks(clip.detections):
        look = grey_crops(clip.frames, block)
        motion = flow_crops(clip.frames, block, _REGULAR)
        irregular = flow_crops(clip.frames, block, offsets)
        gain = np.maximum(_strength(irregular) - _strength(motion), 0)
        mask = _masks(background, block, look)
        yield Bank(look, mask, motion.astype(np.float16), irregular.astype(np.float16), gain)


def grey_crops(frames: FrameStore, detections: Detections) -> NDArray[np.uint8]:
    """(N, 64, 64) uint8 grey crops of N detections."""
    tubes = cut_tubes(frames, detections, _MIDDLE)[:, 0].transpose(0, 2, 3, 1)
    return np.stack([grey_frame(np.ascontiguousarray(crop)) for crop in tubes])


def flow_crops(frames: FrameStore, detections: Detections, offsets: NDArray[np.int64]) -> Crops:
    """(N, P, 2, 64, 64) flow of N detections over P pairs of frames, in box heights; see `stream_flow`."""
    crops = np.empty((len(detections), offsets.shape[-2], 2, SIDE, SIDE), np.float32)
    for rows, flows in stream_flow(frames, detections, offsets):
        for pair, flow in enumerate(flows):
            crops[rows, pair] = cut_flow(flow, detections.xyxy[rows])
    return crops


def faster_objects(
    gain: NDArray[np.float64], objects: NDArray[np.int64], number: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Objects whose irregular motion serves as pseudo-abnormal: the more it is sped up, the likelier.

    What stands still does so over any gap, and calling that abnormal would teach nonsense.

    Args:
        gain: (N,) of the bank.
        objects: those to draw from.
        number: how many to draw, with replacement.
        rng: decides.
    """
    total = gain[objects].sum()
    return rng.choice(objects, number, p=gain[objects] / total if total > 0 else None)


def pseudo_abnormal_crops(looks: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """As many crops that look like no object of the data set, each of a kind drawn at random.

    Kinds: a texture; the crop's quarters shuffled and turned; a small part of it magnified and turned.

    Args:
        looks: (N, 64, 64) uint8 grey crops of normal objects.
        rng: decides.
    """
    kinds = (_texture, _rearranged, _magnified)
    return np.stack([kinds[kind](look, rng) for kind, look in zip(rng.integers(3, size=len(looks)), looks)])


def _texture(look: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Smooth noise of a random grain, mean and contrast."""
    grain = int(rng.choice([4, 8, 16, 32, SIDE]))
    noise = cv2.resize(rng.standard_normal((grain, grain)), look.shape[::-1], interpolation=cv2.INTER_LINEAR)
    grey = np.clip(rng.uniform(32, 224) + rng.uniform(16, 96) * noise, 0, 255)
    return np.asarray(grey, np.uint8)


def _rearranged(look: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    half = SIDE // 2
    quarters = [look[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    turned = [np.rot90(quarters[i], int(rng.integers(1, 4))) for i in rng.permutation(4)]
    return np.asarray(np.block([turned[:2], turned[2:]]), np.uint8)


def _magnified(look: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = rng.integers(SIDE // 4, SIDE // 2, size=2, endpoint=True)
    top, left = rng.integers(0, SIDE - height + 1), rng.integers(0, SIDE - width + 1)
    part = np.rot90(look[top : top + height, left : left + width], int(rng.integers(1, 4)))
    resized = cv2.resize(np.ascontiguousarray(part), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _background(frames: FrameStore) -> NDArray[np.float32]:
    """(H, W) median of some grey frames of the clip."""
    numbers = np.unique(np.linspace(0, frames.length - 1, _BACKGROUND_FRAMES).astype(np.int64))
    greys = [grey_frame(frame) for frame in frames.gather(numbers)]
    return np.asarray(np.median(greys, axis=0), np.float32)


def _masks(
    background: NDArray[np.float32], detections: Detections, looks: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """How clearly each pixel of the crops differs from the background."""
    behind = cut_boxes(background[..., np.newaxis], detections.xyxy)[..., 0]
    clearness = np.minimum(np.abs(looks - behind) / _FOREGROUND, 1)
    return np.asarray(np.rint(255 * clearness), np.uint8)


def _strength(motion: Crops) -> NDArray[np.float64]:
    """(N,) mean length of an object's flow, box heights per step."""
    length = np.hypot(motion[:, :, 0], motion[:, :, 1])
    return np.asarray(length.mean(axis=(1, 2, 3), dtype=np.float64))


def _flow_unit(motion: NDArray[np.float16]) -> float:
    """The percentile of absolute flow over at most 1,000 objects, which is plenty."""
    some = motion[:: max(1, len(motion) // 1000)].astype(np.float32)
    return max(float(np.percentile(np.abs(some), _UNIT_PERCENTILE)), _SMALLEST_UNIT)


def _batches(objects: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(objects), size):
        yield objects[start : start + size]


def _means(losses: Sequence[dict[str, torch.Tensor]]) -> dict[str, float]:
    """Mean of each loss over batches; none where there was no batch."""
    return (
        {name: float(torch.stack([each[name] for each in losses]).mean()) for name in losses[0]}
        if losses
        else {}
    )

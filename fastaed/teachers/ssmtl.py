"""Teacher `ssmtl`: four self-supervised tasks on object tubes, learned on normal footage only.

Georgescu et al., "Anomaly Detection in Video via Self-Supervised and Multi-Task Learning", CVPR 2021: one
shared 3-D CNN tells whether a tube runs forward or backward (arrow of time) and whether its frames are
consecutive or irregularly spaced (motion irregularity), predicts the middle crop from the six others (middle
box), and imitates classifiers on the middle crop (distillation). An object on which it does worse than on
normal ones is anomalous: how much worse in each task becomes one score by Fisher's method
(`fastaed.teachers.rarity`) rather than by the published mean, to which all probabilities near 0 are alike
(`EXPERIMENTS.md` says what that gave).

The classifiers imitated are, as published, the detector, by the class probabilities in its detections, and an
ImageNet ResNet-50, if the settings name a file with its weights: they cannot be downloaded everywhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError
from struct import error as StructError
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from fastaed.config import SsmtlSettings
from fastaed.data.tubes import ClipObjects, TubeBatch, stream_tubes, tubes_in_order
from fastaed.errors import DataError, WeightsError
from fastaed.models.cnn3d import Answers, ClassHead, Cnn3d, MultiTaskNetwork, PictureHead
from fastaed.models.resnet import CLASSES, ImageNetClassifier, empty_resnet50
from fastaed.progress import progress, say
from fastaed.teachers.objects import draw_objects
from fastaed.teachers.rarity import fisher_score
from fastaed.training import Checkpoint, Stateful, autocast, epoch_rng, pick_device, seed_everything
from fastaed.weights import weights_digest

REACH = 3  # frames before and after t
LARGEST_GAP = 4  # frames between neighbours of an irregular tube
CONSECUTIVE = np.arange(-REACH, REACH + 1)
_NORMAL_OBJECTS = 4_000  # held out of the training: p-values are counted among them
_OFFICIAL = (
    "put torchvision's file there (IMAGENET1K_V2, https://download.pytorch.org/models/resnet50-11ad3fa6.pth) "
    "or teach with teach.ssmtl.resnet_weights = null"
)
# Beside their own errors, what the readers of weights raise over files that are something else.
_DAMAGED = (RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AttributeError)


class Views(NamedTuple):
    """What the network is shown of N objects, RGB in [0, 1]."""

    motion: Tensor  # (3N, 3, 7, 64, 64): N tubes forward, the same N backward, N irregular
    context: Tensor  # (N, 3, 7, 64, 64): forward, the middle blank
    appearance: Tensor  # (N, 3, 7, 64, 64): the middle, standing still


class TaskLosses(NamedTuple):
    """Losses of the four tasks over a batch; `distillation` is 0 where there is no classifier to imitate."""

    arrow: Tensor
    irregularity: Tensor
    middle: Tensor
    distillation: Tensor

    def total(self, distillation_weight: float) -> Tensor:
        """The sum that is minimised."""
        return self.arrow + self.irregularity + self.middle + distillation_weight * self.distillation


class Ssmtl:
    """The teacher, see the module; fulfils `Teacher`.

    Args:
        settings: its section of the configuration.

    Raises:
        WeightsError: the file of ResNet-50's weights is missing, damaged or holds something else.
    """

    def __init__(self, settings: SsmtlSettings) -> None:
        self._settings = settings
        self._device = pick_device(settings.device)
        resnet = settings.resnet_weights
        self._resnet = None if resnet is None else _load_resnet(Path(resnet)).to(self._device)
        self._resnet_digest = "" if resnet is None else weights_digest(Path(resnet))
        self._resnet_classes = 0 if resnet is None else CLASSES
        self._classes = 0  # of the detector whose detections it was fitted on
        self._network = _network(settings, self._resnet_classes)
        self._normal_terms = torch.zeros(0, 0)  # `object_terms` of normal objects, each column rising

    def fit(
        self, clips: Sequence[ClipObjects], checkpoint: Path, identity: Mapping[str, Any], seed: int
    ) -> list[dict[str, float]]:
        """Learn the four tasks, keeping the weights of the epoch with the lowest validation loss.

        The learning rate falls along half a cosine. At a constant one, the batch norms' running statistics
        lag behind the weights: the validation loss is four times as high in one epoch as in the next.

        Raises:
            DataError: fewer than two detections, or detections by detectors with different classes.
        """
        seed_everything(seed)
        training, validation = split_objects(clips, self._settings.validation_share, seed)
        network = _network(self._settings, class_count(clips) + self._resnet_classes).to(self._device)
        best = deepcopy(network)
        optimizer = torch.optim.Adam(network.parameters(), self._settings.learning_rate)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self._settings.epochs)
        if self._resnet_digest:
            identity = {**identity, "resnet": self._resnet_digest}
        parts: dict[str, Stateful] = {
            "network": network,
            "best": best,
            "optimizer": optimizer,
            "falling": falling,
        }
        state = Checkpoint(checkpoint, identity, parts)
        done, history = state.resume()
        for epoch in range(done, self._settings.epochs):
            row = self._epoch(network, optimizer, training, epoch, seed) | self._validation(
                network, validation, seed
            )
            if row["validation"] < min((past["validation"] for past in history), default=np.inf):
                best.load_state_dict(network.state_dict())
            history.append({"epoch": epoch + 1, **row})
            falling.step()
            state.save(epoch + 1, history)
            say(f"ssmtl epoch {epoch + 1}: loss {row['training']:.4f}, validation {row['validation']:.4f}")
        self._network, self._classes = best, class_count(clips)
        known = draw_objects(validation, _NORMAL_OBJECTS, np.random.default_rng((seed, 0, 3)))
        terms = [self._terms(clip) for clip in progress(known, "ssmtl: normal objects", unit="clips")]
        self._normal_terms = torch.from_numpy(np.sort(np.concatenate(terms), axis=0))
        return history

    def score(self, clip: ClipObjects) -> NDArray[np.float32]:
        """(N,) -sum log p over the tasks, 0 for an object that is easier than normal ones in all of them.

        Raises:
            DataError: the detections are by a detector with other classes than those it was fitted on.
        """
        if not len(clip.detections):
            return np.zeros(0, np.float32)
        self._check_classes(clip)
        return fisher_score(self._terms(clip).astype(np.float64), self._normal_terms.numpy())

    def state(self) -> dict[str, Tensor]:
        """Weights of the network, terms of normal objects and, if asked, ResNet-50's digest."""
        weights = {f"network.{name}": tensor for name, tensor in self._network.state_dict().items()}
        asked = {"resnet_digest": _bytes(self._resnet_digest)} if self._resnet_digest else {}
        return {**weights, "normal_terms": self._normal_terms, **asked}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave.

        Raises:
            WeightsError: it was fitted with other weights of ResNet-50 than the settings name.
        """
        if not torch.equal(state.get("resnet_digest", _bytes("")), _bytes(self._resnet_digest)):
            raise WeightsError(
                f"teach.ssmtl.resnet_weights = {self._settings.resnet_weights}: not the ResNet-50 that this "
                "ssmtl was fitted with; put that file back or teach again"
            )
        inside = "network."
        weights = {name.removeprefix(inside): state[name] for name in state if name.startswith(inside)}
        last = [name for name in weights if name.startswith("classes.") and name.endswith(".bias")]
        answers = len(weights[max(last)]) if last else 0
        self._classes = answers - self._resnet_classes
        self._network = _network(self._settings, answers)
        self._network.load_state_dict(weights)
        self._normal_terms = state["normal_terms"]

    def _class_targets(self, probabilities: NDArray[np.float32], middle: Tensor) -> list[Tensor]:
        """What the classes' head is to answer of N middle crops: (N, K) probabilities of each classifier."""
        detector = [torch.from_numpy(probabilities).to(self._device)] if probabilities.shape[1] else []
        return detector if self._resnet is None else [*detector, self._resnet(middle)]

    def _check_classes(self, clip: ClipObjects) -> None:
        given = clip.detections.probabilities.shape[1]
        if given != self._classes:
            raise DataError(
                f"{clip.frames.path}: its detections have {given} classes, those that ssmtl was fitted on "
                f"{self._classes}; detect all clips with the same detector and teach again"
            )

    def _epoch(
        self,
        network: MultiTaskNetwork,
        optimizer: torch.optim.Optimizer,
        clips: Sequence[ClipObjects],
        epoch: int,
        seed: int,
    ) -> dict[str, float]:
        network.train()
        settings = self._settings
        stream = stream_tubes(
            clips, tube_offsets, epoch_rng(seed, epoch), settings.tubes_per_epoch, settings.batch_size
        )
        sums = _Mean()
        for batch in progress(stream, f"ssmtl epoch {epoch + 1}", unit="batches"):
            losses = self._losses(network, clips, batch)
            optimizer.zero_grad(set_to_none=True)
            losses.total(settings.distillation_weight).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            sums.add(losses, len(batch.tubes))
        return sums.row("training", settings.distillation_weight)

    @torch.no_grad()
    def _validation(
        self, network: MultiTaskNetwork, clips: Sequence[ClipObjects], seed: int
    ) -> dict[str, float]:
        """The same tubes with the same gaps after every epoch."""
        network.eval()
        settings = self._settings
        limit = max(1, round(settings.tubes_per_epoch * settings.validation_share))
        rng = np.random.default_rng((seed, 0, 2))
        sums = _Mean()
        for batch in stream_tubes(clips, tube_offsets, rng, limit, settings.batch_size):
            sums.add(self._losses(network, clips, batch), len(batch.tubes))
        return sums.row("validation", settings.distillation_weight)

    def _losses(
        self, network: MultiTaskNetwork, clips: Sequence[ClipObjects], batch: TubeBatch
    ) -> TaskLosses:
        probabilities = np.stack(
            [clips[c].detections.probabilities[d] for c, d in zip(batch.clip, batch.detection)]
        )
        tubes = _rgb(batch.tubes, self._device)
        middle = tubes[:, :, REACH]
        with autocast(self._device, self._settings.precision):
            answers = network(*training_views(tubes))
            targets = self._class_targets(probabilities, middle)
        return task_losses(answers, middle, targets)

    @torch.inference_mode()
    def _terms(self, clip: ClipObjects) -> NDArray[np.float32]:
        """(N, K) `object_terms` of a clip's detections, in their order."""
        self._network.to(self._device).eval()
        terms = []
        start = 0
        for tubes in tubes_in_order(clip, CONSECUTIVE, self._settings.batch_size):
            probabilities = clip.detections.probabilities[start : start + len(tubes)]
            start += len(tubes)
            forward = _rgb(tubes, self._device)
            middle = forward[:, :, REACH]
            with autocast(self._device, self._settings.precision):
                answers = self._network(forward, without_middle(forward), still(forward))
                targets = self._class_targets(probabilities, middle)
            terms.append(object_terms(answers, middle, targets).cpu().numpy())
        return np.concatenate(terms)


def tube_offsets(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Frames that training needs of each of N objects: (N, 13) offsets, -3..3, three before, three after.

    The last six have random gaps of 1..4 frames between one another and frame t; with frame t they are the
    irregular tube.
    """
    gaps = rng.integers(1, LARGEST_GAP + 1, (2, count, REACH))
    before, after = -np.cumsum(gaps[0], axis=1)[:, ::-1], np.cumsum(gaps[1], axis=1)
    return np.hstack([np.broadcast_to(CONSECUTIVE, (count, len(CONSECUTIVE))), before, after])


def training_views(tubes: Tensor) -> Views:
    """Views for all four tasks of tubes (N, 3, 13, 64, 64) cut at `tube_offsets`, RGB in [0, 1]."""
    length = len(CONSECUTIVE)
    forward, before, after = tubes[:, :, :length], tubes[:, :, length:-REACH], tubes[:, :, -REACH:]
    irregular = torch.cat([before, forward[:, :, REACH : REACH + 1], after], dim=2)
    return Views(torch.cat([forward, forward.flip(2), irregular]), without_middle(forward), still(forward))


def without_middle(forward: Tensor) -> Tensor:
    """Tubes (N, 3, 7, 64, 64) whose frame t is black: what is left to see is the other six."""
    context = forward.clone()
    context[:, :, REACH] = 0.0
    return context


def still(forward: Tensor) -> Tensor:
    """Frame t of tubes (N, 3, 7, 64, 64), standing still for as many frames."""
    return forward[:, :, REACH : REACH + 1].expand_as(forward)


def task_losses(answers: Answers, middle: Tensor, targets: Sequence[Tensor]) -> TaskLosses:
    """The four losses (Georgescu et al., CVPR 2021).

    Distillation is the mean of the classifiers' own L1 losses: over all classes in one, the thousand of
    ImageNet, nearly all of them near 0, would drown the detector's few.

    Args:
        answers: to `training_views`: 3N about motion, N about the rest.
        middle: (N, 3, 64, 64) middle crops, RGB in [0, 1].
        targets: (N, K) class probabilities of each classifier, in the order in which the head answers; none
            where the network has no such head.
    """
    forward_arrow, backward_arrow, _ = answers.arrow.float().chunk(3)
    consecutive, _, irregular = answers.irregularity.float().chunk(3)
    no_distillation = middle.new_zeros(())
    return TaskLosses(
        _two_class_loss(forward_arrow, backward_arrow),
        _two_class_loss(consecutive, irregular),
        F.l1_loss(answers.middle.float(), middle),
        no_distillation if answers.classes is None else _class_error(answers.classes, targets, dim=None),
    )


def object_terms(answers: Answers, middle: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """How badly each task is done: (N, 4), or (N, 3) without classifiers, higher being stranger.

    Log odds of "backward" and of "irregular", mean absolute errors of the middle crop and of the classes.

    Args:
        answers: to N consecutive forward tubes.
        middle: (N, 3, 64, 64) middle crops, RGB in [0, 1].
        targets: (N, K) class probabilities of each classifier, as for `task_losses`.
    """
    terms = [
        answers.arrow.float().diff(dim=1).squeeze(1),
        answers.irregularity.float().diff(dim=1).squeeze(1),
        (answers.middle.float() - middle).abs().mean(dim=(1, 2, 3)),
    ]
    if answers.classes is not None:
        terms.append(_class_error(answers.classes, targets, dim=1))
    return torch.stack(terms, dim=1)


def split_objects(
    clips: Sequence[ClipObjects], validation_share: float, seed: int
) -> tuple[list[ClipObjects], list[ClipObjects]]:
    """All detections of all clips, parted at random into training and validation.

    Raises:
        DataError: there are fewer than two detections.
    """
    counts = [len(clip.detections) for clip in clips]
    total = sum(counts)
    if total < 2:
        raise DataError(
            f"{total} detections in {len(clips)} clips are too few to fit ssmtl; lower detect.confidence"
        )
    held = np.zeros(total, np.bool_)
    share = min(max(1, round(total * validation_share)), total - 1)
    held[np.random.default_rng((seed, 0, 1)).permutation(total)[:share]] = True
    masks = np.split(held, np.cumsum(counts)[:-1])
    return (
        [ClipObjects(clip.frames, clip.detections.take(~mask)) for clip, mask in zip(clips, masks)],
        [ClipObjects(clip.frames, clip.detections.take(mask)) for clip, mask in zip(clips, masks)],
    )


def class_count(clips: Iterable[ClipObjects]) -> int:
    """Class probabilities that the detector gives, 0 where none.

    Raises:
        DataError: clips differ.
    """
    counts = {clip.detections.probabilities.shape[1] for clip in clips if len(clip.detections)}
    if len(counts) > 1:
        raise DataError(
            f"detections of the training clips have {' and '.join(map(str, sorted(counts)))} classes; "
            "detect all clips with the same detector"
        )
    return int(counts.pop())


def _network(settings: SsmtlSettings, classes: int) -> MultiTaskNetwork:
    first, second, third = settings.channels
    return MultiTaskNetwork(
        Cnn3d(settings.channels, settings.convs_per_stage),
        arrow=ClassHead(third, 2),
        irregularity=ClassHead(third, 2),
        middle=PictureHead(third, (second, first, first)),
        classes=ClassHead(third, classes) if classes else None,
    )


def _class_error(classes: Tensor, targets: Sequence[Tensor], dim: int | None) -> Tensor:
    """Mean over classifiers of the mean absolute difference between head and classifier.

    Args:
        classes: (N, K + K' ...) answers of the head.
        targets: (N, K), (N, K') ... of the classifiers.
        dim: 1 for the error (N,) of each object, none for that of all.
    """
    parts = torch.split(classes.float(), [target.shape[1] for target in targets], dim=1)
    return torch.stack([(part - target).abs().mean(dim) for part, target in zip(parts, targets)]).mean(0)


def _load_resnet(path: Path) -> ImageNetClassifier:
    """The frozen ResNet-50 of a file with torchvision's weights, read without executing anything in it."""
    try:
        safe = path.suffix == ".safetensors"
        weights = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"ResNet-50's weights {path} do not exist; {_OFFICIAL}") from error
    except (*_DAMAGED, UnpicklingError, SafetensorError, AssertionError, StructError) as error:
        raise WeightsError(
            f"ResNet-50's weights {path} are damaged ({type(error).__name__}); {_OFFICIAL}"
        ) from error
    network = empty_resnet50()
    try:
        network.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} does not hold a ResNet-50 for ImageNet's {CLASSES} classes; {_OFFICIAL}"
        ) from error
    return ImageNetClassifier(network.float()).eval().requires_grad_(False)


def _bytes(hexadecimal: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(hexadecimal)), dtype=torch.uint8)


def _rgb(tubes: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Tubes (N, T, 3, 64, 64) uint8 to (N, 3, T, 64, 64) float32 in [0, 1], laid out as 3-D CNNs like it."""
    there = torch.from_numpy(tubes).to(device).transpose(1, 2)
    return there.to(torch.float32, memory_format=torch.channels_last_3d) / 255.0


def _two_class_loss(first: Tensor, second: Tensor) -> Tensor:
    """Cross-entropy of logits (N, 2) of class 0 and as many of class 1."""
    labels = torch.arange(2, device=first.device).repeat_interleave(len(first))
    return F.cross_entropy(torch.cat([first, second]), labels)


class _Mean:
    """Mean of losses over an epoch, kept on the device."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._count = 0

    def add(self, losses: TaskLosses, count: int) -> None:
        self._sum = self._sum + torch.stack(losses).detach() * count
        self._count += count

    def row(self, split: str, distillation_weight: float) -> dict[str, float]:
        """Columns `<split>` (the total) and `<split>_<task>`."""
        means = TaskLosses(*torch.as_tensor(self._sum / self._count).cpu())
        tasks = {f"{split}_{task}": float(mean) for task, mean in means._asdict().items()}
        return {split: float(means.total(distillation_weight)), **tasks}

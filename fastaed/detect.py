"""Detect objects: frame stores to one table of boxes per clip.

The teachers of the method look at objects, found once and offline by a detector that was trained elsewhere
(YOLO), by what moves against a background model (`motion`), or by both.
"""

import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnx
import torch
import yaml
from numpy.typing import NDArray

from fastaed.codehash import code_hash
from fastaed.config import DetectSettings, settings_json
from fastaed.data.boxes import (
    MOTION_CLASS,
    Detections,
    clip_to_frame,
    drop_explained,
    drop_nested,
    drop_overlapping,
    drop_small,
    joined,
    no_detections,
    read_detections,
    write_detections,
)
from fastaed.data.store import Frames, FrameStore
from fastaed.errors import DataError, MissingDataError, WeightsError
from fastaed.files import DoneClips, input_digests, replacing, write_manifest
from fastaed.progress import progress, say
from fastaed.sources import signature
from fastaed.training import AtOnce, pick_device
from fastaed.weights import weights_digest
from fastaed.yolo import find_weights, open_ultralytics, reading

Array = NDArray[np.float32]

_GRAY = 114  # of the border around a letterboxed frame, as YOLO is trained
_LAYER = re.compile(r"/model\.(\d+)/")
_LAYER_OUTPUT = re.compile(r"/model\.\d+/.*?_output_0")  # quantised networks append to the name
_EXPLAINED_OVERLAP = 0.3  # IoU with a YOLO box above which motion is that object
_EXPLAINED_COVER = 0.5  # share of a motion box covered by YOLO boxes above which motion is those objects
_PRIMING_FRAMES = 250  # at the start of a clip, seen by the background model beforehand
_PRIMING_STEP = 5  # every so many of them make the median that it starts from
_HISTORY_FRAMES = 500  # over which the background model forgets
_RECIPE: dict[str, Any] = {  # of the demo's own YOLO; `amp` would download another model to check itself with
    "name": "detector",
    "device": "cpu",
    "workers": 0,
    "cache": "ram",
    "batch": 8,
    "nbs": 8,  # a step a batch: from scratch, steps count
    "rect": True,  # no gray border above and below
    "optimizer": "AdamW",
    "lr0": 6e-3,
    "cos_lr": True,
    "warmup_epochs": 1.0,
    "warmup_bias_lr": 0.0,
    "mosaic": 0.0,  # the pictures are as varied as they come
    "scale": 0.15,
    "translate": 0.05,
    "amp": False,
    "plots": False,
    "val": False,
    "verbose": False,
    "pretrained": False,
    "deterministic": True,
}


def run(stores: Sequence[Path], out: Path, manifest: Path, settings: DetectSettings) -> None:
    """Detect the objects of a batch of clips; an interrupted run goes on after its last whole clip.

    Args:
        stores: frame stores, one a clip.
        out: folder of one table a clip, `<clip>.parquet`, replaced as a whole.
        manifest: written last.
        settings: this stage's section.

    Raises:
        DataError: two stores hold clips of one name.
        StoreError: a frame store is missing or damaged.
        WeightsError: the detector's weights cannot be found or used.
        DeviceMemoryError: the device's memory does not hold one frame.
    """
    clips = [FrameStore(path) for path in stores]
    _check_names(clips)
    yolo = load_yolo(settings) if "yolo" in settings.detector else None
    found: dict[str, int] = {}
    done = DoneClips(
        out,
        settings=settings_json(settings),
        code=code_hash("fastaed.detect"),
        weights=yolo.digest if yolo else None,
    )
    with replacing(out) as part:
        part.mkdir()
        for clip in clips:
            table = done.of(".parquet", clip.path)
            if table.exists():
                say(f"detect {clip.clip}: done before the interruption")
            else:
                write_detections(table, detect_objects(clip, yolo, settings))
            shutil.copyfile(table, part / f"{clip.clip}.parquet")
            found[clip.clip] = len(read_detections(table, lists=()))
    write_manifest(
        manifest,
        "detect",
        settings.model_dump(mode="json"),
        out,
        {clip.clip: len(clip) for clip in clips},
        inputs=input_digests(stores),
        detections=found,
        classes=list(yolo.classes) if yolo else [],
        weights=yolo.digest if yolo else None,
        source=signature([find_weights(settings.weights)] if yolo else []),
    )
    done.remove()


def detect_objects(clip: FrameStore, yolo: "Yolo | None", settings: DetectSettings) -> Detections:
    """All detections of one clip, thinned out as the settings say; `yolo` is None for motion alone."""
    motion = no_detections(0)
    if "motion" in settings.detector:
        motion = _thinned(moving_objects(clip, settings), clip, settings)
    detections = motion if yolo is None else _with_yolo(clip, yolo, motion, settings)
    if not len(detections):
        say(f"detect {clip.clip}: nothing found by {settings.detector} in {len(clip)} frames")
    return detections


def _with_yolo(clip: FrameStore, yolo: "Yolo", motion: Detections, settings: DetectSettings) -> Detections:
    """What YOLO finds, and the motion that this does not explain; both with YOLO's features."""
    objects, motion = yolo_objects(clip, yolo, motion, settings)
    objects = _thinned(objects, clip, settings)
    unexplained = drop_explained(
        motion, objects, _EXPLAINED_OVERLAP, _EXPLAINED_COVER, clip.height, clip.width
    )
    return joined([objects, unexplained])


def _check_names(clips: Sequence[FrameStore]) -> None:
    names = [clip.clip for clip in clips]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"two frame stores hold a clip named {twice[0]}, so their tables would collide; rename one"
        )


def _thinned(detections: Detections, clip: FrameStore, settings: DetectSettings) -> Detections:
    inside = clip_to_frame(detections, clip.height, clip.width)
    return drop_nested(drop_small(inside, settings.minimum_side), settings.nested)


# --- YOLO ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Letterbox:
    """A frame scaled to fit the detector's input, centred on a gray border; coordinates there and back.

    Attributes:
        height: of the input, pixels.
        width: of the input, pixels.
        scale: input pixels per pixel of the stored frame.
        inner_height: of the scaled frame, input pixels.
        inner_width: of the scaled frame, input pixels.
    """

    height: int
    width: int
    scale: float
    inner_height: int
    inner_width: int

    @property
    def top(self) -> int:
        """Rows of border above the frame."""
        return (self.height - self.inner_height) // 2

    @property
    def left(self) -> int:
        """Columns of border left of the frame."""
        return (self.width - self.inner_width) // 2

    def apply(self, frames: Frames) -> NDArray[np.uint8]:
        """(T, H, W, 3) frames to (T, height, width, 3) inputs."""
        inputs = np.full((len(frames), self.height, self.width, 3), _GRAY, np.uint8)
        rows = slice(self.top, self.top + self.inner_height)
        columns = slice(self.left, self.left + self.inner_width)
        for frame, target in zip(frames, inputs):
            target[rows, columns] = cv2.resize(
                frame, (self.inner_width, self.inner_height), interpolation=cv2.INTER_LINEAR
            )
        return inputs

    def place(self, xyxy: Array) -> Array:
        """(N, 4) boxes in the pixels of the stored frame to boxes in the pixels of the input."""
        return xyxy * np.float32(self.scale) + self._corner

    def undo(self, xyxy: Array) -> Array:
        """(N, 4) boxes in the pixels of the input to boxes in the pixels of the stored frame."""
        return (xyxy - self._corner) / np.float32(self.scale)

    @property
    def _corner(self) -> Array:
        return np.array([self.left, self.top, self.left, self.top], np.float32)


def fit_letterbox(height: int, width: int, input_size: int, stride: int) -> Letterbox:
    """The smallest input with sides divisible by `stride` that holds a frame of longer side `input_size`."""
    scale = input_size / max(height, width)
    inner = round(height * scale), round(width * scale)
    outer = [-(-side // stride) * stride for side in inner]
    return Letterbox(outer[0], outer[1], scale, *inner)


def fixed_letterbox(height: int, width: int, input_height: int, input_width: int) -> Letterbox:
    """An input of given size, as exported networks may demand, with the frame as large in it as it fits."""
    scale = min(input_height / height, input_width / width)
    return Letterbox(input_height, input_width, scale, round(height * scale), round(width * scale))


@dataclass(frozen=True)
class Yolo:
    """A loaded detector.

    Attributes:
        network: ultralytics' backend, (B, 3, H, W) float RGB in [0, 1] to (B, 4 + K, anchors), and where it
            can show them the inner maps that this was read from.
        classes: K names.
        stride: sides of the input are multiples of this.
        fixed_size: height and width of the input, if the file allows only one.
        digest: SHA-256 of the weights file.
        at_once: how many frames fit into its memory.
    """

    network: Any
    classes: tuple[str, ...]
    stride: int
    fixed_size: tuple[int, int] | None
    digest: str
    at_once: AtOnce = field(default_factory=partial(AtOnce, "detect"))

    def letterbox(self, height: int, width: int, input_size: int) -> Letterbox:
        """How frames of this size enter the network."""
        if self.fixed_size is not None:
            return fixed_letterbox(height, width, *self.fixed_size)
        return fit_letterbox(height, width, input_size, self.stride)


def load_yolo(settings: DetectSettings) -> Yolo:
    """The detector that the settings name, on their device.

    Raises:
        WeightsError: the weights cannot be found or are no YOLO detector.
    """
    ultralytics = open_ultralytics()
    path = find_weights(settings.weights)
    with reading(path), _showing_maps(path) as file:
        network = ultralytics.nn.autobackend.AutoBackend(
            str(file), device=pick_device(settings.device), verbose=False, end2end=False
        )
        _keep_to_threads(network, file)
    network.eval()
    names: dict[int, str] = network.names
    return Yolo(
        network,
        tuple(names[i] for i in sorted(names)),
        max(int(network.stride), 32),
        _fixed_size(network),
        weights_digest(path),
    )


def _keep_to_threads(network: Any, file: Path) -> None:
    """Give ONNX Runtime as many threads as torch has: by itself it takes every core, whatever a job has.

    Two jobs of one core each that both do are 1.6 times as slow (EXPERIMENTS.md).
    """
    session = getattr(network, "session", None)
    if session is None or session.get_providers() != ["CPUExecutionProvider"]:
        return
    onnxruntime = import_module("onnxruntime")  # not before it is needed: it makes a folder below home
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    backend = getattr(network, "backend", network)
    backend.session = onnxruntime.InferenceSession(str(file), options, providers=session.get_providers())


@contextmanager
def _showing_maps(path: Path) -> Iterator[Path]:
    """The weights file; an .onnx one as a copy with the inputs of its detecting layer among its outputs.

    ultralytics names nodes and tensors after the layer, `/model.22/cv2.0/...`; the last layer detects. A file
    whose names tell nothing is used as it is.
    """
    if path.suffix != ".onnx":
        yield path
        return
    network = onnx.load(path)
    tensors = [name for node in network.graph.node for name in node.output]
    layer_of = {name: int(match[1]) for name in tensors if (match := _LAYER.match(name))}
    last = max(layer_of.values(), default=0)
    read = {
        match[0]: None
        for node in network.graph.node
        if any(layer_of.get(name) == last for name in node.output)
        for name in node.input
        if (match := _LAYER_OUTPUT.match(name)) and layer_of.get(match[0], last) < last
    }
    network.graph.output.extend(onnx.ValueInfoProto(name=name) for name in read)
    with tempfile.TemporaryDirectory(prefix="fastaed-yolo-") as folder:
        onnx.save(network, copy := Path(folder) / path.name)
        yield copy


def yolo_objects(
    clip: FrameStore, yolo: Yolo, others: Detections, settings: DetectSettings
) -> tuple[Detections, Detections]:
    """What YOLO finds in a clip, after non-maximum suppression, and what it sees in boxes found otherwise.

    Args:
        clip: the frames.
        yolo: the detector.
        others: boxes in the pixels of the stored frame.
        settings: size of the input, confidence, overlap and batch size.

    Returns:
        YOLO's detections in the pixels of the stored frame, and `others` with features and K probabilities,
        all 0; as many as `others`, by frame.
    """
    letterbox = yolo.letterbox(clip.height, clip.width, settings.input_size)
    found, described = [], []
    answers = (
        answer
        for frames in _batches(clip, settings.batch_size)
        for answers_of_part in yolo.at_once.each(letterbox.apply(frames), partial(_forward, yolo))
        for answer in answers_of_part
    )
    for number, (output, maps) in enumerate(progress(answers, f"detect {clip.clip}", len(clip))):
        kept = drop_overlapping(_candidates(output, number, settings.confidence), settings.overlap)
        features = pool_features(maps, kept.xyxy, letterbox.height, letterbox.width)
        found.append(replace(kept, xyxy=letterbox.undo(kept.xyxy), features=features))
        rest = others.take(others.frame == number)
        described.append(
            replace(
                rest,
                probabilities=np.zeros((len(rest), len(yolo.classes)), np.float32),
                features=pool_features(maps, letterbox.place(rest.xyxy), letterbox.height, letterbox.width),
            )
        )
    return joined(found), joined(described)


def pool_features(maps: Sequence[Array], xyxy: Array, height: int, width: int) -> NDArray[np.float16]:
    """Mean of the detector's inner maps over each box: its deep features.

    A box takes the cells that it touches, at least one of each map.

    Args:
        maps: (C, h, w) each, covering the whole input.
        xyxy: (N, 4) boxes in pixels of the input.
        height: of the input, pixels.
        width: of the input, pixels.

    Returns:
        (N, sum of C).
    """
    features = np.zeros((len(xyxy), sum(len(one) for one in maps)), np.float32)
    column = 0
    for one in maps:
        channels, rows, columns = one.shape
        scale = np.array([columns / width, rows / height] * 2)
        low = np.floor(xyxy * scale)[:, :2].clip(0, [columns - 1, rows - 1]).astype(int)
        high = np.maximum(np.ceil(xyxy * scale)[:, 2:].clip(0, [columns, rows]).astype(int), low + 1)
        for row, (x1, y1), (x2, y2) in zip(features, low, high):
            row[column : column + channels] = one[:, y1:y2, x1:x2].mean(axis=(1, 2))
        column += channels
    return features.astype(np.float16)


def _batches(clip: FrameStore, size: int) -> Iterator[Frames]:
    for start in range(0, len(clip), size):
        yield clip.read(start, min(start + size, len(clip)))


def _forward(yolo: Yolo, inputs: NDArray[np.uint8]) -> list[tuple[Array, list[Array]]]:
    """(B, H, W, 3) uint8 RGB to what the network says of each frame.

    (4 + K, anchors): centre x, centre y, width, height, probabilities; and its inner maps, (C, h, w) each.
    """
    images = torch.from_numpy(inputs).to(yolo.network.device).permute(0, 3, 1, 2)
    with torch.inference_mode():
        answer = yolo.network(images.float().div_(255).contiguous())
    output, maps = _output_and_maps(answer)
    if output.ndim != 3 or output.shape[1] != 4 + len(yolo.classes):
        raise WeightsError(
            f"the detector answers with shape {tuple(output.shape)} instead of "
            f"(B, {4 + len(yolo.classes)}, anchors); "
            "use a network for detection, exported without NMS"
        )
    return [
        (_array(output[number]), [_array(each[number]) for each in maps]) for number in range(len(inputs))
    ]


def _output_and_maps(answer: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The detections, and the maps that the detecting layer looks at, from whatever kind of network."""
    if isinstance(answer, torch.Tensor):
        return answer, []
    output, *rest = answer
    if rest and isinstance(rest[0], dict):  # PyTorch weights tell all the head knows
        return output, list(rest[0].get("feats", ()))
    return output, rest


def _array(values: torch.Tensor) -> Array:
    return np.asarray(values.float().cpu().numpy(), dtype=np.float32)


def _candidates(output: Array, frame: int, confidence: float) -> Detections:
    """The anchors of one frame, (4 + K, anchors), whose surest class reaches `confidence`."""
    chosen = output[:, output[4:].max(axis=0) >= confidence].T
    centre, size, probabilities = chosen[:, :2], chosen[:, 2:4], np.clip(chosen[:, 4:], 0, 1)
    return Detections(
        np.full(len(chosen), frame, np.int32),
        np.concatenate([centre - size / 2, centre + size / 2], axis=1),
        probabilities.max(axis=1),
        probabilities.argmax(axis=1).astype(np.int16),
        probabilities,
        np.zeros((len(chosen), 0), np.float16),
    )


def _fixed_size(network: Any) -> tuple[int, int] | None:
    """Height and width of the only input an exported network takes; None where any will do."""
    session = getattr(network, "session", None)
    if session is None:
        return None
    height, width = session.get_inputs()[0].shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


# --- motion ----------------------------------------------------------------------------------------------


def moving_objects(clip: FrameStore, settings: DetectSettings) -> Detections:
    """What moves in a clip: connected regions unlike a mixture-of-Gaussians background (Zivkovic, 2004).

    The background model starts from the median of the clip's beginning and sees that beginning beforehand, so
    it knows the scene when frame 0 comes, and nobody who stands in frame 0 leaves a hole.
    Confidence is the share of moving pixels in the box; class -1; no probabilities, no features.

    Args:
        clip: the frames.
        settings: threshold, smallest side and batch size.
    """
    background = cv2.createBackgroundSubtractorMOG2(_HISTORY_FRAMES, settings.motion_threshold, False)
    beginning = clip.read(0, min(_PRIMING_FRAMES, len(clip)))
    background.apply(np.median(beginning[::_PRIMING_STEP], axis=0).astype(np.uint8))
    for frame in beginning:
        background.apply(frame, learningRate=1 / _HISTORY_FRAMES)
    parts = []
    frames = (frame for batch in _batches(clip, settings.batch_size) for frame in batch)
    for number, frame in enumerate(progress(frames, f"motion {clip.clip}", len(clip))):
        mask = _moving(background.apply(frame, learningRate=1 / _HISTORY_FRAMES))
        parts.append(_regions(mask, number, settings.minimum_side))
    return joined(parts)


def _moving(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Moving pixels (255), freed of specks and closed over small gaps."""
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), dtype=np.uint8)


def _regions(mask: NDArray[np.uint8], frame: int, minimum_side: int) -> Detections:
    """Bounding boxes of the connected regions of a mask that are large enough."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    left, top, width, height, area = stats[1:].T  # row 0 is the background
    large = (width >= minimum_side) & (height >= minimum_side)
    xyxy = np.stack([left, top, left + width, top + height], axis=1)[large].astype(np.float32)
    count = int(large.sum())
    return Detections(
        np.full(count, frame, np.int32),
        xyxy,
        (area / (width * height))[large].astype(np.float32),
        np.full(count, MOTION_CLASS, np.int16),
        np.zeros((count, 0), np.float32),
        np.zeros((count, 0), np.float16),
    )


# --- the demo's own YOLO ---------------------------------------------------------------------------------


def train_detector(pictures: Path, out: Path, epochs: int, seed: int, input_size: int = 320) -> None:
    """Train a very small YOLOv8 (an eighth of the published widths, 0.9 M weights) from scratch, on the CPU.

    Args:
        pictures: folder with `data.yaml` in YOLO's own format.
        out: the weights, `.pt`.
        epochs: passes over the pictures.
        seed: of initialisation, order and augmentation.
        input_size: longer side of the network's input, pixels.

    Raises:
        MissingDataError: there is no `data.yaml`.
    """
    data = pictures / "data.yaml"
    if not data.is_file():
        raise MissingDataError(
            f"{data} does not exist; write the pictures first: fastaed demo --pictures {pictures}"
        )
    ultralytics, threads = open_ultralytics(), torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="fastaed-yolo-") as folder, redirect_stdout(io.StringIO()):
        network, copied = _training_files(data, Path(folder), ultralytics)
        model = ultralytics.YOLO(str(network), task="detect")
        model.add_callback("on_train_epoch_end", partial(_say_epoch, epochs))
        model.train(data=str(copied), epochs=epochs, seed=seed, imgsz=input_size, project=folder, **_RECIPE)
        torch.set_num_threads(threads)  # ultralytics sets all cores but one
        with replacing(out) as part:
            shutil.copyfile(Path(folder) / _RECIPE["name"] / "weights" / "last.pt", part)


def _training_files(data: Path, folder: Path, ultralytics: ModuleType) -> tuple[Path, Path]:
    """Network description, and a copy of the data set: ultralytics writes beside the labels it reads."""
    copy = shutil.copytree(data.parent, folder / "pictures")
    described = {**yaml.safe_load(data.read_text()), "path": str(copy)}
    (copy / data.name).write_text(yaml.safe_dump(described))
    network = folder / "yolov8.yaml"
    network.write_text(json.dumps(_small_network(ultralytics)))
    return network, copy / data.name


def _small_network(ultralytics: ModuleType) -> dict[str, Any]:
    """YOLOv8 as ultralytics describes it, scaled to depth 1/3 and width 1/8."""
    folder = Path(ultralytics.utils.ROOT) / "cfg" / "models" / "v8"
    network: dict[str, Any] = yaml.safe_load((folder / "yolov8.yaml").read_text())
    return {**network, "scales": {"t": [0.33, 0.125, 1024]}}


def _say_epoch(epochs: int, trainer: Any) -> None:
    losses = ", ".join(f"{name} {float(loss):.2f}" for name, loss in trainer.tloss.items())
    say(f"detector: epoch {trainer.epoch + 1} of {epochs}, {losses}")

"""Teacher `density`: how rare an object's speed, look and place are, in the spirit of AI-VAD.

After Reiss & Hoshen, "Attribute-based Representations for Accurate and Interpretable Video Anomaly
Detection". Three attributes of each object, each with its own density:

- speed: of its upper body, in heights of a usual object there, so that near and far alike are fast or slow
  and swinging legs do not count (the published method fits a mixture to flow by direction; `EXPERIMENTS.md`
  says what that gave);
- look: the detector's deep features of the box in its frame, and, if it has eyes (`fastaed.models.eyes`), of
  the box by itself, enlarged (YOLO's, where the published method has CLIP's); distance to the nearest normal
  objects. Without any features a histogram of the crop's gradients takes their place;
- place: distance to the nearest normal foot points, plus that to the nearest normal rows with heights: where
  it stands, and how tall it is for standing there.

The three become one score by Fisher's method (`fastaed.teachers.rarity`), counted on normal objects of clips
that the density was not fitted on. Fitting takes seconds and has no epochs, hence no checkpoint.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fastaed.config import DensitySettings
from fastaed.data.boxes import Detections
from fastaed.data.flow import Flow, cut_boxes, grey_frame, stream_flow
from fastaed.data.lines import median_slope
from fastaed.data.store import FrameStore
from fastaed.data.tubes import ClipObjects, cut_tubes
from fastaed.errors import DataError
from fastaed.models.eyes import Eyes, open_eyes
from fastaed.models.neighbours import neighbour_distance
from fastaed.progress import progress
from fastaed.teachers.objects import blocks, draw_objects
from fastaed.teachers.rarity import fisher_score
from fastaed.training import autocast, pick_device

_AROUND = np.array([[-1, 1]])
_MIDDLE = np.array([0])
_PARTS = 4  # of the clips, or of a single clip's objects: each is ranked by densities of the others
_LEAST_P = (0, 0, 0.01)  # of place: a clip's people take the same ways, and the next clip's may take others
_GRADIENT_CELLS = 4  # a side
_GRADIENT_DIRECTIONS = 8
_SMALLEST_SPREAD = 1e-3  # of a feature: shares of the frame, logarithms of them
_FOOT_POINT, _ROW_AND_HEIGHT = slice(0, 2), slice(1, 3)  # columns of `Attributes.place`
_PERSPECTIVE_BOXES = 1_000  # of which the usual height is learnt
_UPPER_BODY = np.array([1 / 8, 1 / 8, 7 / 8, 5 / 8], np.float32)  # of a box: left, top, right, bottom
_ENLARGED = 2  # to 128x128, of which the eyes' maps are 8x8
_CROPS_AT_ONCE = 256
_EYES = "eyes."  # what their weights are called among what was learned
_SPEED_PERCENTILE = 75  # of |flow| there: background, which stands still, shows beside the body

Array = NDArray[np.float32]


class Attributes(NamedTuple):
    """What is looked at of N objects."""

    speed: Array  # (N,) usual heights a frame
    look: Array  # (N, F): deep features, from afar and from near, or gradient histogram; of length 1
    place: Array  # (N, 3): foot x and y, log height

    def part(self, which: NDArray[np.bool_]) -> "Attributes":
        """Those of some objects."""
        return Attributes(*(values[which] for values in self))


class Density:
    """The density teacher.

    Args:
        settings: its section of the configuration.
        detector: `yolo.layer_weights`, for one with eyes that is to be fitted.

    Raises:
        WeightsError: the eyes are not those of this detector.
    """

    def __init__(self, settings: DensitySettings, detector: Mapping[str, torch.Tensor] | None = None) -> None:
        self._settings = settings
        self._device = pick_device(settings.device)
        self._eyes = Eyes(settings.eyes).eval().to(self._device) if settings.eyes else None
        if self._eyes and detector:
            open_eyes(self._eyes, detector)
        self._learned: dict[str, torch.Tensor] = {}

    def fit(
        self, clips: Sequence[ClipObjects], checkpoint: Path, identity: Mapping[str, Any], seed: int
    ) -> list[dict[str, float]]:
        """Rank the rarities of the objects of each part by densities of the others, then fit these to all."""
        rng = np.random.default_rng(seed)
        self._learned = {"perspective": torch.from_numpy(perspective([c.detections for c in clips], rng))}
        drawn = draw_objects(clips, self._settings.bank_size, rng)
        measured = [self._attributes(clip) for clip in progress(drawn, "density: attributes", unit="clips")]
        attributes = Attributes(*(_joined(parts) for parts in zip(*measured)))
        part = _parts([len(each.speed) for each in measured])
        if not part.any():
            raise DataError(
                f"{len(part)} objects are too few to fit the density teacher: detect more or use more clips"
            )
        rarities = []
        for number in np.unique(part):
            self._learned |= _densities(attributes.part(part != number))
            rarities.append(self._rarity(attributes.part(part == number)))
        normal = np.sort(np.concatenate(rarities), axis=0)
        self._learned |= {**_densities(attributes), "normal_rarities": torch.from_numpy(normal)}
        return []

    def score(self, clip: ClipObjects) -> Array:
        """(N,) -sum log p over the three attributes, 0 for the most ordinary object."""
        if not len(clip.detections):
            return np.zeros(0, np.float32)
        normal = self._learned["normal_rarities"].numpy()
        return fisher_score(self._rarity(self._attributes(clip)), normal, _LEAST_P)

    def state(self) -> dict[str, torch.Tensor]:
        """Perspective, banks and scales, and the eyes."""
        eyes = self._eyes.state_dict() if self._eyes else {}
        return {**self._learned, **{_EYES + name: tensor.cpu() for name, tensor in eyes.items()}}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        geometry = ("geometry_mean", "geometry_spread", "geometry_bank")
        names = ("perspective", "look_bank", *geometry, "normal_rarities")
        self._learned = {name: state[name] for name in names}
        if self._eyes:
            self._eyes.load_state_dict({name: state[_EYES + name] for name in self._eyes.state_dict()})

    def _attributes(self, clip: ClipObjects) -> Attributes:
        parts = [self._attributes_of_block(clip.frames, block) for block in blocks(clip.detections)]
        return Attributes(*(_joined(same) for same in zip(*parts)))

    def _attributes_of_block(self, frames: FrameStore, detections: Detections) -> Attributes:
        speed = np.zeros(len(detections), np.float32)
        for rows, (flow,) in stream_flow(frames, detections, _AROUND):
            speed[rows] = body_speed(np.float32(0.5) * flow, detections.xyxy[rows])
        speed /= usual_height(detections.xyxy[:, 3], self._learned["perspective"].numpy())
        look = self._look(frames, detections)
        return Attributes(speed, look, box_geometry(detections.xyxy, frames.height, frames.width))

    def _look(self, frames: FrameStore, detections: Detections) -> Array:
        looks = [detections.features.astype(np.float32)] if detections.features.shape[1] else []
        if self._eyes or not looks:
            crops = cut_tubes(frames, detections, _MIDDLE)[:, 0]
            looks.append(self._close_look(crops) if self._eyes else gradient_histograms(_grey(crops)))
        return unit_length(np.concatenate([unit_length(look) for look in looks], axis=1))

    @torch.inference_mode()
    def _close_look(self, crops: NDArray[np.uint8]) -> Array:
        """(N, C) means of the eyes' maps at 1/16 of crops (N, 3, 64, 64) enlarged to 128x128."""
        assert self._eyes
        means = []
        for part in torch.split(torch.from_numpy(crops), _CROPS_AT_ONCE):
            pixels = part.to(self._device).float() / 255
            with autocast(self._device, self._settings.precision):
                _, far = self._eyes(F.interpolate(pixels, scale_factor=_ENLARGED, mode="bilinear"))
            means.append(far.float().mean((2, 3)).cpu())
        return np.asarray(torch.cat(means).numpy(), np.float32)

    def _rarity(self, attributes: Attributes) -> NDArray[np.float64]:
        """(N, 3): the speed itself, distances of look and of place."""
        known = self._learned
        width, fitted = attributes.look.shape[1], known["look_bank"].shape[1]
        if width != fitted:
            raise DataError(
                f"the density teacher was fitted on {fitted} features an object, these detections have "
                f"{width}; teach it again, with one detector for all clips"
            )
        k = self._settings.neighbours
        look = neighbour_distance(torch.from_numpy(attributes.look), known["look_bank"], k)
        place = (torch.from_numpy(attributes.place) - known["geometry_mean"]) / known["geometry_spread"]
        where, how_tall = (
            neighbour_distance(place[:, columns], known["geometry_bank"][:, columns], k)
            for columns in (_FOOT_POINT, _ROW_AND_HEIGHT)
        )
        rarities = [attributes.speed, look.numpy(), (where + how_tall).numpy()]
        return np.stack(rarities, axis=1).astype(np.float64)


def _densities(attributes: Attributes) -> dict[str, torch.Tensor]:
    mean = attributes.place.mean(axis=0)
    spread = np.maximum(attributes.place.std(axis=0), np.float32(_SMALLEST_SPREAD))
    learned = {
        "look_bank": attributes.look,
        "geometry_mean": mean,
        "geometry_spread": spread,
        "geometry_bank": ((attributes.place - mean) / spread).astype(np.float32),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in learned.items()}


def perspective(tables: Sequence[Detections], rng: np.random.Generator) -> Array:
    """How tall a usual object is at each row: a robust line (Theil & Sen) through boxes of one class.

    Args:
        tables: detections of normal clips; the commonest class counts, `motion` only where there is no other.
        rng: draws 1,000 of its boxes where there are more.

    Returns:
        (3,) slope in pixels of height a row, 0 or more; height at row 0; the least height ever taken.
    """
    xyxy = np.concatenate([np.zeros((0, 4), np.float32), *(table.xyxy for table in tables)])
    class_id = np.concatenate([np.zeros(0, np.int16), *(table.class_id for table in tables)])
    if (class_id >= 0).any():
        xyxy = xyxy[class_id == np.bincount(class_id[class_id >= 0]).argmax()]
    xyxy = xyxy[rng.permutation(len(xyxy))[:_PERSPECTIVE_BOXES]]
    if not len(xyxy):
        return np.array([0, 1, 1], np.float32)
    foot, height = xyxy[:, 3], xyxy[:, 3] - xyxy[:, 1]
    slope = max(median_slope(foot, height), 0.0)
    return np.array([slope, np.median(height - slope * foot), np.percentile(height, 5)], np.float32)


def usual_height(foot: Array, line: Array) -> Array:
    """(N,) pixels, of a usual object whose lower edge is at row `foot`; `line` as of `perspective`."""
    return np.asarray(np.maximum(line[0] * foot + line[1], line[2]), np.float32)


def body_speed(flow: Flow, xyxy: Array) -> Array:
    """(N,) 75th percentile of |flow| in the upper body of each box, pixels a frame.

    Args:
        flow: (H, W, 2) pixels a frame.
        xyxy: (N, 4) boxes in pixels.
    """
    length = np.hypot(flow[..., 0], flow[..., 1])[..., np.newaxis]
    corner, size = xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]
    body = np.tile(corner, 2) + _UPPER_BODY * np.tile(size, 2)
    inside = cut_boxes(length, body).reshape(len(xyxy), -1)
    return np.asarray(np.percentile(inside, _SPEED_PERCENTILE, axis=1), np.float32)


def unit_length(features: Array) -> Array:
    """(N, F) vectors of length 1; zero stays zero."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(np.divide(features, length, out=np.zeros_like(features), where=length > 0))


def gradient_histograms(crops: NDArray[np.uint8]) -> Array:
    """Where in a crop edges run which way: 4x4 cells, 8 directions without sign (Dalal & Triggs, 2005).

    Square roots of the shares of the crop's whole gradient, so that vectors have length 1 and their distance
    is Hellinger's; brightness and contrast do not change them. A crop without any edge has all shares equal.

    Args:
        crops: (N, 64, 64) uint8 grey.

    Returns:
        (N, 128).
    """
    size = _GRADIENT_CELLS * _GRADIENT_CELLS * _GRADIENT_DIRECTIONS
    row, column = np.indices(crops.shape[1:])
    cell = (row * _GRADIENT_CELLS // crops.shape[1]) * _GRADIENT_CELLS
    cell = cell + column * _GRADIENT_CELLS // crops.shape[2]
    histograms = np.empty((len(crops), size), np.float32)
    for histogram, crop in zip(histograms, crops):
        across, down = (cv2.Sobel(crop, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
        turn = np.arctan2(down, across) / np.pi
        direction = np.rint(turn * _GRADIENT_DIRECTIONS).astype(np.int64) % _GRADIENT_DIRECTIONS
        place = cell * _GRADIENT_DIRECTIONS + direction
        mass = np.bincount(place.ravel(), np.hypot(across, down).ravel(), size)
        histogram[:] = np.sqrt(mass / mass.sum()) if mass.any() else size**-0.5
    return histograms


def box_geometry(xyxy: Array, height: int, width: int) -> Array:
    """(N, 3) foot point (middle of the lower edge, shares of the frame) and log of the height's share.

    Args:
        xyxy: (N, 4) boxes in pixels.
        height: of the frame, pixels.
        width: of the frame, pixels.
    """
    left, top, right, bottom = xyxy.T
    geometry: Array = np.stack(
        [(left + right) / (2 * width), bottom / height, np.log((bottom - top) / height)], axis=1
    )
    return geometry.astype(np.float32)


def _grey(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 3, 64, 64) to (N, 64, 64)."""
    return np.stack([grey_frame(crop) for crop in crops.transpose(0, 2, 3, 1)])


def _joined(parts: Sequence[Array]) -> Array:
    if len({part.shape[1:] for part in parts}) > 1:
        raise DataError("clips were detected with different features; run detect again on all of them")
    return np.concatenate(parts)


def _parts(objects: Sequence[int]) -> NDArray[np.int64]:
    """Number of the part of each object: clips in turn; a single clip is cut in time.

    Args:
        objects: of each clip, in order.
    """
    if len(objects) == 1:
        return np.arange(objects[0]) * _PARTS // objects[0]
    return np.repeat(np.arange(len(objects)) % _PARTS, objects)

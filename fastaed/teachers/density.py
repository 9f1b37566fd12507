"""Teacher `density`: how rare an object's motion, look and place are, in the spirit of AI-VAD.

After Reiss & Hoshen, "Attribute-based Representations for Accurate and Interpretable Video Anomaly
Detection". Three attributes of each object, each with its own density:

- velocity: histogram of flow by direction, -log p under a Gaussian mixture;
- look: the detector's deep features of the box (YOLO's, where the published method has CLIP's) and its class
  probabilities, distance to the nearest normal objects. A detector without features (`motion`) leaves a
  histogram of the crop's gradients in their place;
- place: foot point, size and proportions of the box, distance to the nearest normal objects.

Each is brought to 0 at its lowest and 1 at its 99th percentile over normal objects it was not fitted on; the
score is their sum. Fitting takes seconds and has no epochs, hence no checkpoint.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from fastaed.config import DensitySettings
from fastaed.data.boxes import Detections
from fastaed.data.flow import direction_histogram, grey_frame, stream_flow
from fastaed.data.store import FrameStore
from fastaed.data.tubes import ClipObjects, cut_tubes
from fastaed.errors import DataError
from fastaed.models.mixture import Mixture, neighbour_distance
from fastaed.progress import progress
from fastaed.teachers.objects import blocks, draw_objects

_STEP_AHEAD = np.array([[0, 1]])
_MIDDLE = np.array([0])
_HELD_OUT = 0.2  # of each clip's objects, its last ones: the scales are measured there
_HIGH_PERCENTILE = 99.0
_GRADIENT_CELLS = 4  # a side
_GRADIENT_DIRECTIONS = 8
_SMALLEST_SPREAD = 1e-3  # of a feature: box heights per step, shares of the frame
_LOOK_FLOOR = 0.1  # of the columns' mean spread
_MIXTURE_FLOOR = 0.1  # added to the variances of standardised velocities: 1e-3 overfits
_MIXTURE_ROUNDS = 500

Array = NDArray[np.float32]


class Attributes(NamedTuple):
    """What is looked at of N objects."""

    velocity: Array  # (N, directions + 1) box heights per frame step
    look: Array  # (N, K + F): class probabilities, deep features or else gradient histogram
    place: Array  # (N, 5): foot x and y, log width and height, log of width / height

    def part(self, which: NDArray[np.bool_]) -> "Attributes":
        """Those of some objects."""
        return Attributes(*(values[which] for values in self))


class Density:
    """The density teacher.

    Args:
        settings: its section of the configuration.
    """

    def __init__(self, settings: DensitySettings) -> None:
        self._settings = settings
        self._learned: dict[str, torch.Tensor] = {}

    def fit(
        self, clips: Sequence[ClipObjects], checkpoint: Path, identity: Mapping[str, Any], seed: int
    ) -> list[dict[str, float]]:
        """Measure the scales on the last objects of each clip, then fit the densities to all."""
        rng = np.random.default_rng(seed)
        drawn = [clip for clip in draw_objects(clips, self._settings.bank_size, rng) if len(clip.detections)]
        measured = [self._attributes(clip) for clip in progress(drawn, "density: attributes", unit="clips")]
        attributes = Attributes(*(_joined(parts) for parts in zip(*measured)))
        held = np.concatenate([_last(len(each.velocity)) for each in measured])
        if not held.any():
            raise DataError(
                f"{len(held)} objects are too few to fit the density teacher: detect more or use more clips"
            )
        self._learned = self._densities(attributes.part(~held), seed)
        rarity = self._rarity(attributes.part(held))
        scale = {
            "low": torch.from_numpy(rarity.min(axis=0)),
            "high": torch.from_numpy(np.percentile(rarity, _HIGH_PERCENTILE, axis=0)),
        }
        self._learned = {**self._densities(attributes, seed), **scale}
        return []

    def score(self, clip: ClipObjects) -> Array:
        """(N,) sum of the three rarities, each about 0..1 for normal objects, without an upper end."""
        if not len(clip.detections):
            return np.zeros(0, np.float32)
        low, high = self._learned["low"].numpy(), self._learned["high"].numpy()
        rarity = self._rarity(self._attributes(clip))
        scores: Array = ((rarity - low) / np.maximum(high - low, 1e-9)).sum(axis=1).astype(np.float32)
        return scores

    def state(self) -> dict[str, torch.Tensor]:
        """Mixture, banks and scales."""
        return dict(self._learned)

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        self._learned = dict(state)

    def _attributes(self, clip: ClipObjects) -> Attributes:
        parts = [self._attributes_of_block(clip.frames, block) for block in blocks(clip.detections)]
        return Attributes(*(_joined(same) for same in zip(*parts)))

    def _attributes_of_block(self, frames: FrameStore, detections: Detections) -> Attributes:
        velocity = np.zeros((len(detections), self._settings.directions + 1), np.float32)
        for rows, (flow,) in stream_flow(frames, detections, _STEP_AHEAD):
            velocity[rows] = direction_histogram(flow, detections.xyxy[rows], self._settings.directions)
        features = detections.features.astype(np.float32)
        if not features.shape[1]:
            crops = cut_tubes(frames, detections, _MIDDLE)[:, 0].transpose(0, 2, 3, 1)
            features = gradient_histograms(np.stack([grey_frame(crop) for crop in crops]))
        look = np.concatenate([detections.probabilities, features], axis=1)
        return Attributes(velocity, look, box_geometry(detections.xyxy, frames.height, frames.width))

    def _densities(self, attributes: Attributes, seed: int) -> dict[str, torch.Tensor]:
        velocity_mean, velocity_spread = _mean_and_spread(attributes.velocity)
        look_scale = _look_scale(attributes.look)
        place_mean, place_spread = _mean_and_spread(attributes.place)
        mixture = GaussianMixture(
            min(self._settings.components, len(attributes.velocity)),
            reg_covar=_MIXTURE_FLOOR,
            max_iter=_MIXTURE_ROUNDS,
            tol=1e-3,
            random_state=seed,
        ).fit(((attributes.velocity - velocity_mean) / velocity_spread).astype(np.float64))
        learned = {
            "velocity_mean": velocity_mean,
            "velocity_spread": velocity_spread,
            "mixture_log_weights": np.log(mixture.weights_),
            "mixture_means": mixture.means_,
            "mixture_precision_roots": mixture.precisions_cholesky_,
            "look_scale": look_scale,
            "look_bank": attributes.look / look_scale,
            "place_mean": place_mean,
            "place_spread": place_spread,
            "place_bank": ((attributes.place - place_mean) / place_spread).astype(np.float32),
        }
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in learned.items()}

    def _rarity(self, attributes: Attributes) -> NDArray[np.float64]:
        """(N, 3): -log p of the velocity, distances of look and place."""
        known = self._learned
        width, fitted = attributes.look.shape[1], known["look_bank"].shape[1]
        if width != fitted:
            raise DataError(
                f"the density teacher was fitted on {fitted} class probabilities and features an object, "
                f"these detections have {width}; teach it again, with one detector for all clips"
            )
        velocity = (torch.from_numpy(attributes.velocity) - known["velocity_mean"]) / known["velocity_spread"]
        look = torch.from_numpy(attributes.look) / known["look_scale"]
        place = (torch.from_numpy(attributes.place) - known["place_mean"]) / known["place_spread"]
        mixture = Mixture(
            known["mixture_log_weights"], known["mixture_means"], known["mixture_precision_roots"]
        )
        k = self._settings.neighbours
        return np.stack(
            [
                -mixture.log_likelihood(velocity.double()).numpy(),
                neighbour_distance(look, known["look_bank"], k).double().numpy(),
                neighbour_distance(place.float(), known["place_bank"], k).double().numpy(),
            ],
            axis=1,
        )


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
    """(N, 5) foot point (middle of the lower edge, shares of the frame), log width, height and their ratio.

    Args:
        xyxy: (N, 4) boxes in pixels.
        height: of the frame, pixels.
        width: of the frame, pixels.
    """
    left, top, right, bottom = xyxy.T
    log_width, log_height = np.log((right - left) / width), np.log((bottom - top) / height)
    foot_x, foot_y = (left + right) / (2 * width), bottom / height
    geometry: Array = np.stack([foot_x, foot_y, log_width, log_height, log_width - log_height], axis=1)
    return geometry.astype(np.float32)


def _look_scale(look: Array) -> Array:
    """What each column is divided by, so that the columns' variances sum to 1 and none weighs most.

    A column that hardly varies among normal objects is not blown up: it counts as varying a tenth as much as
    the others do on average.
    """
    spread = look.std(axis=0)
    floor = max(_LOOK_FLOOR * float(spread.mean()), _SMALLEST_SPREAD)
    scale: Array = np.maximum(spread, np.float32(floor)) * np.float32(look.shape[1] ** 0.5)
    return scale


def _joined(parts: Sequence[Array]) -> Array:
    if len({part.shape[1] for part in parts}) > 1:
        raise DataError(
            "clips were detected with different classes or features; run detect again on all of them"
        )
    return np.concatenate(parts)


def _last(objects: int) -> NDArray[np.bool_]:
    return np.arange(objects) >= int(np.ceil(objects * (1 - _HELD_OUT)))


def _mean_and_spread(features: Array) -> tuple[Array, Array]:
    return features.mean(axis=0), np.maximum(features.std(axis=0), np.float32(_SMALLEST_SPREAD))

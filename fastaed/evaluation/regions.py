"""RBDC and TBDC of models that say where: of their anomaly maps, or of their scored boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastaed.config import EvaluateSettings
from fastaed.data.labels import read_masks
from fastaed.data.score_files import read_detection_files, read_map_files
from fastaed.data.scores import ModelScores
from fastaed.data.tracks import Tracks, read_tracks, tracks_of_masks
from fastaed.errors import DataError
from fastaed.evaluation.rows import with_intervals
from fastaed.evaluation.scorers import Row, scales
from fastaed.evaluation.truth import Footage, GroundTruth, Truth
from fastaed.metrics.region import (
    DetectedRegions,
    RegionCounts,
    TrueRegions,
    region_counts,
    region_counts_of_maps,
    region_metrics,
    resampled_region_metrics,
)
from fastaed.progress import progress, say

MAP_SCALE = "16x16"
NOWHERE = TrueRegions(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, np.int64))

Paths = Mapping[str, Sequence[Path]]  # model -> its files


@dataclass(frozen=True)
class Places:
    """True regions of each clip, and the height and width in pixels of the picture that they lie in."""

    regions: Sequence[TrueRegions]
    sizes: Sequence[tuple[int, int]]


def region_rows(
    maps: Paths,
    detections: Paths,
    ground_truth: GroundTruth,
    models: Mapping[str, ModelScores],
    truth: Truth,
    footage: Footage,
    weights: NDArray[np.int64],
    settings: EvaluateSettings,
) -> dict[str, Row]:
    """RBDC and TBDC of each model that has maps or scored boxes, and the scale in whose row they stand.

    Args:
        maps: model -> its anomaly maps.
        detections: model -> its scored boxes; a model with maps too is measured by the maps.
        ground_truth: where the labels and tracks are.
        models: their scores, which tell the scales.
        truth: the labels as read.
        footage: tells the size of the picture that track files lie in.
        weights: (R, C) how often each clip counts in each resample.
        settings: overlap and share of a track.

    Raises:
        DataError: maps, boxes, masks or tracks do not fit the labels.
        MissingDataError: a file is not there.
    """
    sources = {name: (_counts_of_boxes, paths) for name, paths in detections.items()}
    sources |= {name: (_counts_of_maps, paths) for name, paths in maps.items()}
    if not sources or (places := _places(ground_truth, truth, footage)) is None:
        return {}
    rows = {}
    for name, (count, paths) in progress(sources.items(), "regions", len(sources), "models"):
        counts = count(paths, places, truth, settings)
        values = region_metrics(counts)._asdict()
        resamples = dict(zip(values, resampled_region_metrics(counts, weights)))
        known = scales(models[name])
        scale = MAP_SCALE if MAP_SCALE in known else known[0]
        rows[name] = {"scale": scale, **with_intervals(values, resamples)}
    return rows


def _counts_of_maps(
    paths: Sequence[Path], places: Places, truth: Truth, settings: EvaluateSettings
) -> RegionCounts:
    maps = read_map_files(paths, truth.frames)
    return region_counts_of_maps(
        [maps[clip] for clip in truth.clips],
        places.regions,
        places.sizes,
        overlap=settings.region_overlap,
        track_share=settings.track_share,
    )


def _counts_of_boxes(
    paths: Sequence[Path], places: Places, truth: Truth, settings: EvaluateSettings
) -> RegionCounts:
    boxes = read_detection_files(paths, truth.frames)
    return region_counts(
        [DetectedRegions(*boxes[clip]) for clip in truth.clips],
        places.regions,
        list(truth.frames.values()),
        overlap=settings.region_overlap,
        track_share=settings.track_share,
    )


def _places(ground_truth: GroundTruth, truth: Truth, footage: Footage) -> Places | None:
    """Where the events are, from track files or masks; None, and said so, where a clip has neither."""
    regions, sizes = [], []
    paths = ground_truth.paths()
    for clip, labels in progress(zip(truth.clips, truth.labels), "true regions", len(truth.clips), "clips"):
        if clip in ground_truth.tracks:
            found = _from_tracks(ground_truth.tracks[clip], len(labels), footage)
        elif not labels.any():
            found = NOWHERE, footage.size or (1, 1)  # of any size: nothing lies in it
        elif (masks := _masks(ground_truth.layout, paths.get(clip))) is not None:
            _check_masks(clip, masks, len(labels), footage.size)
            found = _true_regions(tracks_of_masks(masks)), (masks.shape[1], masks.shape[2])
        else:
            say(f"no RBDC and TBDC: neither masks nor a track file tell where the events of clip {clip} are")
            return None
        regions.append(found[0])
        sizes.append(found[1])
    return Places(regions, sizes)


def _from_tracks(path: Path, frames: int, footage: Footage) -> tuple[TrueRegions, tuple[int, int]]:
    if footage.size is None:
        raise DataError(
            f"{path} gives boxes in pixels, but nothing tells the size of the picture: "
            "give frame stores, or set frame_size to [width, height]"
        )
    return _true_regions(read_tracks(path, frames, *footage.size)), footage.size


def _true_regions(tracks: Tracks) -> TrueRegions:
    return TrueRegions(tracks.frame, tracks.xyxy, tracks.track_id)


def _masks(layout: str, path: Path | None) -> NDArray[np.bool_] | None:
    return None if path is None else read_masks(layout, path)


def _check_masks(clip: str, masks: NDArray[np.bool_], labels: int, size: tuple[int, int] | None) -> None:
    count, height, width = masks.shape
    if count != labels:
        raise DataError(f"clip {clip} has {count} masks but {labels} labels; one belongs to other footage")
    if size is not None and (height, width) != size:
        raise DataError(
            f"masks of clip {clip} are {width}x{height} pixels but the picture is {size[1]}x{size[0]}; one "
            "belongs to other footage"
        )

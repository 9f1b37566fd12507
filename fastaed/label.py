"""Stage label: frame stores, detections and one teacher's folds to map pyramids.

Each clip is scored by the models that were not fitted on it (cross-fitting: a teacher says almost nothing about
footage that it learned from), scores are calibrated to one scale and averaged, painted into the boxes, smoothed,
and max-pooled to the three scales of the student (Croitoru et al., "Lightning Fast Video Anomaly Detection via
Multi-Scale Adversarial Distillation", CVIU 2024, section 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastaed.config import LabelSettings
from fastaed.data.boxes import read_detections
from fastaed.data.maps import paint_maps, pool_pyramid, smooth_maps
from fastaed.data.store import FrameStore, Maps, write_maps
from fastaed.data.tubes import ClipObjects
from fastaed.errors import DataError
from fastaed.files import write_manifest
from fastaed.progress import progress
from fastaed.teachers.build import load_teacher
from fastaed.teachers.calibration import Calibration
from fastaed.teachers.teacher import Teacher
from fastaed.weights import weights_digest


@dataclass(frozen=True)
class FittedTeacher:
    """One fold's model with what its file says about it."""

    path: Path
    name: str
    teacher: Teacher
    fitted_on: frozenset[str]
    calibration: Calibration


def run(
    stores: Sequence[Path],
    detections: Sequence[Path],
    teachers: Sequence[Path],
    out: Path,
    manifest: Path,
    settings: LabelSettings,
) -> None:
    """Write the anomaly maps of a batch of clips.

    Args:
        stores: frame stores of the clips.
        detections: their detections: parquet files named after the clips, or folders that hold them.
        teachers: weights files of the folds of one teacher.
        out: store of map pyramids, a group a clip.
        manifest: the JSON beside it.
        settings: section `label` of the configuration.

    Raises:
        DataError: every model was fitted on some clip, or the files are of different teachers.
    """
    models = load_models(teachers, settings)
    tables = detection_tables(detections)
    maps = {}
    for path in progress(stores, f"label with {models[0].name}", unit="clips"):
        frames = FrameStore(path)
        clip = ClipObjects(frames, read_detections(table_of(frames.clip, tables)))
        maps[frames.clip] = anomaly_maps(clip, models, settings)
    write_maps(out, maps, {"teacher": models[0].name})
    write_manifest(
        manifest,
        "label",
        settings.model_dump(mode="json"),
        out,
        {clip: len(pyramid.one) for clip, pyramid in maps.items()},
        teacher=models[0].name,
        weights={path.name: weights_digest(path) for path in teachers},
    )

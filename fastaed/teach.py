"""Stage `teach`: one object-level teacher, fitted on the clips outside a fold, calibrated on the fold.

From frame stores and detections of the training split to `<fold>.safetensors` (weights, calibration, the
clips it was fitted on) and `<fold>.csv` (losses). Clip i of the sorted training split is held out of fold i
modulo the number of folds, so that each training clip can be labelled by a teacher that has not seen it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from fastaed.codehash import code_hash
from fastaed.config import TeacherName, TeachSettings
from fastaed.data.boxes import detection_tables, read_detections
from fastaed.data.store import ChunkCache, FrameStore
from fastaed.errors import ConfigError, DataError
from fastaed.files import content_digest, input_digests, replacing
from fastaed.progress import progress, say
from fastaed.sources import signature
from fastaed.teachers.build import build_teacher, save_teacher
from fastaed.teachers.calibration import Calibration, calibration_of
from fastaed.teachers.objects import draw_objects
from fastaed.teachers.teacher import ClipObjects, Teacher
from fastaed.weights import weights_digest
from fastaed.yolo import find_weights, layer_weights

_CACHE_BYTES = 1 << 30  # of decoded frames: the chunks that a window of shuffled tubes comes from


def run(
    stores: Sequence[Path],
    detections: Sequence[Path],
    out: Path,
    losses: Path,
    teacher: str,
    fold: int,
    settings: TeachSettings,
    detector: str | None = None,
) -> None:
    """Fit and calibrate one teacher for one fold; an interrupted run continues after its last epoch.

    Args:
        stores: frame stores of all training clips, `<clip>.zarr`, in any order.
        detections: their tables, `<clip>.parquet`, or folders that hold them.
        out: weights file to write.
        losses: CSV to write, one row an epoch; a header only for a teacher without epochs.
        teacher: ssmtl, baf or density.
        fold: from 0 to folds - 1.
        settings: of this stage.
        detector: weights whose first layers are the eyes of density, if it has any: as detect.weights.

    Raises:
        ConfigError: there is no such teacher or fold, or density has eyes and no detector is named.
        DataError: fewer clips than folds, or no detection to fit or calibrate with.
        MissingDataError: a clip has no table of detections.
        WeightsError: the detector's weights are missing or not built like the eyes.
    """
    given = _given_weights(teacher, settings, detector)
    fitted_on, held_out = fold_of([store.stem for store in stores], fold, settings.folds)
    tables = detection_tables([*fitted_on, *held_out], detections)
    clips = _open_clips(stores, tables)
    normal = [clips[clip] for clip in fitted_on]
    unseen = [clips[clip] for clip in held_out]
    _check_objects(normal, "outside", fold)
    _check_objects(unseen, "in", fold)

    eyes = layer_weights(given) if given and teacher == "density" else None
    model = build_teacher(teacher, settings, eyes)
    identity = _identity(teacher, settings, fitted_on, tables, clips, given)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    history = model.fit(normal, checkpoint, identity, settings.seed)
    calibration = _calibration(model, unseen, settings)

    _write_losses(losses, history)
    save_teacher(
        out,
        model,
        {
            **identity,
            "held_out": held_out,
            "fold": fold,
            "calibration": asdict(calibration),
            "inputs": input_digests([*stores, *detections]),
            "source": signature([given] if given else []),
        },
    )
    checkpoint.unlink(missing_ok=True)


def _given_weights(teacher: str, settings: TeachSettings, detector: str | None) -> Path | None:
    """The weights from elsewhere that this teacher needs, if any."""
    if teacher == "ssmtl" and settings.ssmtl.resnet_weights:
        return Path(settings.ssmtl.resnet_weights)
    if teacher != "density" or settings.density.eyes is None:
        return None
    if detector is None:
        raise ConfigError(
            "density has a detector's eyes; name its weights with --detector, or set teach.density.eyes to "
            "null"
        )
    return find_weights(detector)


def fold_of(clips: Sequence[str], fold: int, folds: int) -> tuple[list[str], list[str]]:
    """The clips that a fold's teacher is fitted on, and those held out, both sorted by name.

    Raises:
        ConfigError: there is no such fold.
        DataError: fewer clips than folds, or two clips of one name.
    """
    if not 0 <= fold < folds:
        raise ConfigError(f"there is no fold {fold}: teach.folds = {folds} counts them from 0 to {folds - 1}")
    if len(set(clips)) < len(clips):
        raise DataError(f"two of the {len(clips)} training clips have the same name; rename one")
    if len(clips) < folds:
        raise DataError(
            f"{len(clips)} training clips cannot make {folds} folds; set teach.folds to at most {len(clips)}"
        )
    ordered = sorted(clips)
    held_out = ordered[fold::folds]
    return [clip for clip in ordered if clip not in held_out], held_out


def _open_clips(stores: Sequence[Path], tables: Mapping[str, Path]) -> dict[str, ClipObjects]:
    cache = ChunkCache(_CACHE_BYTES)
    return {
        store.stem: ClipObjects(FrameStore(store, cache), read_detections(tables[store.stem]))
        for store in stores
    }


def _check_objects(clips: Sequence[ClipObjects], where: str, fold: int) -> None:
    if not any(len(clip.detections) for clip in clips):
        raise DataError(
            f"no object was detected in the {len(clips)} training clips {where} fold {fold}; "
            "lower detect.confidence or use another detector"
        )


def _identity(
    teacher: str,
    settings: TeachSettings,
    fitted_on: Sequence[str],
    tables: Mapping[str, Path],
    clips: Mapping[str, ClipObjects],
    given: Path | None,
) -> dict[str, Any]:
    """What the weights depend on: facts of the file, and the condition for resuming from a checkpoint."""
    return {
        "teacher": teacher,
        "settings": settings.model_dump(mode="json", exclude=set(get_args(TeacherName)) - {teacher}),
        "seed": settings.seed,
        "code": code_hash("fastaed.teach", teacher),
        "fitted_on": list(fitted_on),
        "detections": {clip: content_digest(tables[clip]) for clip in sorted(tables)},
        "footage": {clip: clips[clip].frames.fingerprint() for clip in sorted(clips)},
        "given": weights_digest(given) if given else None,
    }


def _calibration(teacher: Teacher, unseen: Sequence[ClipObjects], settings: TeachSettings) -> Calibration:
    """From the raw scores of at most `calibration_objects` held-out objects, drawn at random."""
    drawn = draw_objects(unseen, settings.calibration_objects, np.random.default_rng(settings.seed))
    scores = [teacher.score(clip) for clip in progress(drawn, "calibrate", len(drawn), "clips")]
    calibration = calibration_of(np.concatenate(scores), settings.low_percentile, settings.high_percentile)
    say(f"calibration: {calibration.low:.4g} becomes 0, {calibration.high:.4g} becomes 0.5")
    return calibration


def _write_losses(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    table = pd.DataFrame(history) if history else pd.DataFrame(columns=["epoch"])
    with replacing(path) as part:
        table.to_csv(part, index=False)

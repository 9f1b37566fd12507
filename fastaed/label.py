"""Stage `label`: frame stores, detections and one teacher's folds to map pyramids.

Each clip is scored by the models that were not fitted on it (cross-fitting: a teacher says almost nothing
about footage that it learned from), scores are calibrated to one scale and averaged, painted into the boxes,
smoothed, and max-pooled to the three scales of the student (Croitoru et al., "Lightning Fast Video Anomaly
Detection via Multi-Scale Adversarial Distillation", CVIU 2024, section 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastaed.codehash import code_hash
from fastaed.config import LabelSettings, settings_json
from fastaed.data.boxes import detection_tables, read_detections
from fastaed.data.maps import paint_maps, pool_pyramid, smooth_maps
from fastaed.data.store import FrameStore, Maps, read_maps, write_maps
from fastaed.errors import DataError, WeightsError
from fastaed.files import DoneClips, content_digest, input_digests, write_manifest
from fastaed.progress import progress, say
from fastaed.teachers.build import load_teacher
from fastaed.teachers.calibration import Calibration
from fastaed.teachers.teacher import ClipObjects, Teacher
from fastaed.weights import weights_digest


@dataclass(frozen=True)
class FittedTeacher:
    """One fold's model and what its file says about it.

    Attributes:
        name: of the teacher.
        teacher: the model.
        calibration: of its raw scores.
        fitted_on: names of the training clips it has seen.
        footage: clip -> fingerprint of the frames of each training clip.
    """

    name: str
    teacher: Teacher
    calibration: Calibration
    fitted_on: frozenset[str]
    footage: Mapping[str, str]

    def has_seen(self, clip: str, fingerprint: str) -> bool:
        """Whether it was fitted on this clip: both splits may use a name, so frames must agree, too."""
        return clip in self.fitted_on and self.footage.get(clip, fingerprint) == fingerprint


def run(
    stores: Sequence[Path],
    detections: Sequence[Path],
    teachers: Sequence[Path],
    out: Path,
    manifest: Path,
    settings: LabelSettings,
) -> None:
    """Write the anomaly maps of a batch of clips; an interrupted run goes on after its last whole clip.

    Args:
        stores: frame stores of the clips, `<clip>.zarr`.
        detections: their tables, `<clip>.parquet`, or folders that hold them.
        teachers: weights files of the folds of one teacher.
        out: store of map pyramids to write, a group a clip.
        manifest: the JSON beside it.
        settings: of this stage.

    Raises:
        DataError: every model was fitted on some clip, or the files are of different teachers.
        MissingDataError: a clip has no table of detections.
    """
    models = load_models(teachers, settings.device)
    tables = detection_tables([store.stem for store in stores], detections)
    code, weights = code_hash("fastaed.label", models[0].name), [weights_digest(path) for path in teachers]
    done = DoneClips(out, settings=settings_json(settings), code=code, weights=weights)
    maps = {}
    for store in progress(stores, f"label with {models[0].name}", unit="clips"):
        clip, table = store.stem, tables[store.stem]
        kept = done.of(".zarr", store, table)
        if kept.exists():
            say(f"label {clip}: done before the interruption")
        else:
            write_maps(kept, {clip: _label_clip(FrameStore(store), table, models, settings)}, {})
        maps[clip] = read_maps(kept, clip)
    write_maps(out, maps, {"teacher": models[0].name})
    write_manifest(
        manifest,
        "label",
        settings.model_dump(mode="json"),
        out,
        {clip: len(pyramid.one) for clip, pyramid in maps.items()},
        inputs=input_digests([*stores, *detections, *teachers]),
        code=code,
        teacher=models[0].name,
        weights={path.name: digest for path, digest in zip(teachers, weights)},
        detections={clip: content_digest(table) for clip, table in tables.items()},
    )
    done.remove()


def load_models(teachers: Sequence[Path], device: str) -> list[FittedTeacher]:
    """The folds of one teacher.

    Raises:
        DataError: there is no file, or they are of different teachers.
        WeightsError: a file does not say what the model was fitted on or how its scores are calibrated.
    """
    models = []
    for path in teachers:
        teacher, facts = load_teacher(path, device)
        if not {"fitted_on", "calibration"} <= facts.keys():
            raise WeightsError(f"{path} does not say what it was fitted on and calibrated to; teach it again")
        models.append(
            FittedTeacher(
                facts["teacher"],
                teacher,
                Calibration(**facts["calibration"]),
                frozenset(facts["fitted_on"]),
                facts.get("footage", {}),
            )
        )
    names = sorted({model.name for model in models})
    if len(names) != 1:
        raise DataError(
            f"maps are made by the folds of one teacher, not of {' and '.join(names) or 'none'}; "
            "name the weights files of one"
        )
    return models


def mean_scores(clip: ClipObjects, unbiased: Sequence[FittedTeacher], name: str) -> NDArray[np.float32]:
    """(N,) mean of the calibrated scores of models that have not seen the clip, in [0, 1).

    Raises:
        DataError: there is no such model.
    """
    if not unbiased:
        raise DataError(
            f"every model was fitted on clip {name}, so none can judge it; add the fold that held it out"
        )
    scores = [model.calibration(model.teacher.score(clip)) for model in unbiased]
    return np.asarray(np.mean(scores, axis=0), np.float32)


def _label_clip(
    frames: FrameStore, table: Path, models: Sequence[FittedTeacher], settings: LabelSettings
) -> Maps:
    clip = ClipObjects(frames, read_detections(table))
    origin = _origin(frames)
    unbiased = [model for model in models if not model.has_seen(*origin)]
    scores = mean_scores(clip, unbiased, frames.path.stem)
    maps = paint_maps(scores, clip.detections, len(frames), frames.height, frames.width, settings.cell)
    return pool_pyramid(smooth_maps(maps, settings.smooth))


def _origin(frames: FrameStore) -> tuple[str, str]:
    """Name and fingerprint of the clip that was filmed: one made from another counts as that other."""
    made_from = frames.attributes.get("made_from")
    if made_from is None:
        return frames.path.stem, frames.fingerprint()
    return made_from["clip"], made_from["fingerprint"]

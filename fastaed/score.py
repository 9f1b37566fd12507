"""Score: an anomaly score for every frame of the test clips, by the student or from a teacher's maps.

From test frame stores and the student, or a teacher's map pyramids, to one table for each model and batch of
clips: clip, frame, 1x1, 4x4, 16x16, mean. A frame's score at a scale is the maximum of its map, `mean` the
mean of the three (Croitoru et al., CVIU 2024, section 4). Scores are neither smoothed nor normalised here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fastaed.config import ScoreSettings
from fastaed.data.clips import Clips, Samples, equal_parts, read_ahead, student_input
from fastaed.data.scores import SCORE_COLUMNS, scores_of_maps
from fastaed.data.store import Maps, check_maps, map_clips, read_maps, write_maps
from fastaed.errors import DataError
from fastaed.files import input_digests, replacing, write_manifest
from fastaed.models.student import Student, restored_student
from fastaed.progress import progress
from fastaed.pyramid import MapPyramid
from fastaed.training import AtOnce, autocast, pick_device
from fastaed.weights import load_weights, weights_digest


def run_student(
    student: Path, stores: Sequence[Path], out: Path, maps: Path, manifest: Path, settings: ScoreSettings
) -> None:
    """Write the student's scores and maps of a batch of clips.

    Args:
        student: weights written by distill.
        stores: frame stores of the clips.
        out: table of scores to write, parquet.
        maps: store of map pyramids to write, a group a clip.
        manifest: the JSON beside it, written last.
        settings: of this stage.

    Raises:
        DataError: the frames have another size than those the student was trained on.
        StoreError: a store is missing or damaged.
        WeightsError: `student` is missing or no student.
        DeviceMemoryError: the device's memory does not hold one sample.
    """
    clips = Clips(stores)
    tensors, facts = load_weights(student)
    network = restored_student(tensors, facts).to(pick_device(settings.device))
    _check_size(clips, facts, student)
    pyramids = _student_maps(network, clips, settings)
    write_maps(maps, pyramids, {"model": "student"})
    _write_scores(out, pyramids)
    write_manifest(
        manifest,
        "score",
        settings.model_dump(mode="json"),
        maps,
        clips.sizes(),
        inputs=input_digests([*stores, student]),
        weights=weights_digest(student),
    )


def run_teacher(maps: Sequence[Path], clips: Sequence[str], out: Path, manifest: Path | None = None) -> None:
    """Write a teacher's scores of some clips.

    Args:
        maps: stores of the teacher's map pyramids.
        clips: names of the clips to score, in the table's order; empty for all in the stores.
        out: table of scores to write, parquet.
        manifest: the JSON beside it, written last; None: none.

    Raises:
        DataError: a clip is in two of the stores, or in none.
        StoreError: a store is missing or damaged.
    """
    store_of: dict[str, Path] = {}
    for store in maps:
        for clip in map_clips(store):
            if clip in store_of:
                raise DataError(
                    f"maps of clip {clip} are in two stores, the second is {store}; leave out one"
                )
            store_of[clip] = store
    missing = [clip for clip in clips if clip not in store_of]
    if missing:
        raise DataError(f"there are no maps of clip {missing[0]} in {', '.join(map(str, maps))}; run label")
    pyramids = {clip: read_maps(store_of[clip], clip) for clip in clips or store_of}
    _write_scores(out, pyramids)
    if manifest is not None:
        frames = {clip: len(pyramid.one) for clip, pyramid in pyramids.items()}
        write_manifest(manifest, "score", {}, out, frames, inputs=input_digests(maps))


def _check_size(clips: Clips, facts: dict[str, Any], student: Path) -> None:
    if (clips.height, clips.width) != (facts["height"], facts["width"]):
        raise DataError(
            f"clip {clips.names[0]} has frames of {clips.width}x{clips.height} but {student} was trained on "
            f"{facts['width']}x{facts['height']}; decode to that size or train a student for this one"
        )


def _student_maps(student: Student, clips: Clips, settings: ScoreSettings) -> dict[str, Maps]:
    """Clip -> its pyramid; each frame is read once, in order."""
    samples = clips.samples()
    batches = equal_parts(samples, settings.batch_size)
    parts = list(progress(_predictions(student, clips, batches, settings), "score", len(batches), "batches"))
    levels = MapPyramid(*(np.concatenate(level) for level in zip(*parts)))
    ends = np.cumsum(list(clips.sizes().values()))[:-1]
    per_clip = zip(*(np.split(level, ends) for level in levels))
    pyramids = {clip: MapPyramid(*pyramid) for clip, pyramid in zip(clips.names, per_clip)}
    for clip, pyramid in pyramids.items():
        for level in pyramid:
            check_maps(level, f"the student's maps of clip {clip}")
    return pyramids


@torch.inference_mode()
def _predictions(
    student: Student, clips: Clips, batches: Sequence[Samples], settings: ScoreSettings
) -> Iterator[Maps]:
    device = next(student.parameters()).device

    def inputs(batch: Samples) -> torch.Tensor:
        triplets = np.stack([clips.triplet(clip, frame) for clip, frame in batch])
        return torch.from_numpy(student_input(triplets))

    def maps_of(clip: torch.Tensor) -> Maps:
        with autocast(device, settings.precision):
            prediction = student(clip.to(device))
        return MapPyramid(*(level.float().cpu().numpy() for level in prediction))

    at_once = AtOnce("score")
    for clip in read_ahead(inputs, batches):
        yield MapPyramid(*(np.concatenate(level) for level in zip(*at_once.each(clip, maps_of))))


def _write_scores(out: Path, pyramids: dict[str, Maps]) -> None:
    tables = [_scores(clip, pyramid) for clip, pyramid in pyramids.items()]
    with replacing(out) as part:
        pd.concat(tables, ignore_index=True).to_parquet(part, index=False)


def _scores(clip: str, pyramid: Maps) -> pd.DataFrame:
    """A row a frame: clip, frame, the maximum of each level and the mean of these."""
    scores = scores_of_maps(pyramid)
    return pd.DataFrame({"clip": clip, "frame": np.arange(len(scores)), **dict(zip(SCORE_COLUMNS, scores.T))})

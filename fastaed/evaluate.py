"""Evaluate: scores of any models and the frames' ground truth -> tables, a protocol and a page.

Reads score files (of `score`, or anybody's), labels and, where there are any, anomaly maps or scored boxes,
scores of normal footage and frames. Writes a folder and one table:

- `auc.csv`, a row for each model, scale and smoothing: frame-level measures with 95 % intervals by resampling
  clips; RBDC and TBDC in one row a model; events at a threshold that normal footage gave; of a model trained
  with several seeds, mean and spread of its AUCs;
- `clips.csv`, a row for each model and clip, at the model's main scale under centred smoothing;
- `kinds.csv`, micro AUC for each kind of event, where labels tell kinds;
- `evaluation.json`, the protocol and its fingerprint, warnings, paired differences, conventions of papers;
- `report.html`, all of it as one page.

Baselines that look at no picture pass through the same smoothing. Smoothing stays inside a clip and its sigma
is a setting, never chosen on these labels. What does not exist is empty, never a number.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastaed.config import EvaluateSettings
from fastaed.data.score_files import read_map_files
from fastaed.data.scores import TEACHER, TEACHERS, ModelScores, read_models
from fastaed.errors import DataError, OutputError
from fastaed.evaluation.page import Page, Thumbnail, write_page
from fastaed.evaluation.protocol import fingerprint, flat, protocol, warnings
from fastaed.evaluation.regions import region_rows
from fastaed.evaluation.rows import (
    SPREAD_METRICS,
    auc_row,
    clip_rows,
    convention_rows,
    difference_rows,
    kind_rows,
)
from fastaed.evaluation.scorers import Judged, Scorer, baseline_scorers, judge, model_scorers, scales
from fastaed.evaluation.truth import Footage, GroundTruth, Truth, read_footage, read_truth
from fastaed.files import MANIFEST, input_digests, replacing, write_manifest
from fastaed.metrics.bootstrap import FRAME_METRICS, clip_weights, frame_metrics
from fastaed.metrics.peaks import highest_frames
from fastaed.progress import progress, say
from fastaed.sources import signature

FACTS = "evaluation.json"
METRICS = (*FRAME_METRICS, "rbdc", "tbdc")
EVENT_COLUMNS = (
    "threshold",
    "event_precision",
    "event_recall",
    "event_f1",
    "delay_frames",
    "false_alarms",
    "false_alarms_per_hour",
)
NAMES = ("dataset", "model", "scale", "smoothing")
COLUMNS = (
    *NAMES,
    "micro_auc",
    "macro_auc",
    "macro_clips",
    "clips",
    "frames",
    "label_version",
    *(metric for metric in METRICS if metric not in ("micro_auc", "macro_auc")),
    *(f"{metric}_{end}" for metric in METRICS for end in ("low", "high")),
    *EVENT_COLUMNS,
    "seeds",
    *(f"{metric}_{what}" for metric in SPREAD_METRICS for what in ("mean", "spread")),
)
KIND_COLUMNS = (*NAMES, "kind", "micro_auc", "kind_frames", "normal_frames", "label_version")
CLIP_COLUMNS = (
    *NAMES,
    "clip",
    "frames",
    "abnormal_frames",
    "auc",
    "verdict",
    "events",
    "events_hit",
    "events_missed",
    "false_alarms",
    "label_version",
)
DIFFERENCE_COLUMNS = ("model", "against", "metric", "difference", "low", "high")
CONVENTION_COLUMNS = ("model", "scale", "convention", "micro_auc", "macro_auc")


@dataclass(frozen=True)
class Evidence:
    """What models made of the test clips, as files: model -> its files or folders.

    Attributes:
        scores: of frames, as `score_files.read_score_set` takes them.
        normal: scores of normal footage that the model did not learn from; a model without any has no
            threshold, hence no events and alarms.
        repeats: `<model>/<seed>` -> scores of that model trained with another seed, for means and spreads.
        against: scores of other models, or of the same ones in another version, to measure differences to.
        maps: anomaly maps, for RBDC and TBDC.
        detections: scored boxes, for RBDC and TBDC of a model without maps.
        stores: frame stores of the test clips: pictures for the page, rate and size of the footage.
    """

    scores: Mapping[str, Sequence[Path]]
    normal: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    repeats: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    against: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    maps: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    detections: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    stores: Sequence[Path] = ()


@dataclass(frozen=True)
class Evaluation:
    """Everything that is written.

    Attributes:
        protocol: what the numbers depend on.
        warnings: one sentence each.
        auc: the main table, `COLUMNS`.
        kinds: `KIND_COLUMNS`.
        clips: `CLIP_COLUMNS`.
        differences: `DIFFERENCE_COLUMNS`, of the first model and every other.
        conventions: micro and macro AUC as some papers take them.
    """

    protocol: Mapping[str, Any]
    warnings: Sequence[str]
    auc: pd.DataFrame
    kinds: pd.DataFrame
    clips: pd.DataFrame
    differences: pd.DataFrame
    conventions: pd.DataFrame


def run(
    evidence: Evidence, ground_truth: GroundTruth, out: Path, table: Path | None, settings: EvaluateSettings
) -> None:
    """Write the tables, the protocol and the page.

    Args:
        evidence: scores and whatever goes with them.
        ground_truth: labels.
        out: folder to write, replaced as a whole.
        table: where to write `auc.csv`, if not into `out`.
        settings: of this stage.

    Raises:
        DataError: there are no labels or no scores, they are of other clips or lengths, a score is NaN, or
            all frames are of one class.
        MissingDataError: a file is not there.
        StoreError: a store is damaged.
        OutputError: `out` is there and no earlier evaluation, or it cannot be written.
    """
    _check_place(out)
    truth = read_truth(ground_truth)
    footage = read_footage(evidence.stores, truth, settings)
    models, against, normal = _read_scores(evidence, truth)
    weights = clip_weights(len(truth.clips), settings.resamples, settings.resampling_seed)
    scorers = [*model_scorers(models, normal, truth, settings), *baseline_scorers(truth, settings)]
    rivals = [one for one in model_scorers(against, {}, truth, settings) if one.is_main]
    regions = region_rows(
        evidence.maps, evidence.detections, ground_truth, models, truth, footage, weights, settings
    )
    kept = truth.guarded(settings.guard_frames)
    counted = truth.at(kept)
    judged = [
        judge(one.at(kept), counted, weights)
        for one in progress([*scorers, *rivals], "evaluate", unit="scorers")
    ]
    repeats = _repeats(evidence.repeats, models, truth, kept, settings)
    evaluation = _evaluation(
        [replace(one, repeats=repeats[_row(one.scorer)]) for one in judged[: len(scorers)]],
        judged[len(scorers) :],
        models,
        regions,
        truth,
        counted,
        footage,
        ground_truth,
        settings,
    )
    main = next(one for one in scorers if one.is_main)
    page = _page(evaluation, scorers, main, truth, evidence, footage, settings)
    _write(
        out, table, evaluation, page, lambda folder: _vouch(folder, evidence, ground_truth, truth, settings)
    )
    for warning in evaluation.warnings:
        say(f"warning: {warning}")


def _row(scorer: Scorer) -> tuple[str, ...]:
    return scorer.model, scorer.scale, scorer.smoothing


def _repeats(
    named: Mapping[str, Sequence[Path]],
    models: Mapping[str, ModelScores],
    truth: Truth,
    kept: Sequence[NDArray[np.bool_]],
    settings: EvaluateSettings,
) -> Mapping[tuple[str, ...], list[Mapping[str, float | None]]]:
    """Model, scale and smoothing -> the measures of each further seed."""
    found: dict[tuple[str, ...], list[Mapping[str, float | None]]] = defaultdict(list)
    labels = truth.at(kept).labels
    for one in model_scorers(read_models(named, truth.frames) if named else {}, {}, truth, settings):
        model, _, seed = one.model.rpartition("/")
        if not seed or model not in models:
            raise DataError(
                f"--repeats names {one.model}, which is no model with scores and another seed "
                f"(as {next(iter(models))}/2 is); rename it or leave it out"
            )
        values = frame_metrics(one.at(kept).draws[0], labels)
        found[model, one.scale, one.smoothing].append(values)
    return found


def _check_place(out: Path) -> None:
    """Nothing but an earlier evaluation, or an empty folder, is ever replaced."""
    is_free = out.is_dir() and not any(out.iterdir())
    if out.exists() and not is_free and not (out / FACTS).is_file():
        raise OutputError(f"{out} is there and holds no evaluation that may be replaced; name a new folder")


def _read_scores(
    evidence: Evidence, truth: Truth
) -> tuple[dict[str, ModelScores], dict[str, ModelScores], dict[str, ModelScores]]:
    """Scores of the test clips, of those to compare with, and of normal footage."""
    if not evidence.scores:
        raise DataError("no scores to evaluate; name at least one file or folder, e.g. mine=scores/")
    models, against = (
        read_models(scores, truth.frames) if scores else {} for scores in (evidence.scores, evidence.against)
    )
    for what, named in (
        ("normal", evidence.normal),
        ("maps", evidence.maps),
        ("detections", evidence.detections),
    ):
        unknown = sorted(set(named) - set(models))
        if unknown:
            raise DataError(
                f"--{what} names {unknown[0]}, of which there are no scores (there are: {', '.join(models)})"
            )
    return models, against, _read_normal(evidence, models)


def _read_normal(evidence: Evidence, models: Mapping[str, ModelScores]) -> dict[str, ModelScores]:
    normal = read_models(evidence.normal) if evidence.normal else {}
    if any(name.startswith(TEACHER) and name not in normal for name in models):
        normal.pop(TEACHERS, None)  # the mean of some teachers gives the mean of all no threshold
    for name, scores in normal.items():
        absent = [scale for scale in scales(models[name]) if scale not in scales(scores)]
        if absent:
            raise DataError(
                f"normal scores of {name} have no column {', '.join(absent)}, only "
                f"{', '.join(scales(scores))}; give them the columns of the test scores"
            )
    return normal


def _evaluation(
    judged: Sequence[Judged],
    rivals: Sequence[Judged],
    models: Mapping[str, ModelScores],
    regions: Mapping[str, Mapping[str, Any]],
    truth: Truth,
    counted: Truth,
    footage: Footage,
    ground_truth: GroundTruth,
    settings: EvaluateSettings,
) -> Evaluation:
    main = [one for one in judged if one.scorer.is_main]
    rows = [auc_row(one, regions, counted, footage.rate, settings) for one in judged]
    kinds = [row for one in judged for row in kind_rows(one.scorer, counted)]
    clips = [row for one in main for row in clip_rows(one.scorer, counted, settings)]
    conventions = [row for name, one in models.items() for row in convention_rows(name, one, truth, settings)]
    stamp = {"dataset": ground_truth.dataset, "label_version": truth.version}
    return Evaluation(
        protocol(ground_truth.dataset, truth, footage, settings),
        list(warnings(models, truth, settings)),
        _table(rows, COLUMNS, stamp),
        _table(kinds, KIND_COLUMNS, stamp),
        _table(clips, CLIP_COLUMNS, stamp),
        _table(list(difference_rows(main, rivals)), DIFFERENCE_COLUMNS),
        _table(conventions, CONVENTION_COLUMNS),
    )


def _table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], stamp: Mapping[str, str] | None = None
) -> pd.DataFrame:
    return pd.DataFrame([{**(stamp or {}), **row} for row in rows], columns=list(columns))


# --- The page ----------------------------------------------------------------------------------------------


def _page(
    evaluation: Evaluation,
    scorers: Sequence[Scorer],
    main: Scorer,
    truth: Truth,
    evidence: Evidence,
    footage: Footage,
    settings: EvaluateSettings,
) -> Page:
    scores = dict(zip(truth.clips, main.draws[0]))
    abnormal = {clip: labels == 1 for clip, labels in zip(truth.clips, truth.labels)}
    low = {clip: np.where(abnormal[clip], -scores[clip], -np.inf) for clip in scores}
    high = {clip: np.where(abnormal[clip], -np.inf, scores[clip]) for clip in scores}
    maps = read_map_files(evidence.maps[main.model], truth.frames) if main.model in evidence.maps else {}
    misses, false_alarms = (
        [
            _thumbnail(peak.clip, peak.frame, scores, maps, footage)
            for peak in highest_frames(ranking, settings.worst_frames, round(2 * settings.sigma_frames))
        ]
        for ranking in (low, high)
    )
    return Page(
        dataset=str(evaluation.protocol["dataset"]),
        protocol=flat({**evaluation.protocol, "fingerprint": fingerprint(evaluation.protocol)}),
        table=evaluation.auc,
        kinds=evaluation.kinds,
        comparison=evaluation.conventions,
        differences=evaluation.differences,
        clips=evaluation.clips,
        warnings=evaluation.warnings,
        headline=main.model,
        scores={one.model: dict(zip(truth.clips, one.draws[0])) for one in scorers if one.is_main},
        labels=dict(zip(truth.clips, truth.labels)),
        misses=misses,
        false_alarms=false_alarms,
    )


def _thumbnail(
    clip: str,
    frame: int,
    scores: Mapping[str, NDArray[np.float64]],
    maps: Mapping[str, NDArray[np.float32]],
    footage: Footage,
) -> Thumbnail:
    store = footage.stores.get(clip)
    image = None if store is None else store.gather([frame])[0]
    return Thumbnail(clip, frame, float(scores[clip][frame]), image, maps[clip][frame] if maps else None)


# --- Writing -----------------------------------------------------------------------------------------------


def _write(
    out: Path, table: Path | None, evaluation: Evaluation, page: Page, vouch: Callable[[Path], None]
) -> None:
    """The folder, then the table if it has a place of its own: where it stands, all the rest does."""
    with replacing(out.resolve()) as folder:
        folder.mkdir()
        _write_csv(folder / "clips.csv", evaluation.clips)
        _write_csv(folder / "kinds.csv", evaluation.kinds)
        (folder / FACTS).write_text(json.dumps(_facts(evaluation), indent=1, allow_nan=False) + "\n")
        write_page(folder / "report.html", page)
        if table is None:
            _write_csv(folder / "auc.csv", evaluation.auc)
        vouch(folder)
    if table is not None:
        with replacing(table) as part:
            _write_csv(part, evaluation.auc)


def _vouch(
    folder: Path, evidence: Evidence, ground_truth: GroundTruth, truth: Truth, settings: EvaluateSettings
) -> None:
    """The manifest of the folder, in it."""
    labels = ground_truth.labels
    given = [labels] if isinstance(labels, Path) else list(labels.values())
    named = (evidence.scores, evidence.normal, evidence.repeats, evidence.against, evidence.maps)
    read = [path for models in named for paths in models.values() for path in paths]
    write_manifest(
        folder / MANIFEST,
        "evaluate",
        settings.model_dump(mode="json"),
        folder,
        truth.frames,
        inputs=input_digests([*read, *evidence.stores, *ground_truth.normal]),
        source=signature([*given, *ground_truth.tracks.values()]),
    )


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, index=False, float_format="%.6f")


def _facts(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint(evaluation.protocol),
        "protocol": evaluation.protocol,
        "warnings": list(evaluation.warnings),
        "differences": _records(evaluation.differences),
        "conventions_of_papers": _records(evaluation.conventions),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with None where a cell is empty: JSON has no NaN."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]

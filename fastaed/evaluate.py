"""Scores of all models and the frames' ground truth -> the table of AUCs.

Reads the tables of `score` and the labels; writes `auc.csv`, a row for each model, scale and smoothing, and
`kinds.csv`, the same for each kind of event where the labels tell kinds. Three baselines that look at no
picture (constant, random, ramp) pass through the same smoothing.

Micro AUC is over all frames of all clips, macro AUC the mean of the clips' own AUCs over the clips that have
both normal and abnormal frames, with their number beside it. Smoothing stays inside a clip and its sigma is a
setting, never chosen on these labels. A cell whose AUC does not exist is empty.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastaed.config import EvaluateSettings
from fastaed.data.labels import FrameLabels, read_frame_labels
from fastaed.data.scores import SCORE_COLUMNS, ModelScores, check_frames, read_models
from fastaed.errors import DataError
from fastaed.files import replacing
from fastaed.metrics import baselines
from fastaed.metrics.auc import auc, macro_auc, micro_auc
from fastaed.metrics.smoothing import SMOOTHINGS, smooth
from fastaed.progress import progress, say

COLUMNS = (
    "dataset",
    "model",
    "scale",
    "smoothing",
    "micro_auc",
    "macro_auc",
    "macro_clips",
    "clips",
    "frames",
    "label_version",
)
KIND_COLUMNS = (
    "dataset",
    "model",
    "scale",
    "smoothing",
    "kind",
    "micro_auc",
    "kind_frames",
    "normal_frames",
    "label_version",
)
UNNAMED_KIND = "unnamed"  # an abnormal frame whose label tells no kind, in a data set that has kinds

Series = Sequence[NDArray[np.float64]]  # one (T,) array a clip


@dataclass(frozen=True)
class Scorer:
    """Something that scores frames, at one scale.

    Attributes:
        model: name in the table.
        scale: name in the table, `none` for a baseline.
        draws: the scores, in the clips' order; a random scorer has several and its AUC is their mean.
    """

    model: str
    scale: str
    draws: Sequence[Series]


@dataclass(frozen=True)
class Truth:
    """Ground truth of the test split, in the order of `clips`.

    Attributes:
        clips: their names.
        labels: (T,) uint8 a clip, 1 abnormal.
        kinds: all frames' kinds of event, "" where normal; None where the labels tell none.
    """

    clips: Sequence[str]
    labels: Sequence[NDArray[np.uint8]]
    kinds: NDArray[np.str_] | None

    @property
    def frames(self) -> dict[str, int]:
        """Number of frames of each clip."""
        return {clip: len(labels) for clip, labels in zip(self.clips, self.labels)}


def run(
    scores: Mapping[str, Sequence[Path]],
    labels: Mapping[str, Path],
    layout: str,
    dataset: str,
    label_version: str,
    out: Path,
    kinds: Path,
    settings: EvaluateSettings,
) -> None:
    """Write the tables of AUCs.

    Args:
        scores: `student` or a teacher's name -> its tables of scores.
        labels: test clip -> its ground truth.
        layout: how ground truth is kept, a name of `fastaed.data.benchmarks`.
        dataset: name written into the tables.
        label_version: which of the circulating ground truths this is, written into the tables.
        out: table to write, columns `COLUMNS`.
        kinds: table to write, columns `KIND_COLUMNS`; no rows where the labels tell no kinds.
        settings: width of the smoothing, seed of the random baseline.

    Raises:
        DataError: there are no labels or no scores, they are of other clips or lengths, or a score is NaN.
    """
    truth = _read_truth(labels, layout, dataset)
    models = _read_models_like(scores, truth)
    rows: list[dict[str, Any]] = []
    kind_rows: list[dict[str, Any]] = []
    scorers = [*_model_scorers(models, truth), *_baseline_scorers(truth, settings)]
    for scorer in progress(scorers, f"evaluate {dataset}", unit="scorers"):
        for smoothing, draws in _smoothed(scorer, settings.sigma_frames):
            names = {"model": scorer.model, "scale": scorer.scale, "smoothing": smoothing}
            rows.append({**names, **_aucs(draws, truth)})
            kind_rows += [{**names, **row} for row in _aucs_by_kind(draws, truth)]
    stamp = {"dataset": dataset, "label_version": label_version}
    _write(out, rows, COLUMNS, stamp)
    _write(kinds, kind_rows, KIND_COLUMNS, stamp)
    _say_what_is_undefined(truth)


def _read_truth(labels: Mapping[str, Path], layout: str, dataset: str) -> Truth:
    if not labels:
        raise DataError(
            f"no labels for the test clips of {dataset}: AUC needs labels; "
            f"ask for results/{dataset}/report instead"
        )
    read = {clip: read_frame_labels(layout, path) for clip, path in labels.items()}
    known = any(one.kinds is not None for one in read.values())
    kinds = np.array([kind for one in read.values() for kind in _kinds(one)]) if known else None
    return Truth(list(read), [one.labels for one in read.values()], kinds)


def _kinds(labels: FrameLabels) -> list[str]:
    told = labels.kinds if labels.kinds is not None else [""] * len(labels.labels)
    return [(kind or UNNAMED_KIND) if abnormal else "" for kind, abnormal in zip(told, labels.labels)]


def _read_models_like(scores: Mapping[str, Sequence[Path]], truth: Truth) -> dict[str, ModelScores]:
    if not scores:
        raise DataError("no scores to evaluate; name at least one table, e.g. student=scores.parquet")
    models = read_models(scores)
    for name, model in models.items():
        check_frames(model, f"scores of {name}", truth.frames, "labels")
    return models


def _model_scorers(models: Mapping[str, ModelScores], truth: Truth) -> Iterator[Scorer]:
    for name, model in models.items():
        for scale in SCORE_COLUMNS:
            yield Scorer(name, scale, [[model[clip][scale] for clip in truth.clips]])


def _baseline_scorers(truth: Truth, settings: EvaluateSettings) -> Iterator[Scorer]:
    rng = np.random.default_rng(settings.random_seed)
    counts = [len(labels) for labels in truth.labels]
    drawn = [[baselines.random(frames, rng) for frames in counts] for _ in range(settings.random_draws)]
    yield Scorer("baseline:constant", "none", [[baselines.constant(frames) for frames in counts]])
    yield Scorer("baseline:random", "none", drawn)
    yield Scorer("baseline:ramp", "none", [[baselines.ramp(frames) for frames in counts]])


def _smoothed(scorer: Scorer, sigma_frames: float) -> Iterator[tuple[str, Sequence[Series]]]:
    for smoothing in SMOOTHINGS:
        yield (
            smoothing,
            [[smooth(clip, smoothing, sigma_frames) for clip in draw] for draw in scorer.draws],
        )


def _aucs(draws: Sequence[Series], truth: Truth) -> dict[str, Any]:
    macros = [macro_auc(draw, truth.labels) for draw in draws]
    return {
        "micro_auc": _mean([micro_auc(draw, truth.labels) for draw in draws]),
        "macro_auc": _mean([macro.value for macro in macros]),
        "macro_clips": macros[0].clips,
        "clips": len(truth.clips),
        "frames": sum(truth.frames.values()),
    }


def _aucs_by_kind(draws: Sequence[Series], truth: Truth) -> Iterator[dict[str, Any]]:
    """The frames of one kind of event against all normal frames."""
    if truth.kinds is None:
        return
    pooled = [np.concatenate(draw) for draw in draws]
    normal = truth.kinds == ""
    for kind in sorted(set(truth.kinds.tolist()) - {""}):
        of_kind = truth.kinds == kind
        chosen = normal | of_kind
        labels = of_kind[chosen].astype(np.uint8)
        yield {
            "kind": kind,
            "micro_auc": _mean([auc(scores[chosen], labels) for scores in pooled]),
            "kind_frames": int(of_kind.sum()),
            "normal_frames": int(normal.sum()),
        }


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean over draws; what is undefined for one draw is so for all, since the labels decide."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _write(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], stamp: Mapping[str, str]
) -> None:
    table = pd.DataFrame([{**stamp, **row} for row in rows], columns=list(columns))
    with replacing(path) as part:
        table.to_csv(part, index=False, float_format="%.6f")


def _say_what_is_undefined(truth: Truth) -> None:
    one_class = [clip for clip, labels in zip(truth.clips, truth.labels) if len(set(labels.tolist())) < 2]
    if one_class:
        say(
            f"macro AUC leaves out {len(one_class)} of {len(truth.clips)} clips, "
            f"wholly normal or wholly abnormal: {', '.join(one_class)}"
        )

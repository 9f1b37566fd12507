"""Whatever scores frames, models and baselines alike, and its measures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastaed.config import EvaluateSettings
from fastaed.data.scores import ModelScores
from fastaed.evaluation.truth import Truth
from fastaed.metrics import baselines
from fastaed.metrics.bootstrap import FRAME_METRICS, frame_metrics, resampled
from fastaed.metrics.events import threshold_from_normal
from fastaed.metrics.smoothing import SMOOTHINGS, Smoothing, smooth

MEAN, NO_SCALE = "mean", "none"
MAIN_SMOOTHING: Smoothing = "centred"
BASELINE = "baseline:"

Series = Sequence[NDArray[np.float64]]  # one (T,) array a clip
Row = dict[str, Any]


@dataclass(frozen=True)
class Scorer:
    """Something that scores frames, at one scale and under one smoothing.

    Attributes:
        model: name in the table.
        scale: name in the table, `none` for a baseline.
        smoothing: one of `SMOOTHINGS`.
        is_main: the one row of its model that comparisons are made with.
        draws: the scores, in the clips' order; a random scorer has several and its measures are their means.
        threshold: that normal footage gave, None without any.
    """

    model: str
    scale: str
    smoothing: str
    is_main: bool
    draws: Sequence[Series]
    threshold: float | None = None

    @property
    def names(self) -> Row:
        """The columns that say which row this is."""
        return {"model": self.model, "scale": self.scale, "smoothing": self.smoothing}

    def at(self, frames: Sequence[NDArray[np.bool_]]) -> "Scorer":
        """The same at some frames of each clip, as of `Truth.at`."""
        draws = [[scores[kept] for scores, kept in zip(draw, frames)] for draw in self.draws]
        return replace(self, draws=draws)


@dataclass(frozen=True)
class Judged:
    """A scorer and its measures: their values, and the same in every resample of the clips.

    Attributes:
        repeats: the values of the same model trained with other seeds.
    """

    scorer: Scorer
    values: Mapping[str, float | None]
    resamples: Mapping[str, NDArray[np.float64]]
    repeats: Sequence[Mapping[str, float | None]] = ()


def model_scorers(
    models: Mapping[str, ModelScores],
    normal: Mapping[str, ModelScores],
    truth: Truth,
    settings: EvaluateSettings,
) -> Iterator[Scorer]:
    """Every model at every scale and under every smoothing.

    Args:
        models: name -> scores of the test clips.
        normal: name -> scores of normal footage, smoothed alike before they give a threshold.
        truth: tells the clips' order.
        settings: sigma, percentile of the threshold.
    """
    for name, model in models.items():
        for scale in scales(model):
            raw = [model[clip][scale] for clip in truth.clips]
            quiet = [columns[scale] for columns in normal[name].values()] if name in normal else []
            for smoothing in SMOOTHINGS:
                smoothed = _smoothed(raw, smoothing, settings)
                threshold = threshold_from_normal(
                    _smoothed(quiet, smoothing, settings), settings.normal_percentile
                )
                is_main = smoothing == MAIN_SMOOTHING and scale == main_scale(model)
                yield Scorer(name, scale, smoothing, is_main, [smoothed], threshold)


def scales(model: ModelScores) -> list[str]:
    """The columns of a model's scores."""
    return list(next(iter(model.values())))


def main_scale(model: ModelScores) -> str:
    """The column that comparisons are made with: the scales' mean, or else the first."""
    known = scales(model)
    return MEAN if MEAN in known else known[0]


def baseline_scorers(truth: Truth, settings: EvaluateSettings) -> Iterator[Scorer]:
    """What looks at no picture, under every smoothing."""
    rng = np.random.default_rng(settings.random_seed)
    counts = [len(labels) for labels in truth.labels]
    draws: dict[str, list[Series]] = {
        "constant": [[baselines.constant(frames) for frames in counts]],
        "random": [
            [baselines.random(frames, rng) for frames in counts] for _ in range(settings.random_draws)
        ],
        "ramp": [[baselines.ramp(frames) for frames in counts]],
        "tent": [[baselines.tent(frames) for frames in counts]],
        "clip_length": [[baselines.clip_length(frames) for frames in counts]],
    }
    for name, drawn in draws.items():
        for smoothing in SMOOTHINGS:
            smoothed = [_smoothed(draw, smoothing, settings) for draw in drawn]
            yield Scorer(f"{BASELINE}{name}", NO_SCALE, smoothing, smoothing == MAIN_SMOOTHING, smoothed)


def _smoothed(clips: Series, smoothing: Smoothing, settings: EvaluateSettings) -> Series:
    return [smooth(clip, smoothing, settings.sigma_frames) for clip in clips]


def judge(scorer: Scorer, truth: Truth, weights: NDArray[np.int64]) -> Judged:
    """All frame-level measures; of several draws the means, in every resample too."""
    values = [frame_metrics(draw, truth.labels) for draw in scorer.draws]
    resamples = [resampled(draw, truth.labels, weights) for draw in scorer.draws]
    return Judged(
        scorer,
        {metric: mean([one[metric] for one in values]) for metric in FRAME_METRICS},
        {metric: np.mean([one[metric] for one in resamples], axis=0) for metric in FRAME_METRICS},
    )


def mean(values: Sequence[float | None]) -> float | None:
    """Mean over draws; what is undefined for one draw is so for all, since the labels decide."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None

"""The rows of the tables that a scorer fills."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastaed.config import EvaluateSettings
from fastaed.data.scores import ModelScores
from fastaed.evaluation.scorers import Judged, Row, Scorer, main_scale, mean
from fastaed.evaluation.truth import Truth
from fastaed.metrics.auc import auc, macro_auc
from fastaed.metrics.bootstrap import FRAME_METRICS, interval
from fastaed.metrics.conventions import under_conventions
from fastaed.metrics.events import clip_events, event_metrics, runs

ONE_CLASS = "one class"
SPREAD_METRICS = ("micro_auc", "macro_auc")  # told over seeds


def auc_row(
    judged: Judged,
    regions: Mapping[str, Mapping[str, Any]],
    truth: Truth,
    rate: float | None,
    settings: EvaluateSettings,
) -> Row:
    """A scorer's row of the main table; what it lacks does not exist."""
    scorer = judged.scorer
    of_model = regions.get(scorer.model, {})
    here = scorer.smoothing == "raw" and scorer.scale == of_model.get("scale")
    return {
        **(of_model if here else {}),
        **scorer.names,
        **with_intervals(judged.values, judged.resamples),
        **_event_columns(scorer, truth, rate, settings),
        **_over_seeds(judged),
        "macro_clips": macro_auc(scorer.draws[0], truth.labels).clips,
        "clips": len(truth.clips),
        "frames": sum(truth.frames.values()),
    }


def with_intervals(values: Mapping[str, float | None], resamples: Mapping[str, NDArray[np.float64]]) -> Row:
    """Measures by name, and the ends of their intervals as `<name>_low` and `<name>_high`."""
    row: Row = dict(values)
    for metric, drawn in resamples.items():
        if values[metric] is not None and (ends := interval(drawn)) is not None:
            row |= {f"{metric}_low": ends.low, f"{metric}_high": ends.high}
    return row


def _over_seeds(judged: Judged) -> Row:
    """Number of seeds, means and standard deviations of the AUCs over them; nothing for a single one."""
    if not judged.repeats:
        return {}
    row: Row = {"seeds": 1 + len(judged.repeats)}
    for metric in SPREAD_METRICS:
        values = [one[metric] for one in (judged.values, *judged.repeats)]
        if None not in values:
            numbers = np.array(values, float)
            row |= {f"{metric}_mean": numbers.mean(), f"{metric}_spread": numbers.std(ddof=1)}
    return row


def _event_columns(scorer: Scorer, truth: Truth, rate: float | None, settings: EvaluateSettings) -> Row:
    if scorer.threshold is None:
        return {}
    found = event_metrics(
        scorer.draws[0],
        truth.labels,
        scorer.threshold,
        settings.event_overlap,
        settings.join_frames,
        rate,
    )
    return {
        "threshold": scorer.threshold,
        "event_precision": found.precision,
        "event_recall": found.recall,
        "event_f1": found.f1,
        "delay_frames": found.delay_frames,
        "false_alarms": found.false_alarms,
        "false_alarms_per_hour": found.false_alarms_per_hour,
    }


def kind_rows(scorer: Scorer, truth: Truth) -> Iterator[Row]:
    """The frames of one kind of event against all normal frames."""
    if truth.kinds is None:
        return
    pooled = [np.concatenate(draw) for draw in scorer.draws]
    normal = truth.kinds == ""
    for kind in sorted(set(truth.kinds.tolist()) - {""}):
        of_kind = truth.kinds == kind
        chosen = normal | of_kind
        labels = of_kind[chosen].astype(np.uint8)
        yield {
            **scorer.names,
            "kind": kind,
            "micro_auc": mean([auc(scores[chosen], labels) for scores in pooled]),
            "kind_frames": int(of_kind.sum()),
            "normal_frames": int(normal.sum()),
        }


def clip_rows(scorer: Scorer, truth: Truth, settings: EvaluateSettings) -> Iterator[Row]:
    """One row a clip: its frames, its own AUC, and its events, found or missed."""
    for number, (clip, labels) in enumerate(zip(truth.clips, truth.labels)):
        value = mean([auc(draw[number], labels) for draw in scorer.draws])
        row = {
            **scorer.names,
            "clip": clip,
            "frames": len(labels),
            "abnormal_frames": int(labels.sum()),
            "auc": value,
            "verdict": ONE_CLASS if value is None else "",
            "events": len(runs(labels, settings.join_frames)),
        }
        if scorer.threshold is not None:
            found = clip_events(
                scorer.draws[0][number],
                labels,
                scorer.threshold,
                settings.event_overlap,
                settings.join_frames,
            )
            row |= {
                "events_hit": found.detected,
                "events_missed": found.missed,
                "false_alarms": found.false_alarms,
            }
        yield row


def difference_rows(main: Sequence[Judged], rivals: Sequence[Judged]) -> Iterator[Row]:
    """The first model against every other one and every rival, in the same resamples of the clips."""
    first = main[0]
    others = [
        *((one.scorer.model, one) for one in main[1:]),
        *((f"against:{r.scorer.model}", r) for r in rivals),
    ]
    for name, other in others:
        for metric in FRAME_METRICS:
            mine, theirs = first.values[metric], other.values[metric]
            ends = interval(first.resamples[metric] - other.resamples[metric])
            if mine is None or theirs is None or ends is None:
                continue
            yield {
                "model": first.scorer.model,
                "against": name,
                "metric": metric,
                "difference": mine - theirs,
                "low": ends.low,
                "high": ends.high,
            }


def convention_rows(name: str, model: ModelScores, truth: Truth, settings: EvaluateSettings) -> Iterator[Row]:
    """A model's AUCs as papers take them, to relate our table to theirs."""
    scale = main_scale(model)
    scores = [model[clip][scale] for clip in truth.clips]
    for convention, (micro, macro) in under_conventions(scores, truth.labels, settings.sigma_frames).items():
        yield {
            "model": name,
            "scale": scale,
            "convention": convention,
            "micro_auc": micro,
            "macro_auc": macro,
        }

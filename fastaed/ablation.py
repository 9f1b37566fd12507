"""Ablation: what each part of the training is worth, and how well the trial foretells the test.

Students were trained with one part off at a time, several seeds of each variant. Reads their scores of the
trial clips and of the test clips, if these have labels, and writes

- a table, a row a variant: means over its seeds, and their spread (standard deviation) in columns apart;
- the protocols of both, and the rank correlation between trial and test over the variants (JSON);
- a picture of test against trial, a point a variant.

All AUCs are those of the scale `mean` under centred smoothing, as `evaluate` takes them. What does not exist
is empty: the spread of one seed, everything about test clips without labels.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from fastaed.config import EvaluateSettings
from fastaed.data.scores import read_models
from fastaed.errors import DataError
from fastaed.evaluation.look import COLOURS, DASH, STYLE
from fastaed.evaluation.protocol import protocol
from fastaed.evaluation.scorers import model_scorers
from fastaed.evaluation.truth import GroundTruth, read_footage, read_truth
from fastaed.files import replacing
from fastaed.metrics.bootstrap import frame_metrics

TRIAL, TEST = "trial_micro_auc", "test_micro_auc"
MEASURES = (TEST, "test_macro_auc", TRIAL)
SECONDS = {"s": "wall_seconds", "cpu_time": "cpu_seconds"}  # as Snakemake records them, as we name them
COLUMNS = (
    "dataset",
    "variant",
    "seeds",
    *(column for measure in MEASURES for column in (measure, f"{measure}_spread")),
    *SECONDS.values(),
)
_FEWEST_VARIANTS = 3  # two are in the same order or the opposite one, which tells nothing
_NAME_SIZE, _NAME_HEIGHT, _NAME_WIDTH = 8, 11.0, 110.0  # points; the last is the longest name's


@dataclass(frozen=True)
class Clips:
    """Scores of some clips by every student, and what they are measured by.

    Attributes:
        scores: `<variant>/<seed>` -> the student's files of scores.
        ground_truth: labels of the clips.
        settings: evaluate's section as it holds for these clips.
    """

    scores: Mapping[str, Sequence[Path]]
    ground_truth: GroundTruth
    settings: EvaluateSettings


def run(
    trial: Clips, test: Clips | None, benchmarks: Path | None, out: Path, facts: Path, picture: Path
) -> None:
    """Write the table, the facts and the picture.

    Args:
        trial: of the trial clips; the first variant is the one that the others are compared with.
        test: of the test clips, None where these have no labels.
        benchmarks: folder with Snakemake's record of each distillation, `<variant>/<seed>/distill.tsv`.
        out: table to write (.csv).
        facts: JSON to write.
        picture: PNG to write.

    Raises:
        DataError: a student's name is not `<variant>/<seed>`, the two parts are of other students, or scores
            and labels do not belong together.
        MissingDataError: a file is not there.
        OutputError: something cannot be written.
    """
    table = _table(_students(trial, test, benchmarks), trial.ground_truth.dataset)
    correlation = rank_correlation(table[TRIAL], table[TEST])
    about = {
        "variants": len(table),
        "rank_correlation": correlation,
        "trial": _protocol(trial),
        "test": None if test is None else _protocol(test),
    }
    with replacing(out) as part:
        table.to_csv(part, index=False, float_format="%.6g")
    with replacing(facts) as part:
        part.write_text(json.dumps(about, indent=1, allow_nan=False) + "\n")
    with replacing(picture) as part, mpl.rc_context(STYLE):
        draw(table, correlation).savefig(part, format="png", dpi=150)


def _students(trial: Clips, test: Clips | None, benchmarks: Path | None) -> pd.DataFrame:
    """A row a student: variant, seed, its measures and the seconds it took."""
    if test is not None and (alone := sorted(test.scores.keys() ^ trial.scores.keys())):
        raise DataError(f"student {alone[0]} has scores of only one of trial and test; score the other too")
    on_trial, on_test = _measures(trial), {} if test is None else _measures(test)
    return pd.DataFrame(
        {
            **_names(student),
            TRIAL: measures["micro_auc"],
            TEST: on_test.get(student, {}).get("micro_auc"),
            "test_macro_auc": on_test.get(student, {}).get("macro_auc"),
            **_seconds(benchmarks, student),
        }
        for student, measures in on_trial.items()
    )


def _names(student: str) -> dict[str, str]:
    variant, _, seed = student.rpartition("/")
    if not variant or not seed:
        raise DataError(f"'{student}' should be VARIANT/SEED, e.g. base/1; rename these scores")
    return {"variant": variant, "seed": seed}


def _measures(clips: Clips) -> dict[str, Mapping[str, float | None]]:
    """Student -> its frame-level measures; frames within the guard of a change of label do not count."""
    truth = read_truth(clips.ground_truth)
    kept = truth.guarded(clips.settings.guard_frames)
    labels = truth.at(kept).labels
    students = read_models(clips.scores, truth.frames)
    return {
        one.model: frame_metrics(one.at(kept).draws[0], labels)
        for one in model_scorers(students, {}, truth, clips.settings)
        if one.is_main
    }


def _seconds(benchmarks: Path | None, student: str) -> dict[str, float]:
    """What distillation took; nothing where that was not recorded."""
    file = None if benchmarks is None else benchmarks / student / "distill.tsv"
    if file is None or not file.is_file():
        return {}
    recorded = pd.read_csv(file, sep="\t")
    return {ours: float(recorded[theirs].sum(min_count=1)) for theirs, ours in SECONDS.items()}


def _table(students: pd.DataFrame, dataset: str) -> pd.DataFrame:
    numbers = students.reindex(columns=[*MEASURES, *SECONDS.values()]).astype(float)
    variants = numbers.groupby(students["variant"], sort=False)
    table = variants.mean()
    for measure in MEASURES:
        table[f"{measure}_spread"] = variants[measure].std(ddof=1)
    table["seeds"] = variants.size()
    return table.reset_index().assign(dataset=dataset)[list(COLUMNS)]


def rank_correlation(trial: pd.Series, test: pd.Series) -> float | None:
    """Spearman's rank correlation, ties at their mean rank: 1 where both put the variants in one order.

    Args:
        trial: a number a variant.
        test: likewise, NaN where unknown.

    Returns:
        A number in [-1, 1]; None for fewer than three variants, or where one side has no order.
    """
    known = test.notna() & trial.notna()
    if known.sum() < _FEWEST_VARIANTS or test[known].nunique() < 2 or trial[known].nunique() < 2:
        return None
    return float(spearmanr(trial[known], test[known]).statistic)


def _protocol(clips: Clips) -> dict[str, Any]:
    truth = read_truth(clips.ground_truth)
    footage = read_footage([], truth, clips.settings)
    return protocol(clips.ground_truth.dataset, truth, footage, clips.settings)


def draw(table: pd.DataFrame, correlation: float | None) -> Figure:
    """Test against trial with the spread of the seeds, or the trial alone where the test is not known.

    Args:
        table: columns `COLUMNS`, the variant that the others are compared with first.
        correlation: between the ranks, for the title.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    known = bool(table[TEST].notna().all())
    heights = 100 * table[TEST] if known else -table.index.to_series()
    colours = [COLOURS["blue"], *[COLOURS["vermillion"]] * (len(table) - 1)]
    places = zip(100 * table[TRIAL], heights, _bars(table, TRIAL), _bars(table, TEST), colours)
    for x, y, wide, tall, colour in places:
        axes.errorbar(x, y, xerr=wide, yerr=tall, fmt="o", color=colour, elinewidth=0.8)
    _label(axes, known, correlation)
    figure.draw_without_rendering()  # limits and layout are found while drawing
    _name(axes, (100 * table[TRIAL]).tolist(), heights.tolist(), table["variant"].tolist())
    return figure


def _name(axes: Axes, across: list[float], up: list[float], names: list[str]) -> None:
    """Write each name beside its point, towards the middle of the picture where others are in the way."""
    points = axes.transData.transform(np.stack([across, up], axis=1)) * 72 / axes.figure.dpi
    middle = points.min(axis=0) / 2 + points.max(axis=0) / 2
    taken: list[tuple[float, float]] = []
    for number in np.argsort(-abs(points[:, 1] - middle[1]), kind="stable").tolist():
        x, y = points[number].tolist()
        step = -_NAME_HEIGHT if y > middle[1] else _NAME_HEIGHT
        height = y
        while any(
            abs(x - other) < _NAME_WIDTH and abs(height - its) < _NAME_HEIGHT - 1 for other, its in taken
        ):
            height += step
        taken.append((x, height))
        side = "right" if x > middle[0] else "left"
        axes.annotate(
            names[number],
            (across[number], up[number]),
            (-12 if side == "right" else 12, height - y),
            textcoords="offset points",
            fontsize=_NAME_SIZE,
            ha=side,
            va="center",
            arrowprops={"arrowstyle": "-", "linewidth": 0.4},
        )


def _bars(table: pd.DataFrame, measure: str) -> list[float | None]:
    """Spreads in percent; None where there is none, and nothing is drawn."""
    return [None if pd.isna(spread) else 100 * spread for spread in table[f"{measure}_spread"].tolist()]


def _label(axes: Axes, known: bool, correlation: float | None) -> None:
    axes.set_xlabel("micro AUC on the trial clips, %")
    axes.margins(0.12)
    axes.grid(alpha=0.3)
    if not known:
        axes.set_yticks([])
        return
    axes.set_ylabel("micro AUC on the test clips, %")
    axes.set_title(f"rank correlation {DASH if correlation is None else f'{correlation:.2f}'}", loc="left")

"""Ablation: what each part of the training is worth, and how well the trial foretells the test.

Students were trained with one part off at a time, several seeds of each variant. Reads their scores of the
trial clips and of the test clips, if these have labels, and writes

- a table, a row a variant: means over its seeds, and their spread (standard deviation) in columns apart;
- the protocols of both, and the rank correlation between trial and test over the variants (JSON);
- a picture of both, a row a variant.

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
from matplotlib.ticker import NullLocator
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
_ROW_HEIGHT, _MARGINS = 0.27, 1.0  # of the picture, inches
_AUC_TICKS = (0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
_AUC_SHOWN = (0.05, 0.998)  # what is beyond is drawn there


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
    """A row a variant, the best on the trial on top: its AUC there and, where known, on the test.

    AUCs stand at their log odds, so that 98 and 99 are as far apart as 50 and 67.

    Args:
        table: columns `COLUMNS`, the variant that the others are compared with first.
        correlation: between the ranks, for the title.
    """
    titles = {TRIAL: "trial clips"}
    if table[TEST].notna().all():
        said = DASH if correlation is None else f"{correlation:.2f}"
        titles[TEST] = f"test clips, rank correlation {said}"
    rows = table.sort_values(TRIAL, kind="stable").reset_index()  # `index` 0 is the first of the table
    size = (3.5 * (1 + len(titles)), _MARGINS + _ROW_HEIGHT * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for axes, (measure, title) in zip(panels, titles.items()):
        _draw_measure(axes, rows, measure)
        axes.set_title(title, loc="left")
    panels[0].set_yticks(rows.index, rows["variant"])
    return figure


def _draw_measure(axes: Axes, rows: pd.DataFrame, measure: str) -> None:
    axes.set_xscale("logit")
    means, spreads = rows[measure], rows[f"{measure}_spread"].fillna(0)
    low, middle, high = (np.clip(means + sign * spreads, *_AUC_SHOWN) for sign in (-1, 0, 1))
    for row, is_base in enumerate(rows["index"] == 0):
        colour = COLOURS["blue" if is_base else "vermillion"]
        axes.plot([low[row], high[row]], [row, row], color=colour, linewidth=1)
        axes.plot(middle[row], row, "o", color=colour)
        if is_base:
            axes.axvline(middle[row], color=colour, linewidth=0.6, linestyle=":")
    left, right = axes.get_xlim()
    ticks = [tick for tick in _AUC_TICKS if left <= tick <= right]
    axes.set_xticks(ticks, [f"{100 * tick:.0f}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("micro AUC, %")
    axes.grid(alpha=0.3, axis="x")

"""Pictures of a data set's results, and its table of AUCs as text.

Reads scores, labels (if there are any), the student's maps, frames and tables of losses; writes a folder:
`roc.png`, `clips.png` (score over time, clip by clip), `contact.png` (the frames of the highest scores with
the student's maps over them), `losses.png`, and each of the curves as `.svg`. Without labels there is no ROC
curve, and nothing is marked right or wrong.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fastaed.config import ReportSettings
from fastaed.data.labels import FrameLabels, read_frame_labels
from fastaed.data.scores import STUDENT, TEACHERS, ModelScores, check_frames, read_models
from fastaed.data.store import FrameStore, map_clips, read_maps
from fastaed.errors import DataError, MissingDataError, StoreError
from fastaed.evaluation.look import (
    COLOURS,
    MAP_COLOURS,
    SERIES_COLOURS,
    STYLE,
    at_main_scale,
    auc_or_class,
    map_over,
    percent,
)
from fastaed.evaluation.scorers import BASELINE, MEAN, NO_SCALE
from fastaed.files import MANIFEST, input_digests, replacing, write_manifest
from fastaed.metrics import baselines
from fastaed.metrics.auc import auc, roc_curve
from fastaed.metrics.events import runs
from fastaed.metrics.peaks import Peak, highest_frames, worst_clips
from fastaed.metrics.smoothing import smooth
from fastaed.progress import progress, say
from fastaed.sources import signature

PICTURE_STYLE: dict[Any, Any] = {
    **STYLE,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "text.color": COLOURS["ink"],
    "svg.hashsalt": "fastaed",  # the same picture gives the same file
}
RAMP = f"{BASELINE}ramp"
NAMES = dict.fromkeys(("dataset", "model", "scale", "kind"), str)  # never numbers, whatever they look like
INTERVAL, UNDEFINED = "95 %", "-"
SHARES = {"micro": "micro_auc", "macro": "macro_auc", "recall": "event_recall"}
NUMBERS = {"false": "false_alarms", "false/h": "false_alarms_per_hour"}
LOSS_COLOURS = ("blue", *SERIES_COLOURS)
PIXELS_PER_INCH = 150
NOT_LOSSES = {"epoch", "learning_rate", "samples_per_second", "waiting_share", "tubes_per_second", "seconds"}

Truth = Mapping[str, FrameLabels]
Curves = Mapping[str, NDArray[np.float64]]  # clip -> (T,) scores


@dataclass(frozen=True)
class Sight:
    """What there is to see at a peak.

    Attributes:
        peak: the frame's place.
        image: (H, W, 3) uint8 RGB.
        map: (16, 16) float32 the student's anomaly map in [0, 1].
    """

    peak: Peak
    image: NDArray[np.uint8]
    map: NDArray[np.float32]


def run(
    scores: Mapping[str, Sequence[Path]],
    labels: Mapping[str, Path],
    layout: str,
    maps: Sequence[Path],
    stores: Sequence[Path],
    losses: Mapping[str, Path],
    out: Path,
    settings: ReportSettings,
) -> None:
    """Draw all pictures.

    Args:
        scores: `student` or a teacher's name -> its tables of scores.
        labels: test clip -> its ground truth; empty where there is none.
        layout: how ground truth is kept, a name of `fastaed.data.benchmarks`.
        maps: stores of the student's maps of the test clips.
        stores: frame stores of the test clips.
        losses: title -> table of losses, a row an epoch; one without rows is left out.
        out: folder to write, replaced as a whole.
        settings: width of the smoothing, how many frames and clips are shown.

    Raises:
        StoreError: something that an earlier stage wrote is missing or damaged.
        DataError: scores and labels are of other clips or lengths, or a score is NaN.
    """
    models = read_models(scores)
    truth = _read_truth(labels, layout, models)
    smoothed = {name: _smoothed(model, settings.sigma_frames) for name, model in models.items()}
    peaks = highest_frames(smoothed[STUDENT], settings.worst_frames, round(2 * settings.sigma_frames))
    sights = _read_sights(peaks, maps, stores)
    tables = {title: table for title, path in losses.items() if len(table := _read_losses(path))}
    with replacing(out) as folder, mpl.rc_context(PICTURE_STYLE):
        folder.mkdir()
        if truth and (roc := _draw_roc(smoothed, truth)):
            _save(roc, folder / "roc", svg=True)
        _save(_draw_clips(models, smoothed, truth, settings.most_clips), folder / "clips", svg=True)
        _save(_draw_contact(sights, truth), folder / "contact", svg=False)
        if tables:
            _save(_draw_losses(tables), folder / "losses", svg=True)
        write_manifest(
            folder / MANIFEST,
            "report",
            settings.model_dump(mode="json"),
            folder,
            {clip: len(one["mean"]) for clip, one in models[STUDENT].items()},
            inputs=input_digests([*(path for paths in scores.values() for path in paths), *maps, *stores]),
            source=signature(labels.values()),
        )


def _read_truth(labels: Mapping[str, Path], layout: str, models: Mapping[str, ModelScores]) -> Truth:
    if STUDENT not in models:
        raise DataError(f"the report needs scores of the {STUDENT}, there are: {', '.join(models) or 'none'}")
    truth = {clip: read_frame_labels(layout, path) for clip, path in labels.items()}
    if truth:
        frames = {clip: len(one.labels) for clip, one in truth.items()}
        check_frames(models[STUDENT], f"scores of {STUDENT}", frames, "labels")
    else:
        say("no labels: no ROC curve, and no frame is marked right or wrong")
    return truth


def _smoothed(model: ModelScores, sigma_frames: float) -> Curves:
    return {clip: smooth(columns[MEAN], "centred", sigma_frames) for clip, columns in model.items()}


def _save(figure: Figure, path: Path, svg: bool) -> None:
    figure.savefig(path.with_suffix(".png"), dpi=PIXELS_PER_INCH)
    if svg:
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


# --- ROC ---------------------------------------------------------------------------------------------------


def _draw_roc(smoothed: Mapping[str, Curves], truth: Truth) -> Figure | None:
    labels = np.concatenate([one.labels for one in truth.values()])
    if len(set(labels.tolist())) < 2:
        say("all frames are of one class: there is no ROC curve")
        return None
    figure = Figure(figsize=(5.6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=COLOURS["pale"], linewidth=0.8, linestyle=(0, (1, 3)))
    ramps = {clip: baselines.ramp(len(one.labels)) for clip, one in truth.items()}
    for (name, curves), style in zip([*smoothed.items(), (RAMP, ramps)], _roc_styles([*smoothed, RAMP])):
        pooled = np.concatenate([curves[clip] for clip in truth])
        curve, area = roc_curve(pooled, labels), auc(pooled, labels)
        assert curve is not None
        assert area is not None  # both classes are there
        axes.plot(
            curve.false_positive_rate, curve.true_positive_rate, label=f"{name}  {percent(area)}", **style
        )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="normal frames called abnormal", ylabel="abnormal frames found")
    axes.set_title(f"{len(labels):,} frames of {len(truth)} clips, centred smoothing, scale {MEAN}")
    axes.legend(loc="lower right", title="micro AUC, %", alignment="left")
    return figure


def _roc_styles(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    colours = iter([COLOURS[name] for name in SERIES_COLOURS] * len(names))
    for name in names:
        if name == STUDENT:
            yield {"color": COLOURS["blue"], "linewidth": 2.6, "zorder": 3}
        elif name == TEACHERS:
            yield {"color": COLOURS["ink"], "linewidth": 1.4, "linestyle": "--"}
        elif name.startswith(BASELINE):
            yield {"color": COLOURS["pale"], "linewidth": 1.2, "linestyle": ":"}
        else:
            yield {"color": next(colours), "linewidth": 1.3}


# --- Scores over time --------------------------------------------------------------------------------------


def _draw_clips(
    models: Mapping[str, ModelScores], smoothed: Mapping[str, Curves], truth: Truth, most_clips: int
) -> Figure:
    labels = {clip: one.labels for clip, one in truth.items()}
    clips = worst_clips(smoothed[STUDENT], labels, most_clips)
    columns = min(4, len(clips))
    rows = math.ceil(len(clips) / columns)
    figure = Figure(figsize=(max(3.1 * columns, 6.2), 1.55 * rows + 1.0), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel in panels.flat[len(clips) :]:
        panel.set_axis_off()
    for clip, panel in zip(clips, panels.flat):
        _draw_clip(panel, clip, models, smoothed, truth.get(clip))
    panels[0, 0].set_ylim(bottom=0)
    for panel in panels[:, 0]:
        panel.set_ylabel("score")
    figure.suptitle(_clips_title(len(clips), len(smoothed[STUDENT]), bool(truth)), x=0.01, ha="left")
    figure.legend(
        handles=_clip_legend(TEACHERS in smoothed, bool(truth)), loc="outside lower left", ncols=4, fontsize=9
    )
    return figure


def _draw_clip(
    panel: Axes,
    clip: str,
    models: Mapping[str, ModelScores],
    smoothed: Mapping[str, Curves],
    truth: FrameLabels | None,
) -> None:
    title = clip
    if truth is not None:
        for start, stop in runs(truth.labels):
            panel.axvspan(start - 0.5, stop - 0.5, color=COLOURS["orange"], alpha=0.28, linewidth=0)
        title += f"   {auc_or_class(auc(smoothed[STUDENT][clip], truth.labels), truth.labels)}"
    panel.plot(models[STUDENT][clip][MEAN], color=COLOURS["sky"], linewidth=0.6, alpha=0.8)
    if TEACHERS in smoothed:
        panel.plot(smoothed[TEACHERS][clip], color=COLOURS["ink"], linewidth=1.0, linestyle="--")
    panel.plot(smoothed[STUDENT][clip], color=COLOURS["blue"], linewidth=1.8)
    panel.set_title(title, fontsize=9)
    panel.margins(x=0)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(3))
    panel.tick_params(labelsize=8, length=2)


def _clips_title(shown: int, clips: int, labelled: bool) -> str:
    if shown == clips:
        return f"Anomaly score over time (frames), all {clips} clips"
    choice = "lowest AUC" if labelled else "highest scores"
    return f"Anomaly score over time (frames): {shown} of {clips} clips, those of the {choice}"


def _clip_legend(teachers: bool, labelled: bool) -> list[Line2D | Patch]:
    entries: list[Line2D | Patch] = [
        Line2D([], [], color=COLOURS["blue"], linewidth=1.8, label="student, smoothed"),
        Line2D([], [], color=COLOURS["sky"], linewidth=0.8, label="student, raw"),
    ]
    if teachers:
        entries.append(
            Line2D([], [], color=COLOURS["ink"], linestyle="--", linewidth=1.0, label="mean of teachers")
        )
    if labelled:
        entries.append(Patch(color=COLOURS["orange"], alpha=0.28, linewidth=0, label="true event"))
    return entries


# --- Contact sheet -----------------------------------------------------------------------------------------


def _read_sights(peaks: Sequence[Peak], maps: Sequence[Path], stores: Sequence[Path]) -> list[Sight]:
    frames = {store.clip: store for store in map(FrameStore, stores)}
    map_stores = {clip: store for store in maps for clip in map_clips(store)}
    return [
        Sight(peak, _frame(frames, peak), _map(map_stores, peak))
        for peak in progress(peaks, "contact sheet", unit="frames")
    ]


def _frame(frames: Mapping[str, FrameStore], peak: Peak) -> NDArray[np.uint8]:
    if peak.clip not in frames:
        raise StoreError(f"no frame store of clip {peak.clip} was given; add it to the stores")
    image: NDArray[np.uint8] = frames[peak.clip].gather([peak.frame])[0]
    return image


def _map(maps: Mapping[str, Path], peak: Peak) -> NDArray[np.float32]:
    if peak.clip not in maps:
        raise StoreError(f"no store with maps of clip {peak.clip} was given; add it to the maps")
    levels = read_maps(maps[peak.clip], peak.clip).sixteen
    if peak.frame >= len(levels):
        raise StoreError(
            f"{maps[peak.clip]}: clip {peak.clip} has {len(levels)} maps but a score for frame {peak.frame}; "
            "run score again"
        )
    level: NDArray[np.float32] = levels[peak.frame]
    return level


def _draw_contact(sights: Sequence[Sight], truth: Truth) -> Figure:
    columns = min(4, len(sights))
    rows = math.ceil(len(sights) / columns)
    shape = max(sight.image.shape[0] / sight.image.shape[1] for sight in sights)
    figure = Figure(figsize=(3.2 * columns + 0.8, (3.2 * shape + 0.34) * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat[len(sights) :]:
        panel.set_axis_off()
    highest = max(float(sight.map.max()) for sight in sights) or 1.0
    for sight, panel in zip(sights, panels.flat):
        _draw_sight(panel, sight, highest, truth.get(sight.peak.clip))
    figure.colorbar(
        ScalarMappable(Normalize(0, highest), MAP_COLOURS),
        ax=panels,
        shrink=0.5,
        pad=0.01,
        label="student's 16x16 map",
    )
    figure.suptitle(f"The {len(sights)} highest peaks of the smoothed score", x=0.01, ha="left")
    if truth:
        marks = [
            Patch(color=COLOURS["blue"], label="in a true event"),
            Patch(color=COLOURS["vermillion"], label="false alarm"),
        ]
        figure.legend(handles=marks, loc="outside lower left", ncols=2)
    return figure


def _draw_sight(panel: Axes, sight: Sight, highest: float, truth: FrameLabels | None) -> None:
    panel.imshow(map_over(sight.image, sight.map, highest))
    panel.set(xticks=[], yticks=[])
    peak = sight.peak
    verdict, colour = _verdict(peak, truth)
    panel.set_title(f"{peak.clip}  frame {peak.frame}  score {peak.score:.2f}{verdict}", fontsize=9)
    for spine in panel.spines.values():
        spine.set(visible=True, color=colour, linewidth=3.5)


def _verdict(peak: Peak, truth: FrameLabels | None) -> tuple[str, str]:
    if truth is None:
        return "", COLOURS["pale"]
    if not truth.labels[peak.frame]:
        return "  false alarm", COLOURS["vermillion"]
    kind = truth.kinds[peak.frame] if truth.kinds is not None else ""
    return f"  {kind or 'event'}", COLOURS["blue"]


# --- Losses ------------------------------------------------------------------------------------------------


def _draw_losses(losses: Mapping[str, pd.DataFrame]) -> Figure:
    columns = min(2, len(losses))
    rows = math.ceil(len(losses) / columns)
    figure = Figure(figsize=(6.4 * columns, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat[len(losses) :]:
        panel.set_axis_off()
    for (title, table), panel in zip(losses.items(), panels.flat):
        _draw_loss(panel, title, table)
    return figure


def _read_losses(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        raise StoreError(
            f"losses {path} are missing or damaged ({error}); run the stage that trains again"
        ) from error


def _draw_loss(panel: Axes, title: str, table: pd.DataFrame) -> None:
    """A line a loss; training solid and validation dashed, in one colour."""
    values = (
        table.select_dtypes("number").drop(columns=NOT_LOSSES & set(table)).dropna(axis="columns", how="all")
    )
    panel.set_title(title)
    epochs = table["epoch"] if "epoch" in table else pd.Series(range(1, len(table) + 1))
    kinds = list(dict.fromkeys(_kind_of_loss(str(name)) for name in values))
    for name, losses in values.items():
        there = losses.notna()
        place = kinds.index(_kind_of_loss(str(name)))
        panel.plot(
            epochs[there],
            losses[there],
            color=COLOURS[LOSS_COLOURS[place % len(LOSS_COLOURS)]],
            alpha=1 if place < len(LOSS_COLOURS) else 0.5,
            linestyle="--" if str(name).startswith("validation") else "-",
            linewidth=1.5,
            marker="o" if there.sum() < 8 else "",
            markersize=3,
            label=None if str(name).startswith("validation") else _kind_of_loss(str(name)),
        )
    lowest, highest = values.min().min(), values.max().max()
    if lowest > 0 and highest / lowest > 30:
        panel.set_yscale("log")
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    dashed = any(str(name).startswith("validation") for name in values)
    panel.set_xlabel("epoch (dashed: validation)" if dashed else "epoch")
    panel.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.03), frameon=False)


def _kind_of_loss(name: str) -> str:
    """`arrow` of training_arrow and of validation_arrow; `sum` of training and of validation."""
    return name.removeprefix("training").removeprefix("validation").removeprefix("_") or "sum"


# --- Text for the terminal ---------------------------------------------------------------------------------


def show(results: Path) -> str:
    """What `fastaed show results/demo` prints: tables of what was measured, and where page and pictures lie.

    Args:
        results: a data set's folder with `auc.csv` (where it has labels), `evaluate/` and `report/`; or the
            folder that `evaluate` wrote, with all of its own.

    Raises:
        MissingDataError: there is neither a table nor a report.
        StoreError: a table is damaged.
    """
    pictures = sorted((results / "report").glob("*.png"))
    table, kinds, page = (_evaluated(results, name) for name in ("auc.csv", "kinds.csv", "report.html"))
    if table is None and not pictures:
        raise MissingDataError(
            f"{results} has no auc.csv and no report; run `snakemake {results.as_posix()}/auc.csv` first"
        )
    parts = []
    if table is not None:
        with _readable(table):
            parts += _table_parts(pd.read_csv(table, dtype=NAMES))
    else:
        parts.append(f"{results.name}: no table of AUCs (it needs labels)")
    if kinds is not None:
        with _readable(kinds):
            parts += _kind_parts(pd.read_csv(kinds, dtype=NAMES))
    if page is not None:
        parts.append(f"page\n  {page.as_posix()}")
    if pictures:
        parts.append("pictures\n" + "\n".join(f"  {path.as_posix()}" for path in pictures))
    return "\n\n".join(parts)


def _evaluated(results: Path, name: str) -> Path | None:
    """Where a file of `evaluate` lies: in its folder or, as the main table does, above it."""
    places = (results / name, results / "evaluate" / name)
    return next((path for path in places if path.is_file()), None)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, IndexError) as error:
        raise StoreError(
            f"{path} is not a table of AUCs ({error}); delete it and run evaluate again"
        ) from error


def _table_parts(table: pd.DataFrame) -> list[str]:
    first = table.iloc[0]
    has_intervals = "micro_auc_low" in table
    said = [
        f"{first['dataset']}: {first['clips']} clips, {first['frames']} frames, "
        f"labels {first['label_version']}",
        f"AUC in %; macro is the mean over the {first['macro_clips']} clips with normal and abnormal frames",
        *([f"{INTERVAL}: interval of the measure before it, over resampled clips"] if has_intervals else []),
    ]
    parts = ["\n".join(said)]
    main = at_main_scale(table)
    plain = ("micro", "macro")
    with_interval = ("micro", INTERVAL, "macro") if has_intervals else plain
    scales = [scale for scale in dict.fromkeys(main["scale"]) if scale != NO_SCALE]
    corner = f"scale {scales[0]}" if len(scales) == 1 else "main scale"
    columns = {"centred": with_interval, "causal": plain, "raw": plain}
    parts.append(_grid(main.set_index("model"), corner, columns))
    student = table[table["model"] == STUDENT]
    if not student.empty:
        parts.append(_grid(student.set_index("scale"), "student by scale", dict.fromkeys(columns, plain)))
    return [*parts, *_seed_parts(main), *_region_parts(table), *_event_parts(main)]


def _grid(rows: pd.DataFrame, corner: str, columns: Mapping[str, Sequence[str]]) -> str:
    """A line for each index value, under each smoothing its columns, by their headings."""
    lines = [
        ["", *(text for smoothing, own in columns.items() for text in (smoothing, *("",) * (len(own) - 1)))],
        [corner, *(heading for own in columns.values() for heading in own)],
    ]
    for name in dict.fromkeys(rows.index):
        of_name = rows.loc[[name]].set_index("smoothing").to_dict("index")
        cells = [_cell(of_name[s], heading) for s, own in columns.items() for heading in own]
        lines.append([str(name), *cells])
    return _aligned(lines)


def _cell(row: Mapping[Hashable, Any], heading: str) -> str:
    if heading == INTERVAL:
        return _interval(row, "micro_auc")
    if heading in SHARES:
        return percent(row[SHARES[heading]], UNDEFINED)
    value = row[NUMBERS[heading]]
    return UNDEFINED if pd.isna(value) else f"{value:,.0f}" if heading == "false" else f"{value:,.1f}"


def _interval(row: Mapping[Hashable, Any], measure: str) -> str:
    low, high = (percent(row[f"{measure}_{end}"], UNDEFINED) for end in ("low", "high"))
    return UNDEFINED if UNDEFINED in (low, high) else f"{low} to {high}"


def _seed_parts(main: pd.DataFrame) -> list[str]:
    """Means over the seeds of models trained with several, and their spread."""
    rows = main[main["seeds"].notna()] if "seeds" in main else main[:0]
    lines = [["over seeds", "seeds", "smoothing", "micro", "spread", "macro", "spread"]]
    measures = [f"{metric}_auc_{what}" for metric in ("micro", "macro") for what in ("mean", "spread")]
    order = {smoothing: number for number, smoothing in enumerate(("centred", "causal", "raw"))}
    for row in sorted(rows.to_dict("records"), key=lambda row: (row["model"], order[row["smoothing"]])):
        cells = [percent(row[measure], UNDEFINED) for measure in measures]
        lines.append([row["model"], f"{row['seeds']:.0f}", row["smoothing"], *cells])
    return [_aligned(lines)] if len(lines) > 1 else []


def _region_parts(table: pd.DataFrame) -> list[str]:
    """RBDC and TBDC of the models that have them, each in the one row where they stand."""
    measures = ("rbdc", "tbdc")
    lines = [["regions and tracks found", *(text for name in measures for text in (name.upper(), INTERVAL))]]
    there = table.reindex(columns=measures).notna().any(axis="columns")
    for row in table[there].to_dict("records"):
        cells = [text for name in measures for text in (percent(row[name], UNDEFINED), _interval(row, name))]
        lines.append([str(row["model"]), *cells])
    return [_aligned(lines)] if len(lines) > 1 else []


def _event_parts(main: pd.DataFrame) -> list[str]:
    """Recall of events and false alarms: per hour, or just how many where no rate of frames is known."""
    if "threshold" not in main or main["threshold"].isna().all():
        return []
    rows = main[main["threshold"].notna()]
    per_hour = rows["false_alarms_per_hour"].notna().any()
    columns = ("recall", "false/h" if per_hour else "false")
    said = "false alarms per hour" if per_hour else "number of false alarms"
    grid = _grid(rows.set_index("model"), "model", dict.fromkeys(("centred", "causal", "raw"), columns))
    return [f"events at a threshold that normal footage gave: recall in %, {said}\n{grid}"]


def _kind_parts(table: pd.DataFrame) -> list[str]:
    rows = at_main_scale(table[table["smoothing"] == "centred"])
    if rows.empty:
        return []
    kinds = list(dict.fromkeys(rows["kind"]))
    frames = rows.drop_duplicates("kind").set_index("kind")["kind_frames"]
    lines = [["by kind of event, micro", *kinds], ["frames", *(str(frames[kind]) for kind in kinds)]]
    for model in dict.fromkeys(rows["model"]):
        own = rows[rows["model"] == model].set_index("kind")["micro_auc"]
        lines.append([model, *(percent(own[kind], UNDEFINED) for kind in kinds)])
    return [_aligned(lines)]


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )

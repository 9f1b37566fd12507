"""Pictures of a data set's results, and its table of AUCs as text.

Reads scores, labels (if there are any), the student's maps, frames and tables of losses; writes a folder:
`roc.png`, `clips.png` (score over time, clip by clip), `contact.png` (the frames of the highest scores with
the student's maps over them), `losses.png`, and each of the curves as `.svg`. Without labels there is no ROC
curve, and nothing is marked right or wrong.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
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
from fastaed.files import replacing
from fastaed.metrics import baselines
from fastaed.metrics.auc import auc, roc_curve
from fastaed.metrics.peaks import Peak, highest_frames
from fastaed.metrics.smoothing import smooth
from fastaed.progress import progress, say

# Okabe and Ito's colours, told apart with any colour vision.
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
INK, PALE = "#333333", "#999999"
SERIES_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MAP_COLOURS = "inferno"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "text.color": INK,
    "svg.hashsalt": "fastaed",  # the same picture gives the same file
}
SCALE = "mean"  # of the three, as published
PIXELS_PER_INCH = 150
NOT_LOSSES = {"epoch", "learning_rate", "samples_per_second", "tubes_per_second", "seconds"}

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
    with replacing(out) as folder, mpl.rc_context(STYLE):
        folder.mkdir()
        if truth and (roc := _draw_roc(smoothed, truth)):
            _save(roc, folder / "roc", svg=True)
        _save(_draw_clips(models, smoothed, truth, settings.most_clips), folder / "clips", svg=True)
        _save(_draw_contact(sights, truth), folder / "contact", svg=False)
        if tables:
            _save(_draw_losses(tables), folder / "losses", svg=True)


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
    return {clip: smooth(columns[SCALE], "centred", sigma_frames) for clip, columns in model.items()}


def _save(figure: Figure, path: Path, svg: bool) -> None:
    figure.savefig(path.with_suffix(".png"), dpi=PIXELS_PER_INCH)
    if svg:
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


# --- Which frames are worth looking at --------------------------------------------------------------------


def worst_clips(scores: Curves, truth: Truth, count: int) -> list[str]:
    """The clips to show where not all can be: lowest AUC, or highest scores without labels.

    Clips of one class have no AUC and come after those that have one. The result is in the clips' own order.
    """

    def badness(clip: str) -> float:
        if not truth:
            return -float(scores[clip].max())
        value = auc(scores[clip], truth[clip].labels)
        return math.inf if value is None else value

    chosen = set(sorted(scores, key=badness)[:count])
    return [clip for clip in scores if clip in chosen]


# --- ROC ---------------------------------------------------------------------------------------------------


def _draw_roc(smoothed: Mapping[str, Curves], truth: Truth) -> Figure | None:
    labels = np.concatenate([one.labels for one in truth.values()])
    if len(set(labels.tolist())) < 2:
        say("all frames are of one class: there is no ROC curve")
        return None
    figure = Figure(figsize=(5.6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.8, linestyle=(0, (1, 3)))
    ramps = {clip: baselines.ramp(len(one.labels)) for clip, one in truth.items()}
    for (name, curves), style in zip(
        [*smoothed.items(), ("baseline:ramp", ramps)], _roc_styles([*smoothed, "baseline:ramp"])
    ):
        pooled = np.concatenate([curves[clip] for clip in truth])
        curve, area = roc_curve(pooled, labels), auc(pooled, labels)
        assert curve is not None
        assert area is not None  # both classes are there
        axes.plot(
            curve.false_positive_rate, curve.true_positive_rate, label=f"{name}  {_percent(area)}", **style
        )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="normal frames called abnormal", ylabel="abnormal frames found")
    axes.set_title(f"{len(labels):,} frames of {len(truth)} clips, centred smoothing, scale {SCALE}")
    axes.legend(loc="lower right", title="micro AUC, %", alignment="left")
    return figure


def _roc_styles(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    colours = iter(SERIES_COLOURS[1:] * len(names))
    for name in names:
        if name == STUDENT:
            yield {"color": BLUE, "linewidth": 2.6, "zorder": 3}
        elif name == TEACHERS:
            yield {"color": INK, "linewidth": 1.4, "linestyle": "--"}
        elif name.startswith("baseline:"):
            yield {"color": PALE, "linewidth": 1.2, "linestyle": ":"}
        else:
            yield {"color": next(colours), "linewidth": 1.3}


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


# --- Scores over time --------------------------------------------------------------------------------------


def _draw_clips(
    models: Mapping[str, ModelScores], smoothed: Mapping[str, Curves], truth: Truth, most_clips: int
) -> Figure:
    clips = worst_clips(smoothed[STUDENT], truth, most_clips)
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
        for start, stop in intervals(truth.labels):
            panel.axvspan(start - 0.5, stop - 0.5, color=ORANGE, alpha=0.28, linewidth=0)
        value = auc(smoothed[STUDENT][clip], truth.labels)
        title += f"   AUC {_percent(value)}" if value is not None else f"   all {_class_name(truth)}"
    panel.plot(models[STUDENT][clip][SCALE], color=SKY, linewidth=0.6, alpha=0.8)
    if TEACHERS in smoothed:
        panel.plot(smoothed[TEACHERS][clip], color=INK, linewidth=1.0, linestyle="--")
    panel.plot(smoothed[STUDENT][clip], color=BLUE, linewidth=1.8)
    panel.set_title(title, fontsize=9)
    panel.margins(x=0)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(3))
    panel.tick_params(labelsize=8, length=2)


def _class_name(truth: FrameLabels) -> str:
    return "abnormal" if truth.labels.any() else "normal"


def intervals(labels: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Runs of abnormal frames as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _clips_title(shown: int, clips: int, labelled: bool) -> str:
    if shown == clips:
        return f"Anomaly score over time (frames), all {clips} clips"
    choice = "lowest AUC" if labelled else "highest scores"
    return f"Anomaly score over time (frames): {shown} of {clips} clips, those of the {choice}"


def _clip_legend(teachers: bool, labelled: bool) -> list[Line2D | Patch]:
    entries: list[Line2D | Patch] = [
        Line2D([], [], color=BLUE, linewidth=1.8, label="student, smoothed"),
        Line2D([], [], color=SKY, linewidth=0.8, label="student, raw"),
    ]
    if teachers:
        entries.append(Line2D([], [], color=INK, linestyle="--", linewidth=1.0, label="mean of teachers"))
    if labelled:
        entries.append(Patch(color=ORANGE, alpha=0.28, linewidth=0, label="true event"))
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
    colours = ScalarMappable(Normalize(0, highest), MAP_COLOURS)
    for sight, panel in zip(sights, panels.flat):
        _draw_sight(panel, sight, colours, truth.get(sight.peak.clip))
    figure.colorbar(colours, ax=panels, shrink=0.5, pad=0.01, label="student's 16x16 map")
    figure.suptitle(f"The {len(sights)} highest peaks of the smoothed score", x=0.01, ha="left")
    if truth:
        marks = [Patch(color=BLUE, label="in a true event"), Patch(color=VERMILLION, label="false alarm")]
        figure.legend(handles=marks, loc="outside lower left", ncols=2)
    return figure


def _draw_sight(panel: Axes, sight: Sight, colours: ScalarMappable, truth: FrameLabels | None) -> None:
    """The frame in grey, the map over it in colour, opaque where it is high."""
    height, width = sight.image.shape[:2]
    grey = sight.image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    overlay = colours.to_rgba(sight.map)
    overlay[..., 3] = 0.75 * np.asarray(colours.norm(sight.map))
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    panel.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=extent)
    panel.imshow(overlay, extent=extent, interpolation="bilinear")
    panel.set(xticks=[], yticks=[])
    peak = sight.peak
    verdict, colour = _verdict(peak, truth)
    panel.set_title(f"{peak.clip}  frame {peak.frame}  score {peak.score:.2f}{verdict}", fontsize=9)
    for spine in panel.spines.values():
        spine.set(visible=True, color=colour, linewidth=3.5)


def _verdict(peak: Peak, truth: FrameLabels | None) -> tuple[str, str]:
    if truth is None:
        return "", PALE
    if not truth.labels[peak.frame]:
        return "  false alarm", VERMILLION
    kind = truth.kinds[peak.frame] if truth.kinds is not None else ""
    return f"  {kind or 'event'}", BLUE


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
            color=SERIES_COLOURS[place % len(SERIES_COLOURS)],
            alpha=1 if place < len(SERIES_COLOURS) else 0.5,
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
    """What `fastaed show results/demo` prints: AUCs, AUCs by kind of event, and where the pictures lie.

    Args:
        results: a data set's folder with `auc.csv` (where it has labels), `evaluate/kinds.csv` and `report/`.

    Raises:
        MissingDataError: there is neither a table nor a report.
        StoreError: a table is damaged.
    """
    pictures = sorted((results / "report").glob("*.png"))
    if not (results / "auc.csv").is_file() and not pictures:
        raise MissingDataError(
            f"{results} has no auc.csv and no report; run `snakemake {results.as_posix()}/auc.csv` first"
        )
    parts = []
    if (results / "auc.csv").is_file():
        with _readable(results / "auc.csv"):
            parts += _auc_parts(pd.read_csv(results / "auc.csv", dtype={"dataset": str, "scale": str}))
    else:
        parts.append(f"{results.name}: no table of AUCs (it needs labels)")
    if (results / "evaluate" / "kinds.csv").is_file():
        with _readable(results / "evaluate" / "kinds.csv"):
            parts += _kind_parts(pd.read_csv(results / "evaluate" / "kinds.csv"))
    if pictures:
        parts.append("pictures\n" + "\n".join(f"  {path.as_posix()}" for path in pictures))
    return "\n\n".join(parts)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, IndexError) as error:
        raise StoreError(
            f"{path} is not a table of AUCs ({error}); delete it and run evaluate again"
        ) from error


def _auc_parts(table: pd.DataFrame) -> list[str]:
    first = table.iloc[0]
    parts = [
        f"{first['dataset']}: {first['clips']} clips, {first['frames']} frames, "
        f"labels {first['label_version']}\n"
        f"AUC in %; macro is the mean over the {first['macro_clips']} clips with normal and abnormal frames",
        _auc_grid(table[table["scale"].isin([SCALE, "none"])].set_index("model"), f"scale {SCALE}"),
    ]
    student = table[table["model"] == STUDENT]
    if not student.empty:
        parts.append(_auc_grid(student.set_index("scale"), "student by scale"))
    return parts


def _auc_grid(rows: pd.DataFrame, corner: str) -> str:
    """A line for each index value; micro and macro under each smoothing, centred first."""
    smoothings = ("centred", "causal", "raw")
    lines = [
        ["", *(text for smoothing in smoothings for text in (smoothing, ""))],
        [corner, *("micro", "macro") * len(smoothings)],
    ]
    for name in dict.fromkeys(rows.index):
        own = rows.loc[[name]].set_index("smoothing")
        cells = [own.loc[s, column] for s in smoothings for column in ("micro_auc", "macro_auc")]
        lines.append([str(name), *map(_cell, cells)])
    return _aligned(lines)


def _kind_parts(table: pd.DataFrame) -> list[str]:
    rows = table[(table["smoothing"] == "centred") & table["scale"].isin([SCALE, "none"])]
    if rows.empty:
        return []
    kinds = list(dict.fromkeys(rows["kind"]))
    frames = rows.drop_duplicates("kind").set_index("kind")["kind_frames"]
    lines = [["by kind of event, micro", *kinds], ["frames", *(str(frames[kind]) for kind in kinds)]]
    for model in dict.fromkeys(rows["model"]):
        own = rows[rows["model"] == model].set_index("kind")["micro_auc"]
        lines.append([model, *(_cell(own[kind]) for kind in kinds)])
    return [_aligned(lines)]


def _cell(value: Any) -> str:
    return "-" if pd.isna(value) else _percent(float(value))


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )

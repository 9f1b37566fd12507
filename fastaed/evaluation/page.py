"""The page of an evaluation: one HTML file that needs no network and no script, at any width, light or dark.

It shows what the tables hold and adds what has to be seen: curves, scores over time, the worst frames. No
figure stands alone: the three smoothings side by side, each with its interval and the best baseline. What is
undefined is a dash. The same evaluation gives the same bytes.
"""

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fastaed.errors import DataError
from fastaed.evaluation.look import (
    COLOURS,
    DASH,
    SERIES_COLOURS,
    STYLE,
    at_main_scale,
    auc_or_class,
    grey,
    map_over,
    percent,
)
from fastaed.evaluation.scorers import BASELINE
from fastaed.files import replacing
from fastaed.metrics.auc import auc, roc_curve
from fastaed.metrics.curves import precision_recall_curve
from fastaed.metrics.events import runs
from fastaed.metrics.peaks import worst_clips
from fastaed.metrics.smoothing import SMOOTHINGS

DASHES = ("", "6 2", "2 2")  # of the first five series, the next five, and so on
BASELINE_DASHES = ("1 2", "5 2", "8 2 1 2", "12 3", "3 4")
PAGE_STYLE: dict[Any, Any] = {
    **STYLE,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "path.simplify_threshold": 0.3,
    "lines.scale_dashes": False,
    "svg.fonttype": "none",  # text stays text, in the page's own font
}
POINTS_PER_INCH = 72  # of an SVG picture of matplotlib's
THUMBNAIL_WIDTH, JPEG_QUALITY = 320, 82
MOST_CLIPS = 24
ORDER = ("headline", "", "baseline")  # kinds of a model, as they are listed
NAMES = {"dataset", "model", "scale", "smoothing", "clip", "kind", "convention", "against", "metric"}
SHARE = re.compile("auc|precision|recall|f1|error_rate|tpr_at|rbdc|tbdc")
SAID_ABOVE = ["dataset", "label_version", "clips", "frames", "macro_clips"]  # the same on every line
REGION_MEASURES = ("rbdc", "tbdc")
EVENT_MEASURES = (
    "event_recall",
    "false_alarms",
    "false_alarms_per_hour",
    "delay_frames",
    "event_precision",
    "event_f1",
    "threshold",
)
HEADINGS = {
    "micro_auc": "micro AUC",
    "macro_auc": "macro AUC",
    "auc": "AUC",
    "equal_error_rate": "equal error rate",
    "tpr_at_fpr_1": "TPR at 1 % FPR",
    "tpr_at_fpr_5": "TPR at 5 % FPR",
    "event_f1": "event F1",
    "delay_frames": "delay, frames",
    "rbdc": "RBDC",
    "tbdc": "TBDC",
}


@dataclass(frozen=True)
class Thumbnail:
    """A frame worth looking at.

    Attributes:
        clip: its clip.
        frame: its number in the clip, from 0.
        score: its anomaly score, smoothed as the page's curves.
        image: (H, W, 3) uint8 RGB; None where the footage is not at hand.
        map: (h, w) float32 anomaly map in [0, 1] that covers the frame; None where there is none.
    """

    clip: str
    frame: int
    score: float
    image: NDArray[np.uint8] | None
    map: NDArray[np.float32] | None


@dataclass(frozen=True)
class Page:
    """All that the page shows. In every table NaN means undefined.

    Attributes:
        dataset: the data set's name.
        protocol: what the numbers depend on, name -> value, in the order shown.
        table: a row for each model, scale and smoothing: these three, `micro_auc`, `macro_auc`,
            `macro_clips`, `clips`, `frames`, `label_version` and any other metric; `<metric>_low` and
            `<metric>_high` are the ends of its 95 % interval, where there are such columns. Shares in [0, 1].
        kinds: `model`, `scale`, `smoothing`, `kind`, `micro_auc`, `kind_frames`; may be empty.
        comparison: `model`, `scale`, `convention`, `micro_auc`, `macro_auc` under other papers' conventions.
        differences: `model`, `against`, `metric`, `difference`, `low`, `high`; may be empty.
        clips: `model`, `clip`, and what is known of each; AUC in [0, 1].
        warnings: one sentence each.
        headline: the model that the page is about.
        scores: model -> clip -> (T,) scores under centred smoothing; baselines among them.
        labels: clip -> (T,) 0 or 1.
        misses: abnormal frames of the lowest scores, lowest first.
        false_alarms: normal frames of the highest scores, highest first.
    """

    dataset: str
    protocol: Mapping[str, str]
    table: pd.DataFrame
    kinds: pd.DataFrame
    comparison: pd.DataFrame
    differences: pd.DataFrame
    clips: pd.DataFrame
    warnings: Sequence[str]
    headline: str
    scores: Mapping[str, Mapping[str, NDArray[np.float64]]]
    labels: Mapping[str, NDArray[np.uint8]]
    misses: Sequence[Thumbnail]
    false_alarms: Sequence[Thumbnail]


def write_page(path: Path, page: Page) -> None:
    """Write the page as one self-contained HTML file.

    Args:
        path: the file, replaced as a whole.
        page: what it shows.

    Raises:
        DataError: the model that the page is about has no rows or no scores.
        OutputError: the file cannot be written.
    """
    shown = at_main_scale(page.table)
    if page.headline not in set(shown["model"]) & set(page.scores):
        raise DataError(f"{page.headline} has no rows or no scores for the page; name an evaluated model")
    centred = shown[shown["smoothing"] == "centred"]
    first = _records(centred[centred["model"] == page.headline])[0]
    threshold = _defined(first.get("threshold"))
    series = _series(page, centred)
    highest = _highest([*page.misses, *page.false_alarms])
    with mpl.rc_context(PAGE_STYLE):
        html = _template().render(
            page=page,
            first=first,
            colours=COLOURS,
            smoothings=SMOOTHINGS,
            headline=_headline(shown, page.headline),
            forests=_forests(centred, page.headline),
            regions=_measured(page.table, ("model",), REGION_MEASURES, page.headline),
            events=_measured(shown, ("model", "smoothing"), EVENT_MEASURES, page.headline),
            series=series,
            curves=_curves(page, series),
            threshold=threshold,
            panels=_panels(page, threshold),
            clips=_clips_table(page),
            misses=_pictures(page.misses, highest),
            false_alarms=_pictures(page.false_alarms, highest),
            table_of_all=_table(page.table.drop(columns=SAID_ABOVE, errors="ignore"), page.headline),
            kinds=_kinds_table(page),
            comparison=_table(page.comparison.drop(columns="scale", errors="ignore"), page.headline),
            differences=_differences_table(page),
        )
    with replacing(path) as part:
        part.write_text(html, encoding="utf-8")


def _template() -> Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = _shown
    return environment.from_string(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))


def _shown(model: str) -> Markup:
    """A model's name that may be broken after a colon; that it is a baseline is said beside it."""
    return escape(model.removeprefix(BASELINE)).replace(":", Markup(":<wbr>"))


# --- Numbers as text ---------------------------------------------------------------------------------------


class Value(NamedTuple):
    """A number as it is shown, and its interval ("" where there is none)."""

    text: str
    interval: str = ""


class Row(NamedTuple):
    """A line of a table; `kind` is headline, baseline or nothing special."""

    kind: str
    values: Sequence[Value]


class Table(NamedTuple):
    """A table as it is shown: a heading a column, and whether the column holds names."""

    columns: Sequence[tuple[str, bool]]
    rows: Sequence[Row]


def _defined(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _text(column: str, value: Any) -> str:
    """Shares in percent; counts whole; other numbers with three figures or one decimal."""
    if value is None or pd.isna(value):
        return DASH
    if isinstance(value, str) or column in NAMES:
        return str(value)
    if SHARE.search(column):
        return percent(value)
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _value(column: str, row: Mapping[str, Any]) -> Value:
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    return Value(_text(column, row[column]), _interval(_text(column, low), _text(column, high)))


def _interval(low: str, high: str) -> str:
    return "" if DASH in (low, high) else f"{low} to {high}"


def _heading(column: str) -> str:
    return HEADINGS.get(column, column.replace("_", " "))


def _kind(model: str, headline: str) -> str:
    return "headline" if model == headline else "baseline" if model.startswith(BASELINE) else ""


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _table(frame: pd.DataFrame, headline: str) -> Table:
    """All columns; the ends of an interval stand in the cell of what they enclose."""
    ends = {f"{column}_{end}" for column in frame for end in ("low", "high")}
    columns = [str(column) for column in frame if column not in ends]
    return Table(
        [(_heading(column), _holds_names(frame[column])) for column in columns],
        [
            Row(_kind(str(row.get("model", "")), headline), [_value(column, row) for column in columns])
            for row in _records(frame)
        ],
    )


def _measured(table: pd.DataFrame, names: Sequence[str], measures: Sequence[str], headline: str) -> Table:
    """The rows that have one of the measures: these, their intervals and the columns `names`."""
    there = [measure for measure in measures if measure in table]
    columns = [name for measure in there for name in (measure, f"{measure}_low", f"{measure}_high")]
    rows = table[table[there].notna().any(axis="columns")]
    return _table(rows[[*names, *(column for column in columns if column in table)]], headline)


def _holds_names(column: pd.Series) -> bool:
    return column.name in NAMES or not pd.api.types.is_numeric_dtype(column)


def _clips_table(page: Page) -> Table:
    own = page.clips[page.clips["model"] == page.headline] if "model" in page.clips else page.clips
    of_all = ["model", "dataset", "scale", "smoothing", "label_version"]
    return _table(own.drop(columns=of_all, errors="ignore"), page.headline)


def _kinds_table(page: Page) -> Table:
    """A line a model, a column a kind of event, as centred and at one scale a model."""
    rows = _records(at_main_scale(page.kinds[page.kinds["smoothing"] == "centred"]))
    return _crossed(
        "model",
        {row["kind"]: f"{row['kind']} ({row['kind_frames']:,} frames)" for row in rows},
        {(row["model"], row["kind"]): _value("micro_auc", row) for row in rows},
        page.headline,
    )


def _differences_table(page: Page) -> Table:
    """A line a rival, a column a metric; differences of shares in percentage points, always with a sign."""

    def signed(row: Mapping[str, Any], column: str) -> str:
        factor = 100 if SHARE.search(row["metric"]) else 1
        return DASH if pd.isna(row[column]) else f"{factor * row[column]:+.1f}".replace("-", "−")

    rows = _records(page.differences)
    return _crossed(
        "against",
        {row["metric"]: _heading(row["metric"]) for row in rows},
        {
            (row["against"], row["metric"]): Value(
                signed(row, "difference"), _interval(signed(row, "low"), signed(row, "high"))
            )
            for row in rows
        },
        page.headline,
    )


def _crossed(
    corner: str, headings: Mapping[str, str], cells: Mapping[tuple[str, str], Value], headline: str
) -> Table:
    """A line for each first and a column for each second half of the cells' keys."""
    return Table(
        [(corner, True), *((heading, False) for heading in headings.values())],
        [
            Row(
                _kind(name, headline),
                [Value(name), *(cells.get((name, column), Value(DASH)) for column in headings)],
            )
            for name in dict.fromkeys(name for name, _ in cells)
        ],
    )


# --- Headline and intervals --------------------------------------------------------------------------------


class Best(NamedTuple):
    """The headline's value beside that of the baseline which does best; no name where there is none."""

    value: Value
    baseline: str
    baseline_value: str


class Bar(NamedTuple):
    """A model's line among the intervals; positions in percent of the axis, None where undefined."""

    model: str
    kind: str
    value: Value
    at: float | None
    low: float | None
    high: float | None


class Forest(NamedTuple):
    """All models' intervals of one metric; positions, also those of ticks (text, position), as in `Bar`."""

    title: str
    chance: float
    ticks: Sequence[tuple[str, float]]
    bars: Sequence[Bar]


def _headline(shown: pd.DataFrame, headline: str) -> dict[str, list[Best]]:
    """Micro and macro AUC: under each smoothing, the model and the best baseline."""
    return {
        _heading(metric): [
            _best(_records(shown[shown["smoothing"] == smoothing]), headline, metric)
            for smoothing in SMOOTHINGS
        ]
        for metric in ("micro_auc", "macro_auc")
    }


def _best(rows: Sequence[Mapping[str, Any]], headline: str, metric: str) -> Best:
    values = [_value(metric, row) for row in rows if row["model"] == headline] or [Value(DASH)]
    baselines = [row for row in rows if _kind(row["model"], headline) == "baseline"]
    baselines = [row for row in baselines if not pd.isna(row[metric])]
    if not baselines:
        return Best(values[0], "", "")
    best = max(baselines, key=lambda row: float(row[metric]))
    return Best(values[0], best["model"].removeprefix(BASELINE), percent(best[metric]))


def _forests(centred: pd.DataFrame, headline: str) -> list[Forest]:
    """Micro and macro AUC on one axis: the headline first, baselines last."""
    rows = _records(centred)
    rows.sort(key=lambda row: ORDER.index(_kind(row["model"], headline)))
    metrics = ("micro_auc", "macro_auc")
    ends = [row.get(name) for row in rows for metric in metrics for name in (metric, f"{metric}_low")]
    floor = math.floor(10 * min([0.5, *(float(end) for end in ends if not pd.isna(end))])) / 10
    return [
        Forest(
            f"{_heading(metric)}, %",
            _position(0.5, floor),
            _ticks(floor),
            [_bar(row, metric, floor, _kind(row["model"], headline)) for row in rows],
        )
        for metric in metrics
    ]


def _ticks(floor: float) -> list[tuple[str, float]]:
    step = 10 if floor >= 0.5 else 20
    return [
        (str(tick), _position(tick / 100, floor)) for tick in range(100, math.ceil(100 * floor) - 1, -step)
    ]


def _bar(row: Mapping[str, Any], metric: str, floor: float, kind: str) -> Bar:
    at, low, high = (
        None if (value := _defined(row.get(name))) is None else _position(value, floor)
        for name in (metric, f"{metric}_low", f"{metric}_high")
    )
    return Bar(row["model"], kind, _value(metric, row), at, low, high)


def _position(share: float, floor: float) -> float:
    return round(100 * (share - floor) / (1 - floor), 2)


# --- Curves ------------------------------------------------------------------------------------------------


class Series(NamedTuple):
    """How a model's curve is drawn (dashes as in SVG), and its numbers for the legend."""

    model: str
    kind: str
    colour: str
    dashes: str
    width: float
    micro_auc: str
    average_precision: str


def _series(page: Page, centred: pd.DataFrame) -> list[Series]:
    """The headline thick and blue, other models in colours, baselines pale and dashed."""
    rows = {row["model"]: row for row in _records(centred)}
    series: list[Series] = []
    for model in sorted(page.scores, key=lambda model: ORDER.index(_kind(model, page.headline))):
        kind = _kind(model, page.headline)
        before = sum(one.kind == kind for one in series)
        rounds, place = divmod(before, len(SERIES_COLOURS))
        colour, dashes, width = {
            "headline": ("blue", "", 2.6),
            "": (SERIES_COLOURS[place], DASHES[rounds % len(DASHES)], 1.4),
            "baseline": ("pale", BASELINE_DASHES[before % len(BASELINE_DASHES)], 1.2),
        }[kind]
        row = rows.get(model, {})
        numbers = percent(row.get("micro_auc")), percent(row.get("average_precision"))
        series.append(Series(model, kind, colour, dashes, width, *numbers))
    return series


def _curves(page: Page, series: Sequence[Series]) -> list[tuple[str, Markup]]:
    """ROC and precision-recall as (title, SVG); none where all frames are of one class."""
    labels = np.concatenate(list(page.labels.values()))
    if len(np.unique(labels)) < 2:
        return []
    roc, precision_recall = _square(), _square()
    roc.gca().plot([0, 1], [0, 1], color=COLOURS["pale"], linewidth=0.6)
    roc.gca().set(xlabel="normal frames called abnormal", ylabel="abnormal frames found")
    precision_recall.gca().axhline(labels.mean(), color=COLOURS["pale"], linewidth=0.6)
    precision_recall.gca().set(
        xlabel="abnormal frames found (recall)", ylabel="right among those called (precision)"
    )
    for one in reversed(series):
        pooled = np.concatenate([page.scores[one.model][clip] for clip in page.labels])
        look = _look(one)
        if curve := roc_curve(pooled, labels):
            roc.gca().plot(curve.false_positive_rate, curve.true_positive_rate, **look)
        if found := precision_recall_curve(pooled, labels):
            recall, precision = np.r_[0, found.recall], np.r_[found.precision[0], found.precision]
            precision_recall.gca().step(recall, precision, where="pre", **look)
    return [
        ("ROC", _svg(roc, "roc", "ROC curves of all models")),
        ("Precision and recall", _svg(precision_recall, "pr", "Precision-recall curves of all models")),
    ]


def _look(series: Series) -> dict[str, Any]:
    dashes = tuple(float(length) for length in series.dashes.split())
    return {
        "color": COLOURS[series.colour],
        "linewidth": series.width,
        "linestyle": (0, dashes) if dashes else "-",
    }


def _square() -> Figure:
    figure = Figure(figsize=(5, 5))
    axes = figure.add_axes((0.13, 0.11, 0.85, 0.85))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure


# --- Scores over time --------------------------------------------------------------------------------------


class Panel(NamedTuple):
    """A clip's scores over its ground truth."""

    clip: str
    said: str
    svg: Markup


def _panels(page: Page, threshold: float | None) -> list[Panel]:
    """The clips that fit, on one axis of scores, and the threshold of alarms where there is one."""
    scores = page.scores[page.headline]
    lines = [] if threshold is None else [threshold]
    pooled = np.concatenate([*scores.values(), lines])
    limits = float(pooled.min()), float(pooled.max())
    return [
        Panel(
            clip,
            auc_or_class(auc(scores[clip], page.labels[clip]), page.labels[clip]),
            _panel(number, scores[clip], page.labels[clip], lines, limits),
        )
        for number, clip in enumerate(worst_clips(scores, page.labels, MOST_CLIPS))
    ]


def _panel(
    number: int,
    scores: NDArray[np.float64],
    labels: NDArray[np.uint8],
    lines: Sequence[float],
    limits: tuple[float, float],
) -> Markup:
    figure = Figure(figsize=(3, 1.3))
    axes = figure.add_axes((0.17, 0.16, 0.79, 0.8))
    for start, stop in runs(labels):
        axes.axvspan(start - 0.5, stop - 0.5, color=COLOURS["orange"], alpha=0.3, linewidth=0)
    for line in lines:
        axes.axhline(line, color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(scores, color=COLOURS["blue"], linewidth=1.6)
    margin = 0.05 * (limits[1] - limits[0]) or 1.0
    axes.set(xlim=(-0.5, len(scores) - 0.5), ylim=(limits[0] - margin, limits[1] + margin))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter("{x:.4g}")  # no offset in a corner, which has no room
    return _svg(figure, f"clip{number}", "Anomaly score over time, true events shaded")


def _svg(figure: Figure, name: str, said: str) -> Markup:
    """The figure as an SVG element that can live in a page beside others.

    Its identifiers are its own, its colours the style sheet's variables; numbers in its tags, of 1/72 inch,
    keep two decimals.
    """
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    width, height = (POINTS_PER_INCH * side for side in figure.get_size_inches())
    body = stream.getvalue().split("</metadata>")[1]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # it would hold for the whole page
    body = re.sub(r"<g id=\"[^\"]*\"", "<g", body)
    body = re.sub(r"<[^>]*>", lambda tag: _rounded(tag[0]), body)
    for colour, code in COLOURS.items():
        body = body.replace(code, f"var(--{colour})")
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{said}">'
    return Markup(opening + " ".join(body.split()))


def _rounded(tag: str) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag)


# --- Pictures ----------------------------------------------------------------------------------------------


class Picture(NamedTuple):
    """A thumbnail as it is shown: a data URI, or nothing to see."""

    clip: str
    frame: int
    score: str
    uri: str | None


class Pictures(NamedTuple):
    """Thumbnails, and the map's value of the last colour as text; None where none has a map."""

    pictures: Sequence[Picture]
    highest: str | None


def _highest(thumbnails: Sequence[Thumbnail]) -> float:
    """The highest value of all maps: one scale of colours for all pictures of the page."""
    return max((float(one.map.max()) for one in thumbnails if one.map is not None), default=0.0) or 1.0


def _pictures(thumbnails: Sequence[Thumbnail], highest: float) -> Pictures:
    return Pictures(
        [
            Picture(one.clip, one.frame, _text("score", one.score), _data_uri(one, highest))
            for one in thumbnails
        ],
        f"{highest:.2f}" if any(one.map is not None for one in thumbnails) else None,
    )


def _data_uri(thumbnail: Thumbnail, highest: float) -> str | None:
    """The frame in grey, the map over it in colour, opaque where it is high."""
    if thumbnail.image is None:
        return None
    height, width = thumbnail.image.shape[:2]
    size = (THUMBNAIL_WIDTH, max(1, round(THUMBNAIL_WIDTH * height / width)))
    image = np.asarray(cv2.resize(thumbnail.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    picture = grey(image) if thumbnail.map is None else map_over(image, thumbnail.map, highest)
    pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()

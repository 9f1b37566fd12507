"""speed: tables of what `fastaed bench student` and `fastaed bench watch` measured, written into a page.

A page keeps its words; between `<!-- speed: TABLE FILE ... -->` and `<!-- end -->` stands what the files of
the folder say, so that no figure is typed by hand.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastaed.errors import DataError, MissingDataError
from fastaed.files import replacing

NOT_MEASURED = "not measured"
LATENCIES = ("p50", "p95", "p99")
CHANGED_MAP = 0.01  # a difference of maps that marks a row
CHANGED_AUC = 0.001
_REFERENCE = "ours, PyTorch float32"  # whose AUC is the student's
_BLOCK = re.compile(r"(<!-- speed: (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)

Measured = Mapping[str, Any]


def run(folder: Path, page: Path) -> None:
    """Write a page's tables anew.

    Args:
        folder: of measurements, .json.
        page: text with places for tables; all else in it stays.

    Raises:
        MissingDataError: the page is not there.
        DataError: the page has no place for a table, or asks for one that is unknown.
    """
    if not page.is_file():
        raise MissingDataError(f"page {page} does not exist")
    text = page.read_text()
    if not _BLOCK.search(text):
        raise DataError(f"{page} has no place for a table; write <!-- speed: rows NAME --> and <!-- end -->")
    with replacing(page) as part:
        part.write_text(filled(text, folder))


def filled(text: str, folder: Path) -> str:
    """A page's text with its tables as the files of `folder` have them; it says which are not there."""

    def block(found: re.Match[str]) -> str:
        kind, *names = found[2].split()
        if kind not in TABLES:
            raise DataError(f"there is no table '{kind}' (there are: {', '.join(TABLES)})")
        files = {name: folder / f"{name}.json" for name in names}
        there = {name: json.loads(path.read_text()) for name, path in files.items() if path.is_file()}
        missing = [f"Not measured: {name}.\n" for name in names if name not in there]
        table = TABLES[kind](there) if there else ""
        return f"{found[1]}{table}{''.join(missing)}{found[3]}"

    return _BLOCK.sub(block, text)


def rows_table(measured: Measured) -> str:
    """A line for each row of `bench student`: speed, share of what the machine allows, difference, AUC."""
    batches = list(dict.fromkeys(b for row in measured["rows"] for b in row.get("frames_per_second", {})))
    judged = any("micro_auc" in row for row in measured["rows"])
    heads = [
        *LATENCIES,
        *(f"frames/s, batch {batch}" for batch in batches),
        "times",
        "of the roofline",
        "difference",
        *(["micro AUC"] if judged else []),
    ]
    reference = {row["name"]: row for row in measured["rows"]}.get(_REFERENCE, {}).get("micro_auc")
    lines = [_line(row, batches, len(heads), reference if judged else None) for row in measured["rows"]]
    return f"{_where(measured)}.\n\n" + _table("one input, ms", heads, lines)


def _line(row: Measured, batches: Sequence[str], width: int, reference: float | None) -> list[str]:
    if "error" in row:
        return [row["name"], NOT_MEASURED, *[""] * (width - 1)]
    cells = [
        row["name"],
        *(f"{row['latency_ms'][name]:.1f}" for name in LATENCIES),
        *(f"{row['frames_per_second'][batch]:.1f}" for batch in batches),
        f"{row['times_baseline']:.2f}",
        f"{100 * row['bound']['share']:.0f} %",
        _marked(row.get("difference"), "{:.1e}", 0, CHANGED_MAP),
    ]
    if len(cells) == width:
        cells.append(_marked(row.get("micro_auc"), "{:.4f}", reference, CHANGED_AUC))
    return cells


def _marked(value: float | None, form: str, expected: float | None, tolerated: float) -> str:
    """The value, with a star where it is further from `expected` than tolerated."""
    if value is None:
        return ""
    same = expected is not None and abs(value - expected) <= tolerated
    return form.format(value) + ("" if same else "*")


def roofline_table(files: Mapping[str, Measured]) -> str:
    """What FLOP and bytes allow for the published network and the students, by precision."""
    lines = []
    for name, measured in files.items():
        best = measured["ceiling"]["cpu"]
        for precision, row in _best_rows(measured).items():
            bound = row["bound"]
            lines.append(
                [
                    f"{name}, {precision}",
                    f"{measured['work']['student']['flop'] / 1e9:.2f}",
                    f"{best[precision] / 1e9:.0f}",
                    f"{bound['products_ms']:.2f}",
                    f"{bound['bytes_per_frame'] / 1e6:.1f}",
                    f"{best['copy'] / 1e9:.1f}",
                    f"{bound['copies_ms']:.2f}",
                    f"{bound['frames_per_second']:.0f}",
                    row["name"].removeprefix("ours, "),
                    f"{max(row['frames_per_second'].values()):.0f}",
                    f"{100 * bound['share']:.0f} %",
                ]
            )
    heads = [
        "GFLOP a frame",
        "GFLOP/s",
        "so ms",
        "MB a frame",
        "GB/s",
        "so ms",
        "so frames/s at most",
        "the nearest",
        "frames/s",
        "share",
    ]
    return _table("student, precision", heads, lines)


def _best_rows(measured: Measured) -> dict[str, Measured]:
    """Precision -> the fastest row of the student on the CPU."""
    best: dict[str, Measured] = {}
    for row in measured["rows"]:
        if row["device"] == "cpu" and row["network"] == "student" and "bound" in row:
            other = best.get(row["precision"])
            if other is None or row["bound"]["share"] > other["bound"]["share"]:
                best[row["precision"]] = row
    return best


def watch_table(files: Mapping[str, Measured]) -> str:
    """From the file to scores: rates of the whole and of the network alone, and the time of each part."""
    parts = list(dict.fromkeys(part for measured in files.values() for part in measured["parts_ms"]))
    heads = ["frames/s", "network alone", "share", *(f"{part}, ms" for part in parts)]
    lines = [
        [
            f"{name}: {measured['backend']}, {_size(measured)} from {measured['footage']['kind']} of "
            f"{_size(measured['footage'])}"
            + (", decoded on the card" if measured["footage"].get("decoded_on_card") else ""),
            f"{measured['frames_per_second']:.1f}",
            f"{measured['network_frames_per_second']:.1f}",
            f"{100 * measured['share_of_network']:.0f} %",
            *(f"{measured['parts_ms'][part]:.2f}" for part in parts),
        ]
        for name, measured in files.items()
    ]
    return _table("student", heads, lines)


def memory_table(files: Mapping[str, Measured]) -> str:
    """Peak memory of the process after so much footage."""
    lines = [
        [
            f"{name}, {run_['minutes']:g} min",
            f"{run_['frames']:,}",
            f"{run_['peak_memory_bytes'] / 1e6:.1f} MB",
        ]
        for name, measured in files.items()
        for run_ in measured["memory"]
    ]
    return _table("footage", ["frames", "peak memory"], lines)


def paired_table(files: Mapping[str, Measured]) -> str:
    """AUC of one model less another's with its interval, from what `fastaed evaluate` wrote."""
    lines = [
        [
            f"{row['model']} less {row['against']}, {row['metric'].replace('_auc', ' AUC')}",
            f"{100 * row['difference']:+.1f}",
            f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}",
        ]
        for evaluation in files.values()
        for row in evaluation["differences"]
        if row["metric"] in ("micro_auc", "macro_auc") and not row["against"].startswith("baseline:")
    ]
    return _table("AUC in %", ["difference", "95 %"], lines)


def line(files: Mapping[str, Measured]) -> str:
    """A sentence a file: a student's fastest row of those that keep its maps; the whole from the video on."""
    return "".join(_line_of_rows(one) if "rows" in one else _line_of_watch(one) for one in files.values())


def _line_of_rows(measured: Measured) -> str:
    kept = [
        row
        for row in measured["rows"]
        if "error" not in row and row["network"] == "student" and row["difference"] <= CHANGED_MAP
    ]
    row = max(kept, key=lambda row: row["frames_per_second"]["1"])
    return (
        f"{row['frames_per_second']['1']:.0f} frames/s one by one with its maps unchanged "
        f"({row['name'].removeprefix('ours, ')}, {_size(measured)}), {row['times_baseline']:.1f} times the "
        f"published network in PyTorch and float32; {measured['machine']}, {measured['date']}.\n"
    )


def _line_of_watch(measured: Measured) -> str:
    return (
        f"{measured['frames_per_second']:.0f} frames/s from a video file to scores ({measured['backend']}, "
        f"{_size(measured)}), {100 * measured['share_of_network']:.0f} % of the network's own rate.\n"
    )


def _where(measured: Measured) -> str:
    where = f"{measured['machine']}, {measured['threads']} threads, {measured['date']}"
    clips = measured["labelled"]
    judged = f"; AUC of {clips['clips']} clips, {clips['frames']:,} frames" if clips["clips"] else ""
    held = f"{measured['peak_memory_bytes'] / 1e9:.1f} GB at most for all rows in one process"
    return f"{where}; {_size(measured)}{judged}; {held}"


def _size(measured: Measured) -> str:
    return f"{measured['width']}x{measured['height']}"


def _table(first: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = [f"| {first} | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    return "\n".join([*head, *(f"| {' | '.join(cells)} |" for cells in lines)]) + "\n"


TABLES: dict[str, Callable[[Mapping[str, Measured]], str]] = {
    "rows": lambda files: "\n".join(map(rows_table, files.values())),
    "roofline": roofline_table,
    "watch": watch_table,
    "memory": memory_table,
    "paired": paired_table,
    "line": line,
}

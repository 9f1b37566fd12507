"""What a data set's results cost: time, memory and disk of each stage, from what the workflow recorded.

`frames` are those in its jobs' manifests, `frames_per_second` their number by the wall time of these jobs,
imports included, or for a student's training the samples a second in its table of losses; clips that `decode`
left as they were count as well. `waiting` is the share of the wall time in which not even one core worked, at
least: on files, on a device, or for its turn beside other work. A cell is empty where nothing was recorded.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from fastaed.errors import MissingDataError
from fastaed.files import replacing

_COLUMNS = (
    "stage",
    "jobs",
    "wall_seconds",
    "cpu_seconds",
    "peak_memory_mb",
    "disk_mb",
    "frames",
    "frames_per_second",
    "disk_mb_per_1000_frames",
    "waiting",
)


@dataclass
class StageCost:
    """Sums over a stage's jobs, but the largest memory of any one of them."""

    jobs: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    frames: int = 0
    frame_seconds: float = 0.0  # wall time of the jobs whose manifests name frames


def run(results: Path, benchmarks: Path, out: Path) -> None:
    """Write a row a stage, in the order of the pipeline.

    Args:
        results: a data set's results, for the disk they take.
        benchmarks: Snakemake's benchmark files of the same data set.
        out: table to write (.csv).

    Raises:
        MissingDataError: nothing was recorded there.
    """
    files = sorted(benchmarks.rglob("*.tsv"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise MissingDataError(f"no benchmark file below {benchmarks}; run the workflow, which writes them")
    costs = _costs(results, benchmarks, files)
    with replacing(out) as part, part.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(_COLUMNS)
        for stage, cost in costs.items():
            table.writerow([stage, *_cells(cost, results / stage)])


def _cells(cost: StageCost, folder: Path) -> list[str]:
    disk_mb = _bytes(folder) / 1e6
    rate = cost.frames / cost.frame_seconds if cost.frames else _samples_per_second(folder / "losses.csv")
    stored = sum(_frames(file) for file in folder.rglob("*.json") if "content" in _facts(file))
    return [
        str(cost.jobs),
        f"{cost.wall_seconds:.0f}",
        f"{cost.cpu_seconds:.0f}",
        f"{cost.peak_memory_mb:.0f}",
        f"{disk_mb:.1f}",
        str(cost.frames) if cost.frames else "",
        f"{rate:.1f}" if rate else "",
        f"{1000 * disk_mb / stored:.2f}" if cost.frames else "",
        f"{max(0.0, 1 - cost.cpu_seconds / cost.wall_seconds):.2f}",
    ]


def _frames(manifest: Path) -> int:
    """Frames of all clips that a manifest names, or a list of what was decoded; else 0."""
    clips = _facts(manifest).get("clips")
    return sum(clips.values()) if isinstance(clips, dict) else 0


def _facts(manifest: Path) -> dict[str, Any]:
    """Empty where the file is no manifest, or not there."""
    found = json.loads(manifest.read_text()) if manifest.is_file() else None
    return found if isinstance(found, dict) else {}


def _samples_per_second(losses: Path) -> float | None:
    """Mean over the epochs; None where none were recorded."""
    if not losses.is_file():
        return None
    with losses.open(newline="") as stream:
        rates = [float(row["samples_per_second"]) for row in csv.DictReader(stream)]
    return fmean(rates) if rates else None


def _costs(results: Path, benchmarks: Path, files: Iterable[Path]) -> dict[str, StageCost]:
    costs: defaultdict[str, StageCost] = defaultdict(StageCost)
    for file in files:
        job = file.relative_to(benchmarks)
        cost = costs[_stage(job)]
        frames = _frames((results / job).with_suffix(".json"))
        cost.frames += frames
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                cost.jobs += 1
                cost.wall_seconds += float(row["s"])
                cost.frame_seconds += float(row["s"]) if frames else 0.0
                cost.cpu_seconds += float(row["cpu_time"])
                cost.peak_memory_mb = max(cost.peak_memory_mb, float(row["max_rss"]))
    return dict(costs)


def _stage(file: Path) -> str:
    """`decode` of decode/train/01.tsv and of decode.tsv; teachers apart: `teach/baf`."""
    parts = file.with_suffix("").parts
    return "/".join(parts[:2]) if parts[0] in ("teach", "label", "score") else parts[0]


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

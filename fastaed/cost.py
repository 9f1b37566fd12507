"""What a data set's results cost: time, memory and disk of each stage, from what the workflow recorded."""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastaed.errors import MissingDataError
from fastaed.files import replacing

_COLUMNS = ("stage", "jobs", "wall_seconds", "cpu_seconds", "peak_memory_mb", "disk_mb")


@dataclass
class StageCost:
    """Sums over a stage's jobs, but the largest memory of any one of them."""

    jobs: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0


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
    costs = _costs(benchmarks, files)
    with replacing(out) as part, part.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(_COLUMNS)
        for stage, cost in costs.items():
            disk = _bytes(results / stage) / 1e6
            table.writerow(
                [
                    stage,
                    cost.jobs,
                    round(cost.wall_seconds),
                    round(cost.cpu_seconds),
                    round(cost.peak_memory_mb),
                    round(disk, 1),
                ]
            )


def _costs(benchmarks: Path, files: Iterable[Path]) -> dict[str, StageCost]:
    costs: defaultdict[str, StageCost] = defaultdict(StageCost)
    for file in files:
        cost = costs[_stage(file.relative_to(benchmarks))]
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                cost.jobs += 1
                cost.wall_seconds += float(row["s"])
                cost.cpu_seconds += float(row["cpu_time"])
                cost.peak_memory_mb = max(cost.peak_memory_mb, float(row["max_rss"]))
    return dict(costs)


def _stage(file: Path) -> str:
    """`decode` of decode/train/01.tsv and of decode.tsv; teachers apart: `teach/baf`."""
    parts = file.with_suffix("").parts
    return "/".join(parts[:2]) if parts[0] in ("teach", "label", "score") else parts[0]


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

"""Measures what the workflow itself costs with many clips: dry runs on empty files, and jobs that do nothing.

    python tests/measure_scale.py --out docs/scale.json

Not a test: minutes long, and its numbers depend on the machine. `docs/scale.md` tells them.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workflow_runs import snakemake_in

SHAPES = {"ShanghaiTech": (330, 107), "10,000 clips": (7551, 2449)}
TARGETS = ("results/many/auc.csv", "results/many/report")
ONE_JOB = "results/many/decode/train-000.json"
NOTHING_JOBS = 200
STAGES = ("decode", "detect", "teach")  # of one environment each

# Snakemake alone: as many jobs as clips, with all that a rule of this workflow carries.
BARE = """
rule all:
    input: expand("results/{clip}.json", clip=range(config["jobs"]))

rule nothing:
    output: store=directory("results/{clip}.zarr"), manifest="results/{clip}.json"
    log: "logs/{clip}.log"
    benchmark: "benchmarks/{clip}.tsv"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params: cfg=lambda wildcards: "{}", code="0"
    shell: "mkdir {output.store} 2> {log} && touch {output.manifest}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="measurements to write (.json)")
    out: Path = parser.parse_args().out
    facts = {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "snakemake": version("snakemake")},
        "rows": [row(name, train, test) for name, (train, test) in SHAPES.items()],
        "start": start(),
        "nothing": nothing(),
    }
    out.write_text(json.dumps(facts, indent=1) + "\n")


def row(name: str, train: int, test: int) -> dict[str, Any]:
    """A dry run for the table and the pictures, and beside it one of Snakemake alone with a job a clip."""
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as bare:
        empty_footage(Path(made), train, test)
        measured = cost(
            [*snakemake_in(Path(made)), "--cores", "2", *TARGETS, "--dry-run", "--quiet", "rules"]
        )
        alone = cost([*bare_in(Path(bare), train + test), "--dry-run", "--quiet", "rules"])
    said = {"shape": name, "train": train, "test": test, **measured, "bare_cpu_seconds": alone["cpu_seconds"]}
    print(said)  # noqa: T201
    return said


def start() -> dict[str, float]:
    """Processor seconds until a single job is planned, and until a stage's process has its imports."""
    with tempfile.TemporaryDirectory() as folder:
        empty_footage(Path(folder), *SHAPES["ShanghaiTech"])
        plan = cost([*snakemake_in(Path(folder)), "--cores", "2", "--dry-run", ONE_JOB])
    stages = {
        stage: cost([sys.executable, "-c", f"import fastaed.{stage}"])["cpu_seconds"] for stage in STAGES
    }
    return {"snakemake": plan["cpu_seconds"], **stages}


def nothing() -> dict[str, float]:
    """What a job costs that does nothing: processor seconds beyond the dry run, and files it leaves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = bare_in(folder, NOTHING_JOBS)
        dry = cost([*command, "--dry-run"])["cpu_seconds"]
        done = cost([*command, "--scheduler", "greedy"])["cpu_seconds"]
        noted = [file for file in (folder / ".snakemake").rglob("*") if file.is_file()]
    return {
        "jobs": NOTHING_JOBS,
        "cpu_seconds_a_job": round((done - dry) / NOTHING_JOBS, 3),
        "files_noted_a_job": round(len(noted) / NOTHING_JOBS, 1),
    }


def bare_in(folder: Path, jobs: int) -> list[str]:
    """The command line of Snakemake alone."""
    (folder / "Snakefile").write_text(BARE)
    return [*snakemake_in(folder, folder), "--cores", "2", "--config", f"jobs={jobs}"]


def empty_footage(folder: Path, train: int, test: int) -> None:
    """A camera named `many` with clips of no bytes, and labels."""
    for part, count, suffix in (("train", train, "mp4"), ("test", test, "mp4"), ("labels", test, "csv")):
        (folder / "data/many" / part).mkdir(parents=True)
        for number in range(count):
            (folder / "data/many" / part / f"clip{number:05d}.{suffix}").touch()
    (folder / "config").mkdir()
    (folder / "config/many.yaml").write_text("clips_per_batch: 32\n")


def cost(command: Sequence[str]) -> dict[str, Any]:
    """Jobs that a run speaks of, its seconds, and the memory of the largest process so far."""
    began = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = ended.stdout + ended.stderr
    total = next((line for line in said.splitlines() if line.startswith("total")), "total 0")
    return {
        "jobs": int(total.split()[1]),
        "wall_seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_memory_mb": round(after.ru_maxrss / 1024),
    }


if __name__ == "__main__":
    main()

"""Measures what the workflow itself costs with many clips, by dry runs on empty files.

    python tests/measure_scale.py --out docs/scale.json

Not a test: minutes long, and its numbers depend on the machine. `docs/scale.md` tells them.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workflow_runs import snakemake_in

SHAPES = {"ShanghaiTech": (330, 107), "10,000 clips": (7551, 2449)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="measurements to write (.json)")
    out: Path = parser.parse_args().out
    rows = []
    for name, (train, test) in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            empty_footage(Path(folder), train, test)
            rows.append({"shape": name, "train": train, "test": test, **dry_run(Path(folder))})
            print(rows[-1])  # noqa: T201
    facts = {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "snakemake": version("snakemake")},
        "rows": rows,
    }
    out.write_text(json.dumps(facts, indent=1) + "\n")


def empty_footage(folder: Path, train: int, test: int) -> None:
    """A camera named `many` with clips of no bytes, and labels."""
    for part, count, suffix in (("train", train, "mp4"), ("test", test, "mp4"), ("labels", test, "csv")):
        (folder / "data/many" / part).mkdir(parents=True)
        for number in range(count):
            (folder / "data/many" / part / f"clip{number:05d}.{suffix}").touch()
    (folder / "config").mkdir()
    (folder / "config/many.yaml").write_text("clips_per_batch: 32\n")


def dry_run(folder: Path) -> dict[str, Any]:
    """Jobs, seconds and memory of `snakemake -n` for the table and the pictures."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    targets = ("results/many/auc.csv", "results/many/report")
    command = [*snakemake_in(folder), "--cores", "2", "--dry-run", *targets, "--quiet", "rules"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = (said.stdout + said.stderr).splitlines()
    total = next((line for line in lines if line.startswith("total")), "total 0")
    return {
        "jobs": int(total.split()[1]),
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_memory_mb": round(after.ru_maxrss / 1024),
    }


if __name__ == "__main__":
    main()

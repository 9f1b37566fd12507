"""The whole workflow on a tiny generated data set: its settings, and how tests call Snakemake."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("results/demo/auc.csv", "results/demo/report")
CAMERA = ("results/cam/auc.csv", "results/cam/report")
STUDENT = {"channels": [4, 8, 8, 16, 16], "blocks": 1, "heads": 1, "head_width": 8, "map_channels": 8}
LIMITS = ("--resources", "gpu=2", "--max-threads", "1", "--cores", "2")  # two jobs at once, a thread each
TINY: dict[str, Any] = {
    "clips_per_batch": 3,
    "data": {
        "demo": {
            "train_clips": 4,
            "test_clips": 3,
            "frames": 40,
            "width": 128,
            "height": 96,
            "detector_images": 4,
        }
    },
    "decode": {"width": 128, "height": 96},
    "detect": {"detector": "motion", "minimum_side": 4},
    "teach": {
        "folds": 2,
        "ssmtl": {
            "channels": [4, 4, 4],
            "convs_per_stage": 1,
            "epochs": 1,
            "tubes_per_epoch": 24,
            "batch_size": 8,
        },
        "baf": {
            "channels": [4, 4, 4],
            "epochs": 1,
            "classifier_epochs": 1,
            "bank_size": 24,
            "batch_size": 8,
        },
        "density": {"bank_size": 100},
    },
    "pretrain": {"student": STUDENT, "epochs": 1, "batch_size": 8, "samples_per_epoch": 16},
    "distill": {"student": STUDENT, "epochs": 2, "batch_size": 8, "samples_per_epoch": 16},
}


def snakemake_in(folder: Path, checkout: Path = ROOT) -> list[str]:
    """Snakemake with the rules of a checkout, everything it reads and writes being in `folder`."""
    return [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        f"{checkout / 'Snakefile'}",
        "--directory",
        str(folder),
    ]


def snakemake(folder: Path, *arguments: str, checkout: Path = ROOT, **changes: Any) -> list[str]:
    """The command line of a run in `folder`: two jobs at once, a thread each."""
    settings = {**TINY, **changes}
    for key in changes.keys() & TINY.keys():
        settings[key] = {**TINY[key], **changes[key]} if isinstance(TINY[key], dict) else changes[key]
    return [
        *snakemake_in(folder, checkout),
        *LIMITS,
        *arguments,
        "--config",
        *(f"{key}={json.dumps(value)}" for key, value in settings.items()),
    ]


def run(command: list[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-6000:]
    return ended.stdout + ended.stderr


def rules_to_run(folder: Path, *arguments: str, checkout: Path = ROOT, **changes: Any) -> set[str]:
    """Rules of which a dry run would run a job."""
    return set(
        jobs_of(run(snakemake(folder, *TARGETS, "--dry-run", *arguments, checkout=checkout, **changes)))
    )


def jobs_of(said: str) -> Counter[str]:
    """How many jobs of each rule a dry run speaks of."""
    return Counter(re.findall(r"^(?:local)?rule (\w+):$", said, re.MULTILINE))


def copy_checkout(folder: Path) -> Path:
    """A copy of the code and the rules, to be changed."""
    for part in ("fastaed", "workflow", "config", "envs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def make_camera(footage: Path, folder: Path) -> None:
    """The generated videos and labels as somebody's own footage, with its configuration beside it."""
    for part in ("train", "test", "labels"):
        shutil.copytree(footage / part, folder / "data/cam" / part)
    settings = {**TINY, "data": {}, "teach": {**TINY["teach"], "teachers": ["density"]}}
    (folder / "config").mkdir()
    (folder / "config/cam.yaml").write_text(yaml.safe_dump(settings))

"""What DESIGN and CONTRIBUTING promise of the shape of this project, kept by a test."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fastaed import config

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastaed"
STAGES = ("decode", "detect", "teach", "label", "pretrain", "distill", "score", "evaluate", "report")

# Imports point downwards: a module may import from its own level only where the level is a folder.
LEVELS = (
    {"cli", "__main__"},
    {
        *STAGES,
        "ablation",
        "bench",
        "bench_compute",
        "bench_student",
        "bench_watch",
        "cost",
        "decode_on_card",
        "demo",
        "plan",
        "speed",
        "status",
        "trial",
        "watch",
    },
    {"teachers", "walkway", "evaluation", "export"},
    {"losses", "parallel", "training"},
    {"models", "data", "metrics"},
    {"files", "weights", "yolo", "pyramid", "progress", "codehash", "config", "errors", "machine", "sources"},
)
FOLDERS = {"teachers", "walkway", "models", "data", "metrics"}
LOW = LEVELS[-1]
BESIDE = {
    ("plan", "demo"),
    ("status", "plan"),
    ("__main__", "cli"),
    ("bench_watch", "watch"),
    ("decode_on_card", "decode"),
}  # may import on their own level
DOORS = {
    "ultralytics": {"yolo.py"},
    "zarr": {"data/store.py"},
    "onnx": {"detect.py", "export.py", "yolo.py"},
    "onnxruntime": {"export.py"},
    "openvino": {"export.py"},
    "snakemake": set(),
    "torchcodec": {"decode_on_card.py"},
    "yaml": {"config.py", "cli.py", "detect.py"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def own_imports(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(file) if name.startswith("fastaed.")}


def level(name: str) -> int:
    return next(depth for depth, names in enumerate(LEVELS) if name in names)


@pytest.mark.parametrize("file", modules(), ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_imports_point_one_way(file: Path) -> None:
    name = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if name == "__init__":
        return
    for other in own_imports(file) - {name}:
        same_level_is_fine = name in LOW or name == "training" or (name, other) in BESIDE
        assert level(other) > level(name) or (level(other) == level(name) and same_level_is_fine), (
            f"{name} imports {other}"
        )
    if level(name) == 4:
        assert not own_imports(file) & (FOLDERS - {name}), f"{file} imports a sibling folder"


@pytest.mark.parametrize("library", DOORS)
def test_each_foreign_library_has_one_door(library: str) -> None:
    users = {
        file.relative_to(PACKAGE).as_posix()
        for file in modules()
        if any(name.split(".")[0] == library for name in imports(file))
    }
    assert users <= DOORS[library]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_one_word_everywhere(stage: str) -> None:
    assert (ROOT / "workflow" / f"{stage}.smk").is_file()
    assert (
        f"results/{{dataset}}/{stage if stage != 'evaluate' else 'auc.csv'}"
        in (ROOT / "workflow" / f"{stage}.smk").read_text()
    )
    assert (PACKAGE / f"{stage}.py").is_file()
    assert (ROOT / "tests" / f"test_{stage}.py").is_file()
    assert issubclass(getattr(config, f"{stage.capitalize()}Settings"), config.Settings)
    assert stage in config.Config.model_fields
    help_text = subprocess.run(
        [sys.executable, "-m", "fastaed", stage, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "--settings" in help_text.stdout


def test_packages_have_empty_inits() -> None:
    assert all(not file.read_text().strip() for file in PACKAGE.rglob("__init__.py"))


def test_tests_mirror_the_package() -> None:
    def exists(relative: Path) -> bool:
        return not relative.name.startswith("__") and (PACKAGE / relative).is_file()

    beside_the_package = {"cluster", "environments", "faults", "promises", "readme", "reruns", "workflow"}
    for file in (ROOT / "tests").rglob("test_*.py"):
        relative = file.relative_to(ROOT / "tests")
        mirrored = relative.with_name(relative.name.removeprefix("test_"))
        assert exists(mirrored) or mirrored.stem in beside_the_package, f"{file} mirrors no module"


def test_configuration_imports_nothing_heavy() -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, fastaed.config; print('torch' in sys.modules, 'numpy' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.split() == ["False", "False"]

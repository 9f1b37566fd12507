"""The environments of `--use-conda`: the files, and the workflow in them (`python -m pytest -m conda`)."""

import ast
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from local_channel import PYPI_NAMES
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from workflow_runs import ROOT, TARGETS, copy_checkout, run, snakemake, snakemake_in

from fastaed.codehash import imported_modules

ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
# Distributions of importable names that are called otherwise, or come with another.
IMPORTED_AS = {
    "cv2": "opencv",
    "google": "onnx",
    "markupsafe": "jinja2",
    "matplotlib": "matplotlib-base",
    "torch": "pytorch",
    "yaml": "pyyaml",
}
# Never imported by this project, but needed or chosen by what is.
BEHIND = {"pandas": "pyarrow", "ultralytics": "onnxruntime", "zarr": "numcodecs"}
NO_ENVIRONMENT = hashlib.md5(b"").hexdigest()  # as Snakemake records it
EVERYWHERE = ("__main__", "cli", "config", "errors", "progress")


def pins(file: Path) -> dict[str, str]:
    """Version by package; every line is `name =X.Y`."""
    lines = yaml.safe_load(file.read_text())["dependencies"]
    return dict(re.fullmatch(r"([a-z0-9-]+) =(\d+\.\d+)", line).groups() for line in lines)


def subcommands(environment: str) -> set[str]:
    """What the rules of an environment call."""
    text = "\n".join(file.read_text() for file in (ROOT / "workflow").glob("*.smk"))
    rules = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    return {
        command
        for rule in rules
        if f"envs/{environment}.yaml" in rule
        for command in re.findall(r"python -m fastaed (\w+)", rule)
    }


def imported(command: str) -> set[str]:
    """Top-level names of foreign packages that a subcommand may import."""
    module = {"detector": "detect"}.get(command, command)
    files = {*imported_modules(f"fastaed.{module}").values(), *(ROOT / f"fastaed/{x}.py" for x in EVERYWHERE)}
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"fastaed"}


@pytest.mark.parametrize("file", ENVIRONMENTS, ids=lambda file: file.stem)
def test_environment_has_what_its_rules_import_and_no_more(file: Path) -> None:
    needed = {IMPORTED_AS.get(name, name) for command in subcommands(file.stem) for name in imported(command)}
    needed |= {behind for name, behind in BEHIND.items() if name in needed}
    assert pins(file).keys() == needed | {"python"}


@pytest.mark.parametrize("file", ENVIRONMENTS, ids=lambda file: file.stem)
def test_pins_are_versions_that_the_package_allows(file: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = {canonicalize_name(r.name): r.specifier for r in map(Requirement, project["dependencies"])}
    for name, version in pins(file).items():
        specifier = (
            SpecifierSet(project["requires-python"])
            if name == "python"
            else allowed[canonicalize_name(PYPI_NAMES.get(name, name))]
        )
        assert specifier.contains(version), f"{name} {version} is not {specifier}"


def test_environments_agree_on_versions() -> None:
    versions: dict[str, set[str]] = {}
    for file in ENVIRONMENTS:
        for name, version in pins(file).items():
            versions.setdefault(name, set()).add(version)
    assert all(len(found) == 1 for found in versions.values()), versions


@pytest.mark.parametrize(
    ("recorded", "arguments", "said"),
    [
        (NO_ENVIRONMENT, ["--use-conda"], "made without --use-conda and this run is with it"),
        ("0123456789abcdef", [], "made with --use-conda and this run is without it"),
        (NO_ENVIRONMENT, [], None),
        ("0123456789abcdef", ["--use-conda"], None),
        (None, ["--use-conda"], None),
    ],
)
def test_run_of_the_other_way_says_first_that_everything_runs_again(
    tmp_path: Path, recorded: str | None, arguments: list[str], said: str | None
) -> None:
    record = tmp_path / ".snakemake" / "metadata" / "eA=="
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"software_stack_hash": recorded}))
    record.with_name("cut short").write_text("{")
    output = run([*snakemake_in(tmp_path), "--list-rules", *arguments])
    assert ("every job runs again" in output) is (said is not None)
    assert said is None or said in output


def installed_version(package: str) -> str:
    """Of what the tests run with, major and minor."""
    if package == "python":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    release = importlib.metadata.version(PYPI_NAMES.get(package, package)).split(".")
    return ".".join(release[:2])


@pytest.mark.conda
@pytest.mark.parametrize("file", ENVIRONMENTS, ids=lambda file: file.stem)
def test_pins_are_of_the_major_versions_that_the_tests_run_with(file: Path) -> None:
    """Which minor version pip finds is for the package index to say, and changes with the day."""
    other = {
        name: (version, installed_version(name))
        for name, version in pins(file).items()
        if installed_version(name).split(".")[0] != version.split(".")[0]
    }
    assert not other, f"{file}: pinned and installed differ"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the workflow whose environments have the minor versions that are installed here."""
    folder = copy_checkout(tmp_path / "checkout")
    for file in (folder / "envs").iterdir():
        text = file.read_text()
        for name, version in pins(file).items():
            text = text.replace(f"- {name} ={version}\n", f"- {name} ={installed_version(name)}\n")
        file.write_text(text)
    return folder


@pytest.fixture
def conda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own conda; without one, a stand-in and a channel of what the tests run with."""
    if shutil.which("conda"):
        return
    pytest.importorskip("rattler", reason="needs conda, or pip install 'fastaed[conda-test]'")
    if sys.platform != "linux":
        pytest.skip("the local channel is for Linux")
    folder = tmp_path / "conda"
    (folder / "bin").mkdir(parents=True)
    names = {name for file in ENVIRONMENTS for name in pins(file)} - {"python"}
    subprocess.run(
        [sys.executable, ROOT / "tests/local_channel.py", folder / "channel", *sorted(names)], check=True
    )
    stand_in = folder / "bin" / "conda"
    stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/conda_stand_in.py {folder} "$@"\n')
    stand_in.chmod(0o755)
    (folder / "bin" / "activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")


@pytest.mark.conda
@pytest.mark.timeout(3000)
def test_whole_workflow_in_its_environments(conda: None, checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(snakemake(folder, "--use-conda", *TARGETS, checkout=checkout))
    assert len(list((folder / ".snakemake/conda").glob("*.yaml"))) == len(ENVIRONMENTS)
    assert "Nothing to be done" in run(
        snakemake(folder, "--use-conda", "--dry-run", *TARGETS, checkout=checkout)
    )
    said = run(snakemake(folder, "--dry-run", *TARGETS, checkout=checkout))
    assert "every job runs again" in said
    assert {"demo", "detect", "report"} <= set(re.findall(r"^rule (\w+):$", said, re.MULTILINE))

"""The hash of a stage's code follows its meaning: imports and syntax trees, not comments or dates."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastaed import codehash

MODULES = {
    "__init__.py": "",
    "stage.py": '"""What it does."""\nfrom box.part import f\n\ndef run():\n    return f()\n',
    "part.py": "def f():\n    return 1\n",
    "other.py": "x = 1\n",
    "part.html": "<p>a</p>",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "box"
    folder.mkdir()
    for name, text in MODULES.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(codehash, "_ROOT", folder)
    monkeypatch.setattr(codehash, "_PACKAGE", "box")
    return folder


def hash_now(*arguments: str) -> str:
    for cached in (codehash.code_hash, codehash._imports, codehash._meaning):
        cached.cache_clear()
    return codehash.code_hash("box.stage", *arguments)


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("stage.py", MODULES["stage.py"].replace("What it does", "Other words") + "# comment\n\n", False),
        ("other.py", "x = 2\n", False),
        ("new.py", "y = 1\n", False),
        ("other.html", "<p>a</p>", False),
        ("part.html", "<p>b</p>", True),
        ("stage.html", "<p>a</p>", True),
        ("part.py", "def f():\n    return 2\n", True),
        ("stage.py", MODULES["stage.py"].replace("return f()", "return f() + 1"), True),
    ],
)
def test_only_a_changed_meaning_changes_the_hash(package: Path, file: str, text: str, changes: bool) -> None:
    before = hash_now()
    (package / file).write_text(text)
    assert (hash_now() != before) is changes


def test_stage_hash_covers_all_that_the_stage_loads() -> None:
    """What Python really loads for a stage is among what was found statically."""
    program = (
        "import sys, fastaed.evaluate; print(*[name for name in sys.modules if name.startswith('fastaed')])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    found = set(codehash.imported_modules("fastaed.evaluate")) | codehash._WITHOUT_EFFECT
    assert set(loaded) <= found


def test_hash_of_one_teacher_leaves_out_the_others(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the chooser's imports of teachers are left out; what the teacher itself imports counts."""
    monkeypatch.setattr(codehash, "_CHOOSER", "box.choose")
    (package / "stage.py").write_text("import box.choose\n")
    (package / "choose.py").write_text(
        "from box.baf import Baf\nfrom box.ssmtl import Ssmtl\nimport box.other\n"
    )
    (package / "baf.py").write_text("from box.part import f\n")
    (package / "ssmtl.py").write_text("x = 1\n")
    before = {name: hash_now(*name) for name in ((), ("baf",), ("ssmtl",))}
    changes = {"ssmtl": {(), ("ssmtl",)}, "part": {(), ("baf",)}, "other": {(), ("baf",), ("ssmtl",)}}
    for module, concerned in changes.items():
        text = (package / f"{module}.py").read_text()
        (package / f"{module}.py").write_text(f"{text}\ny = 2\n")
        assert {name for name, value in before.items() if hash_now(*name) != value} == concerned
        (package / f"{module}.py").write_text(text)


@pytest.mark.parametrize("stage", ["teach", "label"])
def test_every_teacher_has_its_own_hash_with_its_own_module(stage: str) -> None:
    for teacher in ("ssmtl", "baf", "density"):
        found = set(codehash.imported_modules(f"fastaed.{stage}", teacher))
        kept = {name for name in ("ssmtl", "baf", "density") if f"fastaed.teachers.{name}" in found}
        assert kept == {teacher}

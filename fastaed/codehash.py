"""What a stage's result depends on in our own source: the modules it imports, by meaning, not by date.

Snakemake sees a changed shell line but not changed package code behind it. Each rule therefore carries
`code_hash` of its stage's module among its parameters: a hash over the syntax trees, without docstrings,
comments and layout, of that module and of every module of this package that it imports, found statically,
and over the page templates beside them, to the letter.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import get_args

from fastaed.config import TeacherName

_ROOT = Path(__file__).resolve().parent
_PACKAGE = _ROOT.name
_CHOOSER = f"{_PACKAGE}.teachers.build"  # imports every teacher, to build the one that is asked for
# What these say reaches a result only through the settings, which are recorded by value, or not at all.
_WITHOUT_EFFECT = {f"{_PACKAGE}.{name}" for name in ("config", "errors", "progress")}


@cache
def code_hash(module: str, teacher: str | None = None) -> str:
    """Sixteen hex digits for `module` (e.g. `fastaed.decode`) and all it imports from this package.

    Args:
        module: full name.
        teacher: the only teacher that runs, e.g. `baf`: the others' modules do not count. None: all count.
    """
    digest = hashlib.sha256()
    for name, file in sorted(imported_modules(module, teacher).items()):
        digest.update(name.encode() + b"\0" + _meaning(file) + b"\0")
        template = file.with_suffix(".html")
        if template.is_file():
            digest.update(template.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def imported_modules(module: str, teacher: str | None = None) -> dict[str, Path]:
    """Name and file of `module` and of every module of this package reachable from its import statements.

    With a `teacher`, the imports of `teachers/build.py`, which knows them all, lead to that one only.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if name in found or name in _WITHOUT_EFFECT or file is None:
            continue
        found[name] = file
        parts = name.split(".")
        waiting += [".".join(parts[:depth]) for depth in range(1, len(parts))]
        imported = _imports(file)
        if teacher is not None and name == _CHOOSER:
            imported = [other for other in imported if _teacher_of(other) in (None, teacher)]
        waiting += imported
    return found


def _file_of(name: str) -> Path | None:
    first, *rest = name.split(".")
    if first != _PACKAGE:
        return None
    path = _ROOT.joinpath(*rest)
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _teacher_of(module: str) -> str | None:
    """`baf` of `fastaed.teachers.baf.Baf`, None of what is no teacher."""
    return next((name for name in module.split(".") if name in get_args(TeacherName)), None)


@cache
def _imports(file: Path) -> list[str]:
    """Absolute imports only: this package uses no relative ones (a test says so)."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


@cache
def _meaning(file: Path) -> bytes:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            isinstance(node.body[0] if node.body else None, ast.Expr)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree).encode()

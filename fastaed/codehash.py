"""What a stage's result depends on in our own source: the modules it imports, by meaning, not by date.

Snakemake sees a changed shell line but not changed package code behind it. Each rule therefore carries
`code_hash` of its stage's module among its parameters: a hash over the syntax trees, without docstrings,
comments and layout, of that module and of every module of this package that it imports, found statically,
and over the page templates beside them, to the letter.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parent
_PACKAGE = _ROOT.name
# What these say reaches a result only through the settings, which are recorded by value, or not at all.
_WITHOUT_EFFECT = {f"{_PACKAGE}.{name}" for name in ("config", "errors", "progress")}


@cache
def code_hash(module: str) -> str:
    """Sixteen hex digits for `module` (e.g. `fastaed.decode`) and all it imports from this package."""
    digest = hashlib.sha256()
    for name, file in sorted(imported_modules(module).items()):
        digest.update(name.encode() + b"\0" + ast.dump(_meaning(file)).encode() + b"\0")
        template = file.with_suffix(".html")
        if template.is_file():
            digest.update(template.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def imported_modules(module: str) -> dict[str, Path]:
    """Name and file of `module` and of every module of this package reachable from its import statements."""
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
        waiting += _imports(ast.parse(file.read_text()))
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


def _imports(tree: ast.Module) -> Iterator[str]:
    """Absolute imports only: this package uses no relative ones (a test says so)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _meaning(file: Path) -> ast.Module:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            isinstance(node.body[0] if node.body else None, ast.Expr)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree

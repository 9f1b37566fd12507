"""Outputs that are whole or absent: write beside, then rename; and the manifest that vouches for a store."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastaed.codehash import code_hash
from fastaed.errors import OutputError, StoreError

MANIFEST_SCHEMA = 1
_RECORDED_PACKAGES = ("numpy", "opencv-python", "torch", "zarr", "ultralytics")
_NOT_CONTENT = {".snakemake_timestamp"}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a sibling to write to (a file or a directory), renamed onto `path` when the block succeeds.

    On any failure the sibling is removed, so `path` either holds the whole new result or what it held before.

    Raises:
        OutputError: the disk is full, read-only or the folder may not be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        beside.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise OutputError(
            f"cannot write {path}: {os.strerror(error.errno)}; free or choose another place"
        ) from error
    finally:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        else:
            beside.unlink(missing_ok=True)


def content_digest(path: Path) -> str:
    """SHA-256 over the names and bytes of a file, or of all files below a folder."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file.name not in _NOT_CONTENT:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def write_manifest(
    path: Path, stage: str, settings: Mapping[str, Any], store: Path, clips: Mapping[str, int], **facts: Any
) -> None:
    """Write the JSON that vouches for `store`: made last, so a store without one is not finished.

    Args:
        path: where the manifest goes.
        stage: module name of the stage, e.g. `decode`; its code hash is recorded.
        settings: the stage's settings as plain JSON values.
        store: the file or folder whose content is digested.
        clips: number of frames of each clip in the store.
        facts: further JSON values worth keeping (weights hash, teacher, source).
    """
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "stage": stage,
        "settings": dict(settings),
        "code": code_hash(f"fastaed.{stage}"),
        "versions": {name: version(name) for name in _RECORDED_PACKAGES},
        "content": content_digest(store),
        "clips": dict(clips),
        **facts,
    }
    with replacing(path) as part:
        part.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest at `path`.

    Raises:
        StoreError: it is missing, not JSON or of another schema.
    """
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} is missing, so its store is not finished; run the stage that writes it"
        ) from error
    except ValueError as error:
        raise StoreError(
            f"{path} is not a readable manifest ({error}); delete it and run its stage again"
        ) from error
    if manifest.get("schema") != MANIFEST_SCHEMA:
        raise StoreError(
            f"{path} has schema {manifest.get('schema')}, expected {MANIFEST_SCHEMA}; run its stage again"
        )
    return manifest

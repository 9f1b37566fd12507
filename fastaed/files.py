"""Outputs that are whole or absent: write beside, then rename; and the manifest that vouches for a store."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeGuard

from fastaed.codehash import code_hash
from fastaed.errors import OutputError, StoreError
from fastaed.progress import say
from fastaed.sources import signature

MANIFEST_SCHEMA = 1
_RECORDED_PACKAGES = ("numpy", "opencv-python", "torch", "zarr", "ultralytics")
MANIFEST = "manifest.json"  # in the folders that are no store
_FOLDERS = ("evaluate", "report")
_NOT_CONTENT = {".snakemake_timestamp", MANIFEST}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a sibling to write to (a file or a directory), renamed onto `path` when the block succeeds.

    On any failure the sibling is removed, so `path` either holds the whole new result or what it held before,
    after a power cut too. What a killed process left beside it is cleared away; one that is still writing the
    same result is waited for.

    Raises:
        OutputError: the disk is full, read-only or the folder may not be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_at(path):
            try:
                yield beside
                _onto_disk(beside)
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                beside.replace(path)
                _sync(path.parent)
            finally:
                _remove(beside)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise OutputError(
            f"cannot write {path}: {os.strerror(error.errno)}; free or choose another place"
        ) from error


@contextmanager
def _alone_at(path: Path) -> Iterator[None]:
    """Be the only one who writes `path`, and clear away what a killed process left of it."""
    lock = path.with_name(f".{path.name}.lock")
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        _wait_for(file, path)
        if _is_at(file, lock):
            break
        os.close(file)  # its last holder removed it
    try:
        for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            _remove(part)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(file)


def _wait_for(file: int, path: Path) -> None:
    """Take the kernel's lock, which a killed process no longer holds."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another process is writing {path}; waiting for its end")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _onto_disk(path: Path) -> None:
    """Have all bytes on the disk before they get their name; else a power cut leaves the name alone."""
    for file in [*path.rglob("*"), path]:
        _sync(file)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(file)


class DoneClips:
    """What is done of a batch of clips, each in a file of its own beside the result until all are.

    So an interruption costs a clip, not the batch. What was made otherwise is not taken.

    Args:
        out: the result in the making; the folder beside it is `<name>.checkpoint`.
        **identity: settings, code hash, weights: what a clip's file depends on beside its frames.
    """

    def __init__(self, out: Path, **identity: Any) -> None:
        self._folder = out.with_suffix(".checkpoint")
        self._identity = json.dumps(identity, sort_keys=True)

    def of(self, suffix: str, *made_of: Path) -> Path:
        """Where a clip's file or folder is if it is done, and where to write it, `replacing`, if not.

        Args:
            suffix: of its name.
            made_of: the clip's frame store and what else belongs to this clip only.
        """
        digests = [current_digest(path) or content_digest(path) for path in made_of]
        return self._at(made_of[0].stem, suffix, digests)

    def of_footage(self, suffix: str, footage: Path) -> Path:
        """The same for a video or a folder of frames, which is told by its signature."""
        return self._at(footage.stem, suffix, [signature([footage])])

    def _at(self, clip: str, suffix: str, digests: Sequence[str]) -> Path:
        digest = hashlib.sha256(" ".join([self._identity, *digests]).encode()).hexdigest()
        return self._folder / f"{clip}.{digest[:16]}{suffix}"

    def remove(self) -> None:
        """Forget them: the result is whole."""
        shutil.rmtree(self._folder, ignore_errors=True)


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
        facts: further JSON values worth keeping: `inputs`, digests of what was read; weights hash, teacher.
    """
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "stage": stage,
        "settings": dict(settings),
        "code": code_hash(f"fastaed.{stage}"),
        "versions": {name: version_of(name) for name in _RECORDED_PACKAGES},
        "content": content_digest(store),
        "clips": dict(clips),
        **facts,
    }
    with replacing(path) as part:
        part.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def input_digests(paths: Iterable[Path]) -> dict[str, str]:
    """Path as given -> digest of its content: of a store, what its manifest says; else of the file's bytes.

    A folder without a manifest beside it did not come from this workflow and is left out.

    Raises:
        StoreError: what should be a manifest is not JSON.
    """
    digests = {}
    for path in paths:
        digest = current_digest(path)
        if digest is not None:
            digests[str(path)] = digest
    return digests


def current_digest(path: Path) -> str | None:
    """What `input_digests` says of one path.

    Raises:
        StoreError: what should be its manifest is not JSON.
    """
    manifest = manifest_of(path)
    if manifest != path and manifest.is_file():
        found = _read_json(manifest)
        if _is_manifest(found):  # and not some other JSON of the same name
            return str(found["content"])
    return content_digest(path) if path.is_file() else None


def manifest_of(path: Path) -> Path:
    """Where the manifest of a result lies: weights and the last stages' folders hold theirs, else beside."""
    if path.suffix == ".safetensors":
        return path
    return path / MANIFEST if path.name in _FOLDERS else path.with_suffix(".json")


def version_of(package: str) -> str | None:
    """None where a stage's environment does without the package, as those of conda do without `fastaed`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest at `path`.

    Raises:
        StoreError: it is missing, not JSON or of another schema.
    """
    try:
        manifest = _read_json(path)
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} is missing, so its store is not finished; run the stage that writes it"
        ) from error
    if not _is_manifest(manifest):
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        raise StoreError(f"{path} has schema {schema}, expected {MANIFEST_SCHEMA}; run its stage again")
    return manifest


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise StoreError(
            f"{path} is not a readable manifest ({error}); delete it and run its stage again"
        ) from error


def _is_manifest(found: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(found, dict) and found.get("schema") == MANIFEST_SCHEMA

"""Tells raw footage, labels and weights of one name apart without reading them whole, and without dates.

Dates say too much and too little: a copy is new without having changed, and a file restored from an archive
is old although it has. So the rules carry a signature of what they read from outside among their parameters.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_SAMPLE = 4096  # bytes at either end of a file: its header, its index, some of its pictures


def signature(paths: Iterable[Path]) -> str:
    """Sixteen hex digits for some files or folders of frames: names, sizes, and bytes at both ends.

    Of a folder, every name and size counts, and the bytes of its first, middle and last file. What was
    changed inside a file that kept its length goes unnoticed. A path that is not there counts as absent.
    """
    digest = hashlib.sha256()
    for path in paths:
        for line in _lines(path):
            digest.update(line + b"\0")
    return digest.hexdigest()[:16]


def weights_places(name: str) -> list[Path]:
    """Where a detector's weights may lie, in order: a bare name here or in weights/, a path there only."""
    kept = Path("weights") / name
    return [Path(name), kept] if Path(name).name == name else [Path(name)]


def _lines(path: Path) -> Iterator[bytes]:
    if not path.is_dir():
        yield path.name.encode() + _ends(path)
        return
    with os.scandir(path) as entries:
        sizes = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
    yield f"{path.name}/ {sizes}".encode()
    for place in sorted({0, len(sizes) // 2, len(sizes) - 1}) if sizes else ():
        yield _ends(path / sizes[place][0])


def _ends(file: Path) -> bytes:
    try:
        with file.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            return f" {size} ".encode() + stream.read(_SAMPLE) + _last(stream.fileno(), size)
    except FileNotFoundError:
        return b" absent"


def _last(descriptor: int, size: int) -> bytes:
    return os.pread(descriptor, _SAMPLE, max(0, size - _SAMPLE))

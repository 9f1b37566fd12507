"""bench: what ways of storing frames cost on this machine, in space and processor time, on real clips.

`fastaed bench store` writes the numbers behind docs/storage.md.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from fastaed.data.store import ChunkCache, Encoding, Frames, FrameStore, write_frames
from fastaed.files import replacing
from fastaed.progress import progress

CANDIDATES = (
    Encoding(delta=False, compressor="lz4", level=1),
    Encoding(delta=False),
    Encoding(delta=False, shuffle="shuffle"),
    Encoding(delta=False, shuffle="bitshuffle"),
    Encoding(compressor="lz4", level=1),
    Encoding(compressor="lz4", level=5),
    Encoding(level=1),
    Encoding(),
    Encoding(level=5),
    Encoding(chunk_frames=4),
    Encoding(chunk_frames=8),
    Encoding(chunk_frames=32),
    Encoding(shard_frames=16),
    Encoding(shard_frames=256),
)
_LONGEST = 256  # frames taken of each clip
_RANDOM_READS = 40


def store(clips: Mapping[str, Iterable[Frames]], out: Path) -> None:
    """Write each clip in every candidate's encoding, read it back, and note size and time.

    Args:
        clips: name -> (H, W, 3) uint8 RGB frames; the first 256 are used and held in memory.
        out: the measurements to write (.json); `store_table` makes a table of them.

    Raises:
        OutputError: there is no space for the stores (in the folder for temporary files) or for `out`.
    """
    rows = []
    for clip, frames in clips.items():
        held = np.stack(list(islice(frames, _LONGEST)))
        for encoding in progress(CANDIDATES, f"bench {clip}", unit="encodings"):
            rows.append({"clip": clip, **_measured(held, encoding), "encoding": asdict(encoding)})
    measurements = {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {name: version(name) for name in ("numpy", "opencv-python", "zarr")},
        "rows": rows,
    }
    with replacing(out) as part:
        part.write_text(json.dumps(measurements, indent=1) + "\n")


def store_table(measurements: Mapping[str, Any]) -> str:
    """Markdown: a line for each encoding, its compression on each clip, its times as means over the clips."""
    rows = measurements["rows"]
    clips = list(dict.fromkeys(row["clip"] for row in rows))
    names = list(dict.fromkeys(_name(row["encoding"]) for row in rows))
    heads = [
        *(f"{clip}: times smaller" for clip in clips),
        "write",
        "read in order",
        "read one frame",
        "files",
    ]
    lines = [f"| encoding | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for name in names:
        same = [row for row in rows if _name(row["encoding"]) == name]
        cells = [f"{row['raw_bytes'] / row['stored_bytes']:.2f}" for row in same]
        for time_ in ("write_ms", "read_ms", "random_read_ms"):
            cells.append(f"{fmean(row[time_] for row in same):.2f} ms")
        cells.append(str(max(row["files"] for row in same)))
        marked = f"**{name}**" if same[0]["encoding"] == asdict(Encoding()) else name
        lines.append(f"| {marked} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _measured(frames: Frames, encoding: Encoding) -> dict[str, Any]:
    """Size, and processor time a frame: to write, to read in order, to read one at a random place."""
    length = len(frames)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.zarr"
        start = time.process_time()
        write_frames(path, frames, {"clip": "clip"}, encoding)
        written = time.process_time()
        clip = FrameStore(path, ChunkCache(0))
        for first in range(0, length, encoding.chunk_frames):
            clip.read(first, min(first + encoding.chunk_frames, length))
        read = time.process_time()
        for number in np.random.default_rng(0).integers(length, size=_RANDOM_READS):
            clip.read(int(number), int(number) + 1)
        random_read = time.process_time()
        files = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    return {
        "frames": length,
        "height": frames.shape[1],
        "width": frames.shape[2],
        "raw_bytes": frames.nbytes,
        "stored_bytes": sum(files),
        "files": len(files),
        "write_ms": 1000 * (written - start) / length,
        "read_ms": 1000 * (read - written) / length,
        "random_read_ms": 1000 * (random_read - read) / _RANDOM_READS,
    }


def _name(encoding: Mapping[str, Any]) -> str:
    filters = ["delta"] if encoding["delta"] else ["plain"]
    filters += [encoding["shuffle"]] if encoding["shuffle"] != "noshuffle" else []
    return (
        f"{' + '.join(filters)}, {encoding['compressor']} {encoding['level']}, "
        f"chunks of {encoding['chunk_frames']}, shards of {encoding['shard_frames']}"
    )

"""bench: what ways of storing frames cost on this machine, and how long the measures of an evaluation take.

`fastaed bench store` writes the numbers behind docs/storage.md, `fastaed bench evaluate` those in
docs/evaluation.json.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from fastaed.data.store import ChunkCache, Encoding, Frames, FrameStore, write_frames
from fastaed.files import replacing
from fastaed.metrics.bootstrap import clip_weights, frame_metrics, interval, resampled
from fastaed.metrics.events import event_metrics, threshold_from_normal
from fastaed.metrics.region import (
    DetectedRegions,
    RegionCounts,
    TrueRegions,
    region_counts,
    region_counts_of_maps,
    region_metrics,
    resampled_region_metrics,
)
from fastaed.progress import progress, say

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
_PICTURE = (480, 856)  # height and width of ShanghaiTech's frames
_ABNORMAL = 0.42  # share of its test frames

Weights = NDArray[np.int64]


class _Invented(NamedTuple):
    """Made-up results and truth of some clips, one entry a clip.

    Attributes:
        labels: (T,) 0 or 1.
        scores: (T,) anomaly scores, all different.
        truths: two tracks in every abnormal frame.
        detections: scored boxes, as many in every frame.
        maps: (T, 16, 16) anomaly maps.
    """

    labels: Sequence[NDArray[np.uint8]]
    scores: Sequence[NDArray[np.float64]]
    truths: Sequence[TrueRegions]
    detections: Sequence[DetectedRegions]
    maps: Sequence[NDArray[np.float32]]


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
    _write(out, {**_facts("numpy", "opencv-python", "zarr"), "rows": rows})


def evaluation(
    out: Path,
    clips: int = 107,
    frames: int = 40_791,
    detections_per_frame: int = 10,
    resamples: int = 2_000,
) -> None:
    """Time all measures of one model with their intervals, on invented results of ShanghaiTech's size.

    Args:
        out: the measurements to write (.json); one line each goes to standard error.
        clips: number of clips.
        frames: of all clips together, at least 20 a clip.
        detections_per_frame: scored boxes in every frame.
        resamples: of the clips, for the intervals.

    Raises:
        OutputError: `out` cannot be written.
    """
    invented = _invented(clips, frames, detections_per_frame, np.random.default_rng(0))
    weights = clip_weights(clips, resamples, 0)
    measures: dict[str, Callable[[], None]] = {
        "frame-level measures": lambda: _frame_level(invented, weights),
        "events": lambda: _events(invented),
        "RBDC and TBDC of boxes": lambda: _regions(_counts_of_boxes(invented), weights),
        "RBDC and TBDC of maps": lambda: _regions(_counts_of_maps(invented), weights),
    }
    rows = [_timed(what, measure) for what, measure in measures.items()]
    seconds = sum(row["seconds"] for row in rows)
    say(f"all together: {seconds:.2f} s for {clips} clips, {frames} frames, {resamples} resamples")
    size = {
        "clips": clips,
        "frames": frames,
        "detections_per_frame": detections_per_frame,
        "resamples": resamples,
    }
    _write(out, {**_facts("numpy", "scipy"), **size, "seconds": seconds, "rows": rows})


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


def _facts(*packages: str) -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {name: version(name) for name in packages},
    }


def _write(out: Path, measurements: Mapping[str, Any]) -> None:
    with replacing(out) as part:
        part.write_text(json.dumps(measurements, indent=1) + "\n")


# --- Storing frames ----------------------------------------------------------------------------------------


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


# --- Evaluating --------------------------------------------------------------------------------------------


def _timed(what: str, measure: Callable[[], None]) -> dict[str, Any]:
    wall, processor = time.perf_counter(), time.process_time()
    measure()
    row = {
        "what": what,
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
    }
    say(f"{what}: {row['seconds']:.2f} s")
    return row


def _frame_level(invented: _Invented, weights: Weights) -> None:
    frame_metrics(invented.scores, invented.labels)
    for values in resampled(invented.scores, invented.labels, weights).values():
        interval(values)


def _events(invented: _Invented) -> None:
    normal = [scores[labels == 0] for scores, labels in zip(invented.scores, invented.labels)]
    threshold = threshold_from_normal(normal, 99)
    if threshold is not None:
        event_metrics(invented.scores, invented.labels, threshold, overlap=0.5, join_frames=12)


def _counts_of_boxes(invented: _Invented) -> RegionCounts:
    return region_counts(invented.detections, invented.truths, [len(labels) for labels in invented.labels])


def _counts_of_maps(invented: _Invented) -> RegionCounts:
    return region_counts_of_maps(invented.maps, invented.truths, [_PICTURE] * len(invented.maps))


def _regions(counts: RegionCounts, weights: Weights) -> None:
    region_metrics(counts)
    for values in resampled_region_metrics(counts, weights):
        interval(values)


def _invented(clips: int, frames: int, detections_per_frame: int, rng: np.random.Generator) -> _Invented:
    """Better than chance and far from perfect; each clip has one event in a random place."""
    least = 20
    lengths = least + rng.multinomial(frames - least * clips, np.full(clips, 1 / clips))
    labels = [_one_event(length, rng) for length in lengths.tolist()]
    truths = [_two_tracks(one, rng) for one in labels]
    detections = [_boxes(len(one), detections_per_frame, truth, rng) for one, truth in zip(labels, truths)]
    return _Invented(
        labels,
        [one + rng.normal(size=len(one)) for one in labels],
        truths,
        detections,
        [_maps(len(one), boxes) for one, boxes in zip(labels, detections)],
    )


def _one_event(frames: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    labels = np.zeros(frames, np.uint8)
    long = round(_ABNORMAL * frames)
    start = rng.integers(frames - long + 1)
    labels[start : start + long] = 1
    return labels


def _two_tracks(labels: NDArray[np.uint8], rng: np.random.Generator) -> TrueRegions:
    """Two people of 40x100 pixels, who walk across the picture on different heights."""
    frame = np.repeat(np.flatnonzero(labels), 2)
    track = np.arange(len(frame)) % 2
    left = (rng.integers(_PICTURE[1]) + 3 * frame) % (_PICTURE[1] - 40)
    top = np.where(track, 300, 100)
    return TrueRegions(frame, np.stack([left, top, left + 40, top + 100], axis=1), track)


def _boxes(
    frames: int, detections_per_frame: int, truth: TrueRegions, rng: np.random.Generator
) -> DetectedRegions:
    """Random boxes, the first two of an abnormal frame near its true regions."""
    frame = np.repeat(np.arange(frames), detections_per_frame)
    xyxy = np.tile(rng.integers(0, (_PICTURE[1] - 40, _PICTURE[0] - 100), (len(frame), 2)), 2)
    near = truth.frame * detections_per_frame + truth.track_id
    xyxy[near] = truth.xyxy + np.tile(rng.integers(-15, 16, (len(near), 2)), 2)
    xyxy[:, 2:] = xyxy[:, :2] + (40, 100)
    score = rng.normal(size=len(frame))
    score[near] += 1
    return DetectedRegions(frame, xyxy, score)


def _maps(frames: int, boxes: DetectedRegions) -> NDArray[np.float32]:
    """Each box's score on the 3 x 3 cells around its middle, the highest on top; 0 where no box is."""
    maps = np.zeros((frames, 16, 16), np.float32)
    column, row = (boxes.xyxy[:, :2] + boxes.xyxy[:, 2:]).T * 8 // np.array(_PICTURE)[::-1, None]
    np.maximum.at(maps, (boxes.frame, row, column), 1 / (1 + np.exp(-boxes.score)))
    return np.asarray(maximum_filter(maps, size=(1, 3, 3)))

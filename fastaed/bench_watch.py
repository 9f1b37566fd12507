"""bench watch: how fast footage becomes scores, from the file on, what each part takes, and what is held.

The whole is `watch.run`, as `fastaed score` runs it: reading, network and writing at the same time. It takes
turns with the network alone on inputs that lie ready, so that both meet the same machine; what is left of
the network's own rate is the share that a user gets. Each part is also timed by itself. Before all that, one
long run says whether memory grows with the footage.
"""

import csv
import io
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import Tensor

from fastaed import watch
from fastaed.data.scores import scores_of_maps
from fastaed.data.store import Frames, Maps
from fastaed.errors import ConfigError
from fastaed.export import Inputs, Network
from fastaed.files import replacing
from fastaed.machine import facts, peak_memory
from fastaed.progress import progress

ROUNDS = 5
_USUAL_RATE = 25.0  # frames a second of footage that does not say
_HELD = 64  # frames that the parts are timed on, and the network alone
Item = TypeVar("Item")


@dataclass(frozen=True)
class Video:
    """Footage that can be read again and again.

    Attributes:
        path: of the file or folder.
        rate: frames a second, None where unknown.
        decoded: opens it, (H, W, 3) uint8 RGB in its own size.
        resized: brings frames to the size that the network takes.
        chunks: opens it where the network's card decodes it, (N, 3, H, W) uint8 in the network's size.
    """

    path: Path
    rate: float | None
    decoded: Callable[[], Iterator[Frames]]
    resized: Callable[[Iterator[Frames]], Iterator[Frames]]
    chunks: Callable[[], Iterator[Tensor]] | None = None


def run(network: Network, video: Video, out: Path, minutes: Sequence[float], batch_size: int) -> None:
    """Measure and write.

    Args:
        network: the student.
        video: footage, repeated as often as it takes.
        out: measurements to write (.json); `fastaed speed` makes tables of them.
        minutes: of footage, rising: the first are scored in every turn; all of them, in one run, are marks at
            which the peak of memory is noted.
        batch_size: frames that the network sees at once.

    Raises:
        ConfigError: there are no minutes, or they fall.
        DataError: the footage cannot be read to its end, or the network's maps are no numbers.
        OutputError: `out` cannot be written.
    """
    if not minutes or list(minutes) != sorted(minutes) or minutes[0] <= 0:
        raise ConfigError(f"minutes = {list(minutes)}: give positive numbers that rise, e.g. 1 60")
    counts = [max(1, round(60 * length * (video.rate or _USUAL_RATE))) for length in minutes]
    peaks: list[int] = []
    _whole(network, looped(video, counts[-1], lambda: peaks.append(peak_memory()), counts), batch_size)
    memory = [
        {"minutes": length, "frames": count, "peak_memory_bytes": peak}
        for length, count, peak in zip(minutes, counts, peaks, strict=True)
    ]
    ready = looped(video, _HELD)
    read = watch.network_inputs(network, ready.frames, ready.chunks, batch_size)
    batches = [inputs for _, inputs in read]
    rounds = []
    for _ in progress(range(ROUNDS), "bench watch", unit="turns"):
        alone = _HELD / seconds_of(lambda: [network.score(inputs) for inputs in batches])
        whole = counts[0] / _whole(network, looped(video, counts[0]), batch_size)
        rounds.append({"alone": alone, "whole": whole})
    height, width = next(video.decoded()).shape[:2]
    measurements = {
        **facts(),
        "backend": network.backend,
        "student": network.facts["weights"]["student"],
        "footage": {
            "kind": video.path.suffix.lstrip(".") or "folder",
            "height": height,
            "width": width,
            "decoded_on_card": video.chunks is not None,
        },
        "height": batches[0].shape[2],
        "width": batches[0].shape[3],
        "batch_size": batch_size,
        "frames_per_second": median(one["whole"] for one in rounds),
        "network_frames_per_second": median(one["alone"] for one in rounds),
        "share_of_network": median(one["whole"] / one["alone"] for one in rounds),
        "parts_ms": _parts(network, video, batches, batch_size),
        "memory": memory,
        "turns": rounds,
    }
    with replacing(out) as part:
        part.write_text(json.dumps(measurements, indent=1) + "\n")


def seconds_of(call: Callable[[], Any]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def looped(
    video: Video, count: int, note: Callable[[], None] = lambda: None, marks: Collection[int] = ()
) -> watch.Source:
    """A video from its first frame on again and again, in the network's size.

    Args:
        video: footage.
        count: frames in all.
        note: called whenever as many frames as one of `marks` have been taken.
        marks: numbers of frames.
    """
    if video.chunks is None:
        frames = _noted(video.resized(islice(_again(video.decoded), count)), lambda _: 1, note, marks)
        return watch.Source(video.path.stem, frames, video.rate, count)
    chunks = _noted(_cut(_again(video.chunks), count), len, note, marks)
    return watch.Source(video.path.stem, iter(()), video.rate, count, chunks)


def _again(opened: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    """What is opened, again and again without end."""
    return chain.from_iterable(opened() for _ in iter(int, 1))


def _cut(chunks: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    """As many chunks as hold `count` frames, the last one shortened."""
    while count > 0:
        chunk = next(chunks)[:count]
        yield chunk
        count -= len(chunk)


def _noted(
    items: Iterator[Item], size: Callable[[Item], int], note: Callable[[], None], marks: Collection[int]
) -> Iterator[Item]:
    """The items; `note` is called for each of `marks` once so many frames have been taken."""
    taken = 0
    for item in items:
        yield item
        before, taken = taken, taken + size(item)
        for _ in range(sum(before < mark <= taken for mark in marks)):
            note()


def _whole(network: Network, source: watch.Source, batch_size: int) -> float:
    """Seconds from the file to the table."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "scores.csv"
        return seconds_of(
            lambda: watch.run(network, [Path(source.name)], lambda _: source, out, None, None, batch_size)
        )


def _parts(network: Network, video: Video, batches: Sequence[Inputs], batch_size: int) -> dict[str, float]:
    """Milliseconds a frame of every part by itself.

    Args:
        network: the student.
        video: footage; what a card decodes it resizes at once.
        batches: student inputs of `_HELD` frames.
        batch_size: frames at once.
    """
    held = [] if video.chunks else list(islice(_again(video.decoded), _HELD))
    frames = list(video.resized(iter(held)))
    chunks = None if video.chunks is None else list(_cut(_again(video.chunks), _HELD))
    maps = [network.score(inputs) for inputs in batches]
    sigma_frames = float(network.facts["smoothing"]["sigma_frames"])
    decided = _decided(maps, sigma_frames)

    def decode() -> None:
        frames_again = islice(_again(video.decoded), _HELD)
        _done(frames_again if video.chunks is None else _cut(_again(video.chunks), _HELD), network)

    def inputs() -> None:
        there = None if chunks is None else iter(chunks)
        _done(watch.network_inputs(network, iter(frames), there, batch_size), network)

    parts: dict[str, Callable[[], Any]] = {
        "decode": decode,
        "resize": lambda: list(video.resized(iter(held))),
        "inputs": inputs,
        "network": lambda: [network.score(one) for one in batches],
        "scores, smoothing": lambda: _decided(maps, sigma_frames),
        "write": lambda: _write(decided, video.rate),
    }
    return {
        name: 1000 * median(seconds_of(call) for _ in range(ROUNDS)) / _HELD for name, call in parts.items()
    }


def _done(items: Iterator[Any], network: Network) -> None:
    """Everything made, on a card as well."""
    for _ in items:
        pass
    if network.card and network.card.type == "cuda":
        torch.cuda.synchronize(network.card)


def _decided(maps: Sequence[Maps], sigma_frames: float) -> list[watch.Scored]:
    smoother = watch.Smoother(sigma_frames)
    decided = []
    for one in maps:
        scores = scores_of_maps(one)
        decided.append(watch.Scored(0, [], one, scores, smoother.add(scores[:, -1])))
    return decided


def _write(decided: Sequence[watch.Scored], rate: float | None) -> None:
    table = csv.writer(io.StringIO())
    for part in decided:
        table.writerows(watch.rows(watch.Source("", iter(()), rate, None), part))

"""Student inputs: frames t, t-3, t+3 of one clip, alike in pre-training, distillation and scoring.

`student_input` is the only place where the order of frames and channels is decided. Frames are known by clip
and frame number, never by a position in a list.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from fastaed.data.order import local_shuffle
from fastaed.data.store import CHUNK_FRAMES, ChunkCache, Frames, FrameStore
from fastaed.errors import DataError

GAP_FRAMES = 3
_CACHE_BYTES = 2_000_000_000
_MOST_THREADS = 8
_WINDOW_CHUNKS = 64
Item = TypeVar("Item")


def student_input(triplet: Frames) -> Frames:
    """Frames stacked over their channels: R, G, B of t, then of t-3, then of t+3.

    Args:
        triplet: (..., 3, H, W, 3) uint8 RGB frames t, t-3, t+3.

    Returns:
        (..., 9, H, W) uint8.
    """
    height, width = triplet.shape[-3:-1]
    stacked = np.empty((*triplet.shape[:-4], 9, height, width), np.uint8)
    planes = stacked.reshape(-1, 3, height, width)
    for frame, colours in zip(triplet.reshape(-1, height, width, 3), planes):
        cv2.mixChannels([frame], list(colours), [0, 0, 1, 1, 2, 2])  # twice as fast as moving axes
    return stacked


def neighbours(frame: int, length: int, gap: int = GAP_FRAMES) -> tuple[int, int, int]:
    """Frame numbers t, t-gap, t+gap of a clip of `length` frames; a missing neighbour repeats frame t."""
    before, after = frame - gap, frame + gap
    return frame, before if before >= 0 else frame, after if after < length else frame


@dataclass(frozen=True)
class Samples:
    """N student inputs, named.

    Attributes:
        clip: (N,) number of the clip among the sorted names.
        frame: (N,) frame number t.
    """

    clip: NDArray[np.int64]
    frame: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.clip)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.clip.tolist(), self.frame.tolist())

    def take(self, which: NDArray[np.int64]) -> "Samples":
        """The samples of these positions."""
        return Samples(self.clip[which], self.frame[which])


class Clips:
    """The clips of a split, sorted by name, readable from several threads.

    Args:
        stores: a frame store a clip, in any order.

    Raises:
        DataError: no clip, two of one name, or frames of two sizes.
        StoreError: a store is missing or damaged.
    """

    def __init__(self, stores: Sequence[Path]) -> None:
        cache = ChunkCache(_CACHE_BYTES)
        self.stores = sorted((FrameStore(path, cache) for path in stores), key=lambda store: store.clip)
        self.names = [store.clip for store in self.stores]
        self._lock = Lock()
        if not self.stores:
            raise DataError("no clip was given; name at least one frame store")
        for one, other in zip(self.stores, self.stores[1:]):
            if one.clip == other.clip:
                raise DataError(
                    f"{one.path} and {other.path} both hold clip {one.clip}; rename or leave out one"
                )
            if (one.height, one.width) != (other.height, other.width):
                raise DataError(
                    f"clip {one.clip} has frames of {one.width}x{one.height} and clip {other.clip} of "
                    f"{other.width}x{other.height}; decode all of them to one size"
                )
        self.height, self.width = self.stores[0].height, self.stores[0].width

    def sizes(self) -> dict[str, int]:
        """Number of frames of each clip, by name."""
        return {store.clip: len(store) for store in self.stores}

    def fingerprints(self) -> dict[str, str]:
        """What tells each clip's footage from any other, by name."""
        return {store.clip: store.fingerprint() for store in self.stores}

    def triplet(self, clip: int, frame: int, gap: int = GAP_FRAMES) -> Frames:
        """(3, H, W, 3) uint8 RGB frames t, t-gap, t+gap of a clip."""
        store = self.stores[clip]
        with self._lock:
            return store.gather(neighbours(frame, len(store), gap))

    def samples(self) -> Samples:
        """Every frame of every clip, in order."""
        lengths = [len(store) for store in self.stores]
        return Samples(
            np.repeat(np.arange(len(lengths)), lengths), np.concatenate([np.arange(n) for n in lengths])
        )

    def drawn(self, limit: int, rng: np.random.Generator) -> Samples:
        """Samples of one epoch in random order, `limit` at most, chunks of frames read about once each."""
        samples = self.samples()
        if len(samples) > limit:
            samples = samples.take(np.sort(rng.choice(len(samples), limit, replace=False)))
        chunk_bytes = CHUNK_FRAMES * self.height * self.width * 3
        # A chunk and both its neighbours are in use at a time.
        window = int(np.clip(_CACHE_BYTES // (3 * chunk_bytes), 1, _WINDOW_CHUNKS))
        return samples.take(local_shuffle(samples.clip, samples.frame, rng, window))


def equal_parts(samples: Samples, batch_size: int) -> list[Samples]:
    """Batches in order, of sizes that differ by one at most, so that none is too small to normalise."""
    parts = np.array_split(np.arange(len(samples)), -(-len(samples) // batch_size))
    return [samples.take(part) for part in parts]


def read_ahead(make: Callable[[Samples], Item], batches: Sequence[Samples]) -> Iterator[Item]:
    """`make(batch)` for each batch, in order, made by threads a few batches ahead of the reader.

    Threads suffice: reading, decompressing and resizing let go of the interpreter (and stores do not survive
    a fork).
    """
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as workers:
        coming = deque(workers.submit(make, batch) for batch in batches[: threads + 1])
        try:
            for number in range(len(batches)):
                item = coming.popleft().result()
                if number + threads + 1 < len(batches):
                    coming.append(workers.submit(make, batches[number + threads + 1]))
                yield item
        finally:
            for future in coming:
                future.cancel()

"""The only door to Zarr: one store of frames per clip, one store of anomaly maps per batch of clips.

Stores are written beside their place and renamed when whole, by one process; readers open them in the
process (or DataLoader worker) that reads.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from fastaed.errors import DataError, StoreError
from fastaed.files import replacing
from fastaed.pyramid import MapPyramid

CHUNK_FRAMES = 16

Frames = NDArray[np.uint8]
Maps = MapPyramid[NDArray[np.float32]]


def write_frames(path: Path, frames: Iterable[Frames], attributes: Mapping[str, Any]) -> int:
    """Write one clip and return how many frames it has.

    Args:
        path: the store, replaced as a whole.
        frames: (H, W, 3) uint8 RGB arrays of one size, in time order.
        attributes: JSON values kept with the clip (`clip`, `source_height`, `source_width`, `rate`).

    Raises:
        DataError: there is no frame.
        OutputError: the disk is full or may not be written.
    """
    with replacing(path) as part:
        array: zarr.Array[Any] | None = None
        pending: list[Frames] = []
        for frame in frames:
            if array is None:
                array = _new_frame_array(part, frame.shape)
            pending.append(frame)
            if len(pending) == CHUNK_FRAMES:
                array.append(np.stack(pending))
                pending.clear()
        if array is None:
            raise DataError(f"no frame for {path}: the source is empty")
        if pending:
            array.append(np.stack(pending))
        array.update_attributes({**attributes, "frames": array.shape[0], "colour": "RGB"})
        return int(array.shape[0])


def _new_frame_array(path: Path, frame_shape: tuple[int, ...]) -> "zarr.Array[Any]":
    return zarr.create_array(
        path,
        shape=(0, *frame_shape),
        chunks=(CHUNK_FRAMES, *frame_shape),
        dtype="uint8",
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="noshuffle"),
    )


class ChunkCache:
    """Decoded chunks of any number of stores, the least recently used dropped beyond `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._chunks: OrderedDict[tuple[Path, int], Frames] = OrderedDict()

    def get(self, path: Path, index: int) -> Frames | None:
        """The chunk, if it is still held."""
        if (path, index) not in self._chunks:
            return None
        self._chunks.move_to_end((path, index))
        return self._chunks[path, index]

    def put(self, path: Path, index: int, chunk: Frames) -> None:
        """Hold a chunk, and let go of old ones."""
        self._chunks[path, index] = chunk
        self._held += chunk.nbytes
        while self._held > self._limit and len(self._chunks) > 1:
            self._held -= self._chunks.popitem(last=False)[1].nbytes


class FrameStore:
    """A clip's frames, (T, H, W, 3) uint8 RGB, read by chunk.

    Args:
        path: a store written by `write_frames`.
        cache: where decoded chunks are kept, shared between stores; by default this store keeps its last one.

    Raises:
        StoreError: the store is missing or its metadata damaged (or, when reading, its chunks).
    """

    def __init__(self, path: Path, cache: ChunkCache | None = None) -> None:
        self.path = path
        self._array = _open_array(path)
        self.attributes: dict[str, Any] = dict(self._array.attrs)
        self.clip: str = str(self.attributes.get("clip", path.stem))
        self.length, self.height, self.width = (int(size) for size in self._array.shape[:3])
        self._chunk = int(self._array.chunks[0])
        self._cache = cache or ChunkCache(0)

    def __len__(self) -> int:
        return self.length

    def read(self, start: int, stop: int) -> Frames:
        """Frames start..stop-1 as (T, H, W, 3)."""
        try:
            return np.asarray(self._array[start:stop], dtype=np.uint8)
        except (RuntimeError, ValueError, OSError) as error:
            raise StoreError(
                f"{self.path}: frames {start}..{stop - 1} are damaged ({error}); delete the store and decode again"
            ) from error

    def gather(self, frames: Sequence[int] | NDArray[np.integer[Any]]) -> Frames:
        """The frames of these numbers as (N, H, W, 3); a number beyond either end means the frame at that end."""
        inside = np.clip(np.asarray(frames, dtype=np.int64), 0, self.length - 1)
        return np.stack([self._chunk_of(int(number))[int(number) % self._chunk] for number in inside])

    def _chunk_of(self, frame: int) -> Frames:
        index = frame // self._chunk
        chunk = self._cache.get(self.path, index)
        if chunk is None:
            chunk = self.read(index * self._chunk, min((index + 1) * self._chunk, self.length))
            self._cache.put(self.path, index, chunk)
        return chunk


def write_maps(path: Path, clips: Mapping[str, Maps], attributes: Mapping[str, Any]) -> None:
    """Write the map pyramids of a batch of clips into one store, a group per clip.

    Args:
        path: the store, replaced as a whole.
        clips: clip -> pyramid of (T, s, s) float32 maps in [0, 1].
        attributes: JSON values kept with the store.

    Raises:
        DataError: a map holds NaN or a value outside [0, 1].
    """
    with replacing(path) as part:
        root = zarr.create_group(part, attributes=dict(attributes))
        for clip, pyramid in clips.items():
            group = root.create_group(clip)
            for name, level in zip(("one", "four", "sixteen"), pyramid):
                check_maps(level, f"maps of clip {clip}")
                group.create_array(
                    name, data=level.astype(np.float32), chunks=(min(len(level), 1024), *level.shape[1:])
                )
        zarr.consolidate_metadata(part)


def read_maps(path: Path, clip: str) -> Maps:
    """The pyramid of one clip, as written by `write_maps`.

    Raises:
        StoreError: the store or the clip is missing or damaged.
        DataError: a map holds NaN or a value outside [0, 1].
    """
    try:
        group = zarr.open_group(path, mode="r")
        levels = [
            np.asarray(group[f"{clip}/{name}"][...], dtype=np.float32) for name in ("one", "four", "sixteen")
        ]
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise StoreError(
            f"{path}: maps of clip {clip} are missing or damaged ({error}); delete it and run again"
        ) from error
    for level in levels:
        check_maps(level, f"{path}, clip {clip}")
    return MapPyramid(*levels)


def map_clips(path: Path) -> list[str]:
    """Names of the clips whose maps `write_maps` put into a store, sorted.

    Raises:
        StoreError: the store is missing or damaged.
    """
    try:
        return sorted(zarr.open_group(path, mode="r").group_keys())
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise StoreError(f"store of maps {path} is missing or damaged ({error}); run label again") from error


def check_maps(maps: NDArray[np.floating[Any]], where: str) -> None:
    """Refuse what cannot be an anomaly map.

    Raises:
        DataError: NaN or a value outside [0, 1].
    """
    if not np.isfinite(maps).all():
        raise DataError(
            f"{where}: a map holds NaN or infinity; the teacher or student that wrote it has diverged"
        )
    if maps.size and (maps.min() < 0 or maps.max() > 1):
        raise DataError(f"{where}: a map leaves [0, 1] (from {maps.min():.3g} to {maps.max():.3g})")


def _open_array(path: Path) -> "zarr.Array[Any]":
    try:
        array = zarr.open_array(path, mode="r")
    except (FileNotFoundError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise StoreError(f"frame store {path} is missing or damaged ({error}); run decode again") from error
    if array.ndim != 4 or array.shape[3] != 3:
        raise StoreError(f"{path} holds an array of shape {array.shape}, not frames (T, H, W, 3)")
    return array

"""The only door to Zarr: one store of frames per clip, one store of anomaly maps per batch of clips.

Stores are written beside their place and renamed when whole, by one process; readers open them in the
process (or DataLoader worker) that reads. How frames are encoded, and what was measured to choose it, is in
docs/storage.md. Every chunk carries a checksum and none is left out, so whatever is damaged or gone is
noticed when it is read.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.codec import ArrayArrayCodec
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.registry import register_codec

from fastaed.errors import DataError, StoreError
from fastaed.files import replacing
from fastaed.pyramid import MapPyramid

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import NDBuffer

CHUNK_FRAMES = 16

Frames = NDArray[np.uint8]
Maps = MapPyramid[NDArray[np.float32]]

_LEVELS = ("one", "four", "sixteen")
# What Zarr, its codecs and the file system raise for a file that is missing, cut off or altered.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError)


@dataclass(frozen=True)
class Encoding:
    """How frames are laid out and compressed; stores say so themselves, so any of them can be read.

    Attributes:
        chunk_frames: frames decoded together.
        shard_frames: frames in one file, a multiple of `chunk_frames`; held in memory while writing.
        compressor: Blosc's inner compressor.
        level: Blosc's compression level.
        shuffle: Blosc's filter before compression; `shuffle` separates the three colours.
        delta: store what changed from frame to frame (`FrameDelta`).
    """

    chunk_frames: int = CHUNK_FRAMES
    shard_frames: int = 8 * CHUNK_FRAMES
    compressor: Literal["lz4", "zstd"] = "zstd"
    level: int = 3
    shuffle: Literal["noshuffle", "shuffle", "bitshuffle"] = "noshuffle"
    delta: bool = True


def write_frames(
    path: Path, frames: Iterable[Frames], attributes: Mapping[str, Any], encoding: Encoding | None = None
) -> int:
    """Write one clip and return how many frames it has. Memory does not grow with the clip.

    Args:
        path: the store, replaced as a whole.
        frames: (H, W, 3) uint8 RGB arrays of one size, in time order.
        attributes: JSON values kept with the clip (`clip`, `source_height`, `source_width`, `rate`).
        encoding: another one than all stages use, to compare.

    Raises:
        DataError: there is no frame, or frames are not all of one size.
        OutputError: the disk is full or may not be written.
    """
    encoding = encoding or Encoding()
    coming = iter(frames)
    with replacing(path) as part:
        first = next(coming, None)
        if first is None:
            raise DataError(f"no frame for {path}: the source is empty")
        array = _new_frame_array(part, first.shape, encoding)
        for shard in _shards(chain([first], coming), first.shape, encoding.shard_frames, path):
            array.append(shard)
        array.update_attributes({**attributes, "frames": array.shape[0], "colour": "RGB"})
        return int(array.shape[0])


def _shards(frames: Iterable[Frames], shape: tuple[int, ...], size: int, path: Path) -> Iterator[Frames]:
    """(T, H, W, 3) runs of `size` frames, the last one shorter, in one buffer that is used again."""
    buffer = np.empty((size, *shape), dtype=np.uint8)
    held = 0
    for frame in frames:
        if frame.shape != shape or frame.dtype != np.uint8:
            raise DataError(
                f"a frame for {path} is {frame.dtype} of shape {frame.shape}, the first one uint8 of {shape}"
            )
        buffer[held] = frame
        held += 1
        if held == size:
            yield buffer
            held = 0
    if held:
        yield buffer[:held]


def _new_frame_array(path: Path, frame_shape: tuple[int, ...], encoding: Encoding) -> "zarr.Array[Any]":
    compressor = BloscCodec(
        cname=encoding.compressor,
        clevel=encoding.level,
        shuffle=encoding.shuffle,
        typesize=3 if encoding.shuffle == "shuffle" else 1,
    )
    return zarr.create_array(
        path,
        shape=(0, *frame_shape),
        chunks=(encoding.chunk_frames, *frame_shape),
        shards=(encoding.shard_frames, *frame_shape),
        dtype="uint8",
        filters=[FrameDelta()] if encoding.delta else [],
        compressors=[compressor, Crc32cCodec()],
        config={"write_empty_chunks": True},
    )


@dataclass(frozen=True)
class FrameDelta(ArrayArrayCodec):
    """Zarr codec `fastaed.frame_delta`: red and blue as difference to green, frames to the frame before.

    A camera that stands still makes most of these differences zero. (T, H, W, 3) uint8 becomes (T, 3, H, W)
    uint8 modulo 256, without loss:

        r' = r - g, g' = g, b' = b - g;    p_0 = c_0, p_t = c_t - c_(t-1)    for each plane c in (r', g', b')
    """

    is_fixed_size = True

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From its entry in the store's metadata, which has no parameters."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Its entry in the store's metadata."""
        return {"name": "fastaed.frame_delta"}

    def resolve_metadata(self, chunk_spec: "ArraySpec") -> "ArraySpec":
        """What the next codec sees."""
        length, height, width, channels = chunk_spec.shape
        return replace(chunk_spec, shape=(length, channels, height, width))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: "ArraySpec") -> int:
        """Bytes after encoding: as many."""
        return input_byte_length

    async def _encode_single(self, chunk_array: "NDBuffer", chunk_spec: "ArraySpec") -> "NDBuffer":
        return chunk_spec.prototype.nd_buffer.from_numpy_array(frame_delta(chunk_array.as_numpy_array()))

    async def _decode_single(self, chunk_array: "NDBuffer", chunk_spec: "ArraySpec") -> "NDBuffer":
        return chunk_spec.prototype.nd_buffer.from_numpy_array(frame_sum(chunk_array.as_numpy_array()))


register_codec("fastaed.frame_delta", FrameDelta)


def frame_delta(frames: Frames) -> Frames:
    """(T, H, W, 3) frames as (T, 3, H, W) differences, see `FrameDelta`."""
    length, height, width, channels = frames.shape
    planes = np.empty((length, channels, height, width), dtype=np.uint8)
    for frame, plane in zip(frames, planes):
        plane[...] = cv2.split(frame)
    planes[:, 0] -= planes[:, 1]
    planes[:, 2] -= planes[:, 1]
    for time in range(length - 1, 0, -1):
        planes[time] -= planes[time - 1]
    return planes


def frame_sum(differences: Frames) -> Frames:
    """(T, 3, H, W) differences as (T, H, W, 3) frames: the inverse of `frame_delta`."""
    length, channels, height, width = differences.shape
    frames = np.empty((length, height, width, channels), dtype=np.uint8)
    planes = np.zeros((channels, height, width), dtype=np.uint8)
    red, green, blue = np.empty_like(planes[0]), planes[1], np.empty_like(planes[2])
    for difference, frame in zip(differences, frames):
        planes += difference
        np.add(planes[0], green, out=red)
        np.add(planes[2], green, out=blue)
        cv2.merge([red, green, blue], dst=frame)
    return frames


class ChunkCache:
    """Decoded chunks of any number of stores, the least recently used dropped beyond `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
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
        if (path, index) in self._chunks:
            self._held -= self._chunks[path, index].nbytes
        self._chunks[path, index] = chunk
        self._held += chunk.nbytes
        while self._held > self.limit_bytes and len(self._chunks) > 1:
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
        except _DAMAGE as error:
            raise StoreError(
                f"{self.path}: frames {start}..{stop - 1} are damaged ({error}); "
                f"delete the store and decode again"
            ) from error

    def gather(self, frames: Sequence[int] | NDArray[np.integer[Any]]) -> Frames:
        """The frames of these numbers as (N, H, W, 3); beyond either end, the frame at that end."""
        inside = np.clip(np.asarray(frames, dtype=np.int64), 0, self.length - 1)
        return np.stack([self._chunk_of(int(number))[int(number) % self._chunk] for number in inside])

    @property
    def chunks_held(self) -> int:
        """How many chunks like this store's its cache holds, one at least."""
        chunk_bytes = self._chunk * self.height * self.width * 3
        return max(1, self._cache.limit_bytes // chunk_bytes)

    def fingerprint(self) -> str:
        """Tells footage of one name apart: SHA-256 of its shape, first and last frame."""
        digest = hashlib.sha256(repr((self.length, self.height, self.width)).encode())
        digest.update(self.gather([0, self.length - 1]).tobytes())
        return digest.hexdigest()

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
        root = zarr.create_group(part, attributes={**attributes, "clips": sorted(clips)})
        for clip, pyramid in clips.items():
            group = root.create_group(clip)
            for name, level in zip(_LEVELS, pyramid):
                check_maps(level, f"maps of clip {clip}")
                group.create_array(
                    name,
                    data=level.astype(np.float32),
                    chunks=(min(len(level), 1024), *level.shape[1:]),
                    compressors=[
                        BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4),
                        Crc32cCodec(),
                    ],
                    config={"write_empty_chunks": True},
                )


def read_maps(path: Path, clip: str) -> Maps:
    """The pyramid of one clip, as written by `write_maps`.

    Raises:
        StoreError: the store or the clip is missing or damaged.
        DataError: a map holds NaN or a value outside [0, 1].
    """
    try:
        group = zarr.open_group(path, mode="r")
        levels = [_whole(group[f"{clip}/{name}"]) for name in _LEVELS]
    except _DAMAGE as error:
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
        attributes: dict[str, Any] = zarr.open_group(path, mode="r").attrs.asdict()
        return list(attributes["clips"])
    except _DAMAGE as error:
        raise StoreError(
            f"store of maps {path} is missing or damaged ({error}); delete it and label again"
        ) from error


def map_readers(path: Path) -> dict[str, Callable[[], NDArray[Any]]]:
    """Clip -> what reads its (T, H, W) maps out of any Zarr store.

    Of a store of `write_maps` these are the 16x16 maps, of any other group the arrays in it; an array alone
    is of the clip that its store is named after.

    Raises:
        StoreError: the store is missing or damaged (or, when reading, its chunks).
    """
    try:
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array):
            return {path.stem: partial(_read_array, path, node)}
        if "clips" in node.attrs:
            return {clip: partial(_sixteen, path, clip) for clip in map_clips(path)}
        return {name: partial(_read_array, path, array) for name, array in sorted(node.arrays())}
    except _DAMAGE as error:
        raise StoreError(f"store of maps {path} is missing or damaged ({error}); write it again") from error


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


def _sixteen(path: Path, clip: str) -> NDArray[np.float32]:
    return read_maps(path, clip).sixteen


def _read_array(path: Path, array: "zarr.Array[Any]") -> NDArray[Any]:
    try:
        return np.asarray(array[...])
    except _DAMAGE as error:
        raise StoreError(f"{path}: array {array.name} is damaged ({error}); write it again") from error


def _whole(array: Any) -> NDArray[np.float32]:
    if array.nchunks_initialized != array.nchunks:  # Zarr would fill in zeros
        raise ValueError(f"{array.nchunks_initialized} of {array.nchunks} chunks of {array.name} are there")
    return np.asarray(array[...], dtype=np.float32)


def _open_array(path: Path) -> "zarr.Array[Any]":
    try:
        array = zarr.open_array(path, mode="r")
        missing = -(-array.shape[0] // _shard_frames(array)) - _shards_there(array)
        stated = (
            array.attrs["frames"],
            *array.chunks[1:],
        )  # of frames, and of pixels: a chunk is whole frames
    except _DAMAGE as error:
        raise StoreError(
            f"frame store {path} is missing or damaged ({error}); delete it and decode again"
        ) from error
    if array.ndim != 4 or array.shape[3] != 3:
        raise StoreError(f"{path} holds an array of shape {array.shape}, not frames (T, H, W, 3)")
    if missing or stated != array.shape:
        raise StoreError(f"frame store {path} is incomplete or altered; delete it and decode again")
    return array


def _shard_frames(array: "zarr.Array[Any]") -> int:
    return int((array.shards or array.chunks)[0])


def _shards_there(array: "zarr.Array[Any]") -> int:
    """Files of the store that hold frames; Zarr reads one that is missing as zeros."""
    return array.nchunks_initialized * int(array.chunks[0]) // _shard_frames(array)

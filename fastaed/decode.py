"""decode: videos or folders of frames -> a frame store of one size for each, and its manifest.

The door to video decoding (a card's own decoder has another, `decode_on_card`). Frames are counted by
decoding them, and the count is compared with that of the labels and with what the container promises; the
container is never believed.
"""

import json
import math
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from fastaed.codehash import code_hash
from fastaed.config import DecodeSettings
from fastaed.data.benchmarks import numbered_images
from fastaed.data.labels import read_frame_labels
from fastaed.data.store import write_frames
from fastaed.errors import DataError, MissingDataError, StoreError
from fastaed.files import content_digest, read_manifest, replacing, write_manifest
from fastaed.progress import progress, say
from fastaed.sources import signature

SHORTEST_CLIP = 7  # frames: an object tube is t-3..t+3
_TOLERATED_LOSS = 0.01  # of the announced frames: encoders leave empty packets
_HIGHEST_RATE = 1000.0  # frames a second; beyond, the container speaks of its clock

Frame = NDArray[np.uint8]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True)
class Footage:
    """An opened source.

    Attributes:
        source: where it comes from.
        height: rows of its frames.
        width: columns of its frames.
        rate: frames a second, None where unknown.
        promised: number of frames that the container states or the folder holds, if it does.
        exact: whether that number is more than an estimate.
        frames: (H, W, 3) uint8 RGB frames in time order, to be consumed once.
    """

    source: Path
    height: int
    width: int
    rate: float | None
    promised: int | None
    exact: bool
    frames: Generator[Frame]


def run(
    sources: Mapping[str, Path],
    out: Path,
    listing: Path | None,
    labels: Mapping[str, Path],
    layout: str,
    settings: DecodeSettings,
    at_once: int = 1,
) -> None:
    """Decode some clips; those whose stores are whole and made from the same source stay as they are.

    Args:
        sources: clip -> a video file or a folder of frames.
        out: folder of the frame stores, `<clip>.zarr`, and their manifests, `<clip>.json`.
        listing: JSON to write when all are done, with the frames of each clip and the digest of its store;
            None: none.
        labels: clip -> its ground truth, where there is any; it must cover as many frames as are decoded.
        layout: a key of `benchmarks.LAYOUTS`, which tells how to read `labels`.
        settings: size of the stored frames.
        at_once: clips that are decoded side by side.

    Raises:
        MissingDataError: a source or its labels are not there.
        DataError: a source cannot be decoded to its end, or its labels belong to another number of frames; or
            there are labels of a clip without a source.
        OutputError: a store cannot be written.
    """
    strange = labels.keys() - sources.keys()
    if strange:
        raise DataError(
            f"there are labels of {min(strange)} but no such clip; name its video, or leave them out"
        )
    stopped = Event()

    def decoded(clip: str) -> dict[str, Any]:
        if stopped.is_set():
            return {}
        source, truth, store = sources[clip], labels.get(clip), out / f"{clip}.zarr"
        manifest = store.with_suffix(".json")
        if _is_current(store, manifest, _given(source, truth), settings):
            say(f"decode {clip}: as it was")
        else:
            decode_clip(source, store, manifest, truth, layout, settings, stopped)
        return read_manifest(manifest)

    with ThreadPoolExecutor(at_once) as threads:
        jobs = [threads.submit(decoded, clip) for clip in sources]
        try:
            for job in as_completed(jobs):
                job.result()
        finally:
            stopped.set()  # whatever still runs after a mistake or Ctrl-C ends at its next frame
    if listing is not None:
        _write_list(listing, [job.result() for job in jobs])


def _write_list(path: Path, manifests: Sequence[Mapping[str, Any]]) -> None:
    clips = {clip: frames for manifest in manifests for clip, frames in manifest["clips"].items()}
    contents = {manifest["clip"]: manifest["content"] for manifest in manifests}
    with replacing(path) as part:
        part.write_text(json.dumps({"clips": clips, "contents": contents}, indent=2) + "\n")


def _is_current(store: Path, manifest: Path, given: list[Path], settings: DecodeSettings) -> bool:
    """Whether a store is what decoding would make, byte for byte by its manifest."""
    try:
        facts = read_manifest(manifest)
    except StoreError:
        return False
    made = facts.get("settings"), facts.get("code"), facts.get("source")
    wanted = settings.model_dump(mode="json"), code_hash("fastaed.decode"), signature(given)
    return made == wanted and store.is_dir() and content_digest(store) == facts["content"]


def _given(source: Path, labels: Path | None) -> list[Path]:
    return [source, labels] if labels else [source]


def decode_clip(
    source: Path,
    store: Path,
    manifest: Path,
    labels: Path | None,
    layout: str,
    settings: DecodeSettings,
    stopped: Event | None = None,
) -> None:
    """Decode one clip.

    Args:
        source: a video file or a folder of frames.
        store: the frame store to write; its stem is the clip's name.
        manifest: the manifest to write.
        labels: the clip's ground truth, if it has any; it must cover as many frames as are decoded.
        layout: a key of `benchmarks.LAYOUTS`, which tells how to read `labels`.
        settings: size of the stored frames.
        stopped: once it is set, decoding ends, as by Ctrl-C.

    Raises:
        MissingDataError: the source or its labels are not there.
        DataError: the source cannot be decoded to its end, or the labels belong to another number of frames.
        OutputError: the store cannot be written.
    """
    labelled = len(read_frame_labels(layout, labels)) if labels else None
    footage = open_footage(source)
    frames = resized(_checked(footage, labelled, labels), settings.width, settings.height)
    facts = {
        "clip": store.stem,
        "source_height": footage.height,
        "source_width": footage.width,
        "rate": footage.rate,
    }
    with closing(footage.frames):
        wanted = _until(stopped or Event(), frames)
        count = write_frames(store, progress(wanted, f"decode {store.stem}", footage.promised), facts)
    counts, source_digest = {store.stem: count}, signature(_given(source, labels))
    made_by = settings.model_dump(mode="json")
    write_manifest(manifest, "decode", made_by, store, counts, source=source_digest, **facts)


def _until(stopped: Event, frames: Iterator[Frame]) -> Iterator[Frame]:
    for frame in frames:
        if stopped.is_set():
            raise KeyboardInterrupt
        yield frame


def open_footage(source: Path) -> Footage:
    """Open a video file or a folder of frames at its own size.

    Folders hold numbered .tif, .png, .jpg or .bmp images. Grey becomes three equal channels, alpha is
    dropped, 16 bit are divided by 257 (so 65535 becomes 255).

    Raises:
        MissingDataError: there is nothing at `source`.
        DataError: it is a URL or cannot be decoded; while iterating, a frame is damaged or of another size.
    """
    if _URL.match(str(source)):
        raise DataError("a source must be a file or a folder, not a URL; save the stream to a file first")
    if source.is_dir():
        return _open_folder(source)
    if not source.is_file():
        raise MissingDataError(f"video {source} does not exist")
    return _open_video(source)


def open_frames(source: Path, settings: DecodeSettings) -> Iterator[Frame]:
    """(height, width, 3) uint8 RGB frames of a video file or a folder, in the size of `settings`.

    Raises:
        MissingDataError: there is nothing at `source`.
        DataError: it cannot be decoded to its end.
    """
    return resized(_checked(open_footage(source), None, None), settings.width, settings.height)


def resized(frames: Iterator[Frame], width: int, height: int) -> Iterator[Frame]:
    """Each frame at `width` x `height` pixels: means of areas where both shrink, else bilinear."""
    for frame in frames:
        rows, columns = frame.shape[:2]
        if (rows, columns) == (height, width):
            yield frame
        else:
            shrinks = height <= rows and width <= columns
            kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            yield np.asarray(cv2.resize(frame, (width, height), interpolation=kind), dtype=np.uint8)


def _checked(footage: Footage, labelled: int | None, labels: Path | None) -> Iterator[Frame]:
    """The frames; at their end, an error if there are not as many as there should be."""
    count = 0
    for frame in footage.frames:
        if frame.shape != (footage.height, footage.width, 3):
            raise DataError(
                f"{footage.source}: frame {count} is {frame.shape[1]}x{frame.shape[0]} pixels, the first one "
                f"{footage.width}x{footage.height}; give all frames one size"
            )
        yield frame
        count += 1
    if labelled is not None and count != labelled:
        raise DataError(
            f"{footage.source} has {count} frames, its labels {labels} cover {labelled}; "
            f"they do not belong together, or one of them is incomplete"
        )
    check_count(footage, count)


def check_count(footage: Footage, count: int) -> None:
    """Whether as many frames as were decoded are enough, and nearly as many as the file announces.

    An AVI counts its frames one by one; elsewhere the number is an estimate, or taken before edits.

    Raises:
        DataError: they are too few.
    """
    if count < SHORTEST_CLIP:
        raise DataError(f"{footage.source} has {count} frames, at least {SHORTEST_CLIP} are needed")
    promised = footage.promised or 0
    if promised - count <= max(2, _TOLERATED_LOSS * promised):
        return
    what = f"{footage.source}: {count} frames can be decoded of the {promised} that the file announces"
    if footage.exact:
        raise DataError(f"{what}; it is damaged: copy it again, or re-encode what is left of it with ffmpeg")
    say(f"{what}; if the clip ends too early, the file is damaged")


def _open_folder(folder: Path) -> Footage:
    files = numbered_images(folder)
    first = _read_image(files[0])
    frames = (_read_image(file) for file in files)
    return Footage(folder, first.shape[0], first.shape[1], None, len(files), True, frames)


def _read_image(file: Path) -> Frame:
    """(H, W, 3) uint8 RGB."""
    image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DataError(f"frame {file} cannot be read as an image; restore it")
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise DataError(f"frame {file} holds {image.dtype} values; convert it to 8 or 16 bit")
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image[..., 2::-1])


def _open_video(source: Path) -> Footage:
    stated, actual = _stated_bytes(source), source.stat().st_size
    if actual == 0:
        raise DataError(f"video {source} is empty (0 bytes); copy it again")
    if stated is not None and stated > actual:
        raise DataError(
            f"video {source} is cut off: it has {actual} bytes, by its header {stated} or more; copy it again"
        )
    capture = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
    opened, first = capture.read()
    if not opened:
        capture.release()
        raise DataError(f"video {source} cannot be decoded: damaged, or no video; check it with ffprobe")
    rate, promised = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return Footage(
        source,
        first.shape[0],
        first.shape[1],
        rate if math.isfinite(rate) and 0 < rate <= _HIGHEST_RATE else None,
        int(promised) if 0 < promised < math.inf else None,
        _first_bytes(source).startswith(b"RIFF"),
        _video_frames(capture, first),
    )


def _video_frames(capture: cv2.VideoCapture, first: NDArray[Any]) -> Generator[Frame]:
    try:
        decoded, frame = True, first
        while decoded:
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            decoded, frame = capture.read()
    finally:
        capture.release()


def _stated_bytes(source: Path) -> int | None:
    """How long an AVI, MP4 or QuickTime file says it is, None where it does not say.

    A copy that broke off often still opens, and its last frame decodes to a smear; its header still states
    the whole length. RIFF: a list of chunks (name, 32-bit length); MP4: a list of boxes (length, name).
    """
    head = _first_bytes(source)
    with source.open("rb") as file:
        if head.startswith(b"RIFF"):
            return _end_of_riff(file)
        if head[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
            return _end_of_boxes(file)
    return None


def _first_bytes(source: Path) -> bytes:
    with source.open("rb") as file:
        return file.read(8)


def _end_of_riff(file: BinaryIO) -> int | None:
    """Where the last RIFF list ends; files beyond 1 GB have several."""
    end = 0
    while True:
        start = end + end % 2  # padded to even places, but not always at the end of the file
        file.seek(start)
        name, size = file.read(4), int.from_bytes(file.read(4), "little")
        if name != b"RIFF":
            return end
        if size in (0, 0xFFFFFFFF):  # written by something that could not go back to fill it in
            return None
        end = start + 8 + size


def _end_of_boxes(file: BinaryIO) -> int | None:
    """Where the last box ends; one of length 0 reaches to the end of the file."""
    end = 0
    while True:
        file.seek(end)
        size, name = int.from_bytes(file.read(4), "big"), file.read(4)
        if not (len(name) == 4 and name.isalnum()):
            return end
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if size < 8:
            return None
        end += size

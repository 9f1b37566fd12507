"""Videos, folders of pictures and other files, each whole or absent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fastaed.errors import OutputError
from fastaed.files import replacing
from fastaed.walkway.camera import Picture


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its place when whole."""
    with replacing(path) as part, part.open("wb") as stream:
        yield stream


def write_video(path: Path, frames: Picture, codec: str, rate: int) -> None:
    """Write (T, H, W, 3) RGB frames, `rate` a second; OpenCV takes the container from the suffix.

    Raises:
        OutputError: OpenCV opens no video of this codec there, or the disk is full.
    """
    import cv2

    size = frames.shape[2], frames.shape[1]
    with replacing(path) as part:
        film = part.with_suffix(path.suffix)
        writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*codec), rate, size)
        try:
            if not writer.isOpened():
                raise OutputError(f"cannot write {path}: OpenCV opens no {codec} video there; see the folder")
            for frame in frames:
                writer.write(frame[..., ::-1])
            writer.release()
            if _count(film) != len(frames):  # OpenCV itself says nothing
                raise OutputError(f"cannot write {path}: frames are missing at its end; is the disk full?")
            film.replace(part)
        finally:
            writer.release()
            film.unlink(missing_ok=True)


def _count(film: Path) -> int:
    import cv2

    capture, count = cv2.VideoCapture(str(film)), 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def write_pictures(folder: Path, pictures: Picture, name: str, first: int = 1) -> None:
    """Write (T, H, W, 3) RGB or (T, H, W) gray pictures, numbered from `first`, as one folder."""
    with replacing(folder) as part:
        part.mkdir()
        for number, picture in enumerate(pictures, start=first):
            (part / name.format(number)).write_bytes(encoded_picture(Path(name).suffix, picture))


def encoded_picture(suffix: str, picture: Picture) -> bytes:
    """An RGB or gray picture as the bytes of a file."""
    import cv2

    done, data = cv2.imencode(suffix, picture if picture.ndim == 2 else picture[..., ::-1])
    if not done:
        raise OutputError(f"OpenCV cannot write pictures as {suffix}; reinstall opencv-python")
    return bytes(data)

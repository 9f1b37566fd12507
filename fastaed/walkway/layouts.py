"""The generated clips in the layouts, codecs and names of the official benchmarks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from fastaed.config import DemoSettings
from fastaed.files import replacing
from fastaed.walkway.camera import FRAMES_PER_SECOND, Picture
from fastaed.walkway.footage import Clip, film
from fastaed.walkway.media import opened, write_pictures, write_video

Layout = Literal["avenue", "shanghaitech", "ped2"]


def write_as(layout: Layout, out: Path, settings: DemoSettings) -> None:
    """Write the same clips in the layout, codec and names of an official benchmark.

    Args:
        layout: whose; ShanghaiTech plays 24 frames a second, Ped2 is gray.
        out: folder in which the official tree is built.
        settings: as for `run`.

    Raises:
        OutputError: the disk is full or may not be written.
    """
    write_train, write_test = {
        "avenue": (_avenue_train, _avenue_test),
        "shanghaitech": (_shanghaitech_train, _shanghaitech_test),
        "ped2": (_ped2_train, _ped2_test),
    }[layout]
    for number, clip in enumerate(film("train", settings), start=1):
        write_train(out, number, clip)
    abnormal = []
    for number, clip in enumerate(film("test", settings), start=1):
        write_test(out, number, clip)
        abnormal.append(clip.ranges)
    if layout == "ped2":
        _write_ped2_ranges(out / "UCSDped2" / "Test" / "UCSDped2.m", abnormal)


def _avenue_train(out: Path, number: int, clip: Clip) -> None:
    write_video(out / "training_videos" / f"{number:02d}.avi", clip.frames, "XVID", FRAMES_PER_SECOND)


def _avenue_test(out: Path, number: int, clip: Clip) -> None:
    """The video, and `volLabel`: a 1 x T cell of H x W matrices of 0 and 1."""
    import scipy.io

    write_video(out / "testing_videos" / f"{number:02d}.avi", clip.frames, "XVID", FRAMES_PER_SECOND)
    cells = np.empty((1, len(clip.masks)), dtype=object)
    for frame, mask in enumerate(clip.masks):
        cells[0, frame] = mask.astype(np.uint8)
    with replacing(out / "ground_truth_demo" / "testing_label_mask" / f"{number}_label.mat") as part:
        scipy.io.savemat(part, {"volLabel": cells}, appendmat=False, do_compression=True)


def _shanghaitech_train(out: Path, number: int, clip: Clip) -> None:
    write_video(out / "training" / "videos" / f"01_{number:03d}.avi", clip.frames, "XVID", 24)


def _shanghaitech_test(out: Path, number: int, clip: Clip) -> None:
    """Frames as JPEG; the official test clips of the first camera start with 01_0014, and so do these."""
    name = f"01_{13 + number:04d}"
    write_pictures(out / "testing" / "frames" / name, clip.frames, "{:03d}.jpg", first=0)
    for folder, truth in (("test_frame_mask", clip.labels), ("test_pixel_mask", clip.masks.astype(np.uint8))):
        with opened(out / "testing" / folder / f"{name}.npy") as stream:
            np.save(stream, truth)


def _ped2_train(out: Path, number: int, clip: Clip) -> None:
    write_pictures(out / "UCSDped2" / "Train" / f"Train{number:03d}", _gray(clip.frames), "{:03d}.tif")


def _ped2_test(out: Path, number: int, clip: Clip) -> None:
    """Frames as TIFF, masks as BMP, which in three of the official clips are named otherwise."""
    folder = out / "UCSDped2" / "Test"
    write_pictures(folder / f"Test{number:03d}", _gray(clip.frames), "{:03d}.tif")
    masks = clip.masks.astype(np.uint8) * np.uint8(255)
    name = "frame{:03d}.bmp" if number in (6, 9, 12) else "{:03d}.bmp"
    write_pictures(folder / f"Test{number:03d}_gt", masks, name)


def _write_ped2_ranges(path: Path, abnormal: Sequence[Sequence[tuple[int, int]]]) -> None:
    """The abnormal frames of each test clip, counted from 1, both ends included."""
    lines = ["TestVideoFile = {};"]
    for ranges in abnormal:
        text = ", ".join(f"{start + 1}:{stop}" for start, stop in ranges)
        lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{text}];")
    with opened(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())


def _gray(frames: Picture) -> Picture:
    """(T, H, W) luma of ITU-R BT.601."""
    gray: Picture = np.rint(frames @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.uint8)
    return gray

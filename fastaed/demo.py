"""A generated data set: a fixed camera over a walkway, and the truth about everything in view.

Everybody walks along the walkway, left or right, at a walking pace; that is all the training split shows.
Each test clip holds one or two events of one kind, and the kinds take turns over the clips: abnormal by
*look* (a cart, a bicycle), by *motion* (running, falling, crossing, stopping) or by *place* (on the lawn).

How it is made, each module from those before it:

- `walkway.shapes`, `people`, `vehicles`: coloured polygons in metres
- `walkway.camera`, `scenery`: where things lie in the picture, and what never moves
- `walkway.figures`: anybody and anything, placed in the picture, boxed and painted
- `walkway.actors`, `footage`: who does what in a clip; clips with their truth
- `walkway.media`, `layouts`, `detector_pictures`, and this module: the files

Everything follows from `DemoSettings.seed`. Importing this module does not import OpenCV.
"""

from pathlib import Path

import numpy as np

from fastaed.config import DemoSettings
from fastaed.walkway.actors import EVENTS, KINDS
from fastaed.walkway.camera import FRAMES_PER_SECOND
from fastaed.walkway.detector_pictures import write_detector_pictures
from fastaed.walkway.figures import CLASSES
from fastaed.walkway.footage import Clip, film, plan
from fastaed.walkway.layouts import Layout, write_as
from fastaed.walkway.media import opened, write_video

__all__ = [
    "CLASSES",
    "EVENTS",
    "FRAMES_PER_SECOND",
    "KINDS",
    "Layout",
    "plan",
    "run",
    "write_as",
    "write_detector_pictures",
]


def run(out: Path, settings: DemoSettings) -> None:
    """Write the data set in the plain layout, each file whole or absent.

    `train/01.mp4`, `test/01.mp4`; for each test clip `labels/01.csv` (frame, label, kind; a row a frame) and
    `masks/01.npz` (`masks`: (T, H, W) bool of abnormal pixels); for all clips `tracks/<split>/01.csv`
    (track_id, frame, x1, y1, x2, y2, class, kind).

    Args:
        out: folder of the data set.
        settings: number, length and size of the clips, and the seed from which everything follows.

    Raises:
        OutputError: the disk is full or may not be written.
    """
    for clip in film("train", settings):
        write_video(out / "train" / f"{clip.name}.mp4", clip.frames, "mp4v", FRAMES_PER_SECOND)
        _write_tracks(out / "tracks" / "train" / f"{clip.name}.csv", clip)
    for clip in film("test", settings):
        write_video(out / "test" / f"{clip.name}.mp4", clip.frames, "mp4v", FRAMES_PER_SECOND)
        _write_tracks(out / "tracks" / "test" / f"{clip.name}.csv", clip)
        _write_labels(out / "labels" / f"{clip.name}.csv", clip)
        with opened(out / "masks" / f"{clip.name}.npz") as stream:
            np.savez_compressed(stream, masks=clip.masks)


def _write_labels(path: Path, clip: Clip) -> None:
    rows = [f"{frame},{int(bool(kind))},{kind}\n" for frame, kind in enumerate(clip.kinds)]
    with opened(path) as stream:
        stream.write("".join(["frame,label,kind\n", *rows]).encode())


def _write_tracks(path: Path, clip: Clip) -> None:
    rows = [",".join(map(str, row)) + "\n" for row in clip.tracks]
    with opened(path) as stream:
        stream.write("".join(["track_id,frame,x1,y1,x2,y2,class,kind\n", *rows]).encode())

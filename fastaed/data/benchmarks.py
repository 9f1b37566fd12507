"""Where each benchmark keeps its clips and ground truth: one row of a table per layout, paths in, paths out.

The Snakefile asks this module while it is being parsed, so it needs the standard library only and looks at
folders, never into files.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from fastaed.errors import DataError, MissingDataError

Split = Literal["train", "test"]

VIDEO_SUFFIXES = frozenset(
    (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
)
IMAGE_SUFFIXES = frozenset((".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"))

_CLIP_NAME = re.compile(r"[^\W_][\w.+=@-]*")  # a wildcard of Snakemake, a file and a Zarr group in one
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Layout:
    """How one benchmark is laid out on disk.

    Attributes:
        inside: names of the official top folder; the user may point at it or at its parent.
        train: folders that may hold the training clips, the first that exists counts.
        test: the same for the test clips.
        clip: regular expression that the name of a clip (file without suffix, or folder) matches.
        label: ground truth of a test clip, the first that exists counts; `{clip}` is its name, `{number}` its
            number without leading zeros.
        needs_label: every test clip has ground truth, so it is an error if there is none.
        version: name of the ground truth, shown in every table.
        tree: what the folder should look like, for error messages.
    """

    inside: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    clip: str
    label: tuple[str, ...]
    needs_label: bool
    version: str
    tree: str


LAYOUTS = {
    "folder": Layout(
        inside=(),
        train=("train",),
        test=("test",),
        clip=r".+",
        label=("labels/{clip}.csv", "labels/{clip}.npy", "labels/{clip}", "{clip}.csv", "{clip}.npy"),
        needs_label=False,
        version="folder",
        tree="""\
train/01.mp4             a video, or a folder of frames: train/01/000.png, 001.png ...
test/01.mp4
labels/01.csv            optional: columns frame,label[,kind]; or 01.npy; or a folder of mask images""",
    ),
    "avenue": Layout(
        inside=("Avenue Dataset", "Avenue_Dataset", "Avenue", "avenue"),
        train=("training_videos",),
        test=("testing_videos",),
        clip=r"\d+",
        label=(
            "ground_truth_demo/testing_label_mask/{number}_label.mat",
            "testing_label_mask/{number}_label.mat",
        ),
        needs_label=True,
        version="avenue:official-masks",
        tree="""\
training_videos/01.avi ... 16.avi
testing_videos/01.avi ... 21.avi
ground_truth_demo/testing_label_mask/1_label.mat ... 21_label.mat""",
    ),
    "shanghaitech": Layout(
        inside=("shanghaitech", "ShanghaiTech"),
        train=("training/videos", "training/frames"),
        test=("testing/frames", "testing/videos"),
        clip=r"\d+_\d+",
        label=("testing/test_frame_mask/{clip}.npy", "test_frame_mask/{clip}.npy"),
        needs_label=True,
        version="shanghaitech:frame-masks",
        tree="""\
training/videos/01_001.avi ...
testing/frames/01_0014/000.jpg ...
testing/test_frame_mask/01_0014.npy ...
testing/test_pixel_mask/01_0014.npy ...""",
    ),
    "ped2": Layout(
        inside=("UCSDped2", "UCSD_Anomaly_Dataset.v1p2/UCSDped2"),
        train=("Train",),
        test=("Test",),
        clip=r"(Train|Test)\d+",
        label=("Test/{clip}_gt",),
        needs_label=True,
        version="ped2:official-masks",
        tree="""\
Train/Train001/001.tif ... Train016/
Test/Test001/001.tif ... Test012/
Test/Test001_gt/001.bmp ... Test012_gt/""",
    ),
}


def list_clips(layout: str, root: Path, split: Split) -> dict[str, Path]:
    """The clips of a split in natural order (9 before 10): name -> video file or folder of frames.

    Args:
        layout: a key of `LAYOUTS`.
        root: the official folder, or the folder that holds it.
        split: `train` or `test`.

    Raises:
        MissingDataError: the folder or the split is not there, or holds no clip.
        DataError: two clips share a name, or a name cannot be part of a path of results.
    """
    row = LAYOUTS[layout]
    base = _base(row, layout, root)
    folders = row.train if split == "train" else row.test
    clips: dict[str, Path] = {}
    for folder in folders:
        for name, path in _clips_in(base / folder, row.clip):
            if name in clips:
                raise DataError(f"{clips[name]} and {path} would both be clip '{name}'; rename or remove one")
            clips[name] = path
        if clips:
            return dict(sorted(clips.items(), key=lambda item: natural_key(item[0])))
    raise _missing(layout, f"{split} clips", [base / folder for folder in folders])


def label_path(layout: str, root: Path, clip: str) -> Path | None:
    """The one file or folder with the ground truth of a test clip; None where a layout does without.

    Raises:
        MissingDataError: the layout has ground truth for every test clip, but not here for this one.
    """
    row = LAYOUTS[layout]
    base = _base(row, layout, root)
    number = clip.lstrip("0") or "0"
    places = [
        place / pattern.format(clip=clip, number=number)
        for place in dict.fromkeys((base, root))
        for pattern in row.label
    ]
    found = next((path for path in places if path.exists()), None)
    if found is None and row.needs_label:
        raise _missing(layout, f"ground truth of test clip {clip}", places)
    return found


def label_paths(layout: str, root: Path) -> dict[str, Path]:
    """The ground truth of all test clips, found without footage: clip -> file or folder, in natural order.

    Args:
        layout: a key of `LAYOUTS`.
        root: the official folder, or the folder that holds it; in layout `folder` also that of the labels.

    Raises:
        MissingDataError: there is no ground truth.
    """
    row = LAYOUTS[layout]
    bases = dict.fromkeys((_base(row, layout, root), root, *(root / inside for inside in row.inside)))
    places = [base / pattern for base in bases for pattern in row.label]
    for folder in dict.fromkeys(place.parent for place in places):
        clips: dict[str, Path] = {}
        for name in dict.fromkeys(place.name for place in places if place.parent == folder):
            clips = {**_labelled(folder, name, row.clip), **clips}  # the first name counts
        if clips:
            return dict(sorted(clips.items(), key=lambda item: natural_key(item[0])))
    raise _missing(layout, "ground truth", places)


def track_path(layout: str, root: Path, clip: str) -> Path | None:
    """The track file of a test clip, .csv or .txt in `tracks/test/` or `tracks/`; None if there is none."""
    bases = dict.fromkeys((_base(LAYOUTS[layout], layout, root), root))
    places = [
        base / folder / f"{clip}{suffix}"
        for base in bases
        for folder in ("tracks/test", "tracks")
        for suffix in (".csv", ".txt")
    ]
    return next((place for place in places if place.is_file()), None)


def track_paths(layout: str, root: Path) -> dict[str, Path]:
    """Test clip -> its track file, for those that have one; none where `root` is no folder."""
    if not root.is_dir():
        return {}
    found = ((clip, track_path(layout, root, clip)) for clip in label_paths(layout, root))
    return {clip: path for clip, path in found if path is not None}


def label_version(layout: str) -> str:
    """Name of a layout's ground truth; numbers of different versions are not comparable."""
    return LAYOUTS[layout].version


def numbered_images(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The images of a folder in the order of their numbers.

    The number is the last run of digits in the name that is not the same in all names. Names without any
    digit are taken in alphabetical order; what systems leave behind (`._001.tif`, Thumbs.db) is not seen.

    Raises:
        MissingDataError: there is no such folder, or no image in it.
        DataError: a number is missing, or there twice, or some names have none.
    """
    if not folder.is_dir():
        raise MissingDataError(f"folder {folder} does not exist")
    wanted = frozenset(suffixes)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_image(entry.name, wanted))
    if not names:
        raise MissingDataError(f"folder {folder} holds no image ({', '.join(sorted(wanted))})")
    numbers = _numbers([Path(name).stem for name in names], folder)
    if numbers is None:
        return [folder / name for name in names]
    ordered = sorted(zip(numbers, names))
    for (before, first), (after, second) in pairwise(ordered):
        if after == before:
            raise DataError(f"{folder}: {first} and {second} have the same number; remove one")
        if after != before + 1:
            raise DataError(
                f"{folder}: image {before + 1} is missing ({first} is followed by {second}); "
                f"restore it, or number the images without a gap"
            )
    return [folder / name for _, name in ordered]


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts `clip9` before `clip10`."""
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name) if part]
    return parts, name


def _base(row: Layout, layout: str, root: Path) -> Path:
    """The folder that `row.train` and `row.test` are relative to."""
    if not root.is_dir():
        raise _missing(layout, "the folder", [root])
    candidates = [root, *(root / inside for inside in row.inside)]
    splits = (*row.train, *row.test)
    return next((base for base in candidates if any((base / split).is_dir() for split in splits)), root)


def _clips_in(folder: Path, pattern: str) -> list[tuple[str, Path]]:
    if not folder.is_dir():
        return []
    clips = []
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder = entry.is_dir()
            name, suffix = (entry.name, "") if is_folder else os.path.splitext(entry.name)  # noqa: PTH122
            if entry.name.startswith(".") or not re.fullmatch(pattern, name):
                continue
            if is_folder or suffix.lower() in VIDEO_SUFFIXES:
                if not _CLIP_NAME.fullmatch(name):
                    raise DataError(
                        f"{folder / entry.name}: a clip's name starts with a letter or digit and goes on "
                        f"with letters, digits and any of _ . + = @ -; rename it"
                    )
                clips.append((name, Path(entry.path)))
    return clips


def _labelled(folder: Path, template: str, pattern: str) -> dict[str, Path]:
    """Clip -> its ground truth, of what a folder holds under names like `{clip}_gt`."""
    placeholder, _, ending = template.partition("}")
    found = {}
    for path in folder.glob(f"*{ending}"):
        name = path.name.removesuffix(ending)
        if path.name.startswith(".") or path.is_dir() == ("." in ending) or not re.fullmatch(pattern, name):
            continue
        if placeholder == "{clip":
            found[name] = path
        elif name == (name.lstrip("0") or "0"):
            found[name.zfill(2)] = path  # as Avenue's videos are called
    return found


def _is_image(name: str, suffixes: frozenset[str]) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in suffixes


def _numbers(stems: list[str], folder: Path) -> list[int] | None:
    """The number of each image, None where no name holds a digit."""
    runs = [[int(part) for part in _DIGITS.findall(stem)] for stem in stems]
    if not any(runs):
        return None
    without = next((stem for stem, run in zip(stems, runs) if not run), None)
    if without is not None:
        raise DataError(f"{folder}: image {without} has no number, others have; number or remove it")
    shortest = min(len(run) for run in runs)
    for place in range(-1, -shortest - 1, -1):
        if len({run[place] for run in runs}) > 1:
            return [run[place] for run in runs]
    return [run[-1] for run in runs]


def _missing(layout: str, what: str, places: Iterable[Path]) -> MissingDataError:
    looked = ", ".join(str(place) for place in places)
    tree = "\n".join(f"    {line}" for line in LAYOUTS[layout].tree.splitlines())
    return MissingDataError(f"{what} of layout '{layout}' not found; looked for {looked}. Expected:\n{tree}")

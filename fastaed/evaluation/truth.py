"""What scores are measured by: labels of the test clips, and what frame stores tell of the footage."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastaed.config import EvaluateSettings
from fastaed.data.benchmarks import label_paths, label_version
from fastaed.data.labels import FrameLabels, read_all_labels, read_frame_labels
from fastaed.data.store import FrameStore
from fastaed.errors import DataError

UNNAMED_KIND = "unnamed"  # an abnormal frame whose label tells no kind, in a data set that has kinds


@dataclass(frozen=True)
class GroundTruth:
    """Where the labels are.

    Attributes:
        dataset: name written into the tables.
        layout: how they are kept, a name of `fastaed.data.benchmarks`.
        labels: test clip -> its ground truth; or the folder of all, or one .npz with an array a clip.
        tracks: test clip -> its track file; the others' tracks are made of their masks.
        normal: frame stores of further clips, in which nothing happens.
    """

    dataset: str
    layout: str
    labels: Mapping[str, Path] | Path
    tracks: Mapping[str, Path] = field(default_factory=dict)
    normal: Sequence[Path] = ()

    def paths(self) -> Mapping[str, Path]:
        """Test clip -> its ground truth, as far as each has a file of its own."""
        if not isinstance(self.labels, Path):
            return self.labels
        return {} if self.labels.suffix == ".npz" else label_paths(self.layout, self.labels)


@dataclass(frozen=True)
class Truth:
    """Ground truth of the test split, in the order of `clips`.

    Attributes:
        clips: their names.
        labels: (T,) uint8 a clip, 1 abnormal.
        kinds: all frames' kinds of event, "" where normal; None where the labels tell none.
        version: of the ground truth; numbers of different versions are not comparable.
    """

    clips: Sequence[str]
    labels: Sequence[NDArray[np.uint8]]
    kinds: NDArray[np.str_] | None
    version: str

    @property
    def frames(self) -> dict[str, int]:
        """Number of frames of each clip."""
        return {clip: len(labels) for clip, labels in zip(self.clips, self.labels)}

    @property
    def digest(self) -> str:
        """SHA-256 of all clips' names and labels."""
        digest = hashlib.sha256()
        for clip, labels in zip(self.clips, self.labels):
            digest.update(f"{clip}\0{len(labels)}\0".encode() + labels.tobytes())
        return digest.hexdigest()

    def at(self, frames: Sequence[NDArray[np.bool_]]) -> "Truth":
        """The same, at some frames of each clip.

        Args:
            frames: (T,) a clip, True where a frame stays.
        """
        labels = [labels[kept] for labels, kept in zip(self.labels, frames)]
        kinds = None if self.kinds is None else self.kinds[np.concatenate(frames)]
        return replace(self, labels=labels, kinds=kinds)

    def guarded(self, guard_frames: int) -> list[NDArray[np.bool_]]:
        """(T,) a clip, False in that many frames on either side of a change between normal and abnormal."""
        return [_away_from_changes(labels, guard_frames) for labels in self.labels]


@dataclass(frozen=True)
class Footage:
    """What frame stores tell of the test clips.

    Attributes:
        stores: clip -> its frames; empty where none were given.
        rate: frames a second, None where unknown or not the same in all clips.
        size: height and width of the source in pixels, None likewise.
    """

    stores: Mapping[str, FrameStore]
    rate: float | None
    size: tuple[int, int] | None


def read_truth(ground_truth: GroundTruth) -> Truth:
    """The labels of all test clips.

    Raises:
        DataError: there are none, they are damaged, all frames are of one class, or a clip in which nothing
            should happen has labels.
        MissingDataError: a file is not there.
        StoreError: a store is missing or damaged.
    """
    if not ground_truth.labels:
        raise DataError(
            f"no labels for the test clips of {ground_truth.dataset}: AUC needs labels; "
            f"ask for results/{ground_truth.dataset}/report instead"
        )
    layout, labels = ground_truth.layout, ground_truth.labels
    if isinstance(labels, Path):
        read = read_all_labels(layout, labels)
        version = labels.name if labels.suffix == ".npz" else label_version(layout)
    else:
        read = {clip: read_frame_labels(layout, path) for clip, path in labels.items()}
        version = label_version(layout)
    for store in map(FrameStore, ground_truth.normal):
        if store.clip in read:
            raise DataError(
                f"{store.path} is named as a clip in which nothing happens, but there are labels of clip "
                f"{store.clip}; name it in one place"
            )
        read[store.clip] = FrameLabels(np.zeros(len(store), np.uint8), None)
    _check_both_classes(read, ground_truth.dataset)
    known = any(one.kinds is not None for one in read.values())
    kinds = np.array([kind for one in read.values() for kind in _kinds(one)]) if known else None
    return Truth(list(read), [one.labels for one in read.values()], kinds, version)


def _away_from_changes(labels: NDArray[np.uint8], guard_frames: int) -> NDArray[np.bool_]:
    kept = np.ones(len(labels), bool)
    for change in (np.flatnonzero(np.diff(labels.astype(np.int8))) + 1).tolist():
        kept[max(change - guard_frames, 0) : change + guard_frames] = False
    return kept


def _check_both_classes(labels: Mapping[str, FrameLabels], dataset: str) -> None:
    there = {value for one in labels.values() for value in np.unique(one.labels).tolist()}
    if len(there) < 2:
        name = "abnormal" if 1 in there else "normal"
        raise DataError(
            f"the labels of {dataset} call all frames of all {len(labels)} clips {name}, so nothing can be "
            "measured; check that they are labels of the test clips"
        )


def _kinds(labels: FrameLabels) -> list[str]:
    told = labels.kinds if labels.kinds is not None else [""] * len(labels.labels)
    return [(kind or UNNAMED_KIND) if abnormal else "" for kind, abnormal in zip(told, labels.labels)]


def read_footage(stores: Sequence[Path], truth: Truth, settings: EvaluateSettings) -> Footage:
    """Rate and size of the footage, from the settings or else from frame stores that agree.

    Raises:
        DataError: a store has another number of frames than the clip's labels.
        StoreError: a store is missing or damaged.
    """
    opened = {store.clip: store for store in map(FrameStore, stores)}
    for clip, frames in truth.frames.items():
        if clip in opened and len(opened[clip]) != frames:
            raise DataError(
                f"{opened[clip].path} holds {len(opened[clip])} frames but clip {clip} has {frames} labels; "
                "one belongs to other footage"
            )
    about = [store.attributes for store in opened.values()]
    rate, height, width = (_common(about, name) for name in ("rate", "source_height", "source_width"))
    size = None if height is None or width is None else (int(height), int(width))
    if settings.frame_size is not None:
        size = settings.frame_size[1], settings.frame_size[0]
    return Footage(opened, settings.frames_per_second or rate, size)


def _common(facts: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = {one.get(name) for one in facts}
    return values.pop() if len(values) == 1 else None

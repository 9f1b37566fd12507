"""What is worth looking at where not all can be shown: peaks of the scores, and the clips that go worst."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fastaed.metrics.auc import Labels, Scores, auc


@dataclass(frozen=True)
class Peak:
    """A frame whose score is among the highest."""

    clip: str
    frame: int
    score: float


def highest_frames(scores: Mapping[str, Scores], count: int, apart_frames: int) -> list[Peak]:
    """The frames of the highest scores, spread over clips and time, highest first.

    Only frames that no other within `apart_frames` surpasses are taken, so neighbours of a peak do not fill
    the sheet. No clip gives more than twice its even share, unless the others have no such frame left.

    Args:
        scores: clip -> (T,) scores; a frame of score -infinity is never taken.
        count: how many frames; fewer where there are fewer peaks.
        apart_frames: least distance between two peaks of a clip, in frames.
    """
    candidates = _peaks_apart(scores, apart_frames)
    share = math.ceil(2 * count / max(len(scores), 1))
    taken: dict[str, int] = {}
    first: list[Peak] = []
    rest: list[Peak] = []
    for peak in candidates:
        taken[peak.clip] = taken.get(peak.clip, 0) + 1
        (first if taken[peak.clip] <= share else rest).append(peak)
    return sorted((first + rest)[:count], key=lambda peak: -peak.score)


def worst_clips(scores: Mapping[str, Scores], labels: Mapping[str, Labels], count: int) -> list[str]:
    """The clips of the lowest AUC, or without labels those of the highest scores, in the clips' own order.

    Clips of one class have no AUC and come after those that have one.

    Args:
        scores: clip -> (T,) scores.
        labels: clip -> (T,) 0 or 1; empty where there are none.
        count: how many clips; fewer where there are fewer.

    Raises:
        DataError: scores and labels of a clip do not fit.
    """

    def badness(clip: str) -> float:
        if not labels:
            return -float(scores[clip].max())
        value = auc(scores[clip], labels[clip])
        return math.inf if value is None else value

    chosen = set(sorted(scores, key=badness)[:count])
    return [clip for clip in scores if clip in chosen]


def _peaks_apart(scores: Mapping[str, Scores], apart_frames: int) -> list[Peak]:
    """The peaks of all clips, the highest first; of equal scores near each other the first is the peak."""
    peaks = []
    for clip, values in scores.items():
        last = -apart_frames - 1
        for frame, value in enumerate(values):
            near = values[max(0, frame - apart_frames) : frame + apart_frames + 1]
            if value == near.max() > -np.inf and frame - last > apart_frames:
                peaks.append(Peak(clip, frame, float(value)))
                last = frame
    return sorted(peaks, key=lambda peak: -peak.score)

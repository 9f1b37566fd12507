"""Events and alarms instead of frames: what a person who is called by an alarm gets to see.

An event is a maximal run of abnormal frames, an alarm a maximal run of frames whose score is at or above a
threshold; runs at most `join_frames` apart are one, and the frames between them belong to it. An event is
detected where alarms cover at least the share `overlap` of its frames; an alarm is right where events cover
at least that share of its own. So one alarm may detect several events and several alarms one event, and
precision counts alarms while recall counts events.

The threshold comes from normal footage (`threshold_from_normal`), never from the clips that are judged.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastaed.errors import DataError
from fastaed.metrics.auc import Labels, Scores, check_clip, check_clips

SECONDS_PER_HOUR = 3600


class Event(NamedTuple):
    """An event of the ground truth and what the alarms made of it.

    Attributes:
        start: first frame.
        stop: one past the last frame.
        detected: alarms cover enough of it.
        delay_frames: frames from its start to the first of its frames that lies in an alarm, or None.
    """

    start: int
    stop: int
    detected: bool
    delay_frames: int | None


class Alarm(NamedTuple):
    """An alarm, right or false.

    Attributes:
        start: first frame.
        stop: one past the last frame.
        right: events cover enough of it.
    """

    start: int
    stop: int
    right: bool


class ClipEvents(NamedTuple):
    """Events and alarms of one clip, in time order."""

    events: list[Event]
    alarms: list[Alarm]

    @property
    def detected(self) -> int:
        """Number of events detected."""
        return sum(event.detected for event in self.events)

    @property
    def missed(self) -> int:
        """Number of events not detected."""
        return len(self.events) - self.detected

    @property
    def false_alarms(self) -> int:
        """Number of alarms that are not right."""
        return sum(not alarm.right for alarm in self.alarms)


class EventMetrics(NamedTuple):
    """Events and alarms of all clips together.

    Attributes:
        events: number of events.
        detected: number of events detected.
        alarms: number of alarms.
        false_alarms: number of alarms that are not right.
        precision: share of the alarms that are right; None without alarms.
        recall: share of the events that are detected; None without events.
        f1: harmonic mean of the two, 0 where both are 0; None where one of them does not exist.
        delay_frames: mean over the detected events, see `Event`; None where none is detected.
        false_alarms_per_hour: of all footage, normal and abnormal; None where its rate is unknown.
    """

    events: int
    detected: int
    alarms: int
    false_alarms: int
    precision: float | None
    recall: float | None
    f1: float | None
    delay_frames: float | None
    false_alarms_per_hour: float | None


def event_metrics(
    scores: Sequence[Scores],
    labels: Sequence[Labels],
    threshold: float,
    overlap: float,
    join_frames: int,
    frames_per_second: float | None = None,
) -> EventMetrics:
    """Events detected and alarms raised at one threshold, over all clips.

    Args:
        scores: one (T,) array a clip.
        labels: one (T,) array a clip, in the same order.
        threshold: a frame at or above it belongs to an alarm.
        overlap: share of an event's or alarm's frames in (0, 1] that the other kind has to cover.
        join_frames: longest gap between two runs that are taken as one.
        frames_per_second: rate of the footage, None where unknown.

    Raises:
        DataError: scores and labels do not fit (`check_clips`), or `overlap` is out of range.
    """
    check_clips(scores, labels)
    clips = [clip_events(*pair, threshold, overlap, join_frames) for pair in zip(scores, labels)]
    events = [event for clip in clips for event in clip.events]
    alarms = sum(len(clip.alarms) for clip in clips)
    false_alarms = sum(clip.false_alarms for clip in clips)
    detected = [event for event in events if event.detected]
    delays = [event.delay_frames for event in detected if event.delay_frames is not None]
    precision, recall = _ratio(alarms - false_alarms, alarms), _ratio(len(detected), len(events))
    seconds = sum(map(len, labels)) / frames_per_second if frames_per_second else 0
    return EventMetrics(
        len(events),
        len(detected),
        alarms,
        false_alarms,
        precision,
        recall,
        _f1(precision, recall),
        _ratio(sum(delays), len(delays)),
        _ratio(SECONDS_PER_HOUR * false_alarms, seconds),
    )


def clip_events(
    scores: Scores, labels: Labels, threshold: float, overlap: float, join_frames: int
) -> ClipEvents:
    """Events and alarms of one clip, and which of them found one another.

    Args:
        scores: (T,) anomaly scores.
        labels: (T,) 0 or 1.
        threshold: a frame at or above it belongs to an alarm.
        overlap: share of an event's or alarm's frames in (0, 1] that the other kind has to cover.
        join_frames: longest gap between two runs that are taken as one.

    Raises:
        DataError: scores and labels do not fit (`check_clip`), or `overlap` is out of range.
    """
    check_clip(scores, labels)
    if not 0 < overlap <= 1:
        raise DataError(f"the overlap of events and alarms is in (0, 1], not {overlap}")
    events, alarms = runs(labels, join_frames), runs(_called(scores, threshold), join_frames)
    in_event, in_alarm = _covered(events, len(labels)), _covered(alarms, len(labels))
    return ClipEvents(
        [Event(*run, _share(in_alarm, run) >= overlap, _first(in_alarm, run)) for run in events],
        [Alarm(*run, _share(in_event, run) >= overlap) for run in alarms],
    )


def runs(labels: Labels | NDArray[np.bool_], join_frames: int = 0) -> list[tuple[int, int]]:
    """Maximal runs of abnormal frames as (first, one past the last).

    Args:
        labels: (T,) 0 or 1.
        join_frames: longest gap between two runs that are taken as one.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels.astype(np.int8), [0]])))
    starts, stops = edges[::2].tolist(), edges[1::2].tolist()
    apart = [k for k in range(1, len(starts)) if starts[k] - stops[k - 1] > join_frames]
    return [(starts[k], stops[n - 1]) for k, n in zip([0, *apart], [*apart, len(starts)]) if k < n]


def threshold_from_normal(scores: Sequence[Scores], percentile: float) -> float | None:
    """A threshold that no more than 100 - `percentile` of a hundred normal frames reach, ties included.

    It lies just above the least score that `percentile` % of the normal frames do not exceed. Were it that
    score itself, all the frames that share it (often the normal ones' lowest) would raise alarms.

    Args:
        scores: one (T,) array for each clip of normal footage.
        percentile: in [0, 100].

    Returns:
        A threshold; None where there is no frame.

    Raises:
        DataError: a score is NaN, or `percentile` is out of range.
    """
    if not 0 <= percentile <= 100:
        raise DataError(f"the percentile of normal scores is in [0, 100], not {percentile}")
    pooled = np.concatenate([np.zeros(0), *scores])
    if np.isnan(pooled).any():
        raise DataError(f"{int(np.isnan(pooled).sum())} of {len(pooled)} normal scores are NaN")
    if not len(pooled):
        return None
    return float(np.nextafter(np.percentile(pooled, percentile, method="inverted_cdf"), np.inf))


def _called(scores: Scores, threshold: float) -> NDArray[np.bool_]:
    """In double precision, or a threshold just above a score would be rounded to that score."""
    return np.asarray(scores.astype(np.float64) >= threshold)


def _covered(found: Sequence[tuple[int, int]], frames: int) -> NDArray[np.bool_]:
    """(frames,) which frames lie in one of the runs."""
    covered = np.zeros(frames, bool)
    for start, stop in found:
        covered[start:stop] = True
    return covered


def _share(covered: NDArray[np.bool_], run: tuple[int, int]) -> float:
    return float(covered[slice(*run)].mean())


def _first(covered: NDArray[np.bool_], run: tuple[int, int]) -> int | None:
    """Frames from the run's start to the first one covered."""
    hits = np.flatnonzero(covered[slice(*run)])
    return int(hits[0]) if len(hits) else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _f1(precision: float | None, recall: float | None) -> float | None:
    if precision is None or recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

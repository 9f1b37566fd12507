"""Events and alarms: cases counted by hand, and a twin that goes from frame to frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaed.errors import DataError
from fastaed.metrics.events import (
    Alarm,
    Event,
    EventMetrics,
    clip_events,
    event_metrics,
    runs,
    threshold_from_normal,
)

bits = st.lists(st.integers(0, 1), max_size=30).map(lambda values: np.array(values, int))


def drawn(picture):
    """'..##' -> 0 0 1 1."""
    return np.array([int(mark == "#") for mark in picture])


def literal_runs(labels, join):
    """Frame by frame: close a run when more than `join` frames in a row are not in it."""
    found, start, last = [], None, None
    for t, label in enumerate(labels):
        if label and start is None:
            start = t
        if label:
            last = t
        elif start is not None and t - last > join:
            found.append((start, last + 1))
            start = None
    return [*found, (start, last + 1)] if start is not None else found


def literal_clip(scores, labels, threshold, overlap, join):
    """(events detected, their delays, alarms that are right, alarms), by counting frames one by one."""
    events, alarms = literal_runs(labels, join), literal_runs([s >= threshold for s in scores], join)
    delays, right = [], 0
    for start, stop in events:
        hit = [t for t in range(start, stop) if any(a <= t < b for a, b in alarms)]
        if len(hit) / (stop - start) >= overlap:
            delays.append(hit[0] - start)
    for start, stop in alarms:
        hit = [t for t in range(start, stop) if any(a <= t < b for a, b in events)]
        right += len(hit) / (stop - start) >= overlap
    return len(events), delays, right, len(alarms)


def test_runs():
    assert runs(drawn("..##.#")) == [(2, 4), (5, 6)]
    assert runs(drawn("##")) == [(0, 2)]
    assert runs(drawn("..")) == []
    assert runs(np.zeros(0, int)) == []
    assert runs(drawn("#.#..#"), join_frames=1) == [(0, 3), (5, 6)]
    assert runs(drawn("#.#..#"), join_frames=2) == [(0, 6)]
    assert runs(np.array([False, True])) == [(1, 2)]


@given(bits, st.integers(0, 4))
def test_runs_equal_the_literal_twin(labels, join):
    assert runs(labels, join) == literal_runs(labels, join)


def test_a_clip_counted_by_hand():
    """Half of the first event is covered, from its third frame; none of the second; half of the third.

    frame    0123456789012345
    events   ..####....##..##
    alarms   #...##.......##.    the first is false, the second right, the third half right
    """
    labels, scores = drawn("..####....##..##"), drawn("#...##.......##.") * 0.8
    found = clip_events(scores, labels, threshold=0.5, overlap=0.5, join_frames=0)
    assert found.events == [Event(2, 6, True, 2), Event(10, 12, False, None), Event(14, 16, True, 0)]
    assert found.alarms == [Alarm(0, 1, False), Alarm(4, 6, True), Alarm(13, 15, True)]
    assert (found.detected, found.missed, found.false_alarms) == (2, 1, 1)
    stricter = clip_events(scores, labels, threshold=0.5, overlap=0.51, join_frames=0)
    assert [event.detected for event in stricter.events] == [False, False, False]
    assert [event.delay_frames for event in stricter.events] == [2, None, 0]  # touched, but not enough
    assert [alarm.right for alarm in stricter.alarms] == [False, True, False]


def test_metrics_counted_by_hand():
    """The clip above and one without events and with one alarm: 2 of 3 events, 2 of 4 alarms, 20 frames."""
    labels = [drawn("..####....##..##"), drawn("....")]
    scores = [drawn("#...##.......##."), drawn(".##.")]
    assert event_metrics(scores, labels, 1.0, 0.5, 0, frames_per_second=10) == EventMetrics(
        events=3,
        detected=2,
        alarms=4,
        false_alarms=2,
        precision=0.5,
        recall=2 / 3,
        f1=pytest.approx(2 * 2 / 7),
        delay_frames=1.0,
        false_alarms_per_hour=pytest.approx(2 * 3600 / 2),  # in two seconds
    )
    assert event_metrics(scores, labels, 1.0, 0.5, 0).false_alarms_per_hour is None


def test_joined_runs_are_one_event_and_one_alarm():
    """Six frames from 1 to 6, of which the alarm, from 2 to 6 with its gap, covers five."""
    labels, scores = drawn(".##..##."), drawn("..#.#.#.")
    found = clip_events(scores, labels, 0.5, overlap=5 / 6, join_frames=2)
    assert found.events == [Event(1, 7, True, 1)]
    assert found.alarms == [Alarm(2, 7, True)]


@given(st.lists(st.tuples(bits, bits), max_size=4), st.sampled_from([0.1, 0.3, 0.5, 1.0]), st.integers(0, 3))
def test_metrics_equal_the_literal_twin(pairs, overlap, join):
    clips = [(a[: len(b)] / 2, b[: len(a)]) for a, b in pairs]
    twins = [literal_clip(*clip, 0.5, overlap, join) for clip in clips]
    events, right, alarms = (sum(twin[k] for twin in twins) for k in (0, 2, 3))
    delays = [delay for twin in twins for delay in twin[1]]
    found = event_metrics([s for s, _ in clips], [y for _, y in clips], 0.5, overlap, join)
    assert found[:4] == (events, len(delays), alarms, alarms - right)
    assert found.precision == (right / alarms if alarms else None)
    assert found.recall == (len(delays) / events if events else None)
    assert found.delay_frames == (pytest.approx(np.mean(delays)) if delays else None)


@given(bits.filter(lambda labels: labels.any()), st.sampled_from([0.1, 1.0]), st.integers(0, 3))
def test_perfect_scores_detect_all_at_once_and_raise_no_false_alarm(labels, overlap, join):
    found = event_metrics([labels / 2], [labels], 0.5, overlap, join, frames_per_second=25)
    assert found[4:] == (1.0, 1.0, 1.0, 0.0, 0.0)


def test_what_does_not_exist_is_no_number():
    quiet, normal, event = np.zeros(4), np.zeros(4, int), np.array([0, 1, 1, 0])
    silent = event_metrics([quiet], [event], 0.5, 0.5, 0, frames_per_second=25)
    assert silent == EventMetrics(1, 0, 0, 0, None, 0.0, None, None, 0.0)
    false = event_metrics([quiet + 1], [normal], 0.5, 0.5, 0)
    assert false == EventMetrics(0, 0, 1, 1, 0.0, None, None, None, None)
    beside = event_metrics([1.0 - event], [event], 0.5, 0.5, 0)
    assert (beside.precision, beside.recall, beside.f1, beside.delay_frames) == (0.0, 0.0, 0.0, None)
    assert event_metrics([], [], 0.5, 0.5, 0, frames_per_second=25).false_alarms_per_hour is None


@given(
    st.lists(st.integers(0, 8).map(lambda k: k / 8), min_size=1, max_size=50),
    st.sampled_from([0, 50, 95, 100]),
)
def test_no_more_normal_frames_than_promised_reach_the_threshold(values, percentile):
    normal = np.array(values, np.float32)
    threshold = threshold_from_normal([normal[:3], normal[3:]], percentile)
    called = sum(len(range(*run)) for run in runs(normal.astype(float) >= threshold))
    assert called / len(normal) <= 1 - percentile / 100 + 1e-12
    below = np.nextafter(threshold, -1)  # the score just above which the threshold lies
    assert below in normal
    assert (normal >= below).mean() > 1 - percentile / 100 or percentile == 0


def test_a_threshold_just_above_a_single_precision_score_is_above_it():
    quiet = np.full(10, 0.1, np.float32)
    threshold = threshold_from_normal([quiet], 99)
    assert clip_events(quiet, np.zeros(10, int), threshold, 0.5, 0).alarms == []
    assert threshold_from_normal([], 99) is None


def test_refuses_what_makes_no_sense():
    with pytest.raises(DataError, match=r"overlap of events and alarms is in \(0, 1\], not 0"):
        clip_events(np.zeros(2), np.zeros(2, int), 0.5, 0, 0)
    with pytest.raises(DataError, match=r"in \[0, 100\], not 101"):
        threshold_from_normal([np.zeros(2)], 101)
    with pytest.raises(DataError, match="1 of 2 normal scores are NaN"):
        threshold_from_normal([np.array([0, np.nan])], 99)
    with pytest.raises(DataError, match="do not match labels"):
        event_metrics([np.zeros(2)], [np.zeros(3, int)], 0.5, 0.5, 0)

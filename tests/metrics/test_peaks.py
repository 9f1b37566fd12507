"""Which frames and clips are shown."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastaed.metrics.peaks import highest_frames, worst_clips


def test_highest_frames_are_peaks_and_not_their_neighbours():
    time = np.arange(100)
    two_hills = np.exp(-(((time - 20) / 8) ** 2)) + 0.5 * np.exp(-(((time - 75) / 8) ** 2))
    peaks = highest_frames({"a": two_hills}, count=5, apart_frames=10)
    assert [(peak.clip, peak.frame) for peak in peaks] == [("a", 20), ("a", 75)]
    assert peaks[0].score == two_hills[20]


def test_one_clip_does_not_fill_the_sheet():
    noisy = {"high": 0.9 + 0.1 * np.random.default_rng(0).random(500)}
    quiet = {f"low{i}": 0.1 * np.random.default_rng(i).random(500) for i in range(3)}
    peaks = highest_frames({**noisy, **quiet}, count=8, apart_frames=5)
    assert len(peaks) == 8
    assert sum(peak.clip == "high" for peak in peaks) == 4  # twice its even share
    alone = highest_frames(noisy, count=8, apart_frames=5)
    assert len(alone) == 8


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.lists(st.integers(0, 5), min_size=1, max_size=40), min_size=1, max_size=3
    ),
    st.integers(1, 6),
    st.integers(0, 8),
)
def test_highest_frames_keep_their_distance_and_include_the_highest(clips, count, apart):
    scores = {clip: np.array(values) / 5 for clip, values in clips.items()}
    peaks = highest_frames(scores, count, apart)
    assert 1 <= len(peaks) <= count
    assert peaks[0].score == max(values.max() for values in scores.values())
    assert [peak.score for peak in peaks] == sorted((peak.score for peak in peaks), reverse=True)
    for one in peaks:
        assert scores[one.clip][one.frame] == one.score
        for other in peaks:
            assert one is other or one.clip != other.clip or abs(one.frame - other.frame) > apart


def test_frames_of_no_score_are_never_taken():
    scores = np.array([0.1, -np.inf, 0.3, -np.inf, 0.2])
    assert [peak.frame for peak in highest_frames({"a": scores}, count=9, apart_frames=0)] == [2, 4, 0]
    assert highest_frames({"a": np.full(5, -np.inf)}, count=3, apart_frames=1) == []


def test_worst_clips_have_the_lowest_auc_and_one_class_clips_come_last():
    both = np.array([0, 1], np.uint8)
    labels = {"a": both, "b": both, "c": np.ones(2, np.uint8), "d": both}
    right, tie, wrong = np.array([0.1, 0.2]), np.array([0.1, 0.1]), np.array([0.2, 0.1])
    scores = {"a": right, "b": wrong, "c": wrong, "d": tie}
    assert worst_clips(scores, labels, 1) == ["b"]
    assert worst_clips(scores, labels, 2) == ["b", "d"]
    assert worst_clips(scores, labels, 3) == ["a", "b", "d"]
    assert worst_clips({**scores, "a": right + 1}, {}, 1) == ["a"]

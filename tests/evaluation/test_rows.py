"""Rows by hand: what stands in which cell, and what stands in none."""

import numpy as np
import pytest

from fastaed.config import EvaluateSettings
from fastaed.evaluation.rows import (
    auc_row,
    clip_rows,
    convention_rows,
    difference_rows,
    kind_rows,
    with_intervals,
)
from fastaed.evaluation.scorers import Judged, Scorer, judge
from fastaed.evaluation.truth import Truth
from fastaed.metrics.bootstrap import FRAME_METRICS, clip_weights

SETTINGS = EvaluateSettings(sigma_frames=2.0, join_frames=0)
LABELS = [np.array([0, 0, 1, 1, 0, 1], np.uint8), np.array([1, 1], np.uint8)]
KINDS = np.array(["", "", "look", "look", "", "place", "look", "look"])
TRUTH = Truth(["01", "02"], LABELS, KINDS, "toy")
SCORES = [np.array([0.1, 0.6, 0.5, 0.9, 0.1, 0.0]), np.array([0.2, 0.8])]


def scorer(model="mine", smoothing="raw", scores=SCORES, threshold=None, is_main=False):
    return Scorer(model, "16x16", smoothing, is_main, [scores], threshold)


def judged(one):
    return judge(one, TRUTH, clip_weights(2, 200, 0))


def test_regions_join_the_raw_row_of_their_scale_only():
    regions = {"mine": {"scale": "16x16", "rbdc": 0.5}}
    raw, centred, other = (
        auc_row(judged(one), regions, TRUTH, None, SETTINGS)
        for one in (scorer(), scorer(smoothing="centred"), scorer(model="yours"))
    )
    assert (raw["rbdc"], raw["scale"], raw["macro_clips"], raw["frames"]) == (0.5, "16x16", 1, 8)
    assert "rbdc" not in centred
    assert "rbdc" not in other
    smaller = auc_row(judged(scorer()), {"mine": {"scale": "4x4", "rbdc": 0.5}}, TRUTH, None, SETTINGS)
    assert "rbdc" not in smaller


def test_events_stand_where_there_is_a_threshold():
    """Events 2-3 and 5 of clip 01 and 0-1 of clip 02, alarms 1-3 of clip 01 and 1 of clip 02."""
    assert "threshold" not in auc_row(judged(scorer()), {}, TRUTH, 4.0, SETTINGS)
    row = auc_row(judged(scorer(threshold=0.5)), {}, TRUTH, 4.0, SETTINGS)
    assert (row["threshold"], row["event_precision"], row["false_alarms"]) == (0.5, 1.0, 0)
    assert (row["event_recall"], row["delay_frames"]) == (pytest.approx(2 / 3), 0.5)
    assert row["false_alarms_per_hour"] == 0
    unknown = auc_row(judged(scorer(threshold=0.5)), {}, TRUTH, None, SETTINGS)
    assert unknown["false_alarms_per_hour"] is None


def test_what_does_not_exist_has_no_interval():
    nothing, some = np.full(10, np.nan), np.arange(11.0)
    row = with_intervals({"a": None, "b": 5.0, "c": 1.0}, {"a": some, "b": some, "c": nothing})
    assert row == {"a": None, "b": 5.0, "c": 1.0, "b_low": pytest.approx(0.25), "b_high": pytest.approx(9.75)}


def test_a_kind_is_measured_against_all_normal_frames():
    rows = {row["kind"]: row for row in kind_rows(scorer(), TRUTH)}
    assert list(rows) == ["look", "place"]
    assert rows["place"]["micro_auc"] == 0  # .0 against .1, .6 and .1
    wins = [2, 3, 2, 3]  # .5, .9, .2 and .8 over .1, .6 and .1
    assert rows["look"]["micro_auc"] == pytest.approx(sum(wins) / 12)
    assert (rows["look"]["kind_frames"], rows["look"]["normal_frames"]) == (4, 3)
    assert list(kind_rows(scorer(), Truth(["01", "02"], LABELS, None, "toy"))) == []


def test_a_clip_of_one_class_says_so_and_without_a_threshold_nothing_is_hit():
    first, second = clip_rows(scorer(), TRUTH, SETTINGS)
    assert first["auc"] == pytest.approx((2 + 3 + 0) / 9)  # .5, .9 and .0 over .1, .6 and .1
    assert (first["verdict"], second["verdict"]) == ("", "one class")
    assert second["auc"] is None
    assert (first["events"], second["events"]) == (2, 1)
    assert "events_hit" not in first
    first, second = clip_rows(scorer(threshold=0.5), TRUTH, SETTINGS)
    assert (first["events_hit"], first["events_missed"], first["false_alarms"]) == (1, 1, 0)
    assert (second["events_hit"], second["events_missed"]) == (1, 0)


def test_differences_are_of_the_first_model_in_the_same_resamples():
    better = [labels + 0.0 for labels in LABELS]
    main = [judged(scorer(scores=better)), judged(scorer("theirs")), judged(scorer("baseline:ramp"))]
    rows = list(difference_rows(main, [judged(scorer("mine", scores=better))]))
    assert [row["against"] for row in rows[:: len(FRAME_METRICS)]] == [
        "theirs",
        "baseline:ramp",
        "against:mine",
    ]
    assert {row["model"] for row in rows} == {"mine"}
    micro = {row["against"]: row for row in rows if row["metric"] == "micro_auc"}
    assert micro["theirs"]["difference"] == 1 - main[1].values["micro_auc"]
    assert [micro["against:mine"][name] for name in ("difference", "low", "high")] == [0, 0, 0]
    drawn = main[0].resamples["micro_auc"] - main[1].resamples["micro_auc"]
    ends = np.nanquantile(drawn, [0.025, 0.975])
    assert (micro["theirs"]["low"], micro["theirs"]["high"]) == pytest.approx(tuple(ends))


def test_there_is_no_difference_to_what_is_undefined():
    nothing = Judged(scorer("void"), dict.fromkeys(FRAME_METRICS), judged(scorer()).resamples)
    assert list(difference_rows([judged(scorer()), nothing], [])) == []


def test_conventions_are_taken_at_the_main_scale():
    model = {clip: {"first": -one, "mean": one} for clip, one in zip(TRUTH.clips, SCORES)}
    rows = list(convention_rows("mine", model, TRUTH, SETTINGS))
    assert {(row["model"], row["scale"]) for row in rows} == {("mine", "mean")}
    assert rows[0]["convention"] == "one-class clips count 1"
    assert rows[0]["macro_auc"] > 0.5  # the mean of clip 01's and of 1 for clip 02
    assert len({row["convention"] for row in rows}) == len(rows) == 5

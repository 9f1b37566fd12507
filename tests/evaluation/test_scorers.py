"""Models and baselines pass through one and the same smoothing and measures."""

import numpy as np
import pytest

from fastaed.config import EvaluateSettings
from fastaed.evaluation.scorers import (
    Scorer,
    baseline_scorers,
    judge,
    main_scale,
    mean,
    model_scorers,
    scales,
)
from fastaed.evaluation.truth import Truth
from fastaed.metrics.bootstrap import clip_weights, frame_metrics, resampled
from fastaed.metrics.smoothing import SMOOTHINGS, smooth

SETTINGS = EvaluateSettings(sigma_frames=2.0, random_draws=3)
LABELS = [np.array([0, 0, 1, 1, 0], np.uint8), np.array([0, 1, 0], np.uint8)]
TRUTH = Truth(["01", "02"], LABELS, None, "toy")
MODEL = {  # in another order than the labels
    "02": {"first": np.array([0.0, 1.0, 0.5]), "mean": np.array([0.3, 0.2, 0.1])},
    "01": {"first": np.arange(5.0), "mean": np.arange(5.0) ** 2},
}


def test_a_model_is_scored_at_every_scale_under_every_smoothing_in_the_labels_order():
    scorers = list(model_scorers({"mine": MODEL}, {}, TRUTH, SETTINGS))
    names = [(one.scale, one.smoothing) for one in scorers]
    assert names == [(scale, smoothing) for scale in ("first", "mean") for smoothing in SMOOTHINGS]
    assert [name for name, one in zip(names, scorers) if one.is_main] == [("mean", "centred")]
    for one in scorers:
        (draw,) = one.draws
        for clip, values in zip(TRUTH.clips, draw):
            expected = smooth(MODEL[clip][one.scale], one.smoothing, 2.0)
            assert values.tolist() == expected.tolist()
        assert one.threshold is None


def test_the_threshold_comes_from_normal_scores_of_the_same_scale_and_smoothing():
    quiet = {"n": {"mean": np.array([0.0, 8.0, 0.0]), "first": np.full(4, 5.0)}}
    settings = SETTINGS.model_copy(update={"normal_percentile": 100.0})
    scorers = model_scorers({"mine": MODEL, "yours": MODEL}, {"mine": quiet}, TRUTH, settings)
    thresholds = {(one.model, one.scale, one.smoothing): one.threshold for one in scorers}
    for smoothing in SMOOTHINGS:
        highest = smooth(quiet["n"]["mean"], smoothing, 2.0).max()
        assert thresholds["mine", "mean", smoothing] == np.nextafter(highest, np.inf)
        assert thresholds["mine", "first", smoothing] == np.nextafter(5.0, np.inf)
        assert thresholds["yours", "mean", smoothing] is None
    assert thresholds["mine", "mean", "raw"] > thresholds["mine", "mean", "centred"]


def test_the_main_scale_is_the_mean_or_else_the_first():
    assert scales(MODEL) == ["first", "mean"]
    assert main_scale(MODEL) == "mean"
    assert main_scale({"01": {"b": np.zeros(1), "a": np.zeros(1)}}) == "b"


def test_baselines_look_at_lengths_only_and_are_smoothed_alike():
    scorers = list(baseline_scorers(TRUTH, SETTINGS))
    assert len(scorers) == 5 * len(SMOOTHINGS)
    assert {one.scale for one in scorers} == {"none"}
    by_name = {(one.model, one.smoothing): one for one in scorers}
    ramp = by_name["baseline:ramp", "causal"].draws[0][0]
    assert ramp.tolist() == smooth(np.arange(5) / 4, "causal", 2.0).tolist()
    random = by_name["baseline:random", "raw"]
    assert [[len(clip) for clip in draw] for draw in random.draws] == [[5, 3]] * 3
    again = {(one.model, one.smoothing): one for one in baseline_scorers(TRUTH, SETTINGS)}
    for here, there in zip(random.draws, again["baseline:random", "raw"].draws):
        assert [clip.tolist() for clip in here] == [clip.tolist() for clip in there]
    assert len({draw[0][0] for draw in random.draws}) == 3


def test_several_draws_are_judged_by_their_means_in_every_resample_too():
    rng = np.random.default_rng(0)
    draws = [[rng.random(5), rng.random(3)] for _ in range(3)]
    weights = clip_weights(2, 40, 0)
    judged = judge(Scorer("m", "s", "raw", False, draws), TRUTH, weights)
    one_by_one = [frame_metrics(draw, LABELS) for draw in draws]
    drawn = [resampled(draw, LABELS, weights) for draw in draws]
    for metric, value in judged.values.items():
        assert value == pytest.approx(np.mean([one[metric] for one in one_by_one]))
        assert judged.resamples[metric] == pytest.approx(np.mean([one[metric] for one in drawn], axis=0))


def test_no_mean_of_what_is_undefined():
    assert mean([None, None]) is None
    assert mean([]) is None
    assert mean([0.0, 1.0]) == 0.5

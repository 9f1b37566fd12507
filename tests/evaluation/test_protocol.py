"""What makes two evaluations comparable, and what makes one doubtful."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fastaed.config import EvaluateSettings
from fastaed.evaluation.protocol import fingerprint, flat, protocol, warnings
from fastaed.evaluation.truth import Footage, Truth

SETTINGS = EvaluateSettings()
LABELS = [np.array([0, 1, 1], np.uint8), np.array([0, 0], np.uint8)]
TRUTH = Truth(["01", "02"], LABELS, None, "toy:official")
FOOTAGE = Footage({}, 25.0, None)


def stamp(dataset="toy", truth=TRUTH, footage=FOOTAGE, **settings):
    facts = protocol(dataset, truth, footage, SETTINGS.model_copy(update=settings))
    return fingerprint(facts)


def test_the_fingerprint_tells_apart_all_that_numbers_depend_on():
    relabelled = replace(TRUTH, labels=[np.array([1, 1, 1], np.uint8), LABELS[1]])
    others = [
        stamp("other"),
        stamp(truth=relabelled),
        stamp(truth=replace(TRUTH, version="toy:second")),
        stamp(footage=replace(FOOTAGE, rate=24.0)),
        stamp(sigma_frames=20.0),
        stamp(resampling_seed=1),
        stamp(random_seed=1),
        stamp(resamples=3000),
        stamp(normal_percentile=98.0),
    ]
    assert len({stamp(), *others}) == 1 + len(others)
    assert stamp() == stamp(truth=replace(TRUTH, labels=[one.copy() for one in LABELS]))


def test_the_protocol_is_json_and_counts_frames():
    facts = protocol("toy", TRUTH, FOOTAGE, SETTINGS)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["clips"], facts["frames"], facts["abnormal_frames"]) == (2, 5, 2)
    assert facts["labels_sha256"] == TRUTH.digest
    assert "centred 169 weights, causal 85" in facts["smoothing"]
    assert set(facts["versions"]) == {"python", "fastaed", "numpy", "scipy", "pandas"}


def test_the_protocol_as_texts_names_the_section_of_each():
    texts = flat({"label_version": "toy", "rate": None, "settings": {"random_seed": 0}})
    assert texts == {"label version": "toy", "rate": "not given", "settings random seed": "0"}


# --- Warnings ----------------------------------------------------------------------------------------------


def twelve(length=60, one_class=0):
    """Clips whose middle third is abnormal; the last `one_class` ones are normal."""
    labels = [np.zeros(length, np.uint8) for _ in range(12)]
    for clip in labels[: 12 - one_class]:
        clip[length // 3 : 2 * length // 3] = 1
    return Truth([f"{k:02d}" for k in range(12)], labels, None, "toy")


def said(scores, truth):
    model = {clip: {"score": np.asarray(values)} for clip, values in zip(truth.clips, scores)}
    return list(warnings({"mine": model}, truth, SETTINGS))


def noisy(truth, seed=0):
    rng = np.random.default_rng(seed)
    return [labels + 0.2 * rng.normal(size=len(labels)) for labels in truth.labels]


def test_sound_scores_are_not_warned_of():
    truth = twelve()
    assert said(noisy(truth), truth) == []


def test_clips_of_one_class_are_counted_and_some_named():
    truth = twelve(one_class=7)
    assert said(noisy(truth), truth) == [
        "macro AUC leaves out 7 of 12 clips, wholly normal or wholly abnormal: 05, 06, 07, 08, 09 and 2 more"
    ]


def test_a_constant_is_said_once_and_nothing_else():
    truth = twelve()
    assert said([np.full(60, 0.3)] * 12, truth) == ["mine gives all 720 frames the same score"]


def test_a_constant_clip_is_named():
    truth = twelve()
    scores = noisy(truth)
    scores[3] = np.full(60, 0.25)
    assert said(scores, truth) == ["mine gives all frames of a clip the same score in 03"]


def test_many_ties_are_said_with_their_share():
    truth = twelve()
    tied = [np.where(np.arange(60) < 15, 0.0, values) for values in noisy(truth)]
    assert said(tied, truth) == [
        "mine gives 25% of the frames a score that others have too: their order is left open"
    ]


@pytest.mark.parametrize(("shift", "words"), [(3, "3 frames late"), (-4, "4 frames early")])
def test_a_shift_of_all_clips_is_said_and_not_corrected(shift, words):
    truth = twelve()
    scores = [np.roll(values, shift) for values in noisy(truth)]
    (warning,) = said(scores, truth)
    assert warning.startswith(f"scores of mine seem {words}: shifted they reach micro AUC ")
    assert warning.endswith("they or the labels may be misaligned")


def test_the_main_scale_is_the_one_warned_of():
    truth = twelve()
    model = {clip: {"1x1": np.zeros(60), "mean": values} for clip, values in zip(truth.clips, noisy(truth))}
    assert list(warnings({"mine": model}, truth, SETTINGS)) == []

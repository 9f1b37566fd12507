"""The density teacher's attributes, and that it finds what is rare."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detector_layers import layers_of
from footage import last_walkers, walkway

from fastaed.config import DensitySettings
from fastaed.data.boxes import no_detections
from fastaed.data.tubes import cut_tubes
from fastaed.errors import DataError
from fastaed.models.eyes import Eyes, open_eyes
from fastaed.teachers.density import (
    Attributes,
    Density,
    _densities,
    _parts,
    body_speed,
    box_geometry,
    gradient_histograms,
    perspective,
    unit_length,
    usual_height,
)
from fastaed.teachers.objects import blocks, draw_objects
from fastaed.teachers.rarity import fisher_score
from fastaed.teachers.teacher import ClipObjects

SETTINGS = DensitySettings()
EYED = DensitySettings(eyes=(2, 4, 4, 6), device="cpu", precision="float32")
NO_FILE = Path("unused.checkpoint")


@pytest.fixture(scope="module")
def layers():
    return layers_of(EYED.eyes)


@pytest.fixture(scope="module")
def normal_clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normal")
    return [walkway(folder, f"normal{seed}", seed) for seed in range(4)]


@pytest.fixture(scope="module")
def teacher(normal_clips):
    fitted = Density(SETTINGS)
    assert fitted.fit(normal_clips[:3], NO_FILE, {}, seed=1) == []
    return fitted


@pytest.mark.parametrize("event", [{"fast": True}, {"striped": True}])
def test_an_object_that_is_fast_or_looks_different_scores_higher(teacher, normal_clips, tmp_path, event):
    normal = teacher.score(normal_clips[3])
    clip = walkway(tmp_path, "event", 9, **event)
    scores, abnormal = teacher.score(clip), last_walkers(clip)
    assert scores.dtype == np.float32
    assert np.median(scores[abnormal]) > np.percentile(normal, 95)
    assert np.median(scores[abnormal]) > np.percentile(scores[~abnormal], 95)


def test_a_fitted_teacher_is_restored_from_its_tensors_alone(teacher, normal_clips):
    state = teacher.state()
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    other = Density(SETTINGS)
    other.restore(state)
    np.testing.assert_array_equal(other.score(normal_clips[3]), teacher.score(normal_clips[3]))


def test_fitting_is_the_same_for_the_same_seed(normal_clips):
    states = []
    for _ in range(2):
        again = Density(DensitySettings(bank_size=100))
        again.fit(normal_clips[:2], NO_FILE, {}, seed=5)
        states.append(again.state())
    assert len(states[0]["look_bank"]) == 100
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=0, atol=0)


def test_tensors_of_another_version_are_refused(teacher):
    state = teacher.state()
    del state["geometry_bank"]
    with pytest.raises(KeyError, match="geometry_bank"):
        Density(SETTINGS).restore(state)


def test_place_is_rare_beside_the_path_or_at_another_height_for_its_row():
    rng = np.random.default_rng(0)
    foot_x, foot_y = rng.uniform(0.4, 0.6, 500), rng.uniform(0.3, 0.9, 500)
    people = Attributes(
        speed=np.ones(500, np.float32),
        look=unit_length(rng.random((500, 4)).astype(np.float32)),
        place=np.stack([foot_x, foot_y, np.log(0.3 * foot_y)], axis=1).astype(np.float32),
    )
    fitted = Density(SETTINGS)
    fitted._learned = _densities(people)
    known = people.part(np.arange(500) < 4)
    on_the_path, beside_it, too_tall, too_small = known.place
    on_the_path[:] = 0.5, 0.6, np.log(0.18)
    beside_it[:] = 0.8, 0.6, np.log(0.18)
    too_tall[:] = 0.5, 0.6, np.log(0.27)
    too_small[:] = 0.5, 0.6, np.log(0.11)
    usual, *odd = fitted._rarity(known)[:, 2]
    assert min(odd) > 5 * usual
    # the sum of both distances, literally
    k, mean, spread = SETTINGS.neighbours, people.place.mean(axis=0), people.place.std(axis=0)
    bank, queries = (people.place - mean) / spread, (known.place - mean) / spread
    for query, found in zip(queries, fitted._rarity(known)[:, 2]):
        apart = [np.sort(np.linalg.norm((bank - query)[:, c], axis=1))[:k].mean() for c in ([0, 1], [1, 2])]
        assert found == pytest.approx(sum(apart), rel=1e-3)


def test_score_is_fishers_sum_over_three_p_values_that_of_place_not_below_a_hundredth(teacher, normal_clips):
    clip = normal_clips[3]
    normal = teacher.state()["normal_rarities"].numpy()
    assert (np.diff(normal, axis=0) >= 0).all()
    expected = []
    for rarity in teacher._rarity(teacher._attributes(clip)):
        logs = []
        for mine, column in zip(rarity, normal.T):
            as_rare = sum(other >= mine for other in column)
            tail = column[len(column) * 9 // 10 :]
            beyond = max(mine - max(column), 0) / np.mean(tail - min(tail))
            logs.append(-np.log((1 + as_rare) / (1 + len(column))) + np.log(1 + beyond))
        logs[2] = -np.log(0.01 + 0.99 * np.exp(-logs[2]))
        expected.append(sum(logs))
    np.testing.assert_allclose(teacher.score(clip), expected, rtol=1e-5)


def test_the_rarities_of_each_clip_are_counted_by_densities_of_the_others(normal_clips):
    _check_reference(normal_clips[:3], np.repeat([0, 1, 2], 72))


def test_those_of_a_single_clip_by_densities_of_other_times(normal_clips):
    _check_reference(normal_clips[:1], np.repeat([0, 1, 2, 3], 18))


def _check_reference(clips, part):
    whole, mine = Density(SETTINGS), Density(SETTINGS)
    whole.fit(clips, NO_FILE, {}, seed=1)
    mine._learned = {"perspective": whole.state()["perspective"]}
    attributes = Attributes(*map(np.concatenate, zip(*(mine._attributes(clip) for clip in clips))))
    rarities = []
    for number in set(part):
        mine._learned |= _densities(attributes.part(part != number))
        rarities.append(mine._rarity(attributes.part(part == number)))
    expected = np.sort(np.concatenate(rarities), axis=0)
    np.testing.assert_allclose(whole.state()["normal_rarities"], expected, rtol=1e-4, atol=1e-6)


def test_parts_take_clips_in_turn():
    np.testing.assert_array_equal(_parts([1, 2, 1, 1, 3, 1]), [0, 1, 1, 2, 3, 0, 0, 0, 1])
    np.testing.assert_array_equal(_parts([6]), [0, 0, 1, 2, 2, 3])
    assert len(set(_parts([1, 1]))) == len(set(_parts([2]))) == 2


def test_who_stands_where_nobody_stood_is_no_more_than_somebody_odd(teacher, normal_clips):
    """However far away, place adds log 100 at most; speed and look have no upper end."""
    attributes = teacher._attributes(normal_clips[3])
    far = Attributes(attributes.speed, attributes.look, attributes.place + np.float32(1000))
    normal = teacher.state()["normal_rarities"].numpy()
    bounded, unbounded = (
        fisher_score(teacher._rarity(far), normal, least)
        - fisher_score(teacher._rarity(far)[:, :2], normal[:, :2])
        for least in ((0, 0, 0.01), None)
    )
    assert unbounded.min() > np.log(1000)
    np.testing.assert_array_less(bounded, np.log(100) + 1e-3)


def test_deep_features_take_the_place_of_gradients_whatever_their_length(normal_clips):
    clip = normal_clips[0]
    rng = np.random.default_rng(0)
    features = rng.random((len(clip.detections), 7)).astype(np.float16)
    deep = ClipObjects(clip.frames, replace(clip.detections, features=features))
    measuring = Density(SETTINGS)
    measuring._learned = {"perspective": torch.tensor([0.0, 20.0, 1.0])}
    look = measuring._attributes(deep).look
    np.testing.assert_allclose(np.linalg.norm(look, axis=1), 1, rtol=1e-3)
    np.testing.assert_allclose(look, unit_length(3 * features.astype(np.float32)), rtol=1e-3)
    assert not unit_length(np.zeros((2, 7), np.float32)).any()


def test_a_close_look_is_the_mean_of_the_eyes_map_of_the_enlarged_crop(normal_clips, layers):
    """Beside the detector's features, if there are any, as long as these."""
    clip = normal_clips[0]
    teacher = Density(EYED, layers)
    eyes = Eyes(EYED.eyes)
    open_eyes(eyes, layers)
    crops = torch.from_numpy(cut_tubes(clip.frames, clip.detections, np.array([0]))[:, 0]) / 255
    close = eyes(torch.nn.functional.interpolate(crops, (128, 128), mode="bilinear"))[1].mean((2, 3)).numpy()
    close = unit_length(close)
    features = np.random.default_rng(1).random((len(close), 5)).astype(np.float16)
    np.testing.assert_allclose(teacher._look(clip.frames, clip.detections), close, atol=1e-5)
    both = teacher._look(clip.frames, replace(clip.detections, features=features))
    afar = unit_length(features.astype(np.float32))
    np.testing.assert_allclose(both, np.concatenate([afar, close], axis=1) / np.sqrt(2), atol=1e-5)


def test_eyes_go_with_a_teacher_into_its_file(normal_clips, layers):
    teacher = Density(EYED, layers)
    teacher.fit(normal_clips[:3], NO_FILE, {}, seed=1)
    other = Density(EYED)
    other.restore(teacher.state())
    assert (other.score(normal_clips[3]) == teacher.score(normal_clips[3])).all()


def test_scores_do_not_depend_on_which_detections_are_scored_together(teacher, normal_clips):
    clip = normal_clips[3]
    some = np.arange(0, len(clip.detections), 5)
    np.testing.assert_allclose(
        teacher.score(ClipObjects(clip.frames, clip.detections.take(some))),
        teacher.score(clip)[some],
        rtol=1e-4,
    )


def test_no_detections_no_scores(teacher, normal_clips):
    clip = normal_clips[0]
    assert teacher.score(ClipObjects(clip.frames, clip.detections.take(np.zeros(0, np.int64)))).shape == (0,)


def test_another_detectors_features_are_refused(teacher, normal_clips):
    clip = normal_clips[0]
    few = clip.detections.take(np.arange(3))
    other = replace(few, features=np.ones((3, 5), np.float16))
    with pytest.raises(DataError, match="fitted on 128 features an object, these detections have 5"):
        teacher.score(ClipObjects(clip.frames, other))


def test_too_little_to_fit_on_is_refused(normal_clips):
    clip = normal_clips[0]
    for number, message in ((0, "no detection in 1 clips"), (1, "1 objects are too few")):
        few = ClipObjects(clip.frames, clip.detections.take(np.arange(number)))
        with pytest.raises(DataError, match=message):
            Density(SETTINGS).fit([few], NO_FILE, {}, seed=1)


def test_gradient_histogram_is_the_literal_one():
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (64, 64)).astype(np.uint8)
    padded = np.pad(crop.astype(float), 1, mode="reflect")
    expected = np.zeros((4, 4, 8))
    for y in range(64):
        for x in range(64):
            near = padded[y : y + 3, x : x + 3]
            across = near[:, 2] @ [1, 2, 1] - near[:, 0] @ [1, 2, 1]
            down = near[2] @ [1, 2, 1] - near[0] @ [1, 2, 1]
            direction = round(np.arctan2(down, across) / (np.pi / 8)) % 8
            expected[y // 16, x // 16, direction] += np.hypot(across, down)
    found = gradient_histograms(crop[None])[0]
    np.testing.assert_allclose(found, np.sqrt(expected / expected.sum()).ravel(), atol=1e-3)


def test_gradient_histograms_have_length_one_and_ignore_brightness_and_contrast():
    crop = np.random.default_rng(0).integers(0, 100, (64, 64)).astype(np.uint8)
    plain, brighter, flat = gradient_histograms(
        np.stack([crop, 2 * crop + 40, np.full((64, 64), 9, np.uint8)])
    )
    np.testing.assert_allclose(brighter, plain, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm([plain, flat], axis=1), 1, rtol=1e-5)


def test_geometry_of_a_box():
    found = box_geometry(np.array([[10, 20, 30, 60]], np.float32), height=100, width=200)
    np.testing.assert_allclose(found[0], [0.1, 0.6, np.log(0.4)], rtol=1e-6)


def test_objects_are_drawn_evenly_without_replacement_and_in_order(normal_clips):
    drawn = draw_objects(normal_clips, 50, np.random.default_rng(0))
    assert sum(len(clip.detections) for clip in drawn) == 50
    for clip, whole in zip(drawn, normal_clips):
        assert 0 < len(clip.detections) < len(whole.detections)
        assert (np.diff(clip.detections.frame) >= 0).all()
    everything = draw_objects(normal_clips, 10_000, np.random.default_rng(0))
    assert [len(clip.detections) for clip in everything] == [72] * 4
    assert [len(clip.detections) for clip in draw_objects(normal_clips, 1, np.random.default_rng(0))] == [1]


def test_blocks_hold_every_detection_once(normal_clips, monkeypatch):
    monkeypatch.setattr("fastaed.teachers.objects._OBJECTS_AT_ONCE", 30)
    parts = list(blocks(normal_clips[0].detections))
    assert [len(part) for part in parts] == [30, 30, 12]
    np.testing.assert_array_equal(
        np.concatenate([part.xyxy for part in parts]), normal_clips[0].detections.xyxy
    )


def _boxes(foot, height, class_id):
    """Detections of boxes 10 pixels wide."""
    left = np.zeros(len(foot))
    xyxy = np.stack([left, foot - height, left + 10, foot], axis=1).astype(np.float32)
    many = len(foot)
    return replace(
        no_detections(2),
        xyxy=xyxy,
        frame=np.zeros(many, np.int32),
        class_id=np.full(many, class_id, np.int16),
        confidence=np.ones(many, np.float32),
        probabilities=np.zeros((many, 2), np.float32),
        features=np.zeros((many, 0), np.float16),
    )


def test_perspective_is_the_line_of_the_commonest_class_whatever_else_there_is():
    rng = np.random.default_rng(0)
    foot = rng.uniform(50, 240, 300)
    people = _boxes(foot, 0.25 * foot + 3, 1)
    odd = _boxes(rng.uniform(50, 240, 60), rng.uniform(2, 200, 60), 1)
    others = [_boxes(rng.uniform(50, 240, 100), np.full(100, 90.0), 0), _boxes(foot, np.full(300, 7.0), -1)]
    slope, start, least = perspective([people, odd, *others], rng)
    assert slope == pytest.approx(0.25, abs=0.02)
    assert start == pytest.approx(3, abs=3)
    rows = np.array([100, 200, -50], np.float32)
    expected = [0.25 * 100 + 3, 0.25 * 200 + 3, least]
    np.testing.assert_allclose(usual_height(rows, np.array([0.25, 3, least], np.float32)), expected)


@pytest.mark.parametrize("boxes", [0, 1, 2])
def test_perspective_of_too_few_boxes_is_their_height_everywhere(boxes):
    table = _boxes(np.full(boxes, 100.0), np.full(boxes, 40.0), -1)
    line = perspective([table], np.random.default_rng(0))
    heights = usual_height(np.array([0, 100, 400], np.float32), line)
    np.testing.assert_allclose(heights, 40 if boxes else 1)


def test_speed_is_that_of_the_upper_body_before_a_still_background():
    flow = np.zeros((64, 96, 2), np.float32)
    flow[:40, 20:34] = (3, 4)  # a body, at 5 pixels a frame, in more than half of the first box's width
    flow[40:, 16:40] = (30, 40)  # its legs
    flow[:, 64:67] = (30, 40)  # something thin in the second box
    boxes = np.array([[16, 0, 40, 64], [56, 0, 80, 64]], np.float32)
    np.testing.assert_allclose(body_speed(flow, boxes), [5, 0], atol=1e-4)

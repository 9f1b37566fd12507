"""Painting, smoothing and pooling, against loops that say the same thing slowly."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastaed.data.boxes import Detections
from fastaed.data.maps import paint_maps, pool_pyramid, smooth_maps
from fastaed.errors import DataError


def detections(frame, xyxy):
    number = len(frame)
    return Detections(
        np.asarray(frame, np.int32),
        np.asarray(xyxy, np.float32).reshape(-1, 4),
        np.ones(number, np.float32),
        np.zeros(number, np.int16),
        np.zeros((number, 0), np.float32),
        np.zeros((number, 0), np.float16),
    )


def slowly_painted(scores, boxes, frames, height, width, cell):
    maps = np.zeros((frames, math.ceil(height / cell), math.ceil(width / cell)), np.float32)
    for t, row, column in np.ndindex(*maps.shape):
        for score, frame, (x1, y1, x2, y2) in zip(scores, boxes.frame, boxes.xyxy):
            across = min(x2, (column + 1) * cell, width) - max(x1, column * cell)
            down = min(y2, (row + 1) * cell, height) - max(y1, row * cell)
            if frame == t and across > 0 and down > 0:
                maps[t, row, column] = max(maps[t, row, column], score)
    return maps


def slowly_smoothed(maps, side):
    reach = side // 2
    smooth = np.zeros_like(maps)
    for place in np.ndindex(*maps.shape):
        cube = tuple(slice(max(0, i - reach), i + reach + 1) for i in place)
        smooth[place] = maps[cube].mean(dtype=np.float64)
    return smooth


def slowly_pooled(maps, cells):
    pooled = np.zeros((len(maps), cells, cells), np.float32)
    _, height, width = maps.shape
    for t, row, column in np.ndindex(*pooled.shape):
        values = [
            maps[t, y, x]
            for y in range(height)
            for x in range(width)
            # the overlap of [y, y + 1] with row's share of the height, in integers
            if min((y + 1) * cells, (row + 1) * height) > max(y * cells, row * height)
            and min((x + 1) * cells, (column + 1) * width) > max(x * cells, column * width)
        ]
        pooled[t, row, column] = max(values)
    return pooled


@st.composite
def painted_clips(draw):
    height, width = draw(st.integers(5, 40)), draw(st.integers(5, 40))
    number = draw(st.integers(0, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    corner = rng.uniform(-8, 40, (number, 2))
    boxes = detections(
        rng.integers(0, 3, number), np.concatenate([corner, corner + rng.uniform(0, 20, (number, 2))], axis=1)
    )
    return rng.random(number).astype(np.float32), boxes, height, width, draw(st.integers(1, 12)), rng


@settings(deadline=None, max_examples=30)
@given(painted_clips())
def test_painting_is_what_a_loop_over_cells_paints_in_any_order(clip):
    scores, boxes, height, width, cell, rng = clip
    maps = paint_maps(scores, boxes, 3, height, width, cell)
    np.testing.assert_array_equal(maps, slowly_painted(scores, boxes, 3, height, width, cell))
    order = rng.permutation(len(scores))
    np.testing.assert_array_equal(maps, paint_maps(scores[order], boxes.take(order), 3, height, width, cell))


def test_a_box_fills_just_the_cells_it_shares_an_area_with():
    boxes = detections([1, 1], [[10, 10, 20, 30], [5, 0, 12, 12]])
    maps = paint_maps(np.array([0.25, 0.75], np.float32), boxes, 2, 40, 30, 10)
    assert not maps[0].any()
    np.testing.assert_array_equal(maps[1], [[0.75, 0.75, 0], [0.75, 0.75, 0], [0, 0.25, 0], [0, 0, 0]])


def test_no_detection_paints_nothing():
    maps = paint_maps(np.zeros(0, np.float32), detections([], []), 4, 41, 60, 20)
    assert maps.shape == (4, 3, 3)
    assert not maps.any()


@pytest.mark.parametrize("score", [np.nan, -0.1, 1.1])
def test_a_score_that_is_no_calibrated_score_is_refused(score):
    with pytest.raises(DataError, match="outside"):
        paint_maps(np.array([score], np.float32), detections([0], [[0, 0, 9, 9]]), 1, 20, 20, 5)


def test_a_detection_beyond_the_clip_is_refused():
    with pytest.raises(DataError, match="frame 3 of a clip of 3"):
        paint_maps(np.array([0.5], np.float32), detections([3], [[0, 0, 9, 9]]), 3, 20, 20, 5)


def test_scores_of_other_detections_are_refused():
    with pytest.raises(DataError, match="2 scores for 1 detections"):
        paint_maps(np.array([0.5, 0.5], np.float32), detections([0], [[0, 0, 9, 9]]), 3, 20, 20, 5)


@pytest.mark.parametrize("side", [0, 1, 3, 5, 9])
@pytest.mark.parametrize("shape", [(7, 6, 5), (2, 3, 12), (1, 1, 1)])
def test_smoothing_is_the_mean_over_what_exists(side, shape):
    maps = np.random.default_rng(side).random(shape).astype(np.float32)
    np.testing.assert_allclose(smooth_maps(maps, side), slowly_smoothed(maps, side), rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_smoothing_keeps_what_is_the_same_everywhere_and_stays_in_range(value):
    maps = np.full((5, 4, 9), value, np.float32)
    smooth = smooth_maps(maps, 5)
    np.testing.assert_allclose(smooth, maps, atol=1e-7)
    assert smooth.min() >= 0
    assert smooth.max() <= 1


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_each_level_holds_the_maxima_of_its_areas(height, width, seed):
    maps = np.random.default_rng(seed).random((1, height, width)).astype(np.float32)
    pyramid = pool_pyramid(maps)
    np.testing.assert_array_equal(pyramid.sixteen, slowly_pooled(maps, 16))
    np.testing.assert_array_equal(pyramid.four, slowly_pooled(pyramid.sixteen, 4))
    np.testing.assert_array_equal(pyramid.one[:, 0, 0], maps.max(axis=(1, 2)))


def test_pyramid_shapes():
    pyramid = pool_pyramid(np.zeros((6, 18, 32), np.float32))
    assert [level.shape for level in pyramid] == [(6, 1, 1), (6, 4, 4), (6, 16, 16)]
    assert {level.dtype for level in pyramid} == {np.dtype(np.float32)}

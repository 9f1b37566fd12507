"""Flow of pictures whose motion is known, and what boxes see of it."""

import cv2
import numpy as np
import pytest

from fastaed.data import flow as flow_module
from fastaed.data.boxes import Detections
from fastaed.data.flow import (
    cut_boxes,
    cut_flow,
    dense_flow,
    grey_frame,
    pair_inside,
    stream_flow,
)
from fastaed.data.store import FrameStore, write_frames
from fastaed.errors import DataError


def speckle(height=80, width=100, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def detections(frame, xyxy=None):
    number = len(frame)
    boxes = [[10, 10, 40, 50]] * number if xyxy is None else xyxy
    return Detections(
        np.asarray(frame, np.int32),
        np.asarray(boxes, np.float32),
        np.ones(number, np.float32),
        np.zeros(number, np.int16),
        np.zeros((number, 0), np.float32),
        np.zeros((number, 0), np.float16),
    )


@pytest.fixture
def sliding_clip(tmp_path):
    """Frame t is the same picture moved t * (t + 1) / 2 pixels to the right: t pixels from t - 1 to t."""
    picture = speckle()
    frames = [np.repeat(np.roll(picture, t * (t + 1) // 2, axis=1)[..., None], 3, axis=2) for t in range(5)]
    write_frames(tmp_path / "clip.zarr", frames, {"clip": "clip"})
    return FrameStore(tmp_path / "clip.zarr")


def test_grey_is_luma_of_red_green_blue():
    frame = np.zeros((1, 3, 3), np.uint8)
    frame[0, range(3), range(3)] = 200
    np.testing.assert_allclose(grey_frame(frame)[0], [0.299 * 200, 0.587 * 200, 0.114 * 200], atol=1)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, 2), (-2, 1)])
def test_flow_is_where_pixels_went_in_pixels(right, down):
    first = speckle()
    second = np.roll(first, (down, right), axis=(0, 1))
    flow = dense_flow(first, second)
    assert flow.shape == (80, 100, 2)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow[10:-10, 10:-10], axis=(0, 1)), [right, down], atol=0.2)


@pytest.mark.parametrize(
    ("pair", "length", "expected"),
    [
        ((2, 3), 5, (2, 3)),
        ((-1, 0), 5, (0, 1)),
        ((4, 5), 5, (3, 4)),
        ((3, 7), 5, (0, 4)),
        ((-1, 0), 2, (0, 1)),
    ],
)
def test_pairs_are_moved_into_the_clip(pair, length, expected):
    assert pair_inside(*pair, length) == expected


def test_stream_gives_each_frame_its_pairs(sliding_clip):
    clip = detections([0, 2, 2, 4])
    seen = {
        tuple(rows): [np.median(flow[20:-20, 20:-20, 0]) for flow in flows]
        for rows, flows in stream_flow(sliding_clip, clip, np.array([[-1, 0], [0, 1]]))
    }
    assert list(seen) == [(0,), (1, 2), (3,)]
    # t pixels between t - 1 and t; the ends show their nearest motion
    for rows, expected in {(0,): [1, 1], (1, 2): [2, 3], (3,): [4, 4]}.items():
        np.testing.assert_allclose(seen[rows], expected, atol=0.3)


def test_offsets_may_differ_from_frame_to_frame(sliding_clip):
    offsets = np.array([[[0, 1 + t % 2]] for t in range(5)])
    speeds = [
        np.median(flow[20:-20, 20:-20, 0])
        for _, (flow,) in stream_flow(sliding_clip, detections([1, 2]), offsets)
    ]
    np.testing.assert_allclose(speeds, [2 + 3, 3], atol=0.3)


def test_no_flow_is_computed_twice(sliding_clip, monkeypatch):
    computed = []

    def counted(first, second):
        computed.append(1)
        return np.zeros((*first.shape, 2), np.float32)

    monkeypatch.setattr(flow_module, "dense_flow", counted)
    streamed = list(stream_flow(sliding_clip, detections(range(5)), np.array([[-1, 0], [0, 1]])))
    assert len(streamed) == 5
    assert len(computed) == 4


def test_a_clip_of_one_frame_has_no_motion(tmp_path):
    write_frames(tmp_path / "still.zarr", [np.zeros((60, 60, 3), np.uint8)], {})
    still = FrameStore(tmp_path / "still.zarr")
    with pytest.raises(DataError, match="one frame has no motion"):
        list(stream_flow(still, detections([0]), np.array([[0, 1]])))
    assert list(stream_flow(still, detections([], np.zeros((0, 4))), np.array([[0, 1]]))) == []


def test_cut_flow_is_in_box_heights():
    flow = np.zeros((80, 100, 2), np.float32)
    flow[10:50, 20:40] = (3.0, -1.0)
    crops = cut_flow(flow, np.array([[20, 10, 40, 50], [60, 10, 90, 70]], np.float32))
    assert crops.shape == (2, 2, 64, 64)
    np.testing.assert_allclose(crops[0, 0], 3 / 40, rtol=1e-5)
    np.testing.assert_allclose(crops[0, 1], -1 / 40, rtol=1e-5)
    assert not crops[1].any()


def test_boxes_at_the_border_are_cut_inside_the_frame():
    picture = np.arange(60 * 50, dtype=np.float32).reshape(60, 50, 1)
    boxes = np.array([[-5, -5, 20, 20], [40, 50, 70, 80], [49.5, 59.5, 60, 70]], np.float32)
    crops = cut_boxes(picture, boxes)
    for crop, inside in zip(crops, (picture[:20, :20], picture[50:, 40:], picture[59:, 49:])):
        assert crop.min() >= inside.min()
        assert crop.max() <= inside.max()

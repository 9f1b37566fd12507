"""Object tubes hold the right pixels of the right frames, in a random order that can be repeated."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fastaed.data.boxes import Detections
from fastaed.data.store import ChunkCache, FrameStore, write_frames
from fastaed.data.tubes import ClipObjects, TubeBatch, cut_tubes, stream_tubes, tubes_in_order
from fastaed.errors import DataError

HEIGHT, WIDTH, LENGTH = 60, 90, 40


def boxes_at(frames: list[int], xyxy: list[list[float]]) -> Detections:
    count = len(frames)
    return Detections(
        np.array(frames, np.int32),
        np.array(xyxy, np.float32).reshape(count, 4),
        np.ones(count, np.float32),
        np.zeros(count, np.int16),
        np.zeros((count, 0), np.float32),
        np.zeros((count, 0), np.float16),
    )


def open_clip(folder: Path, seed: int, cache: ChunkCache | None = None) -> FrameStore:
    """A clip whose pixel values tell the frame: noise, plus the frame's number in a corner."""
    path = folder / f"{seed}.zarr"
    if not path.exists():
        noise = np.random.default_rng(seed).integers(0, 200, (LENGTH, HEIGHT, WIDTH, 3), dtype=np.uint8)
        noise[:, :8, :8] = np.arange(LENGTH, dtype=np.uint8)[:, None, None, None] + np.uint8(seed)
        write_frames(path, noise, {"clip": str(seed)})
    return FrameStore(path, cache)


def literal_tube(frames: FrameStore, frame: int, box: list[float], offsets: list[int]) -> NDArray[np.uint8]:
    """One tube as the sentence says it: the box of frame t on all frames, ends repeated, 64 x 64."""
    left, top = int(np.floor(box[0])), int(np.floor(box[1]))
    right, bottom = int(np.ceil(box[2])), int(np.ceil(box[3]))
    tube = []
    for offset in offsets:
        number = min(max(frame + offset, 0), len(frames) - 1)
        picture = frames.read(number, number + 1)[0]
        crop = picture[max(top, 0) : min(bottom, HEIGHT), max(left, 0) : min(right, WIDTH)]
        tube.append(cv2.resize(crop, (64, 64), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1))
    return np.stack(tube)


def test_a_tube_is_the_box_of_frame_t_on_all_its_frames(tmp_path: Path) -> None:
    frames = open_clip(tmp_path, 1)
    places = [10, 10, 0, 39]
    boxes = [
        [5.0, 6.0, 25.0, 46.0],
        [30.4, 2.2, 60.7, 21.9],
        [80.0, 40.0, 95.0, 70.0],
        [-3.0, -2.0, 9.0, 9.0],
    ]
    offsets = [-3, -2, -1, 0, 1, 2, 3]
    tubes = cut_tubes(frames, boxes_at(places, boxes), np.array(offsets))
    assert tubes.shape == (4, 7, 3, 64, 64)
    assert tubes.dtype == np.uint8
    for tube, frame, box in zip(tubes, places, boxes):
        np.testing.assert_array_equal(tube, literal_tube(frames, frame, box, offsets))


def test_offsets_may_differ_from_detection_to_detection(tmp_path: Path) -> None:
    frames = open_clip(tmp_path, 0)
    corner = [0.0, 0.0, 8.0, 8.0]  # holds the frame's number
    offsets = np.array([[-12, 0, 5], [1, 2, 3], [-1, 0, 30]])
    tubes = cut_tubes(frames, boxes_at([14, 20, 20], [corner] * 3), offsets)
    assert tubes[:, :, 0, 32, 32].tolist() == [[2, 14, 19], [21, 22, 23], [19, 20, 39]]


def test_a_large_box_is_shrunk_by_averaging(tmp_path: Path) -> None:
    path = tmp_path / "stripes.zarr"
    stripes = np.zeros((1, 128, 128, 3), np.uint8)
    stripes[:, :, ::2] = 200
    write_frames(path, stripes, {})
    tubes = cut_tubes(FrameStore(path), boxes_at([0], [[0, 0, 128, 128]]), np.array([0]))
    assert (tubes == 100).all()


@pytest.mark.parametrize("box", [[95.0, 5, 99, 9], [20.0, 5, 20, 9], [float("nan"), 5, 30, 9]])
def test_a_box_without_pixels_is_refused(tmp_path: Path, box: list[float]) -> None:
    with pytest.raises(DataError, match="no pixel in a frame of 90 x 60"):
        cut_tubes(open_clip(tmp_path, 1), boxes_at([3], [box]), np.array([0]))


def some_clips(folder: Path) -> list[ClipObjects]:
    cache = ChunkCache(1 << 26)
    clips = []
    for seed, count in ((0, 30), (40, 0), (80, 25)):
        at = np.sort(np.random.default_rng(seed).integers(0, LENGTH, count)).tolist()
        clips.append(ClipObjects(open_clip(folder, seed, cache), boxes_at(at, [[0, 0, 8, 8]] * count)))
    return clips


def stream(clips: list[ClipObjects], seed: int, limit: int) -> list[TubeBatch]:
    def steps(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        return rng.integers(-2, 3, (count, 2))

    return list(stream_tubes(clips, steps, np.random.default_rng(seed), limit, 8))


def test_an_epoch_shows_every_detection_once(tmp_path: Path) -> None:
    clips = some_clips(tmp_path)
    batches = stream(clips, 1, 1000)
    seen = [(int(c), int(d)) for batch in batches for c, d in zip(batch.clip, batch.detection)]
    assert sorted(seen) == [(0, d) for d in range(30)] + [(2, d) for d in range(25)]
    assert seen != sorted(seen)
    assert [len(batch.tubes) for batch in batches] == [8] * 6 + [7]
    for batch in batches:
        for tube, c, d in zip(batch.tubes, batch.clip, batch.detection):
            base = (0, 40, 80)[c] + int(clips[c].detections.frame[d])
            assert np.abs(tube[:, 0, 32, 32].astype(int) - base).max() <= 2  # the right clip and frame


def test_an_epoch_is_a_limited_draw_without_replacement(tmp_path: Path) -> None:
    batches = stream(some_clips(tmp_path), 2, 20)
    seen = Counter((int(c), int(d)) for batch in batches for c, d in zip(batch.clip, batch.detection))
    assert len(seen) == 20
    assert set(seen.values()) == {1}


def test_equal_generators_give_equal_epochs(tmp_path: Path) -> None:
    clips = some_clips(tmp_path)
    first, again, other = (stream(clips, seed, 20) for seed in (3, 3, 4))
    for batch, twin in zip(first, again):
        for part, same in zip(batch, twin):
            np.testing.assert_array_equal(part, same)
    assert any((batch.detection != twin.detection).any() for batch, twin in zip(first, other))


def test_an_epoch_decodes_each_chunk_and_its_neighbours_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little the cache holds: 1 GB is 90 chunks of 640 x 360, and mixing 64 would need 192."""
    path = tmp_path / "long.zarr"
    write_frames(path, np.zeros((40 * 16, 8, 8, 3), np.uint8), {})
    frames = FrameStore(path, ChunkCache(12 * 16 * 8 * 8 * 3))
    assert frames.chunks_held == 12
    at = np.repeat(np.arange(40 * 16), 2).tolist()
    clip = ClipObjects(frames, boxes_at(at, [[0, 0, 8, 8]] * len(at)))
    reads: list[int] = []
    read = FrameStore.read
    monkeypatch.setattr(FrameStore, "read", lambda self, a, b: reads.append(a) or read(self, a, b))
    order = np.concatenate(
        [
            batch.detection
            for batch in stream_tubes(
                [clip], lambda rng, count: np.array([-12, 0, 12]), np.random.default_rng(1), 10_000, 32
            )
        ]
    )
    assert len(set(order.tolist())) == len(at)
    assert len(reads) <= 3 * 40


def test_detections_beyond_the_clip_are_refused(tmp_path: Path) -> None:
    for frame in (LENGTH, -1):
        with pytest.raises(DataError, match=rf"up to frame {frame} of a clip of {LENGTH}; run detect again"):
            ClipObjects(open_clip(tmp_path, 1), boxes_at([frame], [[0, 0, 8, 8]]))


def test_no_detection_gives_no_batch(tmp_path: Path) -> None:
    assert stream([some_clips(tmp_path)[1]], 1, 20) == []
    assert list(tubes_in_order(some_clips(tmp_path)[1], np.array([0]), 4)) == []


def test_tubes_in_order_are_cut_tubes(tmp_path: Path) -> None:
    objects = some_clips(tmp_path)[0]
    offsets = np.array([-1, 0, 1])
    batches = list(tubes_in_order(objects, offsets, 7))
    assert [len(batch) for batch in batches] == [7, 7, 7, 7, 2]
    np.testing.assert_array_equal(
        np.concatenate(batches), cut_tubes(objects.frames, objects.detections, offsets)
    )


def test_an_error_while_cutting_reaches_the_reader(tmp_path: Path) -> None:
    good = some_clips(tmp_path)[0]
    broken = ClipObjects(good.frames, boxes_at([1, 2], [[0, 0, 8, 8], [200, 0, 208, 8]]))
    with pytest.raises(DataError, match="no pixel"):
        list(tubes_in_order(broken, np.array([0]), 1))

import threading
import time

import numpy as np
import pytest

from fastaed.data.clips import Clips, equal_parts, neighbours, read_ahead, student_input
from fastaed.data.store import FrameStore, write_frames
from fastaed.errors import DataError


def _write(path, frames, height=4, width=6):
    """A clip whose every value tells its clip, frame and channel."""
    marker = sum(map(ord, path.stem)) % 50
    clip = [
        np.broadcast_to(np.array([t, marker, 200], np.uint8), (height, width, 3)).copy()
        for t in range(frames)
    ]
    write_frames(path, clip, {"clip": path.stem})
    return path


@pytest.fixture
def clips(tmp_path):
    return Clips([_write(tmp_path / f"{name}.zarr", n) for name, n in (("b", 20), ("a", 37), ("c", 16))])


def test_student_input_stacks_t_then_before_then_after_each_in_rgb():
    triplet = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3)).astype(np.uint8)
    stacked = student_input(triplet)
    assert stacked.shape == (2, 9, 4, 5)
    for frame in range(3):
        for colour in range(3):
            np.testing.assert_array_equal(stacked[:, 3 * frame + colour], triplet[:, frame, ..., colour])
    np.testing.assert_array_equal(student_input(triplet[1]), stacked[1])


@pytest.mark.parametrize(
    ("frame", "expected"),
    [(5, (5, 2, 8)), (2, (2, 2, 5)), (3, (3, 0, 6)), (7, (7, 4, 7)), (6, (6, 3, 9)), (9, (9, 6, 9))],
)
def test_a_missing_neighbour_repeats_frame_t(frame, expected):
    assert neighbours(frame, 10) == expected


def test_neighbours_at_another_gap_and_in_a_short_clip():
    assert neighbours(10, 30, gap=8) == (10, 2, 18)
    assert neighbours(1, 2) == (1, 1, 1)


def test_clips_are_known_by_name_whatever_the_order_of_the_paths(clips):
    assert clips.names == ["a", "b", "c"]
    assert clips.sizes() == {"a": 37, "b": 20, "c": 16}
    for number, name in enumerate(clips.names):
        triplet = clips.triplet(number, 4)
        assert triplet[:, 0, 0, 0].tolist() == [4, 1, 7]
        assert (triplet[..., 1] == ord(name) % 50).all()


def test_samples_are_all_frames_and_an_epoch_is_a_permutation_of_them(clips):
    everything = list(clips.samples())
    assert everything == [(c, t) for c, n in enumerate((37, 20, 16)) for t in range(n)]
    drawn = list(clips.drawn(1000, np.random.default_rng(0)))
    assert sorted(drawn) == everything
    assert drawn != everything
    assert drawn == list(clips.drawn(1000, np.random.default_rng(0)))
    assert drawn != list(clips.drawn(1000, np.random.default_rng(1)))


def test_fewer_samples_than_frames_are_drawn_without_repetition(clips):
    drawn = list(clips.drawn(30, np.random.default_rng(0)))
    assert len(drawn) == len(set(drawn)) == 30


def test_an_epoch_decodes_each_chunk_once(clips, monkeypatch):
    reads = []
    read = FrameStore.read
    monkeypatch.setattr(
        FrameStore, "read", lambda self, a, b: reads.append((self.clip, a)) or read(self, a, b)
    )
    for sample in clips.drawn(1000, np.random.default_rng(0)):
        clips.triplet(*sample)
    assert len(reads) == len(set(reads)) == 3 + 2 + 1


def test_batches_differ_by_one_sample_at_most_and_keep_the_order(clips):
    samples = clips.samples()
    parts = equal_parts(samples, 16)
    assert [len(part) for part in parts] == [15, 15, 15, 14, 14]
    assert [sample for part in parts for sample in part] == list(samples)


def test_read_ahead_keeps_the_order_and_reads_ahead(clips):
    batches = equal_parts(clips.samples(), 2)
    made = []

    def make(batch):
        time.sleep(0.001 * (5 - len(made) % 5))
        made.append(threading.get_ident())
        return list(batch)

    results = read_ahead(make, batches)
    first = next(results)
    time.sleep(0.05)
    assert len(made) > 1
    assert threading.get_ident() not in made
    assert [first, *results] == [list(batch) for batch in batches]


def test_read_ahead_passes_errors_on_and_stops_when_left(clips):
    batches = equal_parts(clips.samples(), 2)

    def fail(batch):
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        list(read_ahead(fail, batches))
    results = read_ahead(list, batches)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_clips_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(DataError, match="at least one"):
        Clips([])
    one = _write(tmp_path / "a.zarr", 3)
    wide = _write(tmp_path / "b.zarr", 3, width=8)
    with pytest.raises(DataError, match="6x4 and clip b of 8x4"):
        Clips([one, wide])
    (tmp_path / "again").mkdir()
    twin = _write(tmp_path / "again" / "a.zarr", 3)
    with pytest.raises(DataError, match="both hold clip a"):
        Clips([one, twin])

import numpy as np
import pytest
import torch

from fastaed.data.clips import neighbours, student_input
from fastaed.data.stream import batched, inputs_of_chunks, streamed_inputs, uploaded


@pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 7, 20])
@pytest.mark.parametrize("gap", [1, 3])
def test_the_inputs_are_those_of_a_stored_clip(length: int, gap: int) -> None:
    frames = np.random.default_rng(length).integers(0, 256, (length, 4, 5, 3), dtype=np.uint8)
    seen = list(streamed_inputs(iter(frames), gap))
    assert len(seen) == length
    for t, (frame, clip) in enumerate(seen):
        assert np.array_equal(frame, frames[t])
        assert np.array_equal(clip, student_input(frames[list(neighbours(t, length, gap))]))


def test_a_frame_is_answered_as_soon_as_its_future_is_known() -> None:
    read = []
    frames = (read.append(t) or np.full((2, 2, 3), t, np.uint8) for t in range(9))
    stream = streamed_inputs(frames)
    assert next(stream)[0][0, 0, 0] == 0
    assert read == [0, 1, 2, 3]


def test_batches_are_in_order_and_in_one_piece() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (8, 4, 5, 3), dtype=np.uint8)
    batches = list(batched(streamed_inputs(frames), 3))
    assert [len(part) for part, _ in batches] == [3, 3, 2]
    assert np.array_equal(
        np.concatenate([inputs for _, inputs in batches])[:, :3].transpose(0, 2, 3, 1), frames
    )
    assert all(inputs.flags.c_contiguous for _, inputs in batches)
    assert not list(batched([], 3))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 7, 20])
@pytest.mark.parametrize("gap", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_inputs_made_from_chunks_are_those_made_frame_by_frame(length: int, gap: int, count: int) -> None:
    frames = np.random.default_rng(length).integers(0, 256, (length, 4, 5, 3), dtype=np.uint8)
    parts = list(inputs_of_chunks(uploaded(iter(frames), count, torch.device("cpu")), gap))
    shown, inputs = (torch.cat(part).numpy() for part in zip(*parts))
    assert np.array_equal(shown.transpose(0, 2, 3, 1), frames)
    assert np.array_equal(inputs, np.stack([clip for _, clip in streamed_inputs(iter(frames), gap)]))
    assert max(len(part) for part, _ in parts) <= max(count, gap)


def test_nothing_gives_no_inputs() -> None:
    assert not list(inputs_of_chunks(iter(())))

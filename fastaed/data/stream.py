"""Student inputs of footage that is seen once and never held as a whole: a file of any length.

Made by the CPU frame by frame, or on a card some frames at a time, from one copy of each.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastaed.data.clips import GAP_FRAMES, neighbours
from fastaed.data.store import Frames


def streamed_inputs(frames: Iterable[Frames], gap: int = GAP_FRAMES) -> Iterator[tuple[Frames, Frames]]:
    """Each frame and its student input, `gap` frames after it was read; at most 2 gap + 1 frames are held.

    A frame is taken apart into its colours once, for the three inputs that it is part of.

    Args:
        frames: (H, W, 3) uint8 RGB, in time order.
        gap: from t to its neighbours; a missing neighbour repeats frame t, as in `clips.neighbours`.

    Yields:
        Frame t, and (9, H, W) uint8 as of `clips.student_input`.
    """
    past: deque[_Seen] = deque(maxlen=gap)  # the frames before t
    future: deque[_Seen] = deque()  # t and those after it
    for frame in frames:
        future.append(_Seen(frame, cv2.split(frame)))
        if len(future) > gap:
            yield _next(past, future, future[gap], gap)
    while future:
        yield _next(past, future, future[0], gap)


class _Seen(NamedTuple):
    """A frame, whole and by its three colours, (H, W) each."""

    frame: Frames
    colours: Sequence[NDArray[Any]]


def _next(past: deque[_Seen], future: deque[_Seen], after: _Seen, gap: int) -> tuple[Frames, Frames]:
    now = future.popleft()
    before = past[0] if len(past) == gap else now
    past.append(now)
    return now.frame, np.stack([*now.colours, *before.colours, *after.colours])


def batched(inputs: Iterable[tuple[Frames, Frames]], size: int) -> Iterator[tuple[list[Frames], Frames]]:
    """Frames and their student inputs in batches.

    Args:
        inputs: as of `streamed_inputs`.
        size: inputs in a batch; the last may hold fewer.

    Yields:
        B frames, and (B, 9, H, W) uint8.
    """
    held: list[tuple[Frames, Frames]] = []
    for pair in inputs:
        held.append(pair)
        if len(held) == size:
            yield _stacked(held)
            held = []
    if held:
        yield _stacked(held)


def _stacked(held: list[tuple[Frames, Frames]]) -> tuple[list[Frames], Frames]:
    frames, inputs = zip(*held)
    return list(frames), np.stack(inputs)


def uploaded(frames: Iterable[Frames], count: int, device: torch.device) -> Iterator[Tensor]:
    """Frames on a device, some at a time.

    Args:
        frames: (H, W, 3) uint8 RGB, in time order.
        count: frames at a time; the last may be fewer.
        device: where to.

    Yields:
        (N, 3, H, W) uint8.
    """
    waiting = iter(frames)
    while some := list(islice(waiting, count)):
        yield torch.from_numpy(np.stack(some)).to(device).permute(0, 3, 1, 2)


def inputs_of_chunks(chunks: Iterable[Tensor], gap: int = GAP_FRAMES) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames and their student inputs, made where the frames lie, as soon as their future is known.

    Args:
        chunks: (N, 3, H, W) uint8 RGB, one after the other.
        gap: from t to its neighbours; a missing neighbour repeats frame t, as in `clips.neighbours`.

    Yields:
        (M, 3, H, W) frames t, and (M, 9, H, W) as of `clips.student_input`; as many as came, but `gap` fewer
        at first and `gap` at last.
    """
    held: Tensor | None = None
    following = 0  # place of the next frame t among those held
    for chunk in chunks:
        if held is None:
            held = chunk
        else:
            start = max(0, following - gap)
            held, following = torch.cat([held[start:], chunk]), following - start
        if len(held) > following + gap:
            yield _windows(held, following, len(held) - gap, gap)
            following = len(held) - gap
    if held is not None and following < len(held):
        yield _windows(held, following, len(held), gap)


def _windows(held: Tensor, start: int, stop: int, gap: int) -> tuple[Tensor, Tensor]:
    """Of frames `start` to `stop`; only at a clip's ends a neighbour is not among those held."""
    places = [neighbours(place, len(held), gap) for place in range(start, stop)]
    return held[start:stop], held[torch.tensor(places, device=held.device)].flatten(1, 2)

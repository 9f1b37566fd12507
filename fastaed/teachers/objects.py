"""A random sample of the objects of many clips."""

from collections.abc import Iterator, Sequence

import numpy as np

from fastaed.data.boxes import Detections
from fastaed.data.tubes import ClipObjects
from fastaed.errors import DataError

_OBJECTS_AT_ONCE = 1024


def draw_objects(clips: Sequence[ClipObjects], limit: int, rng: np.random.Generator) -> list[ClipObjects]:
    """At most `limit` detections, drawn without replacement, in their old order, and the clips that have any.

    Raises:
        DataError: there is no detection in any clip.
    """
    clip = np.repeat(np.arange(len(clips)), [len(objects.detections) for objects in clips])
    if len(clip) == 0:
        raise DataError(f"no detection in {len(clips)} clips, so there is nothing to learn from; detect more")
    drawn = np.zeros(len(clip), bool)
    drawn[rng.permutation(len(clip))[:limit]] = True
    return [
        ClipObjects(objects.frames, objects.detections.take(drawn[clip == number]))
        for number, objects in enumerate(clips)
        if drawn[clip == number].any()
    ]


def blocks(detections: Detections) -> Iterator[Detections]:
    """The detections in their order, some at a time: long clips need no more memory than short ones."""
    for start in range(0, len(detections), _OBJECTS_AT_ONCE):
        yield detections.take(np.arange(start, min(start + _OBJECTS_AT_ONCE, len(detections))))

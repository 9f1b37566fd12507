"""The three scales at which anomaly maps are written, distilled and scored."""

from typing import Generic, NamedTuple, TypeVar

Array = TypeVar("Array")

SCALES = ("1x1", "4x4", "16x16")


class MapPyramid(NamedTuple, Generic[Array]):
    """Anomaly maps in [0, 1], higher is more anomalous, each level the max-pooled level below it.

    Row 0 is the top of the frame, column 0 its left edge. Levels have any leading axes (T frames or a batch).
    """

    one: Array  # (..., 1, 1)
    four: Array  # (..., 4, 4)
    sixteen: Array  # (..., 16, 16)

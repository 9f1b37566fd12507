"""Detections: boxes in the pixels of the stored frame, one table per clip."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastaed.errors import StoreError
from fastaed.files import replacing

MOTION_CLASS = -1


@dataclass(frozen=True)
class Detections:
    """The N detections of one clip, ordered by frame.

    Attributes:
        frame: (N,) int32 frame numbers from 0.
        xyxy: (N, 4) float32 left, top, right, bottom in pixels of the stored frame; right and bottom exclusive.
        confidence: (N,) float32 in [0, 1].
        class_id: (N,) int16 class of the detector, -1 for motion.
        probabilities: (N, K) float32 class probabilities in [0, 1]; K = 0 where the detector has none.
    """

    frame: NDArray[np.int32]
    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int16]
    probabilities: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Detections":
        """The detections selected by a boolean mask or by index."""
        return Detections(
            self.frame[which],
            self.xyxy[which],
            self.confidence[which],
            self.class_id[which],
            self.probabilities[which],
        )


def write_detections(path: Path, detections: Detections) -> None:
    """Write one clip's table as parquet: frame, x1, y1, x2, y2, confidence, class_id, probabilities (a list)."""
    table = pd.DataFrame(
        {
            "frame": detections.frame,
            **{name: detections.xyxy[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))},
            "confidence": detections.confidence,
            "class_id": detections.class_id,
            "probabilities": list(detections.probabilities),
        }
    )
    with replacing(path) as part:
        table.to_parquet(part, index=False)


def read_detections(path: Path) -> Detections:
    """One clip's table as written by `write_detections`.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        table = pd.read_parquet(path)
        rows = [np.asarray(row, dtype=np.float32) for row in table["probabilities"]]
        return Detections(
            table["frame"].to_numpy(np.int32),
            table[["x1", "y1", "x2", "y2"]].to_numpy(np.float32),
            table["confidence"].to_numpy(np.float32),
            table["class_id"].to_numpy(np.int16),
            np.stack(rows) if rows else np.zeros((0, 0), np.float32),
        )
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"detections {path} are missing or damaged ({error}); run detect again") from error

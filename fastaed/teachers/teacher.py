"""What every teacher is: something fitted on the objects of normal clips that scores objects of any clip."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fastaed.data.tubes import ClipObjects

__all__ = ["ClipObjects", "Teacher"]


class Teacher(Protocol):
    """An object-level model of normality. Scores are raw; `Calibration` brings all teachers to one scale."""

    def fit(
        self, clips: Sequence[ClipObjects], checkpoint: Path, identity: Mapping[str, Any], seed: int
    ) -> list[dict[str, float]]:
        """Learn from normal clips; resume from `checkpoint` if it is there and of this identity.

        Returns:
            one row of losses an epoch (`epoch`, then a column a loss), empty if there are no epochs.
        """
        ...

    def score(self, clip: ClipObjects) -> NDArray[np.float32]:
        """(N,) raw anomaly scores, one a detection, any range, higher is more anomalous."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """All that was learned, as named tensors."""
        ...

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        ...

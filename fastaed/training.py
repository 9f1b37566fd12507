"""What every training loop here shares: device and precision, seeds, checkpoints that resume exactly.

Randomness follows one rule. Whatever is drawn in epoch `e` comes from `epoch_rng(seed, e)` (NumPy: order,
augmentation) or from torch's global state (initialisation, dropout), which the checkpoint carries. A run
that was interrupted and resumed therefore ends with the same weights as one that was not.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, Protocol

import numpy as np
import torch

from fastaed.files import replacing
from fastaed.progress import say

Precision = Literal["auto", "float32", "bfloat16"]


class Stateful(Protocol):
    """A module, optimizer, schedule or averaged model."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU; other names are torch's."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Mixed precision for a forward pass; `auto` is bfloat16 wherever the device multiplies it natively."""
    native = (
        torch.cuda.is_bf16_supported()
        if device.type == "cuda"
        else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    if precision == "bfloat16" or (precision == "auto" and native):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def seed_everything(seed: int) -> None:
    """Seed torch; NumPy is never used through its global state."""
    torch.manual_seed(seed)


def epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """The generator for all that is drawn in one epoch, the same whether or not the run was resumed."""
    return np.random.default_rng((seed, epoch))


class Checkpoint:
    """The whole state of a training run in one file, replaced atomically after each epoch.

    Args:
        path: the file; removed by `remove` when the run is complete.
        identity: settings, code hash and inputs of the run; a checkpoint of another identity is not resumed.
        parts: name -> module, optimizer, schedule ...
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], parts: Mapping[str, Stateful]) -> None:
        self.path = path
        self._identity = repr(sorted(identity.items()))
        self._parts = parts

    def save(self, epochs_done: int, history: list[dict[str, float]]) -> None:
        """Write the state after `epochs_done` epochs; `history` is one row of losses an epoch."""
        state = {
            "identity": self._identity,
            "epochs_done": epochs_done,
            "history": history,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        with replacing(self.path) as part:
            torch.save(state, part)

    def resume(self) -> tuple[int, list[dict[str, float]]]:
        """Restore all parts and torch's random state; epochs done and history so far, (0, []) if there is nothing."""
        if not self.path.exists():
            return 0, []
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
            say(f"checkpoint {self.path} is unreadable ({type(error).__name__}): starting from the beginning")
            return 0, []
        if state["identity"] != self._identity:
            say(
                f"checkpoint {self.path} belongs to other settings, code or data: starting from the beginning"
            )
            return 0, []
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        say(f"resuming after epoch {state['epochs_done']} from {self.path}")
        return state["epochs_done"], state["history"]

    def remove(self) -> None:
        """Forget the checkpoint: the run is complete and its result written."""
        self.path.unlink(missing_ok=True)

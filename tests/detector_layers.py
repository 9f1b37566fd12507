"""A small detector that has learnt nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastaed.models.eyes import Eyes


def layers_of(widths: Sequence[int]) -> dict[str, Tensor]:
    """Its first layers, as `yolo.layer_weights` names them; the same at every call."""
    torch.manual_seed(7)
    return {name.replace("layers.", "model."): tensor for name, tensor in Eyes(widths).state_dict().items()}

"""Network weights with everything needed to use them again, in one safetensors file that executes nothing."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fastaed.errors import WeightsError
from fastaed.files import replacing


def save_weights(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and a JSON object of facts (settings, calibration, provenance) to one file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as part:
        part.write_bytes(save(plain, metadata={"fastaed": json.dumps(dict(facts), sort_keys=True)}))


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and facts of a file written by `save_weights`.

    Raises:
        WeightsError: the file is missing, damaged or not ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = (file.metadata() or {}).get("fastaed")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise WeightsError(f"weights {path} do not exist; run the stage that trains them") from error
    except SafetensorError as error:
        raise WeightsError(
            f"weights {path} are damaged ({error}); delete the file and train again"
        ) from error
    if facts is None:
        raise WeightsError(f"weights {path} were not written by fastaed: their settings are missing")
    return tensors, json.loads(facts)


def weights_digest(path: Path) -> str:
    """SHA-256 of a weights file, recorded in the manifests of whatever it made."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

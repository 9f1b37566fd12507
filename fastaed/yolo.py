"""YOLO's weights files: found, downloaded and opened, and the first layers of the network in them.

This module is the only door to ultralytics, which it keeps off the network: no telemetry, no update check, no
installing of packages.
"""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from torch import Tensor

from fastaed.errors import WeightsError
from fastaed.progress import say
from fastaed.sources import weights_places

_NO_DETECTOR = (  # what reading a file raises that is none
    TypeError,
    ValueError,
    RuntimeError,
    ModuleNotFoundError,
    KeyError,
    AttributeError,
    DecodeError,
)


def find_weights(name: str) -> Path:
    """The weights file `name`: that path, else `weights/<name>`, where an official one is downloaded to.

    Raises:
        WeightsError: there is no such file and none could be downloaded.
    """
    places = weights_places(name)
    for place in places:
        if place.is_file():
            return place
    target = places[-1]
    downloads = open_ultralytics().utils.downloads
    if name not in downloads.GITHUB_ASSETS_NAMES:
        raise WeightsError(
            f"there are no detector weights at {' or '.join(map(str, places))}; "
            "put the file there or set detect.weights"
        )
    say(f"downloading detector weights {name} to {target}")
    try:
        downloads.attempt_download_asset(str(target), retry=0, progress=False)
    except OSError as error:
        raise WeightsError(
            f"detector weights {target} are missing and could not be downloaded ({_first_line(error)}); "
            f"copy {name} there, or set detect.weights to a file"
        ) from error
    if not target.is_file():
        raise WeightsError(
            f"detector weights {target} are missing and could not be downloaded; copy them there"
        )
    return target


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say in a sentence that what is read from `path` is no detector.

    Raises:
        WeightsError: it is none.
    """
    try:
        yield
    except _NO_DETECTOR as error:
        raise WeightsError(
            f"{path} holds no YOLO detector that can be loaded ({_first_line(error)}); replace the file"
        ) from error


def layer_weights(path: Path) -> dict[str, Tensor]:
    """Weights and biases of the detector's convolutions, batch norms folded into them, float32 on the CPU.

    Args:
        path: `.pt` of ultralytics, or an `.onnx` file that it exported; int8 weights are as good as rounded.

    Returns:
        Tensors by ultralytics' names, `model.<layer>.<...>.weight` and `.bias`.

    Raises:
        WeightsError: the file is no YOLO detector.
    """
    with reading(path):
        found = _of_onnx(path) if path.suffix == ".onnx" else _of_torch(path)
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in found.items()}


def _of_torch(path: Path) -> dict[str, NDArray[Any]]:
    backend = open_ultralytics().nn.autobackend.AutoBackend(str(path), verbose=False)
    return {name: tensor.float().numpy() for name, tensor in backend.model.state_dict().items()}


def _of_onnx(path: Path) -> dict[str, NDArray[Any]]:
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    found = {}
    for name, values in stored.items():
        plain = name.removesuffix("_quantized")
        if not plain.startswith("model.") or not plain.endswith((".weight", ".bias")):
            continue
        if plain != name:
            zero, scale = (stored[f"{plain}_{what}"].reshape(-1, 1, 1, 1) for what in ("zero_point", "scale"))
            values = (values.astype(np.float32) - zero) * scale
        found[plain] = values
    return found


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    plain = lines[0].encode("ascii", "ignore").decode().strip(" .") if lines else ""
    return plain or type(error).__name__


def open_ultralytics() -> ModuleType:
    """Import ultralytics, silent, offline and with a settings folder that ends with this process."""
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="fastaed-yolo-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = folder
    os.environ.setdefault("YOLO_OFFLINE", "true")  # no telemetry, no look for updates
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS", "true")
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "true")  # a weights file executes nothing
    threads = cv2.getNumThreads()
    import ultralytics
    import ultralytics.nn.autobackend
    import ultralytics.utils.downloads

    cv2.setNumThreads(threads)  # ultralytics sets 0
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    return ultralytics

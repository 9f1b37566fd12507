"""Weights files of YOLO, and a student's eyes against ultralytics' own layers."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lively import enliven
from torch import nn

from fastaed.errors import WeightsError
from fastaed.models.eyes import Eyes, open_eyes
from fastaed.yolo import find_weights, layer_weights, open_ultralytics

NANO = (16, 32, 64, 128)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """YOLOv8n of random weights, whose norms are no longer those of its first day."""
    open_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model: nn.Module = DetectionModel("yolov8n.yaml", verbose=False).eval()
    enliven(model)
    return model


@pytest.fixture(scope="module")
def weights(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "nano.pt"
    yolo = open_ultralytics().YOLO("yolov8n.yaml", task="detect")
    yolo.model.load_state_dict(network.state_dict())
    yolo.save(str(path))
    return path


@pytest.mark.parametrize(("height", "width"), [(64, 96), (45, 71)])
@torch.inference_mode()
def test_eyes_see_what_the_detectors_layers_say(
    network: nn.Module, weights: Path, height: int, width: int
) -> None:
    eyes = Eyes(NANO)
    open_eyes(eyes, layer_weights(weights))
    frame = torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(1))
    expected = []
    features = frame
    for number, layer in enumerate(network.get_submodule("model").children()):
        if number > 6:
            break
        features = layer(features)
        expected.append(features)
    near, far = eyes(frame)
    torch.testing.assert_close(near, expected[4], atol=2e-3, rtol=1e-3)  # the file holds half precision
    torch.testing.assert_close(far, expected[6], atol=2e-3, rtol=1e-3)
    assert near.shape[2:] == (-(-height // 8), -(-width // 8))
    assert far.shape[2:] == (-(-height // 16), -(-width // 16))
    assert not any(weight.requires_grad for weight in eyes.parameters())


def test_int8_weights_of_an_onnx_file_are_those_that_were_rounded(weights: Path, tmp_path: Path) -> None:
    """As ONNX Runtime quantises: with one scale for a tensor, or one a channel."""
    plain = layer_weights(weights)
    stored = []
    for number, (name, tensor) in enumerate(plain.items()):
        values = tensor.numpy()
        if not name.endswith("conv.weight"):
            stored.append(onnx.numpy_helper.from_array(values, name))
            continue
        each = tuple(range(1, values.ndim)) if number % 2 else None
        scale = np.asarray(np.abs(values).max(axis=each) / 127, np.float32)
        zero = np.full(scale.shape, 3, np.int8)
        steps = np.clip(np.rint(values / scale.reshape(-1, 1, 1, 1)) + 3, -128, 127).astype(np.int8)
        stored += [
            onnx.numpy_helper.from_array(steps, f"{name}_quantized"),
            onnx.numpy_helper.from_array(scale, f"{name}_scale"),
            onnx.numpy_helper.from_array(zero, f"{name}_zero_point"),
        ]
    graph = onnx.helper.make_graph([], "yolo", [], [], stored)
    onnx.save(onnx.helper.make_model(graph), tmp_path / "int8.onnx")
    found = layer_weights(tmp_path / "int8.onnx")
    assert found.keys() == plain.keys()
    for name, tensor in plain.items():
        largest = tensor.abs().max().item()
        # half a step, and of the largest values those that do not fit into eight bits for the zero point
        torch.testing.assert_close(found[name], tensor, atol=largest * 3.5 / 127, rtol=0)


def test_the_real_detector_has_the_eyes_of_hawk() -> None:
    given = os.environ.get("FASTAED_TEST_WEIGHTS")
    if not given:
        pytest.skip("FASTAED_TEST_WEIGHTS does not name YOLO's weights")
    open_eyes(Eyes(NANO), layer_weights(Path(given)))


def test_a_detector_of_another_build_is_one_sentence(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.0\.conv\.bias has the shape \(8,\), this one has one of"):
        open_eyes(Eyes((8, 16, 32, 64)), layer_weights(weights))
    with pytest.raises(WeightsError, match=r"this one has none; set detect\.weights to yolov8n\.pt, or"):
        open_eyes(Eyes(NANO), {})
    (tmp_path / "rubbish.onnx").write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"rubbish\.onnx holds no YOLO detector"):
        layer_weights(tmp_path / "rubbish.onnx")


def test_missing_weights_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"at mine\.pt or weights/mine\.pt; .*detect\.weights"):
        find_weights("mine.pt")
    with pytest.raises(WeightsError, match=r"at folder/yolov8n\.pt; put"):
        find_weights("folder/yolov8n.pt")

    def offline(file: str, **_: Any) -> None:
        raise ConnectionError(f"no way to {file}")

    monkeypatch.setattr(open_ultralytics().utils.downloads, "attempt_download_asset", offline)
    with pytest.raises(
        WeightsError, match=r"weights/yolov8n\.pt are missing.*no way.*copy yolov8n\.pt there"
    ):
        find_weights("yolov8n.pt")


def test_weights_are_looked_for_here_then_in_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    Path("weights/a.pt").touch()
    assert find_weights("a.pt") == Path("weights/a.pt")
    Path("a.pt").touch()
    assert find_weights("a.pt") == Path("a.pt")
    assert find_weights(str(tmp_path / "a.pt")) == tmp_path / "a.pt"

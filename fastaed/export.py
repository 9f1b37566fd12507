"""export: the student as one file for another runtime, which says itself how it is used; opens such files.

From a student's weights to ONNX, OpenVINO's IR or torch.export, in float32 or int8, for any number of inputs
at a time. The pixels' normalisation is part of the network; size, order of channels, smoothing and the
student's own facts lie in the file's metadata, as JSON under the key `fastaed`. Before a file gets its name
its maps of real frames are compared with PyTorch's. The only door to ONNX Runtime, OpenVINO and NNCF.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from fastaed.config import EvaluateSettings
from fastaed.data.clips import GAP_FRAMES
from fastaed.data.store import Frames, Maps
from fastaed.errors import ConfigError, DataError, OutputError, WeightsError
from fastaed.models.fast import fast_student
from fastaed.models.student import Student, restored_student
from fastaed.pyramid import SCALES, MapPyramid
from fastaed.training import Precision, autocast, pick_device
from fastaed.weights import load_weights

Kind = Literal["onnx", "openvino", "torch"]
SUFFIXES: dict[Kind, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
OPSET = 20  # the first with Gelu, LayerNormalization and ReduceMax as one operator each
FLOAT_TOLERANCE = 1e-4  # of the maps, which lie in [0, 1]
INT8_TOLERANCE = 0.1
_KEY = "fastaed"
_INPUT = "frames"

Inputs = Frames | Tensor  # (B, 9, H, W) uint8 student inputs
Scorer = Callable[[Inputs], Maps]  # -> pyramids of B maps, on the host


@dataclass(frozen=True)
class Network:
    """A student ready to score, whatever runs it.

    Attributes:
        score: (B, 9, H, W) uint8 to the pyramid of B maps as float32 arrays of the host.
        facts: what its file says of it; `height` and `width` are those of its frames.
        backend: what runs it, in words.
        card: where it runs and would rather have its inputs; None: on the CPU.
    """

    score: Scorer
    facts: dict[str, Any]
    backend: str
    card: torch.device | None = None


def run(student: Path, kind: Kind, out: Path, inputs: Sequence[Frames], int8: bool) -> float:
    """Write the student for another runtime.

    Args:
        student: weights written by distill.
        kind: of the runtime.
        out: file to write; OpenVINO's weights lie beside its .xml as .bin.
        inputs: (9, H, W) uint8 student inputs of real footage, to compare maps on; for int8 of ordinary
            training footage, whose ranges become those of the network.
        int8: in eight-bit integers (ONNX and OpenVINO).

    Returns:
        The largest difference of a map from PyTorch's in float32.

    Raises:
        WeightsError: `student` is missing or no student.
        ConfigError: a library is missing, the suffix is another runtime's, or torch.export is asked for int8.
        DataError: there are no inputs, or they have another size than the student's frames.
        OutputError: the exported network's maps differ by more than the tolerance; nothing is written.
    """
    if out.suffix != SUFFIXES[kind]:
        raise ConfigError(f"{out} should end in {SUFFIXES[kind]} for {kind}; rename it")
    if int8 and kind == "torch":
        raise ConfigError("torch.export writes float32 only; choose onnx or openvino for int8")
    tensors, weight_facts = load_weights(student)
    network = restored_student(tensors, weight_facts)
    _check_inputs(inputs, weight_facts)
    facts = usage(weight_facts, "int8" if int8 else "float32")
    with TemporaryDirectory(dir=_existing(out.parent)) as folder:
        draft = Path(folder) / out.name
        write(network, kind, draft, inputs, int8, facts)
        difference = largest_difference(open_network(draft, "cpu", "float32").score, network, inputs)
        tolerance = INT8_TOLERANCE if int8 else FLOAT_TOLERANCE
        if not difference <= tolerance:
            raise OutputError(
                f"{out} is not written: its maps differ from PyTorch's by {difference:.2g}, "
                f"more than {tolerance}; " + ("calibrate on more frames" if int8 else "report this defect")
            )
        for part in sorted(Path(folder).glob(f"{out.stem}.*")):  # .bin before .xml
            part.replace(out.with_name(part.name))
    return difference


def usage(facts: dict[str, Any], precision: str) -> dict[str, Any]:
    """What a program needs to know to use the network, and where it comes from.

    Args:
        facts: of the student's weights file.
        precision: of the exported weights, in words.
    """
    return {
        "class": "student",
        "height": facts["height"],
        "width": facts["width"],
        "input": "(B, 9, height, width) uint8: RGB of frames t, t - gap, t + gap; a missing one repeats t",
        "gap_frames": GAP_FRAMES,
        "normalisation": "(x - 127) / 128, inside",
        "outputs": SCALES,
        "score": "mean of the three maps' maxima, higher is more anomalous",
        "smoothing": {"kind": "causal", "sigma_frames": EvaluateSettings().sigma_frames},
        "precision": precision,
        "fastaed": version("fastaed"),
        "weights": facts,
    }


def write(
    student: Student, kind: Kind, out: Path, inputs: Sequence[Frames], int8: bool, facts: dict[str, Any]
) -> None:
    """Write a network without looking at what it says; `run` does.

    Args:
        student: in evaluation mode.
        kind: of the runtime.
        out: file to write.
        inputs: (9, H, W) uint8, to trace and to calibrate on.
        int8: in eight-bit integers.
        facts: its metadata.
    """
    example = torch.from_numpy(np.stack([inputs[0], inputs[-1]]))
    text = json.dumps(facts, sort_keys=True)
    if kind == "torch":
        batch = {0: torch.export.Dim("batch")}
        plain = fast_student(student).to(
            memory_format=torch.contiguous_format
        )  # other layouts cannot be saved
        program = torch.export.export(_Tuples(plain), (example,), dynamic_shapes=(batch,))
        # Once more, as a flat graph: signatures of the modules inside name our own classes.
        program = torch.export.export(program.module(), (example,), dynamic_shapes=(batch,))
        torch.export.save(program, out, extra_files={_KEY: text})
    elif kind == "onnx":
        _write_onnx(student, out, example, inputs if int8 else (), text)
    else:
        _write_openvino(student, out, example, inputs if int8 else (), text)


def largest_difference(score: Scorer, student: Student, inputs: Sequence[Frames]) -> float:
    """Of any map of any input from those of `student` in PyTorch and float32, one input at a time.

    Also asks for two inputs at once, so that a network of one fixed batch size is found out.
    """
    differences = []
    for one in inputs:
        with torch.inference_mode():
            maps = student(torch.from_numpy(np.ascontiguousarray(one[None])))
        expected = MapPyramid(*(level.numpy() for level in maps))
        differences.append(map_difference(score(one[None]), expected))
    first, twice = score(inputs[0][None]), score(np.stack([inputs[0], inputs[0]]))
    for place in (0, 1):
        differences.append(map_difference(MapPyramid(*(level[[place]] for level in twice)), first))
    return float(np.max(differences))  # NaN if any is


def map_difference(one: Maps, other: Maps) -> float:
    """Largest absolute difference of two pyramids; NaN where one holds any."""
    return float(np.max([np.abs(a - b).max() for a, b in zip(one, other, strict=True)]))


def open_network(
    path: Path, device: str = "auto", precision: Precision = "auto", threads: int = 0
) -> Network:
    """A student from weights (.safetensors) or from what `run` writes (.onnx, .xml, .pt2).

    Args:
        path: the file.
        device: `auto`, `cpu` or `cuda`, for weights and .pt2; the others run on the CPU.
        precision: `auto` is bfloat16 where it is native, for weights and .xml; .onnx and .pt2 are as written.
        threads: of the CPU for .onnx and .xml; 0: as many as the runtime likes.

    Raises:
        WeightsError: the file is missing, damaged or not ours.
        ConfigError: its runtime is not installed.
    """
    if not path.is_file():
        raise WeightsError(f"student {path} does not exist; distill or export one")
    openers: dict[str, Callable[[], Network]] = {
        ".safetensors": lambda: _open_weights(path, device, precision),
        ".onnx": lambda: _open_onnx(path, threads),
        ".xml": lambda: _open_openvino(path, precision, threads),
        ".pt2": lambda: _open_program(path, device),
    }
    if path.suffix not in openers:
        raise WeightsError(f"student {path} ends in none of {', '.join(openers)}; export it to one of these")
    return openers[path.suffix]()


def torch_scorer(network: nn.Module, device: torch.device) -> Scorer:
    """A module on `device` as a function of arrays of the host, or of tensors wherever they lie."""

    @torch.inference_mode()
    def score(inputs: Inputs) -> Maps:
        maps = network(torch.as_tensor(inputs).to(device, non_blocking=True))
        return MapPyramid(*(level.float().cpu().numpy() for level in maps))

    return score


def native_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """What `precision` means on `device`."""
    with autocast(device, precision):
        return torch.bfloat16 if torch.is_autocast_enabled(device.type) else torch.float32


def _open_weights(path: Path, device_name: str, precision: Precision) -> Network:
    tensors, facts = load_weights(path)
    device = pick_device(device_name)
    dtype = native_dtype(device, precision)
    network = fast_student(restored_student(tensors, facts), dtype).to(device)
    words = f"PyTorch {device.type} {str(dtype).removeprefix('torch.')}"
    scorer = torch_scorer(network, device)
    return Network(scorer, usage(facts, str(dtype)), words, _card(device))


def _open_program(path: Path, device_name: str) -> Network:
    extra = {_KEY: ""}
    with _reading(path):
        program = torch.export.load(path, extra_files=extra)
        facts = json.loads(extra[_KEY])
        device = pick_device(device_name)
        network = program.module().to(device)
    scorer = torch_scorer(network, device)
    return Network(scorer, facts, f"torch.export {device.type}", _card(device))


def _card(device: torch.device) -> torch.device | None:
    return None if device.type == "cpu" else device


def _open_onnx(path: Path, threads: int) -> Network:
    runtime = _library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    with _reading(path):
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        facts = json.loads(session.get_modelmeta().custom_metadata_map[_KEY])
    name = session.get_inputs()[0].name

    def score(inputs: Inputs) -> Maps:
        return MapPyramid(*session.run(None, {name: np.ascontiguousarray(inputs)}))

    return Network(score, facts, f"ONNX Runtime {facts['precision']}")


def _open_openvino(path: Path, precision: Precision, threads: int) -> Network:
    core = _library("openvino").Core()
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    if precision == "float32":
        options["INFERENCE_PRECISION_HINT"] = "f32"
    elif native_dtype(torch.device("cpu"), precision) == torch.bfloat16:
        options["INFERENCE_PRECISION_HINT"] = "bf16"
    with _reading(path):
        model = core.read_model(path)
        facts = json.loads(model.get_rt_info([_KEY]).value)
        compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    rest = "bfloat16" if options.get("INFERENCE_PRECISION_HINT") == "bf16" else "float32"
    weights = facts["precision"]

    def score(inputs: Inputs) -> Maps:
        request.infer({0: np.ascontiguousarray(inputs)})
        return MapPyramid(*(request.get_output_tensor(level).data.copy() for level in range(len(SCALES))))

    return Network(score, facts, f"OpenVINO {rest if weights == 'float32' else f'{weights}, rest {rest}'}")


class _Tuples(nn.Module):
    """A network whose maps come as a plain tuple, so that its file needs nothing of ours."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        one, four, sixteen = self.network(frames)
        return one, four, sixteen


def _onnx_model(student: Student, example: torch.Tensor) -> Any:
    _library("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            fast_student(student),
            (example,),
            input_names=[_INPUT],
            output_names=list(SCALES),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    return program.model_proto  # type: ignore[union-attr]  # None only if it were not `dynamo`


def _write_onnx(
    student: Student, out: Path, example: torch.Tensor, calibration: Sequence[Frames], facts: str
) -> None:
    onnx = _library("onnx")
    model = _onnx_model(student, example)
    if calibration:
        model = _quantized_onnx(model, calibration)
    onnx.helper.set_model_props(model, {_KEY: facts})
    onnx.save(model, out)


def _quantized_onnx(model: Any, calibration: Sequence[Frames]) -> Any:
    """Weights and activations of convolutions and of products with a matrix of weights in eight bits.

    Attention's products stay in float32: both their sides change with the input.
    """
    onnx, tools = _library("onnx"), _library("onnxruntime.quantization")
    fixed = {tensor.name for tensor in model.graph.initializer}
    chosen = [
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "MatMul", "Gemm") and fixed.intersection(node.input)
    ]
    samples = iter([{_INPUT: np.ascontiguousarray(one[None])} for one in calibration])

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, Frames] | None:
            return next(samples, None)

    with TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        onnx.save(model, plain)
        tools.quantize_static(
            plain,
            small,
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            nodes_to_quantize=chosen,
        )
        return onnx.load(small)


def _write_openvino(
    student: Student, out: Path, example: torch.Tensor, calibration: Sequence[Frames], facts: str
) -> None:
    openvino = _library("openvino")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        _write_onnx(student, path, example, (), facts)
        model = openvino.Core().read_model(path)
        if calibration:
            nncf = _library("nncf")
            data = nncf.Dataset([np.ascontiguousarray(one[None]) for one in calibration])
            model = nncf.quantize(model, data, subset_size=len(calibration))
        model.set_rt_info(facts, [_KEY])
        openvino.save_model(model, out, compress_to_fp16=False)


def _check_inputs(inputs: Sequence[Frames], facts: dict[str, Any]) -> None:
    if not inputs:
        raise DataError("no frames were given to compare maps on; name footage with --frames")
    height, width = inputs[0].shape[1:]
    if (height, width) != (facts["height"], facts["width"]):
        raise DataError(
            f"the frames given are {width}x{height} pixels, the student's "
            f"{facts['width']}x{facts['height']}; decode footage to that size"
        )


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _library(name: str) -> Any:
    """A library that not everybody has.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name.partition('.')[0]} is not installed; pip install 'fastaed[speed]'"
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a runtime raises over a file that is damaged or not ours, as one sentence."""
    try:
        yield
    except Exception as error:
        ours = (RuntimeError, ValueError, KeyError, OSError, BadZipFile)
        # ONNX Runtime's own classes derive from nothing else.
        if not isinstance(error, ours) and not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = " ".join(str(error).split())[:150]
        raise WeightsError(f"{path} is damaged or was not written by fastaed export ({reason})") from error

"""bench student: how fast this machine runs the student, by each runtime, and whether its maps stay the same.

Every row is a `Scorer`, whose maps are arrays of the host: the clock cannot stop before a device has
finished, because there is nothing to hand over until then. The rows take turns, so that what else the machine
does slows all of them alike; they are compared with the network as published, in the same run. Beside each
speed stands the largest difference of its maps from the student's in PyTorch and float32.
"""

import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fastaed.config import StudentSettings
from fastaed.data.store import Frames
from fastaed.errors import ConfigError, FastaedError
from fastaed.export import (
    SUFFIXES,
    Kind,
    Scorer,
    largest_difference,
    native_dtype,
    open_network,
    torch_scorer,
    usage,
    write,
)
from fastaed.files import replacing
from fastaed.models.fast import fast_student
from fastaed.models.published import published_twin
from fastaed.models.student import Student, build_student, restored_student
from fastaed.progress import progress, say
from fastaed.training import Precision
from fastaed.weights import load_weights

BASELINE = "as published, PyTorch float32"
CARD_BASELINE = f"{BASELINE}, CUDA"
NOT_MEASURED = "not measured"
BATCHES = (1, 4, 16)
LATENCIES = 40  # calls with one input, of each row
ROUNDS = 5  # calls with more inputs
_WARM_UP = 2
_COMPARED = 8  # inputs whose maps are compared
_SIDE, _COPIED = 2048, 2**28  # of the matrices, bytes copied: well beyond any cache
_CHANGED = 0.01  # a difference of maps that marks a row


@dataclass(frozen=True)
class Row:
    """One way to run the student.

    Attributes:
        name: what runs it, in which precision.
        open: makes it ready.
        precision: of most products: `float32`, `bfloat16` or `int8`.
        device: `cpu` or `cuda`.
    """

    name: str
    open: Callable[[], Scorer]
    precision: str
    device: str = "cpu"


def run(weights: Path | None, inputs: Sequence[Frames], out: Path, batches: Sequence[int] = BATCHES) -> None:
    """Measure and write.

    Args:
        weights: a student's weights; None for one of the published size that has learnt nothing.
        inputs: (9, H, W) uint8 student inputs of any footage.
        out: measurements to write (.json); `table` makes a table of them.
        batches: numbers of inputs at once for which frames a second are measured.

    Raises:
        ConfigError: there are no inputs.
        WeightsError: `weights` are missing or no student.
        OutputError: `out` cannot be written.
    """
    if not inputs:
        raise ConfigError("bench student needs footage of at least one frame")
    student, facts = _student(weights)
    height, width = inputs[0].shape[1:]
    with TemporaryDirectory() as folder:
        candidates = rows(
            student, {**facts, "height": height, "width": width}, inputs[:_COMPARED], Path(folder)
        )
        measured = measure(candidates, student, inputs, batches)
    flops = _flops(student, inputs[0])
    ceilings = {device: ceiling(torch.device(device)) for device in _devices()}
    measurements = {
        "date": date.today().isoformat(),
        "machine": _machine(),
        "versions": _versions(),
        "threads": torch.get_num_threads(),
        "student": facts["student"],
        "weights": "untrained" if weights is None else weights.name,
        "height": height,
        "width": width,
        "flop_per_frame": flops,
        "parameters": sum(weight.numel() for weight in student.parameters()),
        "ceiling": ceilings,
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "rows": _compared(measured, flops, ceilings),
    }
    with replacing(out) as part:
        part.write_text(json.dumps(measurements, indent=1) + "\n")


def rows(student: Student, facts: Mapping[str, Any], inputs: Sequence[Frames], folder: Path) -> list[Row]:
    """Every way to run the student that we know, whether or not it works here.

    Args:
        student: in evaluation mode.
        facts: of its weights.
        inputs: (9, H, W) uint8, to calibrate int8 on.
        folder: for exported networks.
    """
    cpu = torch.device("cpu")
    settings = StudentSettings.model_validate(facts["student"])

    def exported(kind: Kind, precision: str) -> Callable[[], Scorer]:
        def opened() -> Scorer:
            path = folder / f"{kind}-{precision}{SUFFIXES[kind]}"
            int8 = precision == "int8"
            write(student, kind, path, inputs, int8, usage(dict(facts), "int8" if int8 else "float32"))
            rest: Precision = "float32" if precision == "float32" else "auto"
            return open_network(path, "cpu", rest, torch.get_num_threads()).score

        return opened

    def ours(precision: str, device: str = "cpu", **compiling: Any) -> Callable[[], Scorer]:
        return lambda: _ours(student, precision, device, compiling)

    found = [
        Row(BASELINE, lambda: torch_scorer(published_twin(student, settings), cpu), "float32"),
        Row("ours, PyTorch float32", ours("float32"), "float32"),
        Row("ours, PyTorch bfloat16", ours("bfloat16"), "bfloat16"),
        Row("ours, PyTorch bfloat16, compiled", ours("bfloat16", dynamic=False), "bfloat16"),
        Row("ours, ONNX Runtime float32", exported("onnx", "float32"), "float32"),
        Row("ours, ONNX Runtime int8", exported("onnx", "int8"), "int8"),
        Row("ours, OpenVINO float32", exported("openvino", "float32"), "float32"),
        Row("ours, OpenVINO bfloat16", exported("openvino", "bfloat16"), "bfloat16"),
        Row("ours, OpenVINO int8", exported("openvino", "int8"), "int8"),
    ]
    graphs = {"mode": "reduce-overhead", "dynamic": False}
    on_card = [
        Row(CARD_BASELINE, lambda: _published_on_card(student, settings), "float32", "cuda"),
        Row("ours, PyTorch float32, CUDA", ours("float32", "cuda"), "float32", "cuda"),
        Row("ours, PyTorch bfloat16, CUDA", ours("bfloat16", "cuda"), "bfloat16", "cuda"),
        Row("ours, compiled, CUDA graphs", ours("bfloat16", "cuda", **graphs), "bfloat16", "cuda"),
    ]
    return [*found, *on_card]


def measure(
    candidates: Sequence[Row], student: Student, inputs: Sequence[Frames], batches: Sequence[int]
) -> list[dict[str, Any]]:
    """Open the rows, compare their maps, and time them in turns.

    Args:
        candidates: what to measure; what cannot be opened is reported with the reason.
        student: what their maps are compared with.
        inputs: (9, H, W) uint8.
        batches: numbers of inputs at once.
    """
    ready: dict[str, Scorer] = {}
    measured: dict[str, dict[str, Any]] = {}
    for row in progress(candidates, "bench student: open", unit="rows"):
        measured[row.name] = {"name": row.name, "precision": row.precision, "device": row.device}
        try:
            scorer = row.open()
            measured[row.name]["difference"] = largest_difference(scorer, student, inputs[:_COMPARED])
        except (FastaedError, RuntimeError) as error:
            measured[row.name]["error"] = " ".join(str(error).split())[:200]
            say(f"{row.name}: {NOT_MEASURED}, {measured[row.name]['error']}")
        else:
            ready[row.name] = scorer
    for batch in progress(batches, "bench student: time", unit="batch sizes"):
        clip = np.ascontiguousarray(np.stack(list(islice(cycle(inputs), batch))))
        calls = LATENCIES if batch == 1 else ROUNDS
        for name, times in timed(ready, clip, calls).items():
            rates = measured[name].setdefault("frames_per_second", {})
            rates[str(batch)] = batch / float(np.median(times))
            if batch == 1:
                measured[name]["latency_ms"] = {
                    f"p{percent}": 1000 * float(np.percentile(times, percent)) for percent in (50, 95, 99)
                }
    return list(measured.values())


def timed(scorers: Mapping[str, Scorer], clip: Frames, calls: int) -> dict[str, list[float]]:
    """Seconds of each call, the scorers taking turns.

    Args:
        scorers: by name.
        clip: (B, 9, H, W) uint8.
        calls: of each scorer, after those that warm it up.
    """
    for scorer in scorers.values():
        for _ in range(_WARM_UP):
            seconds(scorer, clip)
    times: dict[str, list[float]] = {name: [] for name in scorers}
    for _ in range(calls):
        for name, scorer in scorers.items():
            times[name].append(seconds(scorer, clip))
    return times


def seconds(scorer: Scorer, clip: Frames) -> float:
    """Wall time of one call, from arrays of the host to arrays of the host.

    Raises:
        TypeError: the maps are not on the host yet, so that the time would be that of asking, not of doing.
    """
    start = time.perf_counter()
    maps = scorer(clip)
    elapsed = time.perf_counter() - start
    if not all(isinstance(level, np.ndarray) for level in maps):
        raise TypeError(
            "a scorer returned maps that are not arrays of the host: nothing says it has finished"
        )
    return elapsed


def ceiling(device: torch.device) -> dict[str, float]:
    """What the device does at best: FLOP/s of large products by precision, bytes/s of a large copy.

    A product is one of matrices or a convolution, whichever is faster.
    """
    best = {
        str(dtype).removeprefix("torch."): _product_rate(device, dtype)
        for dtype in (torch.float32, torch.bfloat16)
    }
    source = torch.ones(_COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {**best, "copy": 2 * _COPIED / _fastest(lambda: target.copy_(source), device)}


def _product_rate(device: torch.device, dtype: torch.dtype) -> float:
    matrix = torch.randn(_SIDE, _SIDE, device=device).to(dtype)
    planes, kernel = (
        torch.randn(*shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        for shape in ((1, 256, 128, 128), (256, 256, 3, 3))
    )
    return max(
        2 * _SIDE**3 / _fastest(lambda: matrix @ matrix, device),
        2
        * planes.numel()
        * kernel[0].numel()
        / _fastest(lambda: F.conv2d(planes, kernel, padding=1), device),
    )


def table(measurements: Mapping[str, Any]) -> str:
    """Markdown: a line for each row; a speed whose maps differ by more than 0.01 is marked with *."""
    batches = list(dict.fromkeys(b for row in measurements["rows"] for b in row.get("frames_per_second", {})))
    heads = [
        "p50",
        "p95",
        "p99",
        *(f"frames/s, batch {b}" for b in batches),
        "times",
        "of ceiling",
        "difference",
    ]
    lines = [f"| one input, ms | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    lines += [_line(row, batches) for row in measurements["rows"]]
    size = f"{measurements['width']}x{measurements['height']}"
    work = f"{measurements['flop_per_frame'] / 1e9:.1f} GFLOP a frame"
    where = f"{measurements['machine']}, {measurements['threads']} threads, {measurements['date']}"
    return "\n".join([f"{where}; {size}, {work}", "", *lines, ""])


def _line(row: Mapping[str, Any], batches: Sequence[str]) -> str:
    if "error" in row:
        return f"| {row['name']} | {' | '.join([NOT_MEASURED] + [''] * (len(batches) + 5))} |"
    marked = "*" if not row["difference"] <= _CHANGED else ""
    share = row["share_of_ceiling"]
    cells = [
        *(f"{row['latency_ms'][name]:.1f}" for name in ("p50", "p95", "p99")),
        *(f"{row['frames_per_second'][batch]:.1f}" for batch in batches),
        f"{row['times_baseline']:.2f}",
        "" if share is None else f"{100 * share:.0f} %",
        f"{row['difference']:.1e}{marked}",
    ]
    return f"| {row['name']} | {' | '.join(cells)} |"


def _student(weights: Path | None) -> tuple[Student, dict[str, Any]]:
    if weights is None:
        torch.manual_seed(0)
        settings = StudentSettings()
        return build_student(settings).eval(), {"student": settings.model_dump(mode="json")}
    tensors, facts = load_weights(weights)
    return restored_student(tensors, facts), facts


def _ours(student: Student, precision: str, device_name: str, compiling: Mapping[str, Any]) -> Scorer:
    device = _device(device_name)
    dtype = torch.float32 if precision == "float32" else native_dtype(device, "auto")
    if dtype == torch.float32 and precision != "float32":
        raise ConfigError(f"this {device_name} has no {precision} of its own")
    network = fast_student(student, dtype).to(device)
    if compiling:
        network.compile(**compiling)
    return torch_scorer(network, device)


def _published_on_card(student: Student, settings: StudentSettings) -> Scorer:
    device = _device("cuda")
    return torch_scorer(published_twin(student, settings).to(device), device)


def _device(name: str) -> torch.device:
    if name not in _devices():
        raise ConfigError("there is no CUDA device here")
    return torch.device(name)


def _devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _compared(
    measured: Sequence[dict[str, Any]], flops: int, ceilings: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """The rows with what their speed is worth: times the published network's, share of the device's best."""
    baseline = {
        row["device"]: row["latency_ms"]["p50"]
        for row in measured
        if row["name"] in (BASELINE, CARD_BASELINE) and "latency_ms" in row
    }
    return [
        {
            **row,
            "times_baseline": baseline[row["device"]] / row["latency_ms"]["p50"],
            "share_of_ceiling": _share(row, flops, ceilings[row["device"]]),
        }
        if "latency_ms" in row
        else row
        for row in measured
    ]


def _share(row: Mapping[str, Any], flops: int, best: Mapping[str, float]) -> float | None:
    """Of the fastest large product in the same precision; for int8 there is none to compare with."""
    if row["precision"] not in best:
        return None
    fastest: float = max(row["frames_per_second"].values())
    return flops * fastest / best[row["precision"]]


def _fastest(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the fastest of a few calls, each waited for."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _flops(student: Student, clip: Frames) -> int:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        student(torch.from_numpy(np.ascontiguousarray(clip[None])))
    return int(counter.get_total_flops())


def _machine() -> str:
    cpu = next(iter(_cpu_names()), platform.machine())
    cards = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join([f"{os.cpu_count()} cores {cpu}", *cards])


def _cpu_names() -> Iterator[str]:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.is_file() else ():
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in ("numpy", "torch", "onnxruntime", "openvino", "nncf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found

"""bench student: how fast this machine runs the student, by each runtime, and whether its maps stay the same.

Every row is a `Scorer`, whose maps are arrays of the host: the clock cannot stop before a device has
finished, because there is nothing to hand over until then. The rows take turns, so that what else the machine
does slows all of them alike; they are compared with the network as published, in the same run. Beside each
speed stands the largest difference of its maps from the student's in PyTorch and float32, and where there are
labels the AUC of its scores.
"""

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from fastaed.config import EvaluateSettings, StudentSettings
from fastaed.data.scores import scores_of_maps
from fastaed.data.store import Frames, FrameStore
from fastaed.data.stream import batched, streamed_inputs
from fastaed.errors import ConfigError, DataError, FastaedError
from fastaed.evaluation.truth import GroundTruth, read_truth
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
from fastaed.machine import facts as facts_of_machine
from fastaed.machine import peak_memory
from fastaed.metrics.auc import micro_auc
from fastaed.metrics.smoothing import smooth
from fastaed.models.fast import fast_student
from fastaed.models.published import build_published, published_twin
from fastaed.models.student import Student, build_student, restored_student
from fastaed.progress import progress, say
from fastaed.training import Precision
from fastaed.weights import load_weights

BASELINE = "as published, PyTorch float32"
CARD_BASELINE = f"{BASELINE}, CUDA"
LEAD = 2  # calls at the beginning of a turn that do not count
TURNS, CALLS = 8, 5  # of each row with one input, of those that count
FEW_TURNS, FEW_CALLS = 3, 2  # with more inputs
_COMPARED = 8  # inputs whose maps are compared
_SIDE, _COPIED = 2048, 2**28  # of the matrices, bytes copied: well beyond any cache
_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}  # of a number


@dataclass(frozen=True)
class Row:
    """One way to run a network.

    Attributes:
        name: what runs it, in which precision.
        open: makes it ready.
        precision: of most products: `float32`, `bfloat16` or `int8`.
        device: `cpu` or `cuda`.
        network: the `student`, or the `published` network that speeds are compared with.
        compared: whether its maps should be the student's.
    """

    name: str
    open: Callable[[], Scorer]
    precision: str
    device: str = "cpu"
    network: Literal["student", "published"] = "student"
    compared: bool = True


@dataclass(frozen=True)
class Work:
    """What a network does for one input, whatever runs it.

    Attributes:
        flop: of its convolutions and products.
        weights: how many numbers they are.
        outputs: numbers that its convolutions and products give; all other layers could be part of these.
        input_bytes: of the pixels.
    """

    flop: int
    weights: int
    outputs: int
    input_bytes: int

    def moved(self, precision: str, batch: int) -> float:
        """Bytes for one of `batch` inputs at least: weights and pixels read, outputs written and read."""
        return self.input_bytes + _BYTES[precision] * (self.weights / batch + 2 * self.outputs)


@dataclass(frozen=True)
class Labelled:
    """Test clips that tell whether a row's scores are as good as the student's.

    Attributes:
        stores: frame stores in the size of the inputs.
        truth: labels of these clips.
    """

    stores: Sequence[Path]
    truth: GroundTruth


def run(
    weights: Path | None,
    inputs: Sequence[Frames],
    out: Path,
    batches: Sequence[int],
    labelled: Labelled | None = None,
) -> None:
    """Measure and write.

    Args:
        weights: a student's weights; None for one of the published size that has learnt nothing.
        inputs: (9, H, W) uint8 student inputs of any footage; int8 is calibrated on the first of them.
        out: measurements to write (.json); `fastaed speed` makes tables of them.
        batches: numbers of inputs at once for which frames a second are measured; 1 is among them.
        labelled: clips to score by every row.

    Raises:
        ConfigError: there are no inputs, or 1 is not among the batches.
        DataError: labelled clips have another size than the inputs, or no labels.
        WeightsError: `weights` are missing or no student.
        OutputError: `out` cannot be written.
    """
    if not inputs:
        raise ConfigError("bench student needs footage of at least one frame")
    if 1 not in batches or min(batches) < 1:
        raise ConfigError(f"batches = {list(batches)}: give 1 and, if wanted, larger numbers, e.g. 1 4 16")
    student, facts = _student(weights)
    height, width = inputs[0].shape[1:]
    clips = _labelled_clips(labelled, height, width) if labelled else []
    published, is_student = published_network(student, StudentSettings.model_validate(facts["student"]))
    with TemporaryDirectory() as folder:
        facts = {**facts, "height": height, "width": width}
        candidates = rows(student, facts, inputs[:_COMPARED], Path(folder), published, is_student)
        measured = measure(candidates, student, inputs, batches, clips)
    work = {"student": work_of(student, inputs[0]), "published": work_of(published, inputs[0])}
    ceilings = {device: ceiling(torch.device(device)) for device in _devices()}
    measurements = {
        **facts_of_machine(),
        "student": facts["student"],
        "weights": "untrained" if weights is None else weights.name,
        "height": height,
        "width": width,
        "labelled": {"clips": len(clips), "frames": sum(len(labels) for _, labels in clips)},
        "work": {name: asdict(one) for name, one in work.items()},
        "ceiling": ceilings,
        "peak_memory_bytes": peak_memory(),  # of this process: all rows, which are ready at the same time
        "rows": _compared(measured, work, ceilings),
    }
    with replacing(out) as part:
        part.write_text(json.dumps(measurements, indent=1) + "\n")


def published_network(student: Student, settings: StudentSettings) -> tuple[nn.Module, bool]:
    """What speeds are compared with: the published network at its published size, whatever the student's.

    Args:
        student: in evaluation mode.
        settings: its size.

    Returns:
        The network, and whether it has the student's weights: it has none of anybody's if the sizes differ.
    """
    published = StudentSettings()
    if settings == published:
        return published_twin(student, settings), True
    return build_published(published, torch.sigmoid).eval(), False


def rows(
    student: Student,
    facts: Mapping[str, Any],
    inputs: Sequence[Frames],
    folder: Path,
    published: nn.Module,
    is_student: bool,
) -> list[Row]:
    """Every way to run the student that we know, whether or not it works here.

    Args:
        student: in evaluation mode.
        facts: of its weights.
        inputs: (9, H, W) uint8, to calibrate int8 on.
        folder: for exported networks.
        published: what speeds are compared with.
        is_student: whether its maps should be the student's.
    """

    def as_published(device: str) -> Callable[[], Scorer]:
        return lambda: torch_scorer(copy.deepcopy(published).to(_device(device)), _device(device))

    def exported(kind: Kind, precision: str) -> Callable[[], Scorer]:
        def opened() -> Scorer:
            _check_native(precision, "cpu")
            path = folder / f"{kind}-{precision}{SUFFIXES[kind]}"
            int8 = precision == "int8"
            write(student, kind, path, inputs, int8, usage(dict(facts), "int8" if int8 else "float32"))
            rest: Precision = "float32" if precision == "float32" else "auto"
            return open_network(path, "cpu", rest, torch.get_num_threads()).score

        return opened

    def ours(precision: str, device: str = "cpu", **compiling: Any) -> Callable[[], Scorer]:
        return lambda: _ours(student, precision, device, compiling)

    found = [
        Row(BASELINE, as_published("cpu"), "float32", "cpu", "published", is_student),
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
        Row(CARD_BASELINE, as_published("cuda"), "float32", "cuda", "published", is_student),
        Row("ours, PyTorch float32, CUDA", ours("float32", "cuda"), "float32", "cuda"),
        Row("ours, PyTorch bfloat16, CUDA", ours("bfloat16", "cuda"), "bfloat16", "cuda"),
        Row("ours, compiled, CUDA graphs", ours("bfloat16", "cuda", **graphs), "bfloat16", "cuda"),
    ]
    return [*found, *on_card]


def measure(
    candidates: Sequence[Row],
    student: Student,
    inputs: Sequence[Frames],
    batches: Sequence[int],
    clips: Sequence[tuple[FrameStore, NDArray[np.uint8]]] = (),
) -> list[dict[str, Any]]:
    """Open the rows, compare their maps, time them in turns, and score labelled clips by each.

    Args:
        candidates: what to measure; what cannot be opened is reported with the reason.
        student: what their maps are compared with.
        inputs: (9, H, W) uint8.
        batches: numbers of inputs at once.
        clips: frames and labels.
    """
    ready: dict[str, Scorer] = {}
    measured: dict[str, dict[str, Any]] = {}
    for row in progress(candidates, "bench student: open", unit="rows"):
        of_row = {name: getattr(row, name) for name in ("name", "precision", "device", "network")}
        measured[row.name] = of_row
        try:
            scorer = row.open()
            scorer(inputs[0][None])
            if row.compared:
                of_row["difference"] = largest_difference(scorer, student, inputs[:_COMPARED])
        except (FastaedError, RuntimeError) as error:
            of_row["error"] = " ".join(str(error).split())[:200]
            say(f"{row.name}: not measured, {of_row['error']}")
        else:
            ready[row.name] = scorer
    for batch in progress(batches, "bench student: time", unit="batch sizes"):
        clip = np.ascontiguousarray(np.stack(list(islice(cycle(inputs), batch))))
        turns, calls = (TURNS, CALLS) if batch == 1 else (FEW_TURNS, FEW_CALLS)
        for name, times in timed(ready, clip, turns, calls).items():
            rates = measured[name].setdefault("frames_per_second", {})
            rates[str(batch)] = batch / float(np.median(times))
            if batch == 1:
                measured[name]["latency_ms"] = {
                    f"p{percent}": 1000 * float(np.percentile(times, percent)) for percent in (50, 95, 99)
                }
    same = [row.name for row in candidates if row.compared and row.name in ready]
    for name in progress(same if clips else [], "bench student: score", unit="rows"):
        measured[name]["micro_auc"] = micro_auc_of(ready[name], clips)
    return list(measured.values())


def timed(scorers: Mapping[str, Scorer], clip: Frames, turns: int, calls: int) -> dict[str, list[float]]:
    """Seconds of each call that counts, the scorers taking turns.

    A turn begins with calls that do not count: the runtime before has left its weights in the caches and
    threads of its own that still spin, which makes the first call half as long again and the second a tenth,
    and nobody uses a runtime so.

    Args:
        scorers: by name.
        clip: (B, 9, H, W) uint8.
        turns: of each scorer.
        calls: that count, in each turn.
    """
    times: dict[str, list[float]] = {name: [] for name in scorers}
    for _ in range(turns):
        for name, scorer in scorers.items():
            for _ in range(LEAD):
                seconds(scorer, clip)
            times[name] += [seconds(scorer, clip) for _ in range(calls)]
    return times


def micro_auc_of(scorer: Scorer, clips: Sequence[tuple[FrameStore, NDArray[np.uint8]]]) -> float | None:
    """Micro AUC of the mean scores of labelled clips, smoothed as evaluate does: centred, its sigma."""
    sigma_frames = EvaluateSettings().sigma_frames
    scores = [smooth(_mean_scores(scorer, store), "centred", sigma_frames) for store, _ in clips]
    return micro_auc(scores, [labels for _, labels in clips])


def _mean_scores(scorer: Scorer, store: FrameStore) -> NDArray[np.float64]:
    frames = (store.gather([t])[0] for t in range(len(store)))
    parts = [
        scores_of_maps(scorer(inputs))[:, -1] for _, inputs in batched(streamed_inputs(frames), _COMPARED)
    ]
    return np.concatenate(parts)


def _labelled_clips(
    labelled: Labelled, height: int, width: int
) -> list[tuple[FrameStore, NDArray[np.uint8]]]:
    """Each labelled clip that has a store, and its labels."""
    truth = read_truth(labelled.truth)
    stores = {store.clip: store for store in map(FrameStore, labelled.stores)}
    if unknown := sorted(stores.keys() - set(truth.clips)):
        raise DataError(f"clip {unknown[0]} has no labels in {labelled.truth.labels}; leave out its store")
    for store in stores.values():
        if (store.height, store.width) != (height, width):
            raise DataError(
                f"{store.path} has frames of {store.width}x{store.height} pixels, the speed is measured at "
                f"{width}x{height}; measure with --set width={store.width} --set height={store.height}"
            )
        if len(store) != truth.frames[store.clip]:
            raise DataError(
                f"{store.path} holds {len(store)} frames but clip {store.clip} has "
                f"{truth.frames[store.clip]} labels; one belongs to other footage"
            )
    return [(stores[clip], labels) for clip, labels in zip(truth.clips, truth.labels) if clip in stores]


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

    A product is one of matrices or a convolution, whichever is faster; in int8 torch has the former only.
    """
    best = {
        str(dtype).removeprefix("torch."): _product_rate(device, dtype)
        for dtype in (torch.float32, torch.bfloat16)
    }
    matrix = torch.ones(_SIDE, _SIDE, dtype=torch.int8, device=device)
    best["int8"] = 2 * _SIDE**3 / _fastest(lambda: torch._int_mm(matrix, matrix), device)
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


def _student(weights: Path | None) -> tuple[Student, dict[str, Any]]:
    if weights is None:
        torch.manual_seed(0)
        settings = StudentSettings()
        return build_student(settings).eval(), {"student": settings.model_dump(mode="json")}
    tensors, facts = load_weights(weights)
    return restored_student(tensors, facts), facts


def _check_native(precision: str, device_name: str) -> None:
    """Runtimes take float32 in bfloat16's place, or work it out slowly, where a device does not have it."""
    if precision == "bfloat16" and native_dtype(_device(device_name), "auto") != torch.bfloat16:
        raise ConfigError(f"this {device_name} has no bfloat16 of its own")


def _ours(student: Student, precision: str, device_name: str, compiling: Mapping[str, Any]) -> Scorer:
    _check_native(precision, device_name)
    device = _device(device_name)
    network = fast_student(student, getattr(torch, precision)).to(device)
    if compiling:
        network.compile(**compiling)
    return torch_scorer(network, device)


def _device(name: str) -> torch.device:
    if name not in _devices():
        raise ConfigError("there is no CUDA device here")
    return torch.device(name)


def _devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _compared(
    measured: Sequence[dict[str, Any]],
    work: Mapping[str, Work],
    ceilings: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    """The rows with what their speed is worth: times the published network's, and what the machine allows."""
    baseline = {
        row["device"]: row["latency_ms"]["p50"]
        for row in measured
        if row["name"] in (BASELINE, CARD_BASELINE) and "latency_ms" in row
    }
    return [
        {
            **row,
            "times_baseline": baseline[row["device"]] / row["latency_ms"]["p50"],
            "bound": bound(row, work[row["network"]], ceilings[row["device"]]),
        }
        if "latency_ms" in row
        else row
        for row in measured
    ]


def bound(row: Mapping[str, Any], work: Work, best: Mapping[str, float]) -> dict[str, float]:
    """What the roofline allows where the row comes nearest to it.

    No input can take less time than its FLOP at the rate of the fastest large product, or its bytes at the
    rate of a large copy.

    Args:
        row: with its frames a second by number of inputs.
        work: of its network.
        best: of its device, as `ceiling` has them.
    """
    shares = {}
    for batch, rate in row["frames_per_second"].items():
        moved = work.moved(row["precision"], int(batch))
        products, copies = work.flop / best[row["precision"]], moved / best["copy"]
        allowed = 1 / max(products, copies)
        shares[rate / allowed] = {
            "batch": int(batch),
            "bytes_per_frame": moved,
            "products_ms": 1000 * products,
            "copies_ms": 1000 * copies,
            "frames_per_second": allowed,
            "share": rate / allowed,
        }
    return shares[max(shares)]


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


def work_of(network: nn.Module, clip: Frames) -> Work:
    """What `network` does for one (9, H, W) uint8 input, counted while it does it."""
    outputs = _Outputs()
    # Not in inference mode, where convolutions arrive under names of which the registry does not know.
    with FlopCounterMode(display=False) as counter, outputs, torch.no_grad():
        network(torch.from_numpy(np.ascontiguousarray(clip[None])))
    weights = sum(weight.numel() for weight in network.parameters())
    return Work(int(counter.get_total_flops()), weights, outputs.numbers, clip.nbytes)


class _Outputs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers that convolutions and products give."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.numbers += (given[0] if isinstance(given, tuple) else given).numel()
        return given

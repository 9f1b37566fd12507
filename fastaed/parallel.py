"""Several processes, one training: torchrun starts them; each has a card, and its part of every batch.

The result is that of one process, but for rounding: the parts make up the same batch, batch norm takes its
statistics over all of it (`JointBatchNorm`), gradients are averaged by DistributedDataParallel, losses are
added up. In a process that is alone, everything here leaves things as they are.

Processes on cards talk through NCCL, others through gloo.
"""

import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.nn.parallel import DistributedDataParallel

from fastaed.data.clips import Samples
from fastaed.errors import ConfigError, FastaedError
from fastaed.progress import silence

_USER_ERROR = 2  # exit codes
_DEFECT = 1
_SECONDS_TO_BE_FIRST = 5.0


def launch(processes: int, arguments: Sequence[str]) -> None:
    """Run a command of ours in so many processes by torchrun, and wait for them.

    Args:
        processes: how many.
        arguments: of `python -m fastaed`.

    Raises:
        ConfigError: there are cards, but fewer than processes.
        FastaedError: what a process had to say to the user, or that one was killed; the others are ended.
        SystemExit: a process failed otherwise; its traceback is on standard error.
    """
    cards = torch.cuda.device_count()
    if 0 < cards < processes:
        raise ConfigError(f"gpus = {processes}: this machine has {cards} CUDA devices; ask for these at most")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.disable()  # torchrun says at length what is said here in a sentence
    try:
        with TemporaryDirectory(prefix="fastaed-torchrun-") as folder:
            options = ["--standalone", f"--nproc-per-node={processes}", f"--log-dir={folder}"]
            command = torchrun.parse_args([*options, "--module", "fastaed", *arguments])  # type: ignore[no-untyped-call]
            torchrun.run(command)  # type: ignore[no-untyped-call]
    except SignalException as signal:
        raise KeyboardInterrupt from signal
    except ChildFailedError as error:
        raise _cause(error) from None


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_ERROR_FILE" in os.environ


def _cause(error: ChildFailedError) -> BaseException:
    """What one process began and the others only echoed."""
    failures = sorted(error.failures.values(), key=lambda failure: failure.error_file_data.get("at", 0.0))
    for failure in failures:
        if failure.exitcode == _USER_ERROR:
            return FastaedError(failure.message)
    first = failures[0]
    if first.exitcode < 0:
        return FastaedError(
            f"process {first.local_rank + 1} was ended by {first.signal_name()}; "
            "the same command again goes on from here"
        )
    if "at" in first.error_file_data:
        sys.stderr.write(first.message)
    return SystemExit(first.exitcode)


@contextmanager
def joined() -> Iterator[None]:
    """Inside, a process that torchrun started works together with the others; any other process, alone.

    What goes wrong is left to the launching process to say, so that it is said once.
    """
    if not launched():
        yield
        return
    _end_with(os.getppid())
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        if not leads():
            silence()
        yield
        distributed.destroy_process_group()
    except FastaedError as error:
        sys.exit(_report(str(error), _USER_ERROR))
    except torch.OutOfMemoryError:
        message = f"one of {count()} devices is out of memory; use more of them or lower batch_size"
        sys.exit(_report(message, _USER_ERROR))
    except RuntimeError:
        time.sleep(_SECONDS_TO_BE_FIRST)  # torch's echo of another process's end should not be taken for it
        sys.exit(_report(traceback.format_exc(), _DEFECT))


def _end_with(parent: int) -> None:
    """End this process when that one does, however it ends: nobody would wait for the result."""

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(_DEFECT)

    threading.Thread(target=wait, daemon=True).start()


def _report(message: str, code: int) -> int:
    report = {"message": message, "timestamp": int(time.time()), "at": time.time()}
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(report))
    return code


def count() -> int:
    """Number of processes that work together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def leads() -> bool:
    """Whether this is the one process that writes and speaks."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def own_part(batches: Sequence[Samples]) -> tuple[list[Samples], list[float]]:
    """This process's part of each batch, and what its mean loss weighs in the mean over all processes.

    Raises:
        ConfigError: a batch has fewer samples than there are processes.
    """
    processes = count()
    if processes == 1:
        return list(batches), [1.0] * len(batches)
    smallest = min(len(batch) for batch in batches)
    if smallest < processes:
        raise ConfigError(
            f"gpus = {processes}: there are batches of {smallest} samples; lower gpus or raise batch_size"
        )
    rank = distributed.get_rank()
    parts = [batch.take(np.array_split(np.arange(len(batch)), processes)[rank]) for batch in batches]
    return parts, [processes * len(part) / len(batch) for part, batch in zip(parts, batches)]


def added(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the processes."""
    if count() == 1:
        return values
    tensor = torch.from_numpy(values.copy())
    distributed.all_reduce(tensor)
    summed: NDArray[np.float64] = tensor.numpy()
    return summed


def shared(network: nn.Module) -> nn.Module:
    """A network whose gradients are averages over the processes, and whose batch norm sees the whole batch.

    Raises:
        ConfigError: two processes have their networks on one card.
    """
    if count() == 1:
        return network
    _check_cards(next(network.parameters()).device)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = JointBatchNorm  # it has no state of its own
    return DistributedDataParallel(network)


def inner(network: nn.Module) -> nn.Module:
    """The network that was handed to `shared`."""
    return network.module if isinstance(network, DistributedDataParallel) else network


def _check_cards(device: torch.device) -> None:
    devices: list[Any] = [None] * count()
    distributed.all_gather_object(devices, str(device))
    if device.type == "cuda" and len(set(devices)) < len(devices):
        raise ConfigError(
            f"gpus = {len(devices)}: {device} would be used twice; set device to auto and wait until as many "
            "cards are free"
        )


class JointBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics, in training, are those of the parts of a batch on all processes together.

    torch's SyncBatchNorm does the same on cards only, so that no test without cards could show it.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) with zero mean and unit variance over all of B h w, scaled and shifted."""
        if not self.training:
            unjoined: Tensor = super().forward(features)
            return unjoined
        whitened, mean, variance, samples = _JointWhitening.apply(features, self.eps)
        self._remember(mean, variance * samples / (samples - 1))
        scaled: Tensor = whitened * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(features.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        momentum = self.momentum or 0.0
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None:
                running.lerp_(now.to(running.dtype), momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


class _JointWhitening(torch.autograd.Function):
    """(x - mean) / sqrt(variance + epsilon) for each channel, over the samples and places of all."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = features.float()
        variance, mean = torch.var_mean(values, (0, 2, 3), correction=0)
        size = torch.full_like(mean, values[:, 0].numel(), dtype=torch.float64)
        sums = torch.stack([size, size * mean, size * (variance.double() + mean.double().square())])
        distributed.all_reduce(sums)
        size, joint_mean = sums[0], sums[1] / sums[0]
        joint_variance = (sums[2] / size - joint_mean.square()).clamp(min=0)
        scale = (joint_variance + epsilon).rsqrt().float()
        whitened = (values - joint_mean.float()[:, None, None]) * scale[:, None, None]
        ctx.save_for_backward(whitened, scale, size)
        ctx.mark_non_differentiable(joint_mean, joint_variance, size)
        return whitened, joint_mean, joint_variance, size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        """(g - mean(g) - y mean(g y)) / sqrt(variance + epsilon); Ioffe & Szegedy, ICML 2015, section 3."""
        whitened, scale, size = ctx.saved_tensors
        sums = torch.stack([gradient.sum((0, 2, 3)), (gradient * whitened).sum((0, 2, 3))]).double()
        distributed.all_reduce(sums)
        mean, along = (sums / size).float()[:, :, None, None]
        return scale[:, None, None] * (gradient - mean - whitened * along), None

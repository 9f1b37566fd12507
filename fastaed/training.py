"""What every training loop here shares: device and precision, seeds, checkpoints that resume exactly.

Randomness follows one rule. Whatever is drawn in epoch `e` comes from `epoch_rng(seed, e)` (NumPy: order,
augmentation) or from torch's global state (initialisation, dropout), which the checkpoint carries. A run
that was interrupted and resumed therefore ends with the same weights as one that was not.
"""

import copy
import io
import math
import os
import platform
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

from fastaed.errors import ConfigError, DeviceMemoryError, FastaedError, TrainingError
from fastaed.files import replacing
from fastaed.progress import say

Network = TypeVar("Network", bound=nn.Module)
Result = TypeVar("Result")
Sequenced = TypeVar("Sequenced", Tensor, NDArray[np.uint8])
Precision = Literal["auto", "float32", "bfloat16"]


class Stateful(Protocol):
    """A module, optimizer, schedule or averaged model."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take over what `state_dict` gave."""
        ...


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is a CUDA device that is free if there is one, else the CPU; other names are torch's.

    A device of several becomes torch's current one: its random state is what a checkpoint carries.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        device = (
            torch.device("cuda", _own_card()[0]) if torch.cuda.device_count() > 1 else torch.device("cuda")
        )
    else:
        device, found = torch.device(name), torch.cuda.device_count()
        if device.type == "cuda" and (device.index or 0) >= found:
            raise ConfigError(
                f"device = {name}: this machine has {found} CUDA devices; set device to auto or cpu"
            )
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


@cache
def _own_card() -> tuple[int, socket.socket | None]:
    """Number of the first card that no other process has taken like this, and the claim that keeps it.

    The claim is an abstract Unix socket named after the card: there is no file to be left behind, and the
    kernel lets go of it when the process ends, however it ends. Where all cards are taken, one is shared.
    """
    count = torch.cuda.device_count()
    for card in range(count):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0fastaed-{torch.cuda.get_device_properties(card).uuid}")
        except OSError:
            claim.close()
        else:
            return card, claim
    return os.getpid() % count, None


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Mixed precision for a forward pass; `auto` is bfloat16 wherever the device multiplies it natively."""
    if precision == "bfloat16" or (precision == "auto" and _multiplies_bfloat16(device)):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device itself does; elsewhere torch works bfloat16 out, two to three times as slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def seed_everything(seed: int) -> None:
    """Seed torch; NumPy is never used through its global state."""
    torch.manual_seed(seed)


def epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """The generator for all that is drawn in one epoch, the same whether or not the run was resumed."""
    return np.random.default_rng((seed, epoch))


class AveragedModel(Generic[Network]):
    """An exponential moving average of a network's weights and batch statistics, used in their stead.

    Update n = 0, 1, 2 ... makes it d * average + (1 - d) * now with d = min(decay, n / (n + 9)): the first
    updates forget the initialisation quickly. Decay 0 keeps the last weights.

    Args:
        network: the network being trained; its copy `average` stays in evaluation mode.
        decay: share of the average that an update keeps, in [0, 1).
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.average: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        keep = min(self._decay, self._updates / (self._updates + 9))
        self._updates += 1
        now = network.state_dict()
        for name, average in self.average.state_dict().items():
            if average.is_floating_point():
                average.lerp_(now[name], 1 - keep)
            else:
                average.copy_(now[name])

    def state_dict(self) -> dict[str, Any]:
        """The average and how many updates it has seen."""
        return {"average": self.average.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take over what `state_dict` gave."""
        self.average.load_state_dict(state["average"])
        self._updates = state["updates"]


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimizer down the gradient of a loss."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class AtOnce:
    """How many samples are computed at once: all of a batch, or half of what was too much for the memory.

    Args:
        section: of the configuration, for messages.
        halves: False: the error is passed on, because other processes would wait for a second attempt.
    """

    def __init__(self, section: str, halves: bool = True) -> None:
        self._section = section
        self._halves = halves
        self._most = sys.maxsize

    def fit(self, compute: Callable[[int], Result], wished: int) -> Result:
        """`compute(size)`, again from its start with half the size whenever the device's memory runs out.

        Args:
            compute: takes the number of samples that it may compute at once.
            wished: the largest such number.

        Raises:
            DeviceMemoryError: not even one sample fits.
        """
        while True:
            size = min(wished, self._most)
            try:
                return compute(size)
            except torch.OutOfMemoryError:
                if not self._halves:
                    raise
            self._halve(size)  # out here, where the error no longer holds on to what was computed

    def each(self, inputs: Sequenced, compute: Callable[[Sequenced], Result]) -> Iterator[Result]:
        """`compute` of all inputs in order, of no more at once than fit."""
        while len(inputs):
            yield self.fit(lambda size, rest=inputs: compute(rest[:size]), len(inputs))  # type: ignore[misc]
            inputs = inputs[self._most :]

    def _halve(self, size: int) -> None:
        if size == 1:
            raise DeviceMemoryError(
                f"the device's memory does not hold one sample; free it or change {self._section}.device"
            )
        self._most = size // 2
        torch.cuda.empty_cache()
        say(f"{self._section}: out of memory; going on with {self._most} at once")


def in_parts(network: nn.Module, inputs: Tensor, at_once: int) -> list[Any]:
    """What a network says of the parts of a batch, none of which has more than `at_once` samples.

    Of more than one part nothing is kept for the backward pass, which computes each anew: a third more work,
    and memory for one part only. The gradient is that of the whole batch; batch norm, in training, takes its
    statistics from each part.
    """
    if len(inputs) <= at_once:
        return [network(inputs)]
    parts = inputs.tensor_split(-(-len(inputs) // at_once))
    contexts = partial(_without_and_with, network)
    return [
        checkpoint(network, part, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
        for part in parts
    ]


def _without_and_with(
    network: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first pass nothing; around the second, batch norm does not count what it has seen before."""
    return nullcontext(), _running_statistics_kept(network)


@contextmanager
def _running_statistics_kept(network: nn.Module) -> Iterator[None]:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum


class Timed(Generic[Result]):
    """Items of which it is known how long their reader has waited for them.

    Attributes:
        seconds: waited so far.
    """

    def __init__(self, items: Iterator[Result]) -> None:
        self._items = items
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        """The next item, the wait for it counted."""
        start = time.monotonic()
        try:
            return next(self._items)
        finally:
            self.seconds += time.monotonic() - start


def made_by_processes(
    count: int, opened: Callable[[], Any], make: Callable[..., Any]
) -> Callable[[Iterable[tuple[Any, ...]]], Iterator[Any]]:
    """What makes batches in order, in processes of its own, a few ahead of the reader.

    Args:
        count: of processes; they last as long as what is returned here.
        opened: gives what batches are made of; called in each process, as open stores cannot be handed over.
        make: from that and a request, a batch of tensors; an error of ours is raised where the batch is read.

    Returns:
        Requests (arguments of `make` after the first) to batches; new requests end the last ones.
    """
    requests: list[tuple[Any, ...]] = []
    loader = DataLoader(
        _Making(opened, make),
        batch_size=None,
        sampler=requests,
        num_workers=count,
        multiprocessing_context="spawn",  # Zarr's thread does not survive a fork
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )

    def made(wanted: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        requests[:] = wanted
        batches = iter(loader)
        for batch in batches:
            if isinstance(batch, FastaedError):
                requests.clear()
                deque(batches, maxlen=0)  # a process that is left while it starts dies with a traceback
                raise batch
            yield batch

    return made


class _Making(Dataset[Any]):
    def __init__(self, opened: Callable[[], Any], make: Callable[..., Any]) -> None:
        self._opened, self._make = opened, make
        self._source: Any = None

    def __getitem__(self, request: tuple[Any, ...]) -> Any:
        try:
            self._source = self._source or self._opened()
            return self._make(self._source, *request)
        except FastaedError as error:
            return error


def check_finite(losses: Mapping[str, float], epoch: int, section: str) -> None:
    """Stop a training run whose losses say that it is lost.

    Args:
        losses: name -> mean over the epoch.
        epoch: its number from 1.
        section: of the configuration, for the message.

    Raises:
        TrainingError: a loss is NaN or infinite.
    """
    lost = [name for name, loss in losses.items() if not math.isfinite(loss)]
    if lost:
        raise TrainingError(
            f"{section} diverged: the loss '{lost[0]}' of epoch {epoch} is not finite; "
            f"lower {section}.learning_rate and run it again"
        )


def write_losses(path: Path, history: Sequence[Mapping[str, float]], columns: Sequence[str]) -> None:
    """A CSV table of one row an epoch; only its head where there was no epoch."""
    with replacing(path) as part:
        pd.DataFrame(list(history), columns=list(columns)).to_csv(part, index=False)


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
            "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }
        data = io.BytesIO()  # torch's own writing to a file does not tell a full disk from a defect
        torch.save(state, data)
        with replacing(self.path) as part:
            part.write_bytes(data.getbuffer())

    def resume(self) -> tuple[int, list[dict[str, float]]]:
        """Restore all parts and torch's random state; epochs done and the history, (0, []) without a file."""
        if not self.path.exists():
            return 0, []
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
            say(f"checkpoint {self.path} is unreadable ({type(error).__name__}): starting from the beginning")
            return 0, []
        if not isinstance(state, dict) or state.get("identity") != self._identity:
            say(
                f"checkpoint {self.path} belongs to other settings, code or data: starting from the beginning"
            )
            return 0, []
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda_rng"])
        say(f"resuming after epoch {state['epochs_done']} from {self.path}")
        return state["epochs_done"], state["history"]

    def remove(self) -> None:
        """Forget the checkpoint: the run is complete and its result written."""
        self.path.unlink(missing_ok=True)

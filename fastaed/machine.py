"""What a measurement was made on: the machine by its kind, versions of what computes, memory so far."""

import os
import platform
import resource
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from fastaed.files import version_of

_PACKAGES = ("numpy", "torch", "onnxruntime", "openvino", "nncf")
_EXTENSIONS = {  # flags of /proc/cpuinfo that say how fast products are -> their names
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 bf16",
    "amx_tile": "AMX",
}


def facts() -> dict[str, Any]:
    """Date, machine, versions and threads, as every file of measurements has them."""
    return {
        "date": date.today().isoformat(),
        "machine": ", ".join([_processor(), *_cards()]),
        "versions": {
            name: version_of(name) for name in ("numpy", "torch", "onnxruntime", "openvino", "nncf")
        },
        "threads": torch.get_num_threads(),
    }


def peak_memory() -> int:
    """Bytes that this process has held in memory at most until now: libraries, networks and arrays."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _processor() -> str:
    """`2 x86-64 cores with AVX-512 bf16`, as far as the system says."""
    cores = f"{os.cpu_count()} {platform.machine().replace('_', '-')} cores"
    path = Path("/proc/cpuinfo")
    extensions = list(_extensions(path.read_text().splitlines() if path.is_file() else ()))
    return f"{cores} with {', '.join(extensions)}" if extensions else cores


def _extensions(lines: Iterable[str]) -> Iterable[str]:
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return (name for flag, name in _EXTENSIONS.items() if flag in flags)


def _cards() -> list[str]:
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]

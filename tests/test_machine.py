from pathlib import Path

import pytest
import torch

from fastaed import machine


def test_a_machine_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flags = ["model name : Secret 9000", "flags : fpu avx2 avx512f avx512_vnni amx_other"]
    assert list(machine._extensions(flags)) == ["AVX2", "AVX-512", "AVX-512 VNNI"]
    assert list(machine._extensions([])) == []
    facts = machine.facts()
    assert "cores" in facts["machine"]
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0] or facts["versions"]["torch"]
    assert facts["threads"] == torch.get_num_threads()


def test_peak_memory_rises_with_what_is_held() -> None:
    before = machine.peak_memory()
    held = bytearray(before + 50_000_000)
    assert machine.peak_memory() > len(held)

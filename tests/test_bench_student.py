import ast
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastaed import bench_student
from fastaed.bench_student import BASELINE, Row
from fastaed.config import StudentSettings
from fastaed.data.store import Frames, Maps
from fastaed.data.stream import streamed_inputs
from fastaed.errors import ConfigError
from fastaed.models.student import build_student
from fastaed.pyramid import MapPyramid
from fastaed.weights import save_weights

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)
SHORT = (BASELINE, "ours, PyTorch float32")


@pytest.fixture(scope="module")
def inputs(walkers) -> list[Frames]:  # type: ignore[no-untyped-def]
    return [clip for _, clip in streamed_inputs(walkers(5, seed=0))]


@pytest.fixture(scope="module")
def measurements(inputs: list[Frames], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bench")
    network, facts = build_student(TINY), {"student": TINY.model_dump(mode="json"), "height": 48, "width": 64}
    save_weights(folder / "student.safetensors", network.state_dict(), facts)
    with pytest.MonkeyPatch.context() as patch:
        every = bench_student.rows

        def few(*arguments: Any) -> list[Row]:
            """Those that need nothing but PyTorch, and those that cannot be measured without a card."""
            return [row for row in every(*arguments) if row.name in SHORT or "CUDA" in row.name]

        patch.setattr(bench_student, "rows", few)
        patch.setattr(bench_student, "_SIDE", 64)
        patch.setattr(bench_student, "_COPIED", 10_000)
        patch.setattr(bench_student, "LATENCIES", 4)
        bench_student.run(folder / "student.safetensors", inputs, folder / "speed.json", (1, 3))
    read: dict[str, Any] = json.loads((folder / "speed.json").read_text())
    return read


def test_rows_say_how_fast_and_how_different(measurements: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in measurements["rows"]}
    assert rows[BASELINE]["times_baseline"] == 1
    for name in SHORT:
        row = rows[name]
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"] <= row["latency_ms"]["p99"]
        assert set(row["frames_per_second"]) == {"1", "3"}
        assert 0 <= row["difference"] < 1e-5
        assert row["share_of_ceiling"] > 0
    assert measurements["weights"] == "student.safetensors"
    assert (measurements["height"], measurements["width"]) == (48, 64)
    assert measurements["peak_memory_bytes"] > 1e7
    assert measurements["versions"]["torch"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is said without a card")
def test_without_a_card_its_rows_are_not_measured(measurements: dict[str, Any]) -> None:
    on_card = [row for row in measurements["rows"] if row["device"] == "cuda"]
    assert len(on_card) == 4
    assert all(row["error"] == "there is no CUDA device here" for row in on_card)
    assert not any("latency_ms" in row for row in on_card)
    lines = [line for line in bench_student.table(measurements).splitlines() if "CUDA" in line]
    assert len(lines) == 4
    assert all(bench_student.NOT_MEASURED in line for line in lines)


def test_the_table_has_a_cell_for_each_head(measurements: dict[str, Any]) -> None:
    lines = [line for line in bench_student.table(measurements).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_a_row_that_changes_the_maps_is_marked(measurements: dict[str, Any]) -> None:
    rows = [dict(row) for row in measurements["rows"]]
    rows[1]["difference"] = 0.02
    marked = [
        line for line in bench_student.table({**measurements, "rows": rows}).splitlines() if "*" in line
    ]
    assert len(marked) == 1
    assert marked[0].startswith("| ours, PyTorch float32 |")


def test_flops_are_those_of_the_convolutions() -> None:
    """14.1 GFLOP a frame of 640x360, as counted by hand from the layers of the published network."""
    student = build_student(StudentSettings()).eval()
    flops = bench_student._flops(student, np.zeros((9, 360, 640), np.uint8))
    assert flops == pytest.approx(14.1e9, rel=0.01)


class Promise:
    """Maps of a device that goes on computing after it was asked, until somebody looks at them."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        time.sleep(0.05)
        return np.zeros((1, 1, 1), np.float32)


def test_maps_that_are_not_there_yet_cannot_be_timed() -> None:
    clip = np.zeros((1, 9, 32, 32), np.uint8)

    def asks(_: Frames) -> Any:
        return MapPyramid(Promise(), Promise(), Promise())

    def waits(_: Frames) -> Maps:
        return MapPyramid(*(np.asarray(level) for level in asks(_)))

    with pytest.raises(TypeError, match="nothing says it has finished"):
        bench_student.seconds(asks, clip)
    with pytest.raises(TypeError, match="nothing says it has finished"):
        bench_student.seconds(lambda _: MapPyramid(*torch.zeros(3, 1, 1, 1)), clip)
    assert bench_student.seconds(waits, clip) > 0.15


def test_nothing_but_the_two_functions_that_wait_reads_the_clock() -> None:
    tree = ast.parse(Path(bench_student.__file__).read_text())
    readers = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("time.")
    }
    assert readers == {"seconds", "_fastest"}


def test_rows_take_turns(inputs: list[Frames]) -> None:
    order: list[str] = []

    def scorer(name: str) -> Any:
        maps = MapPyramid(*(np.zeros((1, side, side), np.float32) for side in (1, 4, 16)))
        return lambda clip: order.append(name) or maps

    times = bench_student.timed({"a": scorer("a"), "b": scorer("b")}, inputs[0][None], 3)
    assert order[-6:] == ["a", "b"] * 3
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 3, "b": 3}


def test_without_footage_there_is_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one frame"):
        bench_student.run(None, [], tmp_path / "speed.json")

import ast
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastaed import bench_student, speed
from fastaed.bench_student import BASELINE, Labelled, Row, Work
from fastaed.config import StudentSettings
from fastaed.data.store import Frames, Maps, write_frames
from fastaed.data.stream import streamed_inputs
from fastaed.errors import ConfigError, DataError
from fastaed.evaluation.truth import GroundTruth
from fastaed.models.published import build_published
from fastaed.models.student import build_student
from fastaed.pyramid import MapPyramid
from fastaed.weights import save_weights

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)
SHORT = (BASELINE, "ours, PyTorch float32")


@pytest.fixture(scope="module")
def inputs(walkers) -> list[Frames]:  # type: ignore[no-untyped-def]
    return [clip for _, clip in streamed_inputs(walkers(5, seed=0))]


def labelled(folder: Path, inputs: list[Frames]) -> Labelled:
    """Two clips of twelve frames, the last six of each called abnormal."""
    for name in ("01", "02"):
        frames = [clip[:3].transpose(1, 2, 0) for clip in inputs] * 3
        write_frames(folder / f"{name}.zarr", frames[:12], {"clip": name})
        (folder / f"{name}.csv").write_text(
            "frame,label\n" + "".join(f"{t},{int(t > 5)}\n" for t in range(12))
        )
    labels = {name: folder / f"{name}.csv" for name in ("01", "02")}
    return Labelled([folder / f"{name}.zarr" for name in labels], GroundTruth("walkers", "folder", labels))


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
        patch.setattr(bench_student, "TURNS", 2)
        patch.setattr(bench_student, "CALLS", 2)
        out = folder / "speed.json"
        bench_student.run(folder / "student.safetensors", inputs, out, (1, 3), labelled(folder, inputs))
    read: dict[str, Any] = json.loads((folder / "speed.json").read_text())
    return read


def test_rows_say_how_fast_and_how_different(measurements: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in measurements["rows"]}
    assert rows[BASELINE]["times_baseline"] == 1
    for name in SHORT:
        row = rows[name]
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"] <= row["latency_ms"]["p99"]
        assert set(row["frames_per_second"]) == {"1", "3"}
        assert row["bound"]["share"] > 0
    assert 0 <= rows["ours, PyTorch float32"]["difference"] < 1e-5
    assert 0 <= rows["ours, PyTorch float32"]["micro_auc"] <= 1
    assert not {"difference", "micro_auc"} & set(rows[BASELINE]), "another network, without weights"
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
    lines = [line for line in speed.rows_table(measurements).splitlines() if "CUDA" in line]
    assert len(lines) == 4
    assert all(speed.NOT_MEASURED in line for line in lines)


def test_without_bfloat16_of_its_own_a_cpu_has_no_rows_of_it(
    inputs: list[Frames], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_student, "native_dtype", lambda device, precision: torch.float32)
    student = build_student(TINY).eval()
    rows = bench_student.rows(student, {}, inputs, tmp_path, student, is_student=True)
    narrow = [row for row in rows if (row.precision, row.device) == ("bfloat16", "cpu")]
    assert len(narrow) == 3
    for row in narrow:
        with pytest.raises(ConfigError, match="this cpu has no bfloat16 of its own"):
            row.open()


def test_the_table_has_a_cell_for_each_head(measurements: dict[str, Any]) -> None:
    lines = [line for line in speed.rows_table(measurements).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_a_row_that_changes_the_maps_is_marked(measurements: dict[str, Any]) -> None:
    rows = [dict(row) for row in measurements["rows"]]
    for name in ("difference", "micro_auc"):
        changed = {
            **measurements,
            "rows": [*rows, {**rows[1], "name": "changed", name: rows[1][name] + 0.02}],
        }
        marked = [line for line in speed.rows_table(changed).splitlines() if "*" in line]
        assert len(marked) == 1
        assert marked[0].startswith("| changed |")


def test_flops_are_those_of_the_convolutions() -> None:
    """14.1 GFLOP a frame of 640x360, as counted by hand from the layers of the published network."""
    student = build_student(StudentSettings()).eval()
    work = bench_student.work_of(student, np.zeros((9, 360, 640), np.uint8))
    assert work.flop == pytest.approx(14.1e9, rel=0.01)
    assert work.weights == pytest.approx(4.998e6, rel=0.001)
    assert work.input_bytes == 9 * 360 * 640


def test_outputs_are_those_of_convolutions_and_products() -> None:
    convolution = torch.nn.Conv2d(9, 4, 3)
    work = bench_student.work_of(
        torch.nn.Sequential(
            Floats(), convolution, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(24, 5)
        ),
        np.zeros((9, 4, 5), np.uint8),
    )
    assert work.outputs == 4 * 2 * 3 + 5
    assert work.flop == 2 * (9 * 3 * 3 * 4 * 2 * 3 + 24 * 5)


class Floats(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float()


def test_the_roofline_is_the_slower_of_products_and_copies() -> None:
    work = Work(flop=1000, weights=40, outputs=10, input_bytes=20)
    assert work.moved("float32", 1) == 20 + 4 * (40 + 20)
    assert work.moved("int8", 4) == 20 + 10 + 20
    row = {"precision": "bfloat16", "frames_per_second": {"1": 2.0, "4": 4.0}}
    found = bench_student.bound(row, work, {"bfloat16": 5000.0, "copy": 1e9})
    assert (found["batch"], found["frames_per_second"], found["share"]) == (4, 5.0, 0.8)
    found = bench_student.bound(row, work, {"bfloat16": 1e9, "copy": 800.0})
    assert found["bytes_per_frame"] == 20 + 2 * (10 + 20)
    assert (found["batch"], found["frames_per_second"]) == (4, 10.0)


@torch.inference_mode()
def test_the_baseline_is_the_published_network_whatever_is_measured() -> None:
    clip = torch.randint(0, 256, (1, 9, 64, 64), dtype=torch.uint8)
    published = build_student(StudentSettings()).eval()
    baseline, same = bench_student.published_network(published, StudentSettings())
    assert same
    for one, other in zip(baseline(clip), published(clip), strict=True):
        torch.testing.assert_close(one, other)
    bolt = StudentSettings.model_validate("bolt")
    baseline, same = bench_student.published_network(build_student(bolt).eval(), bolt)
    assert not same
    assert [len(weights) for weights in baseline.parameters()] == [
        len(weights) for weights in build_published(StudentSettings()).parameters()
    ]


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


def test_rows_take_turns_and_their_first_calls_do_not_count(inputs: list[Frames]) -> None:
    order: list[str] = []

    def scorer(name: str) -> Any:
        maps = MapPyramid(*(np.zeros((1, side, side), np.float32) for side in (1, 4, 16)))
        return lambda clip: order.append(name) or maps

    times = bench_student.timed({"a": scorer("a"), "b": scorer("b")}, inputs[0][None], turns=2, calls=3)
    assert order == [*"aaaaa", *"bbbbb"] * 2
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 6, "b": 6}


def test_without_footage_there_is_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one frame"):
        bench_student.run(None, [], tmp_path / "speed.json", [1])


def test_latencies_need_one_input_at_a_time(inputs: list[Frames], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 1 and"):
        bench_student.run(None, inputs, tmp_path / "speed.json", [4])


def test_labelled_clips_must_be_those_of_the_labels_and_of_one_size(
    tmp_path: Path, inputs: list[Frames]
) -> None:
    clips = labelled(tmp_path, inputs)
    with pytest.raises(DataError, match=r"64x48 pixels, the speed is measured at 64x32; measure with --set"):
        bench_student.run(None, [inputs[0][:, :32]], tmp_path / "speed.json", [1], clips)
    stranger = Labelled(clips.stores, GroundTruth("walkers", "folder", {"01": tmp_path / "01.csv"}))
    with pytest.raises(DataError, match="clip 02 has no labels"):
        bench_student.run(None, inputs, tmp_path / "speed.json", [1], stranger)
    write_frames(tmp_path / "02.zarr", [inputs[0][:3].transpose(1, 2, 0)] * 9, {"clip": "02"})
    with pytest.raises(DataError, match="holds 9 frames but clip 02 has 12 labels"):
        bench_student.run(None, inputs, tmp_path / "speed.json", [1], clips)

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lively import enliven

from fastaed import cli, export
from fastaed.config import StudentSettings
from fastaed.data.store import Frames
from fastaed.data.stream import streamed_inputs
from fastaed.errors import ConfigError, DataError, OutputError, WeightsError
from fastaed.models.student import Student, build_student
from fastaed.walkway.media import write_video
from fastaed.weights import save_weights

TINY = StudentSettings(
    channels=(4, 8, 8, 16, 16), blocks=1, heads=2, head_width=8, map_channels=4, eyes=(4, 4, 8, 8)
)
EXACT = ["--set", "precision=float32", "--set", "device=cpu"]
HEIGHT, WIDTH = 72, 100  # 5 x 7 places: no multiple of any map
NEEDS = {"onnx": ["onnxscript"], "openvino": ["onnxscript", "openvino"], "torch": []}


@pytest.fixture(scope="module")
def network() -> Student:
    torch.manual_seed(0)
    student = build_student(TINY).eval()
    enliven(student)
    return student


@pytest.fixture(scope="module")
def student(network: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    facts = {"student": TINY.model_dump(mode="json"), "height": HEIGHT, "width": WIDTH, "teachers": ["baf"]}
    save_weights(path, network.state_dict(), facts)
    return path


@pytest.fixture(scope="module", autouse=True)
def one_translation() -> Iterator[None]:
    """The exporter takes seconds over the one network; its answer is kept, and copied: it is written into."""
    translate, kept = export._onnx_model, []

    def once(student: Student, example: torch.Tensor) -> Any:
        if not kept:
            kept.append(translate(student, example))
        return copy.deepcopy(kept[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "_onnx_model", once)
        yield


@pytest.fixture(scope="module")
def inputs(walkers) -> list[Frames]:  # type: ignore[no-untyped-def]
    return [clip for _, clip in streamed_inputs(walkers(9, seed=0, height=HEIGHT, width=WIDTH))]


def skip_without(*libraries: str) -> None:
    for library in libraries:
        pytest.importorskip(library)


@pytest.mark.parametrize("kind", ["onnx", "openvino", "torch"])
def test_an_exported_student_says_the_same_and_how_it_is_used(
    kind: export.Kind, student: Path, network: Student, inputs: list[Frames], tmp_path: Path
) -> None:
    skip_without(*NEEDS[kind])
    out = tmp_path / f"small{export.SUFFIXES[kind]}"
    difference = export.run(student, kind, out, inputs, int8=False)
    assert difference < export.FLOAT_TOLERANCE
    opened = export.open_network(out, precision="float32")
    maps = opened.score(np.stack(inputs[:3]))
    with torch.inference_mode():
        expected = network(torch.from_numpy(np.stack(inputs[:3])))
    for ours, theirs in zip(maps, expected, strict=True):
        assert ours.shape == tuple(theirs.shape)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
    assert (opened.facts["height"], opened.facts["width"]) == (HEIGHT, WIDTH)
    assert opened.facts["weights"]["teachers"] == ["baf"]
    assert opened.facts["smoothing"] == {"kind": "causal", "sigma_frames": 21.0}
    assert {path.suffix for path in tmp_path.iterdir()} <= {out.suffix, ".bin"}


@pytest.mark.parametrize(("kind", "needs"), [("onnx", ["onnxscript"]), ("openvino", ["onnxscript", "nncf"])])
def test_int8_is_smaller_and_close(
    kind: export.Kind, needs: list[str], student: Path, network: Student, inputs: list[Frames], tmp_path: Path
) -> None:
    skip_without(*needs)
    out = tmp_path / f"small{export.SUFFIXES[kind]}"
    assert 0 < export.run(student, kind, out, inputs, int8=True) < export.INT8_TOLERANCE
    opened = export.open_network(out)
    assert "int8" in opened.backend
    assert 0 < export.largest_difference(opened.score, network, inputs) < export.INT8_TOLERANCE


def test_a_network_that_says_something_else_is_not_written(
    student: Path, inputs: list[Frames], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "FLOAT_TOLERANCE", -1.0)
    with pytest.raises(OutputError, match=r"differ from PyTorch's by .*, more than -1.0"):
        export.run(student, "torch", tmp_path / "out" / "small.pt2", inputs, int8=False)
    assert not list((tmp_path / "out").iterdir())


def test_a_map_that_is_no_number_is_no_match(network: Student, inputs: list[Frames]) -> None:
    def broken(clips: Frames) -> export.Maps:
        maps = export.torch_scorer(network, torch.device("cpu"))(clips)
        return maps._replace(four=maps.four * np.nan)

    assert not export.largest_difference(broken, network, inputs) <= 1


def test_weights_are_opened_as_the_fast_student(
    student: Path, network: Student, inputs: list[Frames]
) -> None:
    opened = export.open_network(student, "cpu", "float32")
    assert export.largest_difference(opened.score, network, inputs) < 1e-5
    assert opened.backend == "PyTorch cpu float32"
    rough = export.open_network(student, "cpu", "bfloat16")
    assert 0 < export.largest_difference(rough.score, network, inputs) < 0.05


def test_mistakes_are_sentences(student: Path, inputs: list[Frames], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"should end in \.onnx"):
        export.run(student, "onnx", tmp_path / "a.xml", inputs, int8=False)
    with pytest.raises(ConfigError, match="choose onnx or openvino for int8"):
        export.run(student, "torch", tmp_path / "a.pt2", inputs, int8=True)
    with pytest.raises(DataError, match="no frames were given"):
        export.run(student, "torch", tmp_path / "a.pt2", [], int8=False)
    with pytest.raises(DataError, match="100x71 pixels, the student's 100x72"):
        export.run(student, "torch", tmp_path / "a.pt2", [inputs[0][:, 1:]], int8=False)
    with pytest.raises(WeightsError, match="does not exist"):
        export.open_network(tmp_path / "none.onnx")
    with pytest.raises(WeightsError, match=r"ends in none of \.safetensors"):
        export.open_network(Path(__file__))
    with pytest.raises(ConfigError, match=r"frobnicate is not installed; pip install 'fastaed\[speed\]'"):
        export._library("frobnicate")


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2", ".safetensors"])
def test_a_file_of_something_else_is_refused(suffix: str, tmp_path: Path) -> None:
    if suffix == ".xml":
        skip_without("openvino")
    path = tmp_path / f"rubbish{suffix}"
    path.write_bytes(b"rubbish" * 9)
    with pytest.raises(WeightsError, match="damaged"):
        export.open_network(path)


def test_a_network_without_our_metadata_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Identity", ["a"], ["b"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "ab"]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", ends[:1], ends[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(WeightsError, match="not written by fastaed export"):
        export.open_network(tmp_path / "other.onnx")


SCRIPT = Path(__file__).parent.parent / "examples" / "score_onnx.py"
ALONE = """
import runpy, sys
for name in ("torch", "fastaed", "pandas", "onnx"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0])
"""


def test_the_example_scores_a_video_without_us(
    student: Path, inputs: list[Frames], tmp_path: Path, walkers: Any
) -> None:
    skip_without("onnxscript")
    export.run(student, "onnx", tmp_path / "student.onnx", inputs, int8=False)
    film = np.stack(walkers(12, seed=1, height=144, width=200))
    write_video(tmp_path / "street.mp4", film, "mp4v", 25)
    arguments = [str(SCRIPT), str(tmp_path / "student.onnx"), str(tmp_path / "street.mp4")]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    table = np.array([line.split(",") for line in done.stdout.splitlines()[1:]], dtype=float)
    cli.main(["score", arguments[2], "--student", str(student), "--out", str(tmp_path / "s.csv"), *EXACT])
    expected = pd.read_csv(tmp_path / "s.csv")
    np.testing.assert_allclose(table, expected[["frame", "mean", "smoothed"]], atol=1e-5)
    assert len(SCRIPT.read_text().splitlines()) <= 40


def test_the_command_compares_on_footage(
    student: Path, tmp_path: Path, walkers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "street.mp4", np.stack(walkers(30, seed=1, height=144, width=200)), "mp4v", 25)
    arguments = ["export", str(student), "--to", "torch", "--frames", str(tmp_path / "street.mp4")]
    cli.main([*arguments, "--out", str(tmp_path / "s.pt2")])
    assert "s.pt2: 2 frames compared, largest difference of a map " in capsys.readouterr().out
    assert export.open_network(tmp_path / "s.pt2").facts["width"] == WIDTH


def test_facts_are_json() -> None:
    facts = export.usage({"height": 4, "width": 5, "student": TINY.model_dump(mode="json")}, "float32")
    assert json.loads(json.dumps(facts))["gap_frames"] == 3

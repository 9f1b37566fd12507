"""Detection: a scripted network with known answers, a random YOLO against ultralytics' pipeline, motion."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastaed import detect
from fastaed.config import DetectSettings
from fastaed.data.boxes import Detections, no_detections, overlaps, read_detections
from fastaed.data.store import FrameStore, write_frames
from fastaed.errors import DataError, DeviceMemoryError, MissingDataError, WeightsError
from fastaed.files import content_digest, read_manifest
from fastaed.yolo import open_ultralytics

HEIGHT, WIDTH = 120, 160
Frames = NDArray[np.uint8]


def clip_of(frames: Frames, path: Path) -> FrameStore:
    write_frames(path, frames, {"clip": path.stem})
    return FrameStore(path)


def scenery(seed: int = 0) -> Frames:
    """One coloured, textured (H, W, 3) picture."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 12, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)


def scripted(
    answers: list[list[tuple[float, ...]]], classes: tuple[str, ...] = ("person", "bicycle")
) -> detect.Yolo:
    """A detector with these answers, frame after frame: (x1, y1, x2, y2, probabilities...) in its input."""
    waiting = iter(answers)

    def network(images: torch.Tensor) -> torch.Tensor:
        output = torch.zeros(len(images), 4 + len(classes), 12)
        for picture in output:
            for anchor, (x1, y1, x2, y2, *probabilities) in enumerate(next(waiting)):
                values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, *probabilities]
                picture[:, anchor] = torch.tensor(values)
        return output

    network.device = torch.device("cpu")  # type: ignore[attr-defined]
    return detect.Yolo(network, classes, 32, None, "digest")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- the frame in the network's input --------------------------------------------------------------------


@given(st.integers(20, 900), st.integers(20, 900), st.sampled_from([64, 320, 640]))
def test_a_letterbox_is_just_large_enough_and_undone_exactly(height: int, width: int, size: int) -> None:
    box = detect.fit_letterbox(height, width, size, 32)
    assert max(box.inner_height, box.inner_width) == size
    assert box.height % 32 == box.width % 32 == 0
    assert 0 <= box.height - box.inner_height < 32
    assert 0 <= box.width - box.inner_width < 32
    corners = np.array([[0, 0, width, height], [width / 4, height / 3, width / 2, height]], np.float32)
    shifted = corners * np.float32(box.scale) + np.tile([box.left, box.top], 2).astype(np.float32)
    assert box.undo(shifted) == pytest.approx(corners, rel=1e-4, abs=1e-3)


def test_the_letterboxed_picture_lies_where_undo_says() -> None:
    frame = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    frame[0, 30:60, 40:80] = (250, 10, 20)
    box = detect.fixed_letterbox(HEIGHT, WIDTH, 320, 320)
    inputs = box.apply(frame)
    assert inputs.shape == (1, 320, 320, 3)
    assert (inputs[0, : box.top] == 114).all()
    assert (inputs[0, box.top + box.inner_height :] == 114).all()
    red = inputs[0, ..., 0] > 150
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    bounds = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert box.undo(np.array([bounds], np.float32))[0] == pytest.approx([40, 30, 80, 60], abs=1)


# --- what is made of the network's answer ----------------------------------------------------------------


def test_known_answers_become_known_boxes(tmp_path: Path) -> None:
    clip = clip_of(np.zeros((3, HEIGHT, WIDTH, 3), np.uint8), tmp_path / "a.zarr")
    yolo = scripted(
        [
            [
                (20, 40, 60, 100, 0.3, 0.9),
                (22, 40, 60, 100, 0.2, 0.8),  # the same once more
                (24, 50, 40, 90, 0.7, 0.1),  # inside the first
                (200, 40, 208, 100, 0.8, 0.1),  # narrow
                (100, 40, 140, 100, 0.4, 0.45),  # unsure
            ],
            [],
            [(-20, -20, 60, 60, 0.6, 0.1), (300, 20, 400, 100, 0.55, 0.95)],  # beyond the edges
        ]
    )
    settings = DetectSettings(
        input_size=2 * WIDTH, confidence=0.5, overlap=0.7, minimum_side=10, batch_size=2
    )
    box = yolo.letterbox(HEIGHT, WIDTH, 2 * WIDTH)
    assert (box.scale, box.top, box.left) == (2, 8, 0)
    found = detect.detect_objects(clip, yolo, settings)
    assert found.frame.tolist() == [0, 2, 2]
    expected = [[10, 16, 30, 46], [0, 0, 30, 26], [150, 6, 160, 46]]
    assert found.xyxy.tolist() == expected
    assert found.class_id.tolist() == [1, 0, 1]
    assert found.confidence == pytest.approx([0.9, 0.6, 0.95])
    assert found.probabilities == pytest.approx(np.array([[0.3, 0.9], [0.6, 0.1], [0.55, 0.95]]))


def test_an_answer_after_nms_is_refused(tmp_path: Path) -> None:
    clip = clip_of(np.zeros((1, HEIGHT, WIDTH, 3), np.uint8), tmp_path / "a.zarr")

    class EndToEnd:
        device = "cpu"

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(images), 300, 6)

    with pytest.raises(WeightsError, match="without NMS"):
        detect.detect_objects(clip, detect.Yolo(EndToEnd(), ("a", "b"), 32, None, ""), DetectSettings())


# --- ultralytics -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def random_yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the demo's network before training, but for heads that answer with some confidence."""
    ultralytics = open_ultralytics()
    folder = tmp_path_factory.mktemp("yolo")
    (folder / "yolov8.yaml").write_text(json.dumps({**detect._small_network(ultralytics), "nc": 4}))
    torch.manual_seed(5)
    model = ultralytics.YOLO(str(folder / "yolov8.yaml"), task="detect")
    pictures = torch.from_numpy(np.stack([scenery(1), scenery(2)])).permute(0, 3, 1, 2) / 255
    for module in model.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one look at pictures, so that the answer depends on them
    with torch.no_grad():
        model.model.train()(torch.nn.functional.pad(pictures, (0, 0, 4, 4)))
        for branch in model.model.eval().model[-1].cv3:
            branch[-1].weight.mul_(25)
            branch[-1].bias.fill_(-1.5)
    model.save(str(folder / "random.pt"))
    return folder / "random.pt"


def settings_for(weights: Path, **changes: Any) -> DetectSettings:
    values = {"weights": str(weights), "input_size": 160, "confidence": 0.3, "device": "cpu"}
    return DetectSettings(**{**values, **changes})


def test_boxes_classes_and_colours_are_those_of_ultralytics(random_yolo: Path, tmp_path: Path) -> None:
    frames = np.stack([scenery(1), scenery(2), scenery(3)])
    settings = settings_for(random_yolo)
    yolo = detect.load_yolo(settings)
    ours = detect.yolo_objects(clip_of(frames, tmp_path / "a.zarr"), yolo, no_detections(0), settings)[0]

    model = open_ultralytics().YOLO(str(random_yolo), task="detect")
    blue_first = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    options = {"imgsz": 160, "conf": 0.3, "iou": settings.overlap, "max_det": 10_000, "device": "cpu"}
    theirs = model.predict(blue_first, rect=True, verbose=False, **options)

    assert len(ours) > 20
    for number, result in enumerate(theirs):
        mine = ours.take(ours.frame == number)
        boxes = result.boxes.cpu().numpy()
        corners = np.clip(mine.xyxy, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        one = np.column_stack([corners, 100 * mine.confidence, 100 * mine.class_id])
        other = np.column_stack([boxes.xyxy, 100 * boxes.conf, 100 * boxes.cls])
        apart = np.abs(one[:, None] - other[None]).max(axis=2)
        assert apart.shape[0] == apart.shape[1]
        assert apart.min(axis=1).max() < 0.1
        assert apart.min(axis=0).max() < 0.1

    blue = clip_of(np.stack(blue_first), tmp_path / "b.zarr")
    swapped, _ = detect.yolo_objects(blue, yolo, no_detections(0), settings)
    assert len(swapped) != len(ours) or not np.allclose(swapped.confidence, ours.confidence, atol=1e-2)


def test_probabilities_belong_to_the_boxes_and_batches_do_not_matter(
    random_yolo: Path, tmp_path: Path
) -> None:
    clip = clip_of(np.stack([scenery(seed) for seed in range(5)]), tmp_path / "a.zarr")
    settings = settings_for(random_yolo, batch_size=1)
    yolo = detect.load_yolo(settings)
    one, _ = detect.yolo_objects(clip, yolo, no_detections(0), settings)
    assert one.probabilities.shape == (len(one), 4)
    assert np.array_equal(one.probabilities.max(axis=1), one.confidence)
    assert np.array_equal(one.probabilities.argmax(axis=1), one.class_id)
    assert (one.confidence >= 0.3).all()
    many, _ = detect.yolo_objects(clip, yolo, no_detections(0), settings_for(random_yolo, batch_size=4))
    assert np.array_equal(many.frame, one.frame)
    assert many.xyxy == pytest.approx(one.xyxy, abs=0.1)
    assert many.probabilities == pytest.approx(one.probabilities, abs=2e-3)
    assert one.features.shape[1] > 100  # the maps of three scales
    close = np.isclose(many.features, one.features, rtol=1e-2, atol=1e-2)
    assert close.mean() > 0.999  # a corner that moves over a cell's edge takes another cell


def test_frames_that_do_not_fit_together_are_looked_at_apart(
    random_yolo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = clip_of(np.stack([scenery(seed) for seed in range(5)]), tmp_path / "a.zarr")
    settings = settings_for(random_yolo, batch_size=4)
    yolo = detect.load_yolo(settings)
    sizes: list[int] = []

    class Limited:
        device = "cpu"

        def __init__(self, limit: int) -> None:
            self.limit = limit

        def __call__(self, images: torch.Tensor) -> Any:
            sizes.append(len(images))
            if len(images) > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return yolo.network(images)

    limited = detect.Yolo(Limited(1), yolo.classes, yolo.stride, yolo.fixed_size, yolo.digest)
    apart = detect.detect_objects(clip, limited, settings)
    assert sizes == [4, 2, 1, 1, 1, 1, 1]
    said = [line for line in capsys.readouterr().err.splitlines() if "memory" in line]
    assert said == [f"detect: out of memory; going on with {half} at once" for half in (2, 1)]
    one_by_one = detect.detect_objects(clip, yolo, settings_for(random_yolo, batch_size=1))
    assert len(apart) > 0
    assert np.array_equal(apart.xyxy, one_by_one.xyxy)
    assert np.array_equal(apart.features, one_by_one.features)

    without = detect.Yolo(Limited(0), yolo.classes, yolo.stride, yolo.fixed_size, yolo.digest)
    with pytest.raises(DeviceMemoryError, match="does not hold one sample"):
        detect.detect_objects(clip, without, settings)


def test_boxes_found_otherwise_get_the_features_of_their_place(random_yolo: Path, tmp_path: Path) -> None:
    clip = clip_of(np.stack([scenery(seed) for seed in range(3)]), tmp_path / "a.zarr")
    settings = settings_for(random_yolo, batch_size=2)
    yolo = detect.load_yolo(settings)
    found, _ = detect.yolo_objects(clip, yolo, no_detections(0), settings)
    some = found.take(np.arange(0, len(found), 3))
    bare = replace(some, probabilities=np.zeros((len(some), 0), np.float32), features=some.features[:, :0])
    _, described = detect.yolo_objects(clip, yolo, bare, settings)
    assert np.array_equal(described.xyxy, some.xyxy)
    assert described.features == pytest.approx(some.features, abs=2e-3)
    assert described.probabilities.shape == some.probabilities.shape
    assert not described.probabilities.any()


def test_features_are_means_over_the_cells_that_a_box_touches() -> None:
    """Input 8 x 16 pixels; one map of 2 x 4 cells (4 pixels a side), one of 1 x 2 (8 pixels a side)."""
    fine = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    coarse = np.array([[[10, 20]], [[30, 50]]], np.float32)
    boxes = np.array(
        [[0, 0, 4, 4], [3, 1, 9, 4], [12, 4, 16, 8], [-9, -9, -5, -5], [7.9, 0, 8, 8]], np.float32
    )
    features = detect.pool_features([fine, coarse], boxes, 8, 16)
    assert features.dtype == np.float16
    assert features.tolist() == [
        [0, 10, 30],
        [1, 15, 40],  # columns 0 to 2 of row 0
        [7, 20, 50],
        [0, 10, 30],  # outside: the nearest cell
        [3, 10, 30],  # columns 1, rows 0 and 1
    ]
    assert detect.pool_features([], boxes, 8, 16).shape == (5, 0)


def test_an_exported_network_also_shows_what_its_last_layer_reads(tmp_path: Path) -> None:
    names = {
        "images": ["/model.0/act/Mul_output_0"],
        "/model.0/act/Mul_output_0": ["/model.1/act/Mul_output_0"],
        "/model.1/act/Mul_output_0": ["/model.1/act/Mul_output_0_quantized", "unnamed"],
        "/model.1/act/Mul_output_0_quantized": ["/model.2/cv2/Conv_output_0"],
        "/model.2/cv2/Conv_output_0": ["output0"],
    }
    nodes = [
        onnx.helper.make_node("Identity", [source], [target])
        for source, targets in names.items()
        for target in targets
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1])
        for name in ("images", "output0")
    ]
    graph = onnx.helper.make_graph(nodes, "tiny", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "tiny.onnx")
    with detect._showing_maps(tmp_path / "tiny.onnx") as copy:
        assert [output.name for output in onnx.load(copy).graph.output] == [
            "output0",
            "/model.1/act/Mul_output_0",
        ]
    assert not copy.exists()
    assert len(onnx.load(tmp_path / "tiny.onnx").graph.output) == 1


def test_an_exported_network_takes_no_more_threads_than_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 32, 32])
        for name in ("images", "output0")
    ]
    node = onnx.helper.make_node("Identity", ["images"], ["output0"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "tiny", ends[:1], ends[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.helper.set_model_props(model, {"stride": "32", "task": "detect", "names": "{0: 'person'}"})
    onnx.save(model, tmp_path / "tiny.onnx")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    yolo = detect.load_yolo(settings_for(tmp_path / "tiny.onnx"))
    assert yolo.network.session.get_session_options().intra_op_num_threads == 3
    assert yolo.fixed_size == (32, 32)


def test_loading_prints_nothing(random_yolo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yolo = detect.load_yolo(settings_for(random_yolo))
    assert yolo.classes == ("0", "1", "2", "3")
    assert yolo.fixed_size is None
    assert capsys.readouterr() == ("", "")
    assert logging.getLogger("ultralytics").level == logging.ERROR


@pytest.mark.parametrize("name", ["rubbish.pt", "rubbish.onnx", "rubbish.txt"])
def test_files_that_are_no_detector_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        detect.load_yolo(settings_for(tmp_path / name))


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"evil\.pt"):
        detect.load_yolo(settings_for(tmp_path / "evil.pt"))
    assert not (tmp_path / "executed").exists()


def test_ultralytics_stays_off_the_network_and_out_of_the_home_folder(
    random_yolo: Path, tmp_path: Path
) -> None:
    program = f"""
import socket
def refuse(*_): raise AssertionError("network used")
socket.getaddrinfo = socket.socket.connect = refuse
from fastaed import detect
from fastaed.config import DetectSettings
yolo = detect.load_yolo(DetectSettings(weights={str(random_yolo)!r}, device="cpu"))
from ultralytics.utils import AUTOINSTALL, ONLINE, USER_CONFIG_DIR
from ultralytics.utils.events import events
assert not ONLINE and not AUTOINSTALL and not events.enabled
"""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("YOLO_", "ULTRALYTICS_", "XDG_", "PYTEST_"))
    }
    environment |= {"HOME": str(home), "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []
    assert list(temporary.iterdir()) == []


# --- motion ----------------------------------------------------------------------------------------------


def moving_square(frames: int, noise: float = 2.0) -> tuple[Frames, NDArray[np.float32]]:
    """A square of 24 pixels that crosses a noisy scene; (T, H, W, 3) frames and its (T, 4) boxes."""
    rng = np.random.default_rng(4)
    video = scenery(9)[None] + rng.normal(0, noise, (frames, HEIGHT, WIDTH, 1))
    boxes = []
    for number, frame in enumerate(video):
        x, y = 5 + 4 * number, 20 + number
        frame[y : y + 24, x : x + 24] = (255, 0, 255) if (x // 8) % 2 else (0, 255, 0)
        boxes.append((x, y, x + 24, y + 24))
    return np.clip(video, 0, 255).astype(np.uint8), np.array(boxes, np.float32)


def test_what_moves_is_found_from_the_first_frame_on(tmp_path: Path) -> None:
    frames, truth = moving_square(30)
    settings = DetectSettings(detector="motion", minimum_side=10, batch_size=7)
    found = detect.moving_objects(clip_of(frames, tmp_path / "a.zarr"), settings)
    for number in range(30):
        here = found.xyxy[found.frame == number]
        assert overlaps(truth[number : number + 1], here).max(initial=0) > 0.6, f"frame {number}"
    assert len(found) < 1.3 * 30
    assert set(found.class_id.tolist()) == {-1}
    assert found.probabilities.shape == found.features.shape == (len(found), 0)
    assert ((found.confidence > 0.3) & (found.confidence <= 1)).all()


def test_batches_of_motion_do_not_matter(tmp_path: Path) -> None:
    clip = clip_of(moving_square(20)[0], tmp_path / "a.zarr")
    one, other = (
        detect.moving_objects(clip, DetectSettings(detector="motion", batch_size=size)) for size in (3, 16)
    )
    assert np.array_equal(one.xyxy, other.xyxy)


def test_a_still_clip_gives_an_empty_table_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = clip_of(np.repeat(scenery()[None], 12, axis=0), tmp_path / "still.zarr")
    detect.run([clip.path], tmp_path / "out", tmp_path / "out.json", DetectSettings(detector="motion"))
    assert "still: nothing found by motion in 12 frames" in capsys.readouterr().err
    assert read_detections(tmp_path / "out" / "still.parquet").probabilities.shape == (0, 0)


def test_a_union_adds_motion_that_no_object_explains(tmp_path: Path) -> None:
    frames, truth = moving_square(12)
    clip = clip_of(frames, tmp_path / "a.zarr")
    offset = np.array([0, 4, 0, 4])  # rows of border around a 120 pixel high frame
    seen = [[(*(box + offset), 0.9, 0.1)] if i % 2 else [] for i, box in enumerate(truth)]
    settings = DetectSettings(detector="yolo+motion", input_size=WIDTH)
    found = detect.detect_objects(clip, scripted(seen), settings)
    assert found.frame.tolist() == list(range(12))
    assert found.class_id.tolist() == [-1, 0] * 6
    assert found.probabilities.shape == (12, 2)


# --- the stage -------------------------------------------------------------------------------------------


def test_run_writes_a_table_a_clip_and_a_manifest_that_vouches_for_them(
    random_yolo: Path, tmp_path: Path
) -> None:
    stores = []
    for name, seeds in (("02", [1, 2]), ("01", [3, 4, 5])):
        clip_of(np.stack([scenery(seed) for seed in seeds]), tmp_path / f"{name}.zarr")
        stores.append(tmp_path / f"{name}.zarr")
    out, manifest = tmp_path / "detect" / "000", tmp_path / "detect" / "000.json"
    out.mkdir(parents=True)
    (out / "old.parquet").touch()
    detect.run(stores, out, manifest, settings_for(random_yolo))
    tables: dict[str, Detections] = {path.stem: read_detections(path) for path in out.iterdir()}
    facts = read_manifest(manifest)
    assert sorted(tables) == ["01", "02"]
    assert facts["clips"] == {"01": 3, "02": 2}
    assert facts["detections"] == {name: len(found) for name, found in tables.items()}
    assert facts["classes"] == ["0", "1", "2", "3"]
    assert facts["content"] == content_digest(out)
    for found in tables.values():
        assert len(found) > 0
        assert (found.xyxy >= 0).all()
        assert (found.xyxy[:, 2:] - found.xyxy[:, :2] >= 10).all()
        assert (found.xyxy[:, 2:] <= [WIDTH, HEIGHT]).all()


def test_an_interrupted_batch_goes_on_after_its_last_whole_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... unless it was made with other settings."""
    frames, _ = moving_square(12)
    stores = [clip_of(np.roll(frames, i, axis=2), tmp_path / f"{i}.zarr").path for i in range(3)]
    out, manifest = tmp_path / "000", tmp_path / "000.json"
    detect.run(stores, out, manifest, DetectSettings(detector="motion"))
    undisturbed = content_digest(out)
    calls: list[str] = []

    def second_interrupted(clip: FrameStore, *others: Any, find: Any = detect.detect_objects) -> Any:
        calls.append(clip.clip)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return find(clip, *others)

    monkeypatch.setattr(detect, "detect_objects", second_interrupted)
    with pytest.raises(KeyboardInterrupt):
        detect.run(stores, out, manifest, DetectSettings(detector="motion"))
    detect.run(stores[:1], tmp_path / "001", tmp_path / "001.json", DetectSettings(detector="motion"))
    detect.run(stores, out, manifest, DetectSettings(detector="motion"))
    assert calls == ["0", "1", "0", "1", "2"]
    assert content_digest(out) == undisturbed
    assert not list(tmp_path.glob("*.checkpoint"))
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        detect.run(stores, out, manifest, DetectSettings(detector="motion", minimum_side=2))
    detect.run(stores, out, manifest, DetectSettings(detector="motion"))
    assert calls == ["0", "1", "0", "1", "2"]


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    stores = [clip_of(scenery()[None], tmp_path / folder / "a.zarr").path for folder in ("x", "y")]
    with pytest.raises(DataError, match="two frame stores hold a clip named a"):
        detect.run(stores, tmp_path / "out", tmp_path / "out.json", DetectSettings(detector="motion"))
    assert not (tmp_path / "out").exists()


# --- the demo's own YOLO ---------------------------------------------------------------------------------


def test_a_detector_can_be_trained_and_leaves_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "weights" / "small.pt"
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (pictures / folder / split).mkdir(parents=True)
        for number in range(4):
            picture = scenery(number)
            picture[40:80, 30:60] = 255
            cv2.imwrite(str(pictures / "images" / split / f"{number}.jpg"), picture)
            (pictures / "labels" / split / f"{number}.txt").write_text("1 0.28125 0.5 0.1875 0.3333\n")
    description = "path: /moved/since\ntrain: images/train\nval: images/val\nnames: {0: person, 1: box}\n"
    (pictures / "data.yaml").write_text(description)
    before = content_digest(pictures), torch.get_num_threads()
    detect.train_detector(pictures, out, epochs=1, seed=3, input_size=64)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "epoch 1 of 1" in shown.err
    assert (content_digest(pictures), torch.get_num_threads()) == before
    assert out.stat().st_size < 3_000_000
    assert detect.load_yolo(settings_for(out)).classes == ("person", "box")


def test_training_needs_pictures(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"data\.yaml does not exist"):
        detect.train_detector(tmp_path, tmp_path / "a.pt", epochs=1, seed=0)


# --- real footage ----------------------------------------------------------------------------------------


def test_pedestrians_of_ped2_are_found(real_data: Path, tmp_path: Path) -> None:
    weights = os.environ.get("FASTAED_TEST_WEIGHTS")
    if not weights:
        pytest.skip("FASTAED_TEST_WEIGHTS does not name COCO weights of YOLO")
    files = sorted((real_data / "UCSDped2" / "Train" / "Train001").glob("*.*"))[60:63]
    frames = np.stack([np.asarray(cv2.imread(str(file)), np.uint8)[..., ::-1] for file in files])
    settings = DetectSettings(weights=weights, confidence=0.25, device="cpu")
    found = detect.detect_objects(clip_of(frames, tmp_path / "a.zarr"), detect.load_yolo(settings), settings)
    assert found.probabilities.shape[1] == 80
    assert found.features.shape[1] == 64 + 128 + 256
    for number in range(3):
        here = found.take(found.frame == number)
        assert 10 <= len(here) <= 20
        assert (here.class_id == 0).mean() > 0.9
        heights = here.xyxy[:, 3] - here.xyxy[:, 1]
        assert 20 < np.median(heights) < 50

"""The generated data set in files: names, layouts and what the readers of the benchmarks make of them."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from fastaed import demo
from fastaed.config import DemoSettings, read_settings
from fastaed.data.benchmarks import label_path, list_clips
from fastaed.data.labels import read_frame_labels, read_masks
from fastaed.errors import ConfigError
from fastaed.files import content_digest
from fastaed.walkway.footage import Clip, film

SMALL = DemoSettings(
    train_clips=2, test_clips=3, frames=40, width=160, height=96, walkers=3, detector_images=16
)
Clips = dict[str, list[Clip]]


@pytest.fixture(scope="module")
def small() -> Clips:
    return {split: list(film(split, SMALL)) for split in ("train", "test")}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "data"
    demo.run(out, SMALL)
    return out


def test_plan_names_all_clips_in_order() -> None:
    assert demo.plan(DemoSettings(train_clips=2, test_clips=11)) == {
        "train": ["01", "02"],
        "test": ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11"],
    }


@pytest.mark.parametrize("size", [{"width": 161}, {"height": 91}])
def test_odd_sizes_are_refused_as_codecs_would_cut_them(size: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="multiple of 2"):
        read_settings(DemoSettings, None, size)


def test_importing_the_module_is_light() -> None:
    code = (
        "import sys, fastaed.demo; print([m for m in ('cv2', 'scipy', 'torch', 'zarr') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_run_writes_the_plain_layout_and_nothing_else(written: Path) -> None:
    files = sorted(path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file())
    assert files == sorted(
        [f"train/{clip}.mp4" for clip in ("01", "02")]
        + [f"tracks/train/{clip}.csv" for clip in ("01", "02")]
        + [
            file.format(clip)
            for clip in ("01", "02", "03")
            for file in ("test/{}.mp4", "tracks/test/{}.csv", "labels/{}.csv", "masks/{}.npz")
        ]
    )
    assert {split: list(list_clips("folder", written, split)) for split in ("train", "test")} == demo.plan(
        SMALL
    )


def test_files_hold_the_clips(written: Path, small: Clips) -> None:
    for split, clips in small.items():
        for clip in clips:
            decoded = read_video(written / split / f"{clip.name}.mp4")
            assert decoded.shape == clip.frames.shape == (40, 96, 160, 3)
            assert np.abs(decoded.astype(int) - clip.frames).mean() < 6  # RGB where RGB is expected
            with (written / "tracks" / split / f"{clip.name}.csv").open() as stream:
                rows = list(csv.DictReader(stream))
            assert list(rows[0]) == ["track_id", "frame", "x1", "y1", "x2", "y2", "class", "kind"]
            assert [tuple(row.values()) for row in rows] == [tuple(map(str, row)) for row in clip.tracks]
    for clip in small["test"]:
        truth = read_frame_labels("folder", written / "labels" / f"{clip.name}.csv")
        assert truth.labels.tolist() == clip.labels.tolist()
        assert truth.kinds == clip.kinds
        with np.load(written / "masks" / f"{clip.name}.npz") as masks:
            assert masks["masks"].dtype == bool
            assert np.array_equal(masks["masks"], clip.masks)


def read_video(path: Path) -> NDArray[Any]:
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1][..., ::-1])
    return np.stack(frames)


def read_image(path: Path) -> NDArray[Any]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return image


def test_equal_seeds_write_equal_bytes_and_others_do_not(written: Path, tmp_path: Path) -> None:
    demo.run(tmp_path / "again", SMALL)
    assert content_digest(tmp_path / "again") == content_digest(written)
    other = next(film("train", SMALL.model_copy(update={"seed": 8})))
    first = next(film("train", SMALL))
    assert not np.array_equal(other.frames, first.frames)
    assert other.tracks != first.tracks


def test_avenue_layout(tmp_path: Path, small: Clips) -> None:
    demo.write_as("avenue", tmp_path, SMALL)
    assert (tmp_path / "training_videos" / "01.avi").is_file()
    assert (tmp_path / "ground_truth_demo" / "testing_label_mask" / "1_label.mat").is_file()
    assert b"XVID" in (tmp_path / "testing_videos" / "01.avi").read_bytes()[:4096]
    check_layout("avenue", tmp_path, small, {"train": ["01", "02"], "test": ["01", "02", "03"]})
    decoded = read_video(tmp_path / "testing_videos" / "02.avi")
    assert np.abs(decoded.astype(int) - small["test"][1].frames).mean() < 6


def test_shanghaitech_layout(tmp_path: Path, small: Clips) -> None:
    demo.write_as("shanghaitech", tmp_path, SMALL)
    clips = {"train": ["01_001", "01_002"], "test": ["01_0014", "01_0015", "01_0016"]}
    check_layout("shanghaitech", tmp_path, small, clips)
    frames = sorted(path.name for path in (tmp_path / "testing" / "frames" / "01_0014").iterdir())
    assert frames == [f"{number:03d}.jpg" for number in range(40)]
    assert cv2.VideoCapture(str(tmp_path / "training/videos/01_001.avi")).get(cv2.CAP_PROP_FPS) == 24


def test_ped2_layout(tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"train_clips": 1, "test_clips": 6, "frames": 30})
    clips = {split: list(film(split, settings)) for split in ("train", "test")}
    demo.write_as("ped2", tmp_path, settings)
    names = {"train": ["Train001"], "test": [f"Test00{number}" for number in range(1, 7)]}
    check_layout("ped2", tmp_path, clips, names)
    folder = tmp_path / "UCSDped2" / "Test"
    assert (folder / "Test001_gt" / "001.bmp").is_file()
    assert (folder / "Test006_gt" / "frame030.bmp").is_file()
    picture = read_image(tmp_path / "UCSDped2" / "Train" / "Train001" / "030.tif")
    expected = cv2.cvtColor(clips["train"][0].frames[29], cv2.COLOR_RGB2GRAY)
    assert picture.ndim == 2
    assert np.abs(picture.astype(int) - expected).max() <= 1
    mask = read_image(folder / "Test001_gt" / "030.bmp")
    assert set(np.unique(mask)) == {0, 255}
    lines = (folder / "UCSDped2.m").read_text().splitlines()
    assert lines[0] == "TestVideoFile = {};"
    for line, clip in zip(lines[1:], clips["test"], strict=True):
        text = line.removeprefix("TestVideoFile{end+1}.gt_frame = [").removesuffix("];")
        labels = [0] * 30
        for part in text.split(", "):
            first, last = map(int, part.split(":"))
            labels[first - 1 : last] = [1] * (last - first + 1)
        assert labels == clip.labels.tolist()


def check_layout(layout: str, root: Path, clips: Clips, names: dict[str, list[str]]) -> None:
    """The readers of the benchmark find the clips and their truth."""
    assert list(list_clips(layout, root, "train")) == names["train"]
    assert list(list_clips(layout, root, "test")) == names["test"]
    for name, clip in zip(names["test"], clips["test"], strict=True):
        path = label_path(layout, root, name)
        assert path is not None
        assert read_frame_labels(layout, path).labels.tolist() == clip.labels.tolist()
        masks = read_masks(layout, path)
        assert masks is not None
        assert np.array_equal(masks, clip.masks)


def test_detector_pictures(tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    demo.write_detector_pictures(out, SMALL)
    described = yaml.safe_load((out / "data.yaml").read_text())
    assert described == {
        "path": str(out.resolve()),
        "train": "images/train",
        "val": "images/val",
        "names": {0: "person", 1: "bicycle", 2: "cart"},
    }
    seen: set[int] = set()
    for split in ("train", "val"):
        pictures = sorted((out / "images" / split).iterdir())
        assert pictures
        assert [p.stem for p in pictures] == [p.stem for p in sorted((out / "labels" / split).iterdir())]
        assert all(read_image(picture).shape == (96, 160, 3) for picture in pictures)
        for file in (out / "labels" / split).iterdir():
            for line in file.read_text().splitlines():
                number, x, y, width, height = line.split()
                seen.add(int(number))
                assert float(width) > 0
                assert float(height) > 0
                assert float(width) / 2 - 1e-5 <= float(x) <= 1 - float(width) / 2 + 1e-5
                assert float(height) / 2 - 1e-5 <= float(y) <= 1 - float(height) / 2 + 1e-5
    assert seen == {0, 1, 2}
    assert len(list((out / "images").rglob("*.jpg"))) == 16


def test_fewest_detector_pictures_fill_both_splits(tmp_path: Path) -> None:
    demo.write_detector_pictures(tmp_path / "two", SMALL.model_copy(update={"detector_images": 2}))
    assert len(list((tmp_path / "two" / "images" / "train").iterdir())) == 1
    assert len(list((tmp_path / "two" / "images" / "val").iterdir())) == 1

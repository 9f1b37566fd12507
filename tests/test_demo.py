"""The generated data set: what is drawn agrees with the truth that is written, only events are abnormal."""

import csv
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastaed import demo
from fastaed.config import DemoSettings, read_settings
from fastaed.data.benchmarks import label_path, list_clips
from fastaed.data.labels import read_frame_labels, read_masks
from fastaed.errors import ConfigError, OutputError
from fastaed.files import content_digest

SMALL = DemoSettings(
    train_clips=2, test_clips=3, frames=40, width=160, height=96, walkers=3, detector_images=16
)
Clips = dict[str, list[demo._Clip]]


@pytest.fixture(scope="module")
def default() -> Clips:
    """Two training clips and all test clips of the default data set."""
    settings = DemoSettings()
    few = settings.model_copy(update={"train_clips": 2})
    return {"train": list(demo._clips("train", few)), "test": list(demo._clips("test", settings))}


@pytest.fixture(scope="module")
def small() -> Clips:
    return {split: list(demo._clips(split, SMALL)) for split in ("train", "test")}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "data"
    demo.run(out, SMALL)
    return out


def routes(clip: demo._Clip) -> dict[int, dict[int, tuple[float, float, float, float]]]:
    """Track -> frame -> box."""
    found: dict[int, dict[int, tuple[float, float, float, float]]] = defaultdict(dict)
    for track, frame, x1, y1, x2, y2, _, _ in clip.tracks:
        found[track][frame] = (x1, y1, x2, y2)
    return found


def walkway_rows(settings: DemoSettings) -> tuple[float, float]:
    camera = demo._camera(settings)
    return camera.foot(0, demo._WALKWAY[1])[1], camera.foot(0, demo._WALKWAY[0])[1]


# Names and files.


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
    other = next(demo._clips("train", SMALL.model_copy(update={"seed": 8})))
    first = next(demo._clips("train", SMALL))
    assert not np.array_equal(other.frames, first.frames)
    assert other.tracks != first.tracks


def test_more_clips_leave_the_first_ones_as_they_are(small: Clips) -> None:
    more = demo._clips("test", SMALL.model_copy(update={"test_clips": 4}))
    assert np.array_equal(next(more).frames, small["test"][0].frames)


def test_a_video_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"01\.mp4"):
        demo._write_video(tmp_path / "01.mp4", np.zeros((2, 64, 64, 3), np.uint8), "?!?!", 25)
    assert list(tmp_path.iterdir()) == []


# The truth.


@pytest.mark.parametrize("name", ["small", "default"])
def test_labels_masks_and_tracks_agree(name: str, request: pytest.FixtureRequest) -> None:
    for split, clips in request.getfixturevalue(name).items():
        for clip in clips:
            assert np.array_equal(clip.labels.astype(bool), clip.masks.any(axis=(1, 2)))
            boxes: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
            for _, frame, *box, _, kind in clip.tracks:
                x1, y1, x2, y2 = box
                assert 0 <= x1 < x2 <= clip.frames.shape[2]
                assert 0 <= y1 < y2 <= clip.frames.shape[1]
                if kind:
                    assert split == "test"
                    assert kind == clip.kinds[frame]
                    boxes[frame].append((x1, y1, x2, y2))
            assert [bool(boxes[frame]) for frame in range(len(clip.kinds))] == [bool(k) for k in clip.kinds]
            for frame, [(x1, y1, x2, y2)] in ((f, b) for f, b in boxes.items() if len(b) == 1):
                rows, columns = np.nonzero(clip.masks[frame])
                reach = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                assert np.abs(reach - (x1, y1, x2, y2)).max() <= 2, (split, clip.name, frame)


def test_masks_are_where_something_abnormal_is_drawn(default: Clips) -> None:
    """The picture differs from the empty scene much more inside the mask than elsewhere."""
    settings = DemoSettings()
    camera = demo._camera(settings)
    background = demo._background(camera, demo._WALKWAY, demo._LAWN_END, np.random.default_rng([7, 0]))
    clip = default["test"][0]
    frame = int(np.flatnonzero(clip.labels)[-1])
    difference = np.abs(clip.frames[frame].astype(float) - background).mean(axis=2)
    inside = clip.masks[frame]
    assert difference[inside].mean() > 3 * difference[~inside].mean()


@pytest.mark.parametrize("name", demo.CLASSES)
@pytest.mark.parametrize("heading", [0.0, math.pi])
def test_a_silhouette_is_what_painting_changes(name: str, heading: float) -> None:
    camera = demo._camera(DemoSettings())
    placed = demo._place(look(name), demo._Pose(heading, 1.0, 0.4), 0.3, 14.0, camera)
    painted = np.full((180, 320, 3), (255, 0, 255), np.uint8)
    shadow = painted.copy()
    demo._paint(painted, [placed])
    demo._shadow(shadow, placed)
    box = demo._box(placed, camera)
    assert box is not None
    x1, y1, x2, y2 = box
    covered = np.zeros((180, 320), bool)
    covered[y1:y2, x1:x2] = demo._silhouette(placed, box)
    changed = (painted != shadow).any(axis=2)
    near = cv2.dilate(covered.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)  # antialiasing
    assert not (changed & ~near).any()
    assert (changed & covered).sum() > 0.98 * covered.sum()


def look(name: str, seed: int = 3) -> demo._Look:
    person = demo._random_person(np.random.default_rng(seed))
    looks: dict[str, demo._Look] = {
        "person": person,
        "bicycle": demo._Bicycle(person, (200, 60, 40)),
        "cart": demo._Cart(person, (240, 200, 60)),
    }
    return looks[name]


def test_the_nearer_figure_hides_the_farther() -> None:
    camera = demo._camera(DemoSettings())
    near = demo._place(look("cart"), demo._Pose(0, 0, 0), 0.0, 13.0, camera)
    far = demo._place(look("person"), demo._Pose(0, 0, 0.3), 0.0, 15.0, camera)
    alone, both = np.zeros((180, 320, 3), np.uint8), np.zeros((180, 320, 3), np.uint8)
    demo._paint(alone, [near])
    demo._paint(both, [near, far])
    box = demo._box(near, camera)
    assert box is not None
    x1, y1, x2, y2 = box
    inner = cv2.erode(demo._silhouette(near, box).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert np.array_equal(alone[y1:y2, x1:x2][inner], both[y1:y2, x1:x2][inner])
    assert (alone != both).any()


@pytest.mark.parametrize("x", [-30.0, -6.6, -6.0, 0.0, 5.5, 6.4, 30.0])
def test_a_box_is_of_the_visible_part_and_needs_enough_of_it(x: float) -> None:
    """Literal twin: paint on a wide canvas, cut the picture out, look for the outermost painted pixels."""
    camera = demo._camera(DemoSettings())
    placed = demo._place(look("cart"), demo._Pose(0, 0, 0), x, 14.0, camera)
    wide = demo._silhouette(placed, (-1000, -1000, 1320, 1180))[1000:1180, 1000:1320]
    seen = [(u, v) for v in range(180) for u in range(320) if wide[v, u]]
    box = demo._box(placed, camera)
    left, top, right, bottom = placed.whole
    if not seen:
        assert box is None
        return
    columns, rows = zip(*seen)
    reach = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
    share = (reach[2] - reach[0]) * (reach[3] - reach[1]) / ((right - left) * (bottom - top))
    assert (box is not None) == (share > 0.25)
    if box is not None:
        assert np.abs(np.subtract(box, reach)).max() <= 1


# Normal life.


def test_training_shows_no_event(default: Clips) -> None:
    top, bottom = walkway_rows(DemoSettings())
    for clip in default["train"]:
        assert set(clip.kinds) == {""}
        assert not clip.masks.any()
        assert {row[6] for row in clip.tracks} == {"person"}
        assert all(top < row[5] < bottom for row in clip.tracks)  # feet on the walkway
        for boxes in routes(clip).values():
            assert most_widths_a_step(boxes) == 0 or most_widths_a_step(boxes) < 1.7 * demo._WALK
            assert all((x2 - x1) < (y2 - y1) for x1, y1, x2, y2 in boxes.values())


def most_widths_a_step(boxes: dict[int, tuple[float, float, float, float]]) -> float:
    """The largest speed over 12 frames in metres a second, from boxes away from the picture's sides.

    The camera shows 1.0 m as scale pixels, and scale follows from the row of the feet.
    """
    camera = demo._camera(DemoSettings())
    speeds = [0.0]
    for frame, (x1, _, x2, y2) in boxes.items():
        later = boxes.get(frame + 12)
        if later is not None and min(x1, later[0]) > 1 and max(x2, later[2]) < 319:
            scale = (y2 - camera.horizon) / camera.above_ground
            speeds.append(abs(later[0] + later[2] - x1 - x2) / 2 / scale / 12 * 25)
    return max(speeds)


def test_people_farther_up_are_smaller_and_move_fewer_pixels(default: Clips) -> None:
    camera = demo._camera(DemoSettings())
    metres = [
        (y2 - y1) / ((y2 - camera.horizon) / camera.above_ground)
        for clip in default["train"]
        for _, _, _, y1, _, y2, *_ in clip.tracks
    ]
    assert 1.3 < min(metres) <= max(metres) < 2.1
    near, far = camera.foot(1.0, 12.6), camera.foot(1.0, 17.4)
    assert far[1] < near[1]
    assert far[0] - camera.width / 2 < 0.75 * (near[0] - camera.width / 2)


def test_about_as_many_people_are_in_view_as_asked_for(default: Clips) -> None:
    for clip in default["train"]:
        assert 3.5 < len(clip.tracks) / len(clip.kinds) < 6
        directions = {np.sign(b[max(b)][0] - b[min(b)][0]) for b in routes(clip).values()}
        assert {-1.0, 1.0} <= directions


def test_the_camera_stands_still_and_its_light_changes_slowly(default: Clips) -> None:
    wall = default["train"][0].frames[:, :20].astype(float).mean(axis=(1, 2, 3))
    assert np.abs(np.diff(wall)).max() < 1.0
    assert wall.max() - wall.min() > 4
    noise = np.diff(default["train"][0].frames[:, :20].astype(float), axis=0).std()
    assert 0.8 * demo._NOISE * math.sqrt(2) < noise < 1.3 * demo._NOISE * math.sqrt(2)


# Events.


def test_kinds_take_turns_and_every_test_clip_has_normal_stretches(default: Clips) -> None:
    kinds = [{kind for kind in clip.kinds if kind} for clip in default["test"]]
    assert kinds == [{"look"}, {"motion"}, {"place"}, {"look"}, {"motion"}, {"place"}]
    for clip in default["test"]:
        events = demo._ranges(clip.labels)
        assert 1 <= len(events) <= 2
        assert all(30 <= stop - start <= 60 for start, stop in events)
        assert (clip.labels == 0).sum() >= 40


def test_even_the_smallest_settings_show_normal_and_abnormal_frames(small: Clips) -> None:
    for clip in small["test"]:
        assert 0 < clip.labels.sum() < len(clip.labels)


@pytest.mark.parametrize("index", range(12))
def test_events_are_what_they_are_called(index: int) -> None:
    settings = DemoSettings()
    camera = demo._camera(settings)
    events = demo._events(settings, index, camera, np.random.default_rng(index))
    assert len(events) == 1 + index % 2
    for event in events:
        assert event.kind == demo.KINDS[index % 3]
        on_walkway = (event.depth > demo._WALKWAY[0]) & (event.depth < demo._WALKWAY[1])
        assert on_walkway.all() if event.kind != "place" else not on_walkway.any()
        assert (event.look.name == "person") == (event.kind != "look")
        if event.kind == "place":
            assert np.allclose(event.speed, demo._WALK, rtol=0.1)  # only the place is wrong
        if event.kind == "motion":
            during = event.abnormal
            usual = (event.speed > 0.8 * demo._WALK) & (event.speed < 1.2 * demo._WALK)
            usual &= (np.abs(np.sin(event.heading)) < 1e-6) & (event.fallen == 0)
            assert usual[~during].all()
            assert not usual[during].all()
            assert (~usual[during]).mean() > 0.9


def test_each_variant_has_its_turn() -> None:
    settings = DemoSettings()
    camera = demo._camera(settings)
    seen = set()
    for index in range(9):
        for event in demo._events(settings, index, camera, np.random.default_rng(index)):
            if event.kind == "look":
                seen.add(event.look.name)
            elif event.kind == "place":
                seen.add("far lawn" if event.depth[0] > demo._WALKWAY[1] else "near lawn")
            elif event.fallen.any():
                seen.add("fall")
            elif event.speed.min() == 0:
                seen.add("stop")
            else:
                seen.add("run" if event.abnormal.all() else "cross")
    assert seen == {variant for variants in demo.EVENTS.values() for variant in variants}


def test_running_shows_between_three_frames_before_and_after(default: Clips) -> None:
    fastest = max(most_widths_a_step(boxes) for clip in default["train"] for boxes in routes(clip).values())
    clip = default["test"][1]
    (first, *_) = [row[0] for row in clip.tracks if row[7] and row[1] < 75]
    runner = routes(clip)[first]
    assert most_widths_a_step(runner) > 2.2 * fastest


def test_falling_lays_a_person_down(default: Clips) -> None:
    clip = default["test"][1]
    lying = [
        (x2 - x1) / (y2 - y1) for _, frame, x1, y1, x2, y2, _, kind in clip.tracks if kind and frame > 75
    ]
    assert max(lying) > 2


def test_lawn_walkers_stand_where_nobody_stands_in_training(default: Clips) -> None:
    top, bottom = walkway_rows(DemoSettings())
    for clip in (default["test"][2], default["test"][5]):
        feet = [row[5] for row in clip.tracks if row[7] == "place"]
        assert feet
        assert all(foot < top or foot > bottom for foot in feet)


@given(
    frame=st.integers(-20, 60),
    x=st.floats(-5, 5),
    depth=st.floats(11, 20),
    speed=st.floats(0.2, 6),
    heading=st.sampled_from([0.0, math.pi / 2, math.pi, -math.pi / 2]),
)
def test_a_route_passes_through_its_point(
    frame: int, x: float, depth: float, speed: float, heading: float
) -> None:
    actor = demo._steady(look("person"), (frame, x, depth), speed, heading, 40)
    for at in (0, 17, 39):
        distance = speed / 25 * (at - frame)
        assert actor.x[at] == pytest.approx(x + distance * math.cos(heading))
        assert actor.depth[at] == pytest.approx(depth + distance * math.sin(heading))


def test_walking_feet_stay_on_the_ground() -> None:
    person = look("person")
    for phase in np.linspace(0, 2 * math.pi, 9):
        corners = np.concatenate([polygon for polygon, _ in demo._figure(person, demo._Pose(0, phase, 0.42))])
        assert -0.05 < corners[:, 1].min() < 0.05
        assert 1.4 < corners[:, 1].max() < 2.0


# Official layouts.


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
    clips = {split: list(demo._clips(split, settings)) for split in ("train", "test")}
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


# Pictures for a detector.


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


def test_hidden_figures_have_no_label() -> None:
    camera = demo._camera(DemoSettings())
    walking = demo._Pose(0, 1.2, 0.4)
    near = demo._place(look("person"), walking, 0.0, 12.0, camera)
    behind = demo._place(look("person"), walking, 0.0, 12.1, camera)
    beside = demo._place(look("cart"), walking, 3.0, 12.6, camera)
    lines = demo._label_lines([behind, near, beside], [0, 0, 2], camera)
    assert [line.split()[0] for line in lines] == ["0", "2"]
    x1, y1, x2, y2 = demo._box(near, camera) or (0, 0, 0, 0)
    values = [float(value) for value in lines[0].split()[1:]]
    expected = [(x1 + x2) / 640, (y1 + y2) / 360, (x2 - x1) / 320, (y2 - y1) / 180]
    assert values == pytest.approx(expected, abs=1e-6)

import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaed.data.benchmarks import (
    LAYOUTS,
    label_path,
    label_paths,
    label_version,
    list_clips,
    natural_key,
    numbered_images,
)
from fastaed.errors import DataError, MissingDataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def avenue(root: Path) -> None:
    touch(root, *(f"training_videos/{clip:02}.avi" for clip in range(1, 17)))
    touch(root, *(f"testing_videos/{clip:02}.avi" for clip in range(1, 22)))
    masks = "ground_truth_demo/testing_label_mask"
    touch(root, *(f"{masks}/{clip}_label.mat" for clip in range(1, 22)))


def ped2(root: Path) -> None:
    touch(root, *(f"Train/Train{clip:03}/001.tif" for clip in range(1, 17)), "Train/.DS_Store", "Train/._x/1")
    touch(root, *(f"Test/Test{clip:03}/001.tif" for clip in range(1, 13)), "Test/UCSDped2.m")
    touch(root, *(f"Test/Test{clip:03}_gt/001.bmp" for clip in range(1, 13)))


def shanghaitech(root: Path) -> None:
    touch(root, "training/videos/01_001.avi", "training/videos/13_007.avi", "training/videos/notes.txt")
    touch(root, "testing/frames/01_0014/000.jpg", "testing/frames/12_0142/000.jpg")
    touch(root, "testing/test_frame_mask/01_0014.npy", "testing/test_frame_mask/12_0142.npy")


def folder(root: Path) -> None:
    touch(root, "train/2.mp4", "train/10.MKV", "train/1/000.png", "test/01.avi", "test/02.avi")
    touch(root, "labels/01.csv", "labels/02/000.png")


BUILD = {"avenue": avenue, "ped2": ped2, "shanghaitech": shanghaitech, "folder": folder}
EXPECTED = {
    "avenue": ([f"{clip:02}" for clip in range(1, 17)], [f"{clip:02}" for clip in range(1, 22)]),
    "ped2": ([f"Train{clip:03}" for clip in range(1, 17)], [f"Test{clip:03}" for clip in range(1, 13)]),
    "shanghaitech": (["01_001", "13_007"], ["01_0014", "12_0142"]),
    "folder": (["1", "2", "10"], ["01", "02"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_clips_are_listed_in_natural_order(layout: str, tmp_path: Path) -> None:
    BUILD[layout](tmp_path)
    train, test = list_clips(layout, tmp_path, "train"), list_clips(layout, tmp_path, "test")
    assert (list(train), list(test)) == EXPECTED[layout]
    assert all(path.exists() and path.name.split(".")[0] == name for name, path in {**train, **test}.items())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_test_clip_has_its_own_ground_truth(layout: str, tmp_path: Path) -> None:
    BUILD[layout](tmp_path)
    found = [label_path(layout, tmp_path, clip) for clip in list_clips(layout, tmp_path, "test")]
    assert all(path is not None and path.exists() for path in found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("layout", "inside"),
    [("ped2", "UCSDped2"), ("avenue", "Avenue Dataset"), ("shanghaitech", "shanghaitech")],
)
def test_the_parent_of_the_official_folder_will_do(layout: str, inside: str, tmp_path: Path) -> None:
    BUILD[layout](tmp_path / inside)
    direct = list_clips(layout, tmp_path / inside, "test")
    assert list_clips(layout, tmp_path, "test") == direct
    clip = next(iter(direct))
    assert label_path(layout, tmp_path, clip) == label_path(layout, tmp_path / inside, clip)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ground_truth_tells_the_same_clips_as_the_footage(layout: str, tmp_path: Path) -> None:
    BUILD[layout](tmp_path)
    found = label_paths(layout, tmp_path)
    assert list(found.items()) == [
        (clip, label_path(layout, tmp_path, clip)) for clip in list_clips(layout, tmp_path, "test")
    ]


@pytest.mark.parametrize(
    ("layout", "files", "clips"),
    [
        ("avenue", ["testing_label_mask/9_label.mat", "testing_label_mask/10_label.mat"], ["09", "10"]),
        ("avenue", ["Avenue/ground_truth_demo/testing_label_mask/1_label.mat"], ["01"]),
        ("ped2", ["Test/Test010_gt/1.bmp", "Test/Test009_gt/1.bmp", "Test/Test010/1.tif"], None),
        ("ped2", ["UCSDped2/Test/Test001_gt/1.bmp", "UCSDped2/Test/UCSDped2.m"], ["Test001"]),
        ("shanghaitech", ["testing/test_frame_mask/01_0014.npy"], ["01_0014"]),
        ("shanghaitech", ["test_frame_mask/01_0014.npy", "test_pixel_mask/01_0014.npy"], ["01_0014"]),
        ("folder", ["labels/b10.csv", "labels/b9.npy", "labels/b1/1.png"], ["b1", "b9", "b10"]),
        ("folder", ["a.npy", "b.csv", "train/1/1.png", "readme.txt", ".c.npy"], ["a", "b"]),
        ("folder", ["labels/a.csv", "notes.csv"], ["a"]),
    ],
)
def test_ground_truth_is_found_without_footage(
    layout: str, files: list[str], clips: list[str] | None, tmp_path: Path
) -> None:
    touch(tmp_path, *files)
    found = label_paths(layout, tmp_path)
    assert list(found) == (clips or ["Test009", "Test010"])
    assert all(path.exists() for path in found.values())


def test_no_ground_truth_at_all_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "ground_truth_demo/testing_label_mask/01_label.mat", "testing_videos/01.avi")
    with pytest.raises(MissingDataError, match="ground truth of layout 'avenue' not found") as missing:
        label_paths("avenue", tmp_path)
    looked = str(missing.value).partition("looked for ")[2].partition(". Expected")[0].split(", ")
    assert len(looked) == len(set(looked)) > 1
    with pytest.raises(MissingDataError, match="nowhere"):
        label_paths("folder", tmp_path / "nowhere")


def test_avenue_masks_may_lie_beside_the_videos(tmp_path: Path) -> None:
    touch(tmp_path / "Avenue Dataset", "testing_videos/08.avi")
    touch(tmp_path, "ground_truth_demo/testing_label_mask/8_label.mat")
    expected = tmp_path / "ground_truth_demo/testing_label_mask/8_label.mat"
    assert label_path("avenue", tmp_path, "08") == expected


def test_a_table_is_preferred_to_an_array_to_a_folder_of_masks(tmp_path: Path) -> None:
    touch(tmp_path, "test/01.avi", "labels/01/000.png")
    assert label_path("folder", tmp_path, "01") == tmp_path / "labels/01"
    touch(tmp_path, "labels/01.npy")
    assert label_path("folder", tmp_path, "01") == tmp_path / "labels/01.npy"
    touch(tmp_path, "labels/01.csv")
    assert label_path("folder", tmp_path, "01") == tmp_path / "labels/01.csv"
    assert label_path("folder", tmp_path, "02") is None


def test_label_versions_tell_ground_truths_apart() -> None:
    versions = {layout: label_version(layout) for layout in LAYOUTS}
    assert versions == {
        "folder": "folder",
        "avenue": "avenue:official-masks",
        "shanghaitech": "shanghaitech:frame-masks",
        "ped2": "ped2:official-masks",
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_data_are_named_with_the_place_and_the_expected_tree(layout: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError) as no_folder:
        list_clips(layout, tmp_path / "nowhere", "train")
    assert str(tmp_path / "nowhere") in str(no_folder.value)
    with pytest.raises(MissingDataError) as no_split:
        list_clips(layout, tmp_path, "test")
    message = str(no_split.value)
    assert all(str(tmp_path / place) in message for place in LAYOUTS[layout].test)
    assert all(line.strip() in message for line in LAYOUTS[layout].tree.splitlines())


def test_a_split_without_clips_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "train/readme.txt", "test/01.mp4")
    with pytest.raises(MissingDataError, match="train clips"):
        list_clips("folder", tmp_path, "train")


def test_missing_ground_truth_of_a_benchmark_is_an_error(tmp_path: Path) -> None:
    ped2(tmp_path)
    with pytest.raises(MissingDataError, match="Test099_gt"):
        label_path("ped2", tmp_path, "Test099")


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/01.mp4", "train/01/000.png")
    with pytest.raises(DataError, match="clip '01'"):
        list_clips("folder", tmp_path, "train")


@pytest.mark.parametrize("name", ["my clip.mp4", "-rf.mp4", "__x.mp4", "a{b}.mp4", "a;b.mp4", "a'b.mp4"])
def test_names_that_break_paths_of_results_are_refused(name: str, tmp_path: Path) -> None:
    touch(tmp_path, f"train/{name}")
    with pytest.raises(DataError, match="rename it"):
        list_clips("folder", tmp_path, "train")


@given(st.lists(st.integers(0, 10_000), min_size=1, unique=True))
def test_natural_order_is_the_order_of_numbers(numbers: list[int]) -> None:
    names = [f"clip{number}" for number in numbers]
    assert sorted(names, key=natural_key) == [f"clip{number}" for number in sorted(numbers)]


@given(st.lists(st.text(st.sampled_from("a1b02_."), max_size=6), unique=True), st.randoms())
def test_natural_order_does_not_depend_on_the_order_before(names: list[str], random: Random) -> None:
    ordered = sorted(names, key=natural_key)
    random.shuffle(names)
    assert sorted(names, key=natural_key) == ordered


def test_images_come_by_number_and_junk_is_not_seen(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.jpg" for number in range(8, 13)), "._9.jpg", "Thumbs.db", "notes.txt")
    assert [path.stem for path in numbered_images(tmp_path)] == ["8", "9", "10", "11", "12"]


@pytest.mark.parametrize("pattern", ["frame{:03}.bmp", "cam2_{}.png", "{:04}_cam2.TIF", "2020-01-01 {}.jpeg"])
def test_the_number_is_the_one_that_changes(pattern: str, tmp_path: Path) -> None:
    touch(tmp_path, *(pattern.format(number) for number in range(95, 105)))
    assert [path.name for path in numbered_images(tmp_path)] == [pattern.format(n) for n in range(95, 105)]


def test_a_gap_names_the_first_missing_number(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number:03}.jpg" for number in (1, 2, 3, 5, 6, 9)))
    with pytest.raises(DataError, match=r"image 4 is missing \(003.jpg is followed by 005.jpg\)"):
        numbered_images(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.jpg", "2.jpg", "2.png"], "same number"),
        (["1.jpg", "2.jpg", "cover.jpg"], "cover has no number"),
    ],
)
def test_doubtful_orders_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        numbered_images(tmp_path)


def test_names_without_numbers_are_taken_in_alphabetical_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.png", "c.png")
    assert [path.stem for path in numbered_images(tmp_path)] == ["a", "b", "c"]


def test_a_folder_without_images_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no image"):
        numbered_images(tmp_path)
    with pytest.raises(MissingDataError, match="does not exist"):
        numbered_images(tmp_path / "nowhere")


def test_437_clips_are_listed_in_milliseconds(tmp_path: Path) -> None:
    touch(tmp_path, *(f"training/videos/01_{clip:03}.avi" for clip in range(330)))
    touch(tmp_path, *(f"testing/frames/01_{clip:04}/000.jpg" for clip in range(107)))
    touch(tmp_path, *(f"testing/test_frame_mask/01_{clip:04}.npy" for clip in range(107)))
    start = time.process_time()
    train, test = (list_clips("shanghaitech", tmp_path, split) for split in ("train", "test"))
    labels = [label_path("shanghaitech", tmp_path, clip) for clip in test]
    seconds = time.process_time() - start
    assert (len(train), len(test), len(labels)) == (330, 107, 107)
    assert seconds < 0.1


def test_imports_no_heavy_library() -> None:
    code = "import sys, fastaed.data.benchmarks; print(*{'numpy', 'cv2', 'torch', 'zarr'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


@pytest.mark.parametrize(
    ("layout", "train", "test"), [("ped2", 16, 12), ("avenue", 2, 2)], ids=["ped2", "avenue"]
)
def test_real_layouts(real_data: Path, layout: str, train: int, test: int) -> None:
    assert len(list_clips(layout, real_data, "train")) == train
    clips = list_clips(layout, real_data, "test")
    assert len(clips) == test
    assert all(label_path(layout, real_data, clip) for clip in clips)

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from fastaed.data.benchmarks import label_path, list_clips
from fastaed.data.labels import load_array, load_arrays, read_all_labels, read_frame_labels, read_masks
from fastaed.errors import DataError, MissingDataError

TRUTH = np.array([0, 1, 1, 0, 1], dtype=np.uint8)


@pytest.fixture
def masks() -> NDArray[np.bool_]:
    """(5, 6, 8), abnormal where TRUTH says so, in one pixel of frame 1 and blocks of the others."""
    masks = np.zeros((5, 6, 8), dtype=bool)
    masks[1, 5, 7] = True
    masks[2, :3, 2:5] = True
    masks[4, 1:] = True
    return masks


def write_mat(
    path: Path, cells: list[NDArray[np.uint8]], name: str = "volLabel", compressed: bool = False
) -> Path:
    values = np.empty((1, len(cells)), dtype=object)
    for place, cell in enumerate(cells):
        values[0, place] = cell
    scipy.io.savemat(path, {name: values}, do_compression=compressed)
    return path


def write_images(folder: Path, images: list[NDArray[np.uint8]], pattern: str = "{:03}.png") -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(images, start=1):
        assert cv2.imwrite(str(folder / pattern.format(number)), image)
    return folder


def test_avenue_cells_become_masks_and_labels(tmp_path: Path, masks: NDArray[np.bool_]) -> None:
    path = write_mat(tmp_path / "8_label.mat", list(masks.astype(np.uint8)))
    np.testing.assert_array_equal(read_masks("avenue", path), masks)
    found = read_frame_labels("avenue", path)
    np.testing.assert_array_equal(found.labels, TRUTH)
    assert found.labels.dtype == np.uint8
    assert found.kinds is None


@pytest.mark.parametrize("pattern", ["{:03}.bmp", "frame{:03}.png", "{}.TIF"])
@pytest.mark.parametrize("kind", ["grey", "colour", "alpha"])
def test_folders_of_masks(tmp_path: Path, masks: NDArray[np.bool_], pattern: str, kind: str) -> None:
    grey = list(masks.astype(np.uint8) * 255)
    if kind == "colour":
        grey = [np.stack([0 * image, 0 * image, image], axis=2) for image in grey]
    if kind == "alpha":  # an opaque image is not an abnormal one
        grey = [np.stack([image, image, image, np.full_like(image, 255)], axis=2) for image in grey]
    folder = write_images(tmp_path / "Test001_gt", grey, pattern)
    (folder / "._001.bmp").write_bytes(b"junk")
    (folder / "Thumbs.db").write_bytes(b"junk")
    np.testing.assert_array_equal(read_masks("ped2", folder), masks)
    np.testing.assert_array_equal(read_frame_labels("ped2", folder).labels, TRUTH)


def test_shanghaitech_labels_and_the_pixel_masks_beside_them(
    tmp_path: Path, masks: NDArray[np.bool_]
) -> None:
    for name in ("test_frame_mask", "test_pixel_mask"):
        (tmp_path / name).mkdir()
    path = tmp_path / "test_frame_mask" / "01_0014.npy"
    np.save(path, TRUTH)
    assert read_masks("shanghaitech", path) is None
    np.save(tmp_path / "test_pixel_mask" / "01_0014.npy", masks.astype(np.uint8))
    np.testing.assert_array_equal(read_masks("shanghaitech", path), masks)
    np.testing.assert_array_equal(read_frame_labels("shanghaitech", path).labels, TRUTH)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int64, np.float64])
def test_arrays_of_labels_or_of_masks(tmp_path: Path, masks: NDArray[np.bool_], dtype: type) -> None:
    np.save(tmp_path / "a.npy", TRUTH.astype(dtype))
    np.save(tmp_path / "b.npy", masks.astype(dtype))
    for name in ("a", "b"):
        labels = read_frame_labels("folder", tmp_path / f"{name}.npy").labels
        np.testing.assert_array_equal(labels, TRUTH)
        assert labels.dtype == np.uint8
    assert read_masks("folder", tmp_path / "a.npy") is None
    np.testing.assert_array_equal(read_masks("folder", tmp_path / "b.npy"), masks)


def test_a_table_tells_labels_and_kinds(tmp_path: Path) -> None:
    path = tmp_path / "01.csv"
    path.write_text("frame,label,kind\n0,0,\n1,1,look\n2,1,motion\n")
    found = read_frame_labels("folder", path)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.kinds == ["", "look", "motion"]
    assert len(found) == 3
    assert read_masks("folder", path) is None
    path.write_text("frame,label\n0,0\n1,1\n")
    assert read_frame_labels("folder", path).kinds is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs columns"),
        ("frame,truth\n0,1\n", "needs columns"),
        ("frame,label\n1,0\n2,0\n", "line 2: frame '1' where 0"),
        ("frame,label\n0,0\n2,0\n", "line 3: frame '2' where 1"),
        ("frame,label\n0,0\n1,2\n", "line 3: label '2'"),
        ("frame,label\n0,\n", "line 2: label ''"),
        ("frame,label\n0\n", "line 2: label None"),
        ("frame,label\n", "shape \\(0,\\)"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "01.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_frame_labels("folder", path)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "01.csv").write_bytes(b"\xff\xfe\x00\x9f" * 9)
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_frame_labels("folder", tmp_path / "01.csv")


@pytest.mark.parametrize("values", [np.array([0, 2, 1]), np.array([0.5, 1.0]), np.array([np.nan, 1.0])])
def test_labels_are_zeros_and_ones(tmp_path: Path, values: NDArray[np.float64]) -> None:
    np.save(tmp_path / "01.npy", values)
    with pytest.raises(DataError, match="other than 0"):
        read_frame_labels("folder", tmp_path / "01.npy")


@pytest.mark.parametrize("shape", [(), (3, 4), (0,), (2, 2, 2, 2)])
def test_arrays_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "01.npy", np.zeros(shape))
    with pytest.raises(DataError, match="shape"):
        read_frame_labels("folder", tmp_path / "01.npy")


@pytest.mark.parametrize("name", ["01.npy", "1_label.mat"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 40])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_frame_labels("avenue", tmp_path / name)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_mat_file_cut_off_is_refused(
    tmp_path: Path, masks: NDArray[np.bool_], share: float, compressed: bool
) -> None:
    path = write_mat(tmp_path / "1_label.mat", list(masks.astype(np.uint8)), compressed=compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"1_label\.mat"):
        read_frame_labels("avenue", path)


def test_a_mat_file_of_version_7_3_is_refused_with_a_remedy(tmp_path: Path) -> None:
    header = b"MATLAB 7.3 MAT-file".ljust(124, b" ") + (0x0200).to_bytes(2, "little") + b"IM"
    (tmp_path / "1_label.mat").write_bytes(header + bytes(400))
    with pytest.raises(DataError, match="save -v7"):
        read_frame_labels("avenue", tmp_path / "1_label.mat")


def test_a_mat_file_of_something_else_is_refused(tmp_path: Path, masks: NDArray[np.bool_]) -> None:
    path = write_mat(tmp_path / "1_label.mat", list(masks.astype(np.uint8)), name="other")
    with pytest.raises(DataError, match="no cell array 'volLabel'"):
        read_frame_labels("avenue", path)
    path = write_mat(path, [np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)])
    with pytest.raises(DataError, match="one size"):
        read_frame_labels("avenue", path)


def test_masks_of_two_sizes_or_with_a_gap_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "gt", [np.zeros((4, 6), np.uint8), np.zeros((4, 5), np.uint8)])
    with pytest.raises(DataError, match="5x4 pixels, the one of the first frame 6x4"):
        read_frame_labels("ped2", folder)
    (folder / "002.png").rename(folder / "003.png")
    with pytest.raises(DataError, match="image 2 is missing"):
        read_frame_labels("ped2", folder)


def test_a_damaged_mask_is_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "gt", [np.zeros((4, 6), np.uint8)] * 3)
    (folder / "002.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"002\.png cannot be read"):
        read_frame_labels("ped2", folder)


def test_what_is_not_there_or_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="does not exist"):
        read_frame_labels("folder", tmp_path / "01.csv")
    (tmp_path / "01.txt").write_text("0 1 1")
    with pytest.raises(DataError, match="no ground truth that can be read"):
        read_frame_labels("folder", tmp_path / "01.txt")


def test_the_labels_of_all_clips_are_found_without_footage(tmp_path: Path, masks: NDArray[np.bool_]) -> None:
    folder = tmp_path / "avenue" / "ground_truth_demo" / "testing_label_mask"
    folder.mkdir(parents=True)
    for number in (10, 9):
        write_mat(folder / f"{number}_label.mat", list(masks.astype(np.uint8)))
    found = read_all_labels("avenue", tmp_path)
    assert list(found) == ["09", "10"]
    assert all(labels.labels.tolist() == TRUTH.tolist() for labels in found.values())


def test_an_archive_of_labels_or_masks(tmp_path: Path, masks: NDArray[np.bool_]) -> None:
    arrays = {"clip10": TRUTH, "clip9": masks, "clip1": TRUTH[:3].astype(np.float64)}
    np.savez_compressed(tmp_path / "all.npz", **arrays)  # type: ignore[arg-type]
    found = read_all_labels("folder", tmp_path / "all.npz")
    assert {clip: labels.labels.tolist() for clip, labels in found.items()} == {
        "clip1": [0, 1, 1],
        "clip9": TRUTH.tolist(),
        "clip10": TRUTH.tolist(),
    }
    assert list(found) == ["clip1", "clip9", "clip10"]
    assert all(labels.labels.dtype == np.uint8 for labels in found.values())
    np.savez(tmp_path / "all.npz", **{"01": TRUTH, "02": 2 * TRUTH})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"all\.npz, clip 02 holds labels other than 0"):
        read_all_labels("folder", tmp_path / "all.npz")
    with pytest.raises(MissingDataError, match=r"none\.npz does not exist"):
        read_all_labels("folder", tmp_path / "none.npz")


def test_arrays_and_archives_are_not_taken_for_one_another(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"01": TRUTH})  # type: ignore[arg-type]
    np.save(tmp_path / "b.npy", TRUTH)
    assert list(load_arrays(tmp_path / "a.npz")) == ["01"]
    np.testing.assert_array_equal(load_array(tmp_path / "b.npy"), TRUTH)
    with pytest.raises(DataError, match=r"not an archive of arrays; name it \.npy"):
        load_arrays(tmp_path / "b.npy")
    with pytest.raises(DataError, match=r"an archive of arrays, not one array; name it \.npz"):
        load_array(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz")
    with pytest.raises(DataError, match="holds no array"):
        load_arrays(tmp_path / "a.npz")


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "01.npy", np.array([0, None]), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as an array"):
        read_frame_labels("folder", tmp_path / "01.npy")


def test_ped2_has_the_known_number_of_abnormal_frames(real_data: Path) -> None:
    truth = {}
    for clip in list_clips("ped2", real_data, "test"):
        path = label_path("ped2", real_data, clip)
        assert path is not None
        truth[clip] = read_frame_labels("ped2", path).labels
    assert sum(len(labels) for labels in truth.values()) == 2010
    assert sum(int(labels.sum()) for labels in truth.values()) == 1648
    assert [clip for clip, labels in truth.items() if labels.all()] == [
        f"Test{clip:03}" for clip in (8, 9, 10, 11)
    ]


@pytest.mark.parametrize(
    ("name", "clips", "frames", "abnormal"),
    [("avenue", 21, 15_324, 3_712), ("shanghaitech", 107, 40_791, 17_326)],
)
def test_archives_of_benchmark_labels(
    real_data: Path, name: str, clips: int, frames: int, abnormal: int
) -> None:
    found = read_all_labels(name, real_data / "labels" / f"{name}_frame_labels.npz")
    assert len(found) == clips
    assert sum(map(len, found.values())) == frames
    assert sum(int(labels.labels.sum()) for labels in found.values()) == abnormal


def test_avenue_masks_give_the_known_frame_labels(real_data: Path) -> None:
    with np.load(real_data / "labels" / "avenue_frame_labels.npz") as known:
        for clip in ("08", "21"):
            path = label_path("avenue", real_data, clip)
            assert path is not None
            np.testing.assert_array_equal(read_frame_labels("avenue", path).labels, known[clip])
            masks = read_masks("avenue", path)
            assert masks is not None
            assert masks.shape == (len(known[clip]), 360, 640)

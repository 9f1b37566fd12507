"""The same made-up results in every format are read as the same arrays; what is amiss is one sentence."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastaed.data.score_files import read_detection_files, read_map_files, read_score_set
from fastaed.data.store import write_maps
from fastaed.errors import DataError, FastaedError, MissingDataError, StoreError
from fastaed.pyramid import MapPyramid

CLIPS = {"01": 4, "02": 3, "10": 5}
RNG = np.random.default_rng(0)
SCORES = {clip: RNG.random(frames) for clip, frames in CLIPS.items()}  # 16 digits: no format may round them
NAMES = [str(number) for number in range(1, 13)]

Scores = dict[str, NDArray[np.float64]]
Write = Callable[[Path, Scores], list[Path]]


def table(clip: str, values: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame({"clip": clip, "frame": np.arange(len(values)), "score": values})


def npy_files(folder: Path, scores: Scores) -> list[Path]:
    for clip, values in scores.items():
        np.save(folder / f"{clip}.npy", values)
    return [folder]


def text_files(folder: Path, scores: Scores) -> list[Path]:
    for clip, values in scores.items():
        np.savetxt(folder / f"{clip}.csv", values, fmt="%.18g")
    return [folder / f"{clip}.csv" for clip in scores]


def csv_files(folder: Path, scores: Scores) -> list[Path]:
    for clip, values in scores.items():
        table(clip, values)[["score"]].to_csv(folder / f"{clip}.csv", index=False, na_rep="nan")
    return [folder]


def csv_files_with_frames(folder: Path, scores: Scores) -> list[Path]:
    for clip, values in scores.items():
        backwards = table(clip, values)[["frame", "score"]][::-1]
        backwards.to_csv(folder / f"{clip}.csv", index=False, na_rep="nan")
    return [folder]


def parquet_files(folder: Path, scores: Scores) -> list[Path]:
    for clip, values in scores.items():
        table(clip, values).set_index("frame")[["score"]].to_parquet(folder / f"{clip}.parquet")
    return [folder]


def npz_file(folder: Path, scores: Scores) -> list[Path]:
    np.savez(folder / "all.npz", **scores)  # type: ignore[arg-type]  # names are clips
    return [folder / "all.npz"]


def csv_table(folder: Path, scores: Scores) -> list[Path]:
    rows = pd.concat([table(clip, values) for clip, values in scores.items()])
    rows.sample(frac=1, random_state=0).to_csv(folder / "all.csv", index=False, na_rep="nan")
    return [folder / "all.csv"]


def parquet_tables(folder: Path, scores: Scores) -> list[Path]:
    for number, (clip, values) in enumerate(scores.items()):
        table(clip, values).to_parquet(folder / f"batch{number}.parquet", index=False)
    return [folder]


def one_npy(folder: Path, scores: Scores) -> list[Path]:
    np.save(folder / "all.npy", np.concatenate(list(scores.values())))
    return [folder / "all.npy"]


def one_text(folder: Path, scores: Scores) -> list[Path]:
    np.savetxt(folder / "all.csv", np.concatenate(list(scores.values())), fmt="%.18g", header="anomaly")
    return [folder / "all.csv"]


FORMATS: list[Write] = [
    npy_files,
    text_files,
    csv_files,
    csv_files_with_frames,
    parquet_files,
    npz_file,
    csv_table,
    parquet_tables,
    one_npy,
    one_text,
]


def same(found: object, expected: Scores) -> bool:
    assert isinstance(found, dict)
    return list(found) == list(expected) and all(
        list(columns) == ["score"]
        and columns["score"].dtype == np.float64
        and np.array_equal(columns["score"], expected[clip])
        for clip, columns in found.items()
    )


def refused(message: str, *paths: Path, clips: dict[str, int] | None = None) -> type[FastaedError]:
    with pytest.raises(DataError, match=message) as caught:
        read_score_set("mine", paths, CLIPS if clips is None else clips)
    assert "\n" not in str(caught.value)
    return type(caught.value)


# --- Scores ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_every_format_is_read_bit_by_bit(tmp_path: Path, write: Write) -> None:
    paths = write(tmp_path, SCORES)
    found = read_score_set("mine", paths, CLIPS)
    if write is one_text:
        found = {clip: {"score": columns["# anomaly"]} for clip, columns in found.items()}
    assert same(found, SCORES)


@pytest.mark.parametrize(
    "write", [npy_files, csv_files, npz_file, csv_table, parquet_tables], ids=lambda write: write.__name__
)
def test_without_labels_the_files_are_believed(tmp_path: Path, write: Write) -> None:
    found = read_score_set("mine", write(tmp_path, SCORES))
    assert same({clip: found[clip] for clip in sorted(found)}, SCORES)


def test_all_frames_in_one_file_are_in_natural_order_of_clips(tmp_path: Path) -> None:
    frames = {"clip10": 2, "clip9": 3}
    np.save(tmp_path / "all.npy", np.arange(5.0))
    found = read_score_set("mine", [tmp_path / "all.npy"], frames)
    assert {clip: columns["score"].tolist() for clip, columns in found.items()} == {
        "clip10": [3, 4],
        "clip9": [0, 1, 2],
    }


def test_columns_keep_their_names(tmp_path: Path) -> None:
    rows = pd.concat([table(clip, values) for clip, values in SCORES.items()])
    rows = rows.rename(columns={"score": "1x1"}).assign(mean=rows["score"] / 2)
    rows.to_parquet(tmp_path / "000.parquet", index=False)
    found = read_score_set("student", [tmp_path], CLIPS)
    for clip, columns in found.items():
        assert list(columns) == ["1x1", "mean"]
        np.testing.assert_array_equal(columns["1x1"], SCORES[clip])
        np.testing.assert_array_equal(columns["mean"], SCORES[clip] / 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.bool_])
def test_numbers_of_any_type_will_do(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "01.npy", np.array([0, 1, 1], dtype))
    pd.DataFrame({"score": np.array([0, 1, 1], dtype)}).to_parquet(tmp_path / "02.parquet")
    found = read_score_set("mine", [tmp_path], {"01": 3, "02": 3})
    assert [columns["score"].tolist() for columns in found.values()] == [[0, 1, 1]] * 2


def test_a_clips_name_may_be_its_number(tmp_path: Path) -> None:
    npy_files(tmp_path, {"1": SCORES["01"], "002": SCORES["02"], "10": SCORES["10"]})
    assert same(read_score_set("mine", [tmp_path], CLIPS), SCORES)
    assert read_score_set("mine", [tmp_path / "1.npy"], {"001": 4})["001"]
    refused("01 or 001; use the labels' own names", tmp_path, clips={"01": 4, "001": 4, "02": 3, "10": 5})


@pytest.mark.parametrize("name", ["A1", "clip01", "1 ", "-1", "1.0"])
def test_no_other_likeness_of_names_is_guessed(tmp_path: Path, name: str) -> None:
    npy_files(tmp_path, {name: SCORES["01"], "02": SCORES["02"], "10": SCORES["10"]})
    refused("which the labels do not have", tmp_path)
    refused("which the labels do not have", tmp_path, clips={"a1": 4, "02": 3, "10": 5})


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 99))
def test_a_shuffled_table_and_all_frames_in_a_row_agree(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("scores")
    clips = {f"c{number}": length for number, length in enumerate(lengths)}
    rng = np.random.default_rng(seed)
    values = rng.random(sum(lengths))
    np.save(folder / "all.npy", values)
    rows = [(clip, frame) for clip, length in clips.items() for frame in range(length)]
    lines = [f"{clip},{frame},{value!r}" for (clip, frame), value in zip(rows, values.tolist())]
    rng.shuffle(lines)
    (folder / "all.csv").write_text("\n".join(["clip,frame,score", *lines]))
    one, other = (read_score_set("mine", [folder / name], clips) for name in ("all.npy", "all.csv"))
    assert same(one, {clip: columns["score"] for clip, columns in other.items()})


def test_what_else_is_in_a_folder_is_not_looked_at(tmp_path: Path) -> None:
    npy_files(tmp_path, SCORES)
    for name in ("readme.txt", ".01.npy", "000.json"):
        (tmp_path / name).touch()
    (tmp_path / "000.zarr").mkdir()
    assert same(read_score_set("mine", [tmp_path], CLIPS), SCORES)


def test_eleven_of_twelve_clips_are_refused_and_the_twelfth_is_named(tmp_path: Path) -> None:
    clips = dict.fromkeys(NAMES, 3)
    npy_files(tmp_path, {clip: np.arange(3.0) for clip in NAMES if clip != "7"})
    refused("scores of mine: clip 7 is missing, only 11 of 12 clips are there", tmp_path, clips=clips)
    (tmp_path / "12.npy").unlink()
    refused("clips 7, 12 are missing, only 10 of 12", tmp_path, clips=clips)
    refused(r"clips 2, 3, 4, 5, 6 \.\.\. are missing", tmp_path / "1.npy", clips=clips)


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_clip_of_another_length_is_refused_with_both_numbers(
    tmp_path: Path, write: Write, change: int
) -> None:
    paths = write(tmp_path, {**SCORES, "10": np.resize(SCORES["10"], 5 + change)})
    of_all = f"{12 + change} scores, but all 3 clips together have 12 frames"
    refused(f"scores of mine.*({5 + change} frames but labels of 5|{of_all})", *paths)


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(tmp_path: Path, write: Write, value: float) -> None:
    spoilt = np.array([0, value, 0, value, 1])
    refused(rf"10.*: .* of frame 1 is {value} \(2 of 5 frames", *write(tmp_path, {**SCORES, "10": spoilt}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("score\n0.1\nhigh\n0.3\n0.4\n", r"line 3 \(high\): score is no number"),
        ("0.1\n0.2\n\nhigh\n", r"line 4 \(high\): score is no number"),
        ("frame,score\n0,0.1\n1,\n", r"line 3 \(1, \): score is no number"),
        ("frame,score\n0,0.1\n1,nan\n2,0\n3,0\n", "score of frame 1 is nan"),
        ("frame,score\nzero,0.1\n", r"line 2 \(zero, 0.1\): frame is no number"),
        ("score\n0,1\n0,2\n", "line 2: 2 values under 1 columns"),
        ("score;frame\n1;0\n", r"line 2 \(1;0\): score;frame is no number"),
        ("0.1,0.2\n0.3,0.4\n", "names no columns"),
        (",score\n0,0.1\n", "name of their own"),
        ("score,score\n0,0.1\n", "name of their own"),
        ("frame\n0\n", "no column of scores"),
        ("clip,score\n01,0\n", "no column frame"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("frame,score\n0,1\n1,1\n3,1\n4,1\n", r"frame 2 is missing \(the next is 3\)"),
        ("frame,score\n1,1\n2,1\n3,1\n4,1\n", "frame 0 is missing .*frames count from 0"),
        ("frame,score\n0,1\n1,1\n1,1\n2,1\n", "frame 1 is there twice"),
        ("frame,score\n0,1\n0.5,1\n1,1\n2,1\n", "frame 1 is missing"),
        ("frame,score\n-1,1\n0,1\n1,1\n2,1\n", "frame 0 is missing"),
        ("frame,score\nnan,1\n0,1\n1,1\n2,1\n", "frame 3 is missing"),
    ],
)
def test_bad_csv_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "01.csv").write_text(text)
    refused(f"01.csv.*{message}", tmp_path, clips={"01": 4})


def test_a_csv_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "01.csv").write_bytes(b"\xff\xfe\x00\x9f" * 9)
    refused("01.csv cannot be read as CSV", tmp_path)


def test_text_in_a_parquet_table_is_refused_with_its_row(tmp_path: Path) -> None:
    pd.DataFrame({"frame": [0, 1], "score": ["0.1", "high"]}).to_parquet(tmp_path / "01.parquet")
    refused(r"01.parquet, row 2 \(1, high\): score is no number", tmp_path)
    pd.DataFrame({"frame": [0, 1], "score": [0.1, None]}).to_parquet(tmp_path / "01.parquet")
    refused("score of frame 1 is nan", tmp_path, clips={"01": 2})


@pytest.mark.parametrize("name", ["01.npy", "01.npz", "01.parquet"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 40, b"PK\x03\x04 cut off"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(f"{name} cannot be read", tmp_path)


@pytest.mark.parametrize("name", ["01.npy", "all.npz"])
def test_python_objects_are_never_loaded(tmp_path: Path, name: str) -> None:
    objects = np.array([{"a": 1}, None], dtype=object)
    if name.endswith("npy"):
        np.save(tmp_path / name, objects, allow_pickle=True)
    else:
        np.savez(tmp_path / name, **{"01": objects})  # type: ignore[arg-type]
    refused(f"{name} cannot be read", tmp_path)


@pytest.mark.parametrize(
    "values", [np.zeros((4, 1)), np.float64(1), np.zeros((4, 6, 8)), np.array(["0.1"] * 4), np.ones(4) * 1j]
)
def test_arrays_that_are_no_series_of_numbers_are_refused(
    tmp_path: Path, values: NDArray[np.float64]
) -> None:
    np.save(tmp_path / "01.npy", values)
    refused("01.npy holds .* not one number a frame", tmp_path)
    np.savez(tmp_path / "all.npz", **{"01": values})  # type: ignore[arg-type]
    refused("all.npz, array 01 holds .* not one number a frame", tmp_path / "all.npz")


def test_an_array_and_an_archive_under_each_others_name_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "01.npy", np.zeros(4))
    (tmp_path / "01.npy").rename(tmp_path / "01.npz")
    refused("01.npz is one array", tmp_path)
    np.savez(tmp_path / "x.npz", np.zeros(4))
    (tmp_path / "x.npz").rename(tmp_path / "02.npy")
    refused("02.npy is an archive", tmp_path / "02.npy")
    np.savez(tmp_path / "x.npz")
    refused("x.npz holds no array", tmp_path / "x.npz")


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused("nowhere does not exist", tmp_path / "nowhere") is MissingDataError
    assert refused("no file is named") is MissingDataError
    (tmp_path / "readme.txt").touch()
    assert refused("holds no .csv, .npy, .npz, .parquet file", tmp_path) is MissingDataError
    refused("readme.txt is none of .csv, .npy", tmp_path / "readme.txt")


@pytest.mark.parametrize(("one", "other"), [("01.npy", "01.csv"), ("01.npy", "1.npy"), ("01.npy", "01.npy")])
def test_two_files_for_one_clip_are_refused(tmp_path: Path, one: str, other: str) -> None:
    for name in {one, other}:
        write = np.save if name.endswith("npy") else np.savetxt
        write(tmp_path / name, SCORES["01"])
    refused(rf"clip 01 is there twice, .*{one} and .*{other}", tmp_path / one, tmp_path / other)


def test_unknown_clips_are_refused(tmp_path: Path) -> None:
    npz_file(tmp_path, {**SCORES, "03": SCORES["01"]})
    refused("array 03 is of clip '03', which the labels do not have; use their names", tmp_path)
    csv_table(tmp_path, {"03": SCORES["01"]})
    refused("all.csv, clip 03 is of clip '03'", tmp_path / "all.csv", clips={"01": 4})


def test_clips_with_different_columns_are_refused(tmp_path: Path) -> None:
    npy_files(tmp_path, {clip: SCORES[clip] for clip in ("01", "02")})
    pd.DataFrame({"anomaly": SCORES["10"]}).to_csv(tmp_path / "10.csv", index=False)
    refused("10.csv has the columns anomaly but .*01.npy score", tmp_path)


# --- Detections --------------------------------------------------------------------------------------------

BOXES = pd.DataFrame(
    {
        "clip": ["02", "01", "01", "01"],
        "frame": [2, 3, 0, 3],
        "x1": [0, 1.5, 2, 3],
        "y1": [0, 1, 2, 3.0],
        "x2": [4, 5, 6, 7.25],
        "y2": [5, 6, 7, 8],
        "score": [0.1, -2, 0.3, 1e6],
        "class": ["a", "b", "b", "c"],
    }
)


def check_boxes(found: object) -> None:
    assert isinstance(found, dict)
    assert list(found) == list(CLIPS)
    assert found["01"].frame.tolist() == [0, 3, 3]
    assert found["01"].xyxy.tolist() == [[2, 2, 6, 7], [1.5, 1, 5, 6], [3, 3, 7.25, 8]]
    assert found["01"].score.tolist() == [0.3, -2, 1e6]
    assert found["02"].frame.tolist() == [2]
    assert found["10"].frame.shape == found["10"].score.shape == (0,)
    assert found["10"].xyxy.shape == (0, 4)
    assert all(boxes.frame.dtype == np.int64 for boxes in found.values())


def test_a_table_of_boxes_for_all_clips(tmp_path: Path) -> None:
    BOXES.to_csv(tmp_path / "boxes.csv", index=False)
    BOXES.to_parquet(tmp_path / "boxes.parquet", index=False)
    for name in ("boxes.csv", "boxes.parquet"):
        check_boxes(read_detection_files([tmp_path / name], CLIPS))


def test_a_table_of_boxes_for_each_clip_even_where_nothing_was_found(tmp_path: Path) -> None:
    for clip in CLIPS:
        BOXES[BOXES["clip"] == clip].drop(columns="clip").to_csv(tmp_path / f"{clip}.csv", index=False)
    check_boxes(read_detection_files([tmp_path], CLIPS))
    (tmp_path / "10.csv").unlink()
    with pytest.raises(DataError, match="detections: clip 10 is missing, only 2 of 3"):
        read_detection_files([tmp_path], CLIPS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": 4}, r"line 3 \(01, 4, .*: the labels have frames 0 to 3 of this clip"),
        ({"frame": -1}, "line 3 .*frames 0 to 3"),
        ({"frame": 0.5}, "line 3 .*frames 0 to 3"),
        ({"frame": np.nan}, "line 3 .*frame is no number"),
        ({"x2": 1.5}, "line 3 .*the box has no area"),
        ({"y2": -8}, "line 3 .*the box has no area"),
        ({"x1": -np.inf}, "line 3 .*the box has no area"),
        ({"score": np.inf}, "line 3 .*the score is not finite"),
        ({"score": "high"}, "line 3 .*score is no number"),
        ({"clip": "03"}, "clip 03 is of clip '03', which the labels do not have"),
    ],
)
def test_bad_boxes_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    spoilt = BOXES.astype(object)
    for column, value in change.items():
        spoilt.loc[1, column] = value
    spoilt.to_csv(tmp_path / "boxes.csv", index=False)
    with pytest.raises(DataError, match=message):
        read_detection_files([tmp_path], CLIPS)


def test_a_table_of_boxes_without_a_column_is_refused(tmp_path: Path) -> None:
    BOXES.drop(columns=["x2", "score"]).to_csv(tmp_path / "boxes.csv", index=False)
    with pytest.raises(DataError, match=r"boxes\.csv has no column x2, score, only clip"):
        read_detection_files([tmp_path], CLIPS)
    (tmp_path / "boxes.csv").write_text("01,0,0,0,1,1,0.5\n")
    with pytest.raises(DataError, match="no columns"):
        read_detection_files([tmp_path], CLIPS)


# --- Maps --------------------------------------------------------------------------------------------------

MAPS = {clip: RNG.random((frames, 16, 16), np.float32) for clip, frames in CLIPS.items()}


def map_npys(folder: Path) -> list[Path]:
    for clip, maps in MAPS.items():
        np.save(folder / f"{clip}.npy", maps.astype(np.float64))
    return [folder]


def own_stores(folder: Path) -> list[Path]:
    def pyramid(clip: str) -> MapPyramid[NDArray[np.float32]]:
        sixteen = MAPS[clip]
        four = sixteen.reshape(-1, 4, 4, 4, 4).max(axis=(2, 4))
        return MapPyramid(four.max(axis=(1, 2), keepdims=True), four, sixteen)

    write_maps(folder / "000.zarr", {clip: pyramid(clip) for clip in ("01", "02")}, {})
    write_maps(folder / "001.zarr", {"10": pyramid("10")}, {})
    (folder / "000.json").touch()
    return [folder]


def zarr_group(folder: Path) -> list[Path]:
    root = zarr.create_group(folder / "maps.zarr")
    for clip, maps in MAPS.items():
        root.create_array(clip, data=maps)
    return [folder / "maps.zarr"]


def zarr_arrays(folder: Path) -> list[Path]:
    for clip, maps in MAPS.items():
        zarr.create_array(folder / f"{clip}.zarr", data=maps, zarr_format=2)
    return [folder]


@pytest.mark.parametrize(
    "write", [map_npys, own_stores, zarr_group, zarr_arrays], ids=lambda write: write.__name__
)
def test_maps_in_every_format(tmp_path: Path, write: Callable[[Path], list[Path]]) -> None:
    found = read_map_files(write(tmp_path), CLIPS)
    assert list(found) == list(CLIPS)
    assert len(found) == 3
    for clip, maps in found.items():
        assert maps.dtype == np.float32
        np.testing.assert_array_equal(maps, MAPS[clip])
    with pytest.raises(DataError, match="maps: clip 11 is missing"):
        read_map_files([tmp_path], {**CLIPS, "11": 3})


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.zeros((5, 4, 4)), "01.npy: maps of 5 frames but labels of 4"),
        (np.zeros((4, 16)), r"holds float64 of shape \(4, 16\), not maps"),
        (np.full((4, 2, 2), "x"), "holds <U1 of shape"),
        (
            np.array([0, 1, np.nan, np.inf])[:, None, None] * np.ones((2, 2)),
            r"frame 2 is not finite \(2 of 4",
        ),
    ],
)
def test_bad_maps_are_refused_when_asked_for(tmp_path: Path, maps: NDArray[np.float64], message: str) -> None:
    np.save(tmp_path / "01.npy", maps)
    found = read_map_files([tmp_path], {"01": 4})
    with pytest.raises(DataError, match=message):
        found["01"]


def test_a_damaged_store_of_maps_is_refused(tmp_path: Path) -> None:
    zarr_group(tmp_path)
    (tmp_path / "maps.zarr" / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match=r"maps\.zarr is missing or damaged"):
        read_map_files([tmp_path], CLIPS)
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(StoreError, match=r"empty\.zarr is missing or damaged"):
        read_map_files([tmp_path / "empty.zarr"], CLIPS)
    with pytest.raises(MissingDataError, match=r"maps: .*nowhere does not exist"):
        read_map_files([tmp_path / "nowhere"], CLIPS)


def test_reading_results_and_labels_needs_no_torch() -> None:
    code = (
        "import sys, fastaed.data.score_files, fastaed.data.scores, fastaed.data.labels, "
        "fastaed.data.benchmarks; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_scoring_a_video_writes_can_be_evaluated(tmp_path: Path) -> None:
    """Its column `time` is empty where the rate is unknown, and never a score."""
    (tmp_path / "01.csv").write_text("frame,time,mean,smoothed\n0,,0.5,0.25\n1,,0.75,0.5\n")
    scores = read_score_set("mine", [tmp_path / "01.csv"], {"01": 2})
    assert {name: values.tolist() for name, values in scores["01"].items()} == {
        "mean": [0.5, 0.75],
        "smoothed": [0.25, 0.5],
    }

"""Boxes: geometry against counted pixels, thinning against slow twins, tables that survive a round trip."""

from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastaed.data.boxes import (
    Detections,
    areas,
    clip_to_frame,
    detection_tables,
    drop_explained,
    drop_nested,
    drop_overlapping,
    drop_small,
    intersections,
    joined,
    no_detections,
    overlaps,
    read_detections,
    write_detections,
)
from fastaed.errors import DataError, MissingDataError, StoreError

SIDE = 12
Rows = list[tuple[int, tuple[int, int, int, int], float, int]]


def table(rows: Rows, classes: int = 3) -> Detections:
    """Detections from (frame, box, confidence, class) in this order."""
    rng = np.random.default_rng(0)
    return Detections(
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.float32),
        np.array([row[3] for row in rows], np.int16),
        rng.random((len(rows), classes), dtype=np.float32),
        rng.random((len(rows), 5)).astype(np.float16),
    )


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x1, y1 = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
    return x1, y1, draw(st.integers(x1 + 1, SIDE)), draw(st.integers(y1 + 1, SIDE))


def many(largest: int = 10) -> st.SearchStrategy[Rows]:
    confidences = st.sampled_from([0.25, 0.5, 0.75])  # few values, so that there are ties
    row = st.tuples(st.integers(0, 2), boxes(), confidences, st.integers(0, 1))
    return st.lists(row, max_size=largest).map(lambda rows: sorted(rows, key=lambda row: row[0]))


def pixels(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    return set(product(range(box[0], box[2]), range(box[1], box[3])))


def chosen(rows: Rows, which: list[int]) -> Detections:
    return table(rows).take(np.array(which, np.int64))


def same(one: Detections, other: Detections) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@given(boxes(), boxes())
def test_areas_and_overlaps_count_pixels(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    first, second = pixels(one), pixels(other)  # type: ignore[arg-type]
    a, b = np.array([one], np.float32), np.array([other], np.float32)
    assert areas(a) == len(first)
    assert intersections(a, b) == len(first & second)
    assert overlaps(a, b) == pytest.approx(len(first & second) / len(first | second))


def test_overlaps_have_a_row_and_a_column_for_each_box() -> None:
    assert overlaps(np.ones((2, 4), np.float32), np.zeros((0, 4), np.float32)).shape == (2, 0)


@given(many(), st.integers(1, SIDE))
def test_small_boxes_go(rows: Rows, side: int) -> None:
    expected = [i for i, (_, box, _, _) in enumerate(rows) if min(box[2] - box[0], box[3] - box[1]) >= side]
    assert same(drop_small(table(rows), side), chosen(rows, expected))


def slow_suppression(rows: Rows, overlap: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: (-rows[i][2], i)):
        frame, box, _, kind = rows[i]
        rivals = [rows[k][1] for k in kept if rows[k][0] == frame and rows[k][3] == kind]
        shares = [len(pixels(box) & pixels(rival)) / len(pixels(box) | pixels(rival)) for rival in rivals]
        if all(share <= overlap for share in shares):
            kept.append(i)
    return sorted(kept)


@settings(max_examples=60)
@given(many(), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_suppression_is_the_slow_one(rows: Rows, overlap: float) -> None:
    assert same(drop_overlapping(table(rows), overlap), chosen(rows, slow_suppression(rows, overlap)))


def test_suppression_spares_other_classes_and_frames() -> None:
    box = (0, 0, 8, 8)
    rows: Rows = [(0, box, 0.9, 0), (0, box, 0.8, 1), (0, box, 0.7, 0), (1, box, 0.6, 0)]
    assert drop_overlapping(table(rows), 0.5).confidence.tolist() == pytest.approx([0.9, 0.8, 0.6])


def slow_nested(rows: Rows, share: float) -> list[int]:
    def counts_as_larger(i: int, j: int) -> bool:
        mine = (len(pixels(rows[i][1])), rows[i][2], -i)
        return (len(pixels(rows[j][1])), rows[j][2], -j) > mine

    def inside(i: int, j: int) -> bool:
        mine, others = pixels(rows[i][1]), pixels(rows[j][1])
        return rows[i][0] == rows[j][0] and len(mine & others) >= share * len(mine)

    everyone = range(len(rows))
    return [
        i for i in everyone if not any(counts_as_larger(i, j) and inside(i, j) for j in everyone if j != i)
    ]


@settings(max_examples=60)
@given(many(), st.sampled_from([0.5, 0.75, 1.0]))
def test_nested_boxes_go_as_in_the_slow_twin(rows: Rows, share: float) -> None:
    kept = drop_nested(table(rows), share)
    assert same(kept, chosen(rows, slow_nested(rows, share)))
    assert same(drop_nested(kept, share), kept)
    assert set(kept.frame.tolist()) == {row[0] for row in rows}  # the largest of each frame stays


def test_nested_example() -> None:
    rows: Rows = [(0, (0, 0, 10, 10), 0.3, 0), (0, (2, 2, 5, 5), 0.9, 1), (0, (8, 8, 12, 12), 0.9, 0)]
    assert drop_nested(table(rows), 0.9).xyxy.tolist() == [[0, 0, 10, 10], [8, 8, 12, 12]]


@given(many())
def test_clipping_leaves_inside_boxes_alone_and_is_done_once(rows: Rows) -> None:
    detections = table(rows)
    assert same(clip_to_frame(detections, SIDE, SIDE), detections)
    once = clip_to_frame(detections, SIDE - 4, SIDE - 5)
    assert same(clip_to_frame(once, SIDE - 4, SIDE - 5), once)
    for (_, box, _, _), cut in zip(rows, once.xyxy):
        inside = {(x, y) for x, y in pixels(box) if x < SIDE - 5 and y < SIDE - 4}
        assert (cut[2] - cut[0]) * (cut[3] - cut[1]) == len(inside)


def slow_explained(motion: Rows, objects: Rows, overlap: float, covered: float) -> list[int]:
    kept = []
    for i, (frame, box, _, _) in enumerate(motion):
        found = [pixels(other[1]) for other in objects if other[0] == frame]
        alike = any(len(pixels(box) & o) > overlap * len(pixels(box) | o) for o in found)
        hidden = len(pixels(box) & set().union(*found))
        if not alike and hidden <= covered * len(pixels(box)):
            kept.append(i)
    return kept


@settings(max_examples=60)
@given(many(6), many(6), st.sampled_from([0.25, 0.5]), st.sampled_from([0.25, 0.5, 1.0]))
def test_explained_motion_goes_as_in_the_slow_twin(
    motion: Rows, objects: Rows, overlap: float, covered: float
) -> None:
    kept = drop_explained(table(motion), table(objects), overlap, covered, SIDE, SIDE)
    assert same(kept, chosen(motion, slow_explained(motion, objects, overlap, covered)))


@given(many(), many())
def test_joining_orders_by_frame_and_keeps_the_order_of_the_parts(one: Rows, other: Rows) -> None:
    both = joined([table(one), table(other)])
    expected = sorted([*one, *other], key=lambda row: row[0])
    assert both.frame.tolist() == [row[0] for row in expected]
    assert both.xyxy.tolist() == [list(row[1]) for row in expected]


@pytest.mark.parametrize("classes", [0, 1, 80])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_table_comes_back_as_it_was(tmp_path: Path, count: int, classes: int) -> None:
    rows: Rows = [(i // 2, (i, 1, i + 3, 9), 0.1 * i, i % 3 - 1) for i in range(count)]
    detections = table(rows, classes)
    write_detections(tmp_path / "a.parquet", detections)
    again = read_detections(tmp_path / "a.parquet")
    assert same(again, detections)
    alone = read_detections(tmp_path / "a.parquet", lists=["features"])
    assert np.array_equal(alone.features, detections.features)
    assert alone.probabilities.shape == (count, 0)
    for name, values in vars(again).items():
        assert values.dtype == getattr(detections, name).dtype
        assert values.flags.writeable, f"{name} must be an array of its own"


def test_no_detections_has_all_columns() -> None:
    nothing = no_detections(5, 9)
    assert len(nothing) == 0
    assert nothing.xyxy.shape == (0, 4)
    assert nothing.probabilities.shape == (0, 5)
    assert nothing.features.shape == (0, 9)
    assert same(joined([nothing]), nothing)


def test_missing_and_damaged_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent\.parquet"):
        read_detections(tmp_path / "absent.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match=r"broken\.parquet"):
        read_detections(tmp_path / "broken.parquet")
    pq.write_table(pa.table({"frame": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(StoreError, match=r"foreign\.parquet"):
        read_detections(tmp_path / "foreign.parquet")


def test_tables_are_found_as_files_or_in_folders(tmp_path: Path) -> None:
    folder, extra = tmp_path / "000", tmp_path / "001" / "c.parquet"
    for file in (folder / "a.parquet", folder / "b.parquet", extra):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    found = detection_tables(["a", "b", "c"], [folder, extra])
    assert found == {"a": folder / "a.parquet", "b": folder / "b.parquet", "c": extra}
    with pytest.raises(MissingDataError, match=r"1 of 2 clips \(d is the first\).*run detect"):
        detection_tables(["a", "d"], [folder, extra])
    with pytest.raises(DataError, match="clip c has two tables"):
        detection_tables(["a"], [folder, extra, extra.parent])

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fastaed import demo
from fastaed.config import DemoSettings
from fastaed.data.benchmarks import label_path
from fastaed.data.labels import read_masks
from fastaed.data.tracks import Tracks, read_tracks, tracks_of_masks
from fastaed.errors import DataError, MissingDataError

HEADER = "track_id,frame,x1,y1,x2,y2\n"


def rows(tracks: Tracks) -> list[tuple[float, ...]]:
    """(track, frame, x1, y1, x2, y2) as the arrays have them."""
    assert len(tracks) == len(tracks.track_id) == len(tracks.xyxy)
    return [
        (int(i), int(f), *map(float, box)) for i, f, box in zip(tracks.track_id, tracks.frame, tracks.xyxy)
    ]


def drawn(*frames: str) -> NDArray[np.bool_]:
    """Masks from drawings, one a frame; rows end at a slash, anything but a dot is abnormal."""
    return np.array([[[cell != "." for cell in row] for row in frame.split("/")] for frame in frames])


# --- Track files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", HEADER, "\ufeff" + HEADER, HEADER.replace(",", " , ")])
def test_a_file_becomes_regions_ordered_by_frame(tmp_path: Path, header: str) -> None:
    path = tmp_path / "01.txt"
    path.write_text(header + "7,3,0,0,10.5,20\n7,4,1, 0,11,20\n\n2,3,30,5,40,19.25\r\n", encoding="utf-8")
    tracks = read_tracks(path, frames=5, height=20, width=40)
    assert rows(tracks) == [(7, 3, 0, 0, 10.5, 20), (2, 3, 30, 5, 40, 19.25), (7, 4, 1, 0, 11, 20)]
    assert (tracks.frame.dtype, tracks.track_id.dtype) == (np.int64, np.int64)
    assert tracks.xyxy.dtype == np.float64


def test_columns_are_found_by_name_and_normal_rows_left_out(tmp_path: Path) -> None:
    path = tmp_path / "01.csv"
    path.write_text("frame,kind,x1,x2,y1,y2,track_id\n0,,1,2,3,4,0\n0,look,5,7,6,8,1\n1,motion,1,3,2,4,1\n")
    assert rows(read_tracks(path, 2, 10, 10)) == [(1, 0, 5, 6, 7, 8), (1, 1, 1, 2, 3, 4)]


def test_a_clip_without_anomalies_has_the_names_of_the_columns_alone(tmp_path: Path) -> None:
    path = tmp_path / "01.csv"
    path.write_text(HEADER)
    tracks = read_tracks(path, 2, 10, 10)
    assert rows(tracks) == []
    assert tracks.xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "are empty; a clip without anomalies has the one line track_id,frame,x1,y1,x2,y2"),
        (" \n\n", "are empty"),
        ("track,frame,x1,y1,x2,y2\n", "line 1: track,frame,x1,y1,x2,y2 is neither a region nor the names"),
        ("one,0,1,1,2,2\n", "line 1: one,0,1,1,2,2 is neither"),
        ("0,0,1,1,2\n", "line 1 has 5 fields where track_id,frame,x1,y1,x2,y2 are expected"),
        (HEADER + "0,0,1,1,2,2,person\n", "line 2 has 7 fields"),
        (HEADER + "0,0,1,1,2,2\n\n0,1,1,one,2,2\n", "line 4: y1 'one' is no number"),
        (HEADER + "0,0,1,nan,2,2\n", "line 2: y1 'nan' is no number"),
        (HEADER + "0,0.5,1,1,2,2\n", "line 2: frame '0.5' is no whole number"),
        (HEADER + "0,5,1,1,2,2\n", "line 2: frame 5 is outside the clip, whose frames are 0 to 4"),
        (HEADER + "0,-1,1,1,2,2\n", "line 2: frame -1 is outside"),
        (
            HEADER + "0,0,1,1,41,2\n",
            r"line 2: the box from \(1, 1\) to \(41, 2\) leaves the picture of 40x20",
        ),
        (HEADER + "0,0,1,1,2,20.5\n", r"to \(2, 20.5\) leaves"),
        (HEADER + "0,0,-1,1,2,2\n", "leaves"),
        (HEADER + "0,0,1,-0.1,2,2\n", "leaves"),
        (HEADER + "0,0,2,1,2,2\n", r"line 2: the box from \(2, 1\) to \(2, 2\) is empty"),
        (HEADER + "0,0,1,3,2,2\n", "is empty"),
        (b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "01.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as caught:
        read_tracks(path, frames=5, height=20, width=40)
    assert str(caught.value).startswith(f"tracks {path}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"tracks .*01\.csv do not exist"):
        read_tracks(tmp_path / "01.csv", 5, 20, 40)


def test_reads_the_tracks_of_the_generated_data_set(tmp_path: Path) -> None:
    """Its files list everybody; read are those who are abnormal, whose boxes hold every abnormal pixel."""
    settings = DemoSettings(train_clips=1, test_clips=3, frames=40, height=96, width=160, walkers=3)
    demo.run(tmp_path, settings)
    for path in sorted((tmp_path / "tracks" / "test").iterdir()):
        tracks = read_tracks(path, settings.frames, settings.height, settings.width)
        with np.load(tmp_path / "masks" / f"{path.stem}.npz") as file:
            masks = file["masks"]
        assert masks.any()
        assert sorted(set(tracks.frame.tolist())) == np.flatnonzero(masks.any(axis=(1, 2))).tolist()
        for frame, (left, top, right, bottom) in zip(tracks.frame, tracks.xyxy.astype(int)):
            masks[frame, top:bottom, left:right] = False
        assert not masks.any()


# --- Masks --------------------------------------------------------------------------------------------------


def test_a_region_keeps_its_track_while_it_overlaps_itself() -> None:
    """Two objects pass; the lower one leaves for a frame and returns as another."""
    masks = drawn(
        "##....../......##",
        ".##...../.....##.",
        "..##..../........",
        "...##.../....##..",
    )
    assert rows(tracks_of_masks(masks)) == [
        (0, 0, 0, 0, 2, 1),
        (1, 0, 6, 1, 8, 2),
        (0, 1, 1, 0, 3, 1),
        (1, 1, 5, 1, 7, 2),
        (0, 2, 2, 0, 4, 1),
        # The two touch at a corner, so frame 3 has one region.
        (0, 3, 3, 0, 6, 2),
    ]


def test_splits_and_merges_go_by_the_most_pixels() -> None:
    """One splits into a large and a small part, which then melt into one again.

    frame 0    frame 1    frame 2
    ######     ####.#     ######
    """
    assert rows(tracks_of_masks(drawn("######", "####.#", "######"))) == [
        (0, 0, 0, 0, 6, 1),
        (0, 1, 0, 0, 4, 1),
        (1, 1, 5, 0, 6, 1),
        (0, 2, 0, 0, 6, 1),
    ]
    # Where the small part alone goes on, it goes on as itself.
    assert [row[0] for row in rows(tracks_of_masks(drawn("######", "####.#", ".....#")))] == [0, 0, 1, 1]


def test_links_are_one_to_one_and_the_largest_overlap_goes_first() -> None:
    """Region b shares 1 pixel with track 0 and 3 with track 1, which it continues.

    frame 0    000.111111    000.111111
    frame 1    a.bbbbb...    ..bbbbb..c

    Region a continues track 0, which is still free; c shares a pixel with track 1 alone and starts a new one.
    """
    assert [row[0] for row in rows(tracks_of_masks(drawn("000.111111", "a.bbbbb...")))] == [0, 1, 0, 1]
    assert [row[0] for row in rows(tracks_of_masks(drawn("000.111111", "..bbbbb..c")))] == [0, 1, 1, 2]


def test_small_regions_are_left_out_only_on_request() -> None:
    masks = drawn("##.#", "##.#", "#..#")
    assert [row[:2] for row in rows(tracks_of_masks(masks))] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
        (0, 2),
        (1, 2),
    ]
    assert rows(tracks_of_masks(masks, least_pixels=2)) == [(0, 0, 0, 0, 2, 1), (0, 1, 0, 0, 2, 1)]
    assert rows(tracks_of_masks(np.zeros((3, 4, 5), dtype=bool))) == []
    assert tracks_of_masks(np.zeros((0, 4, 5), dtype=bool)).xyxy.shape == (0, 4)


Cells = set[tuple[int, int]]


def flooded(mask: NDArray[np.bool_]) -> list[Cells]:
    """The 8-connected parts of a mask, filled cell by cell."""
    left, parts = {(int(r), int(c)) for r, c in np.argwhere(mask)}, []
    while left:
        part: Cells = set()
        wave = {left.pop()}
        while wave:
            part |= wave
            wave = {(r + i, c + j) for r, c in wave for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= wave
        parts.append(part)
    return parts


def box_of(part: Cells) -> tuple[int, ...]:
    tall, wide = zip(*part)
    return min(wide), min(tall), max(wide) + 1, max(tall) + 1


@given(arrays(bool, st.tuples(st.integers(1, 4), st.just(5), st.just(6))), st.integers(1, 3))
def test_regions_are_flooded_parts_and_links_are_stable(masks: NDArray[np.bool_], least: int) -> None:
    """No two regions that share pixels would both rather be linked with one another than as they are."""
    tracks = tracks_of_masks(masks, least)
    before: dict[int, Cells] = {}
    seen: set[int] = set()
    for frame, mask in enumerate(masks):
        parts = [part for part in flooded(mask) if len(part) >= least]
        of_box = {box_of(part): part for part in parts}
        here = tracks.frame == frame
        found = [tuple(map(int, box)) for box in tracks.xyxy[here]]
        assert sorted(found) == sorted(map(box_of, parts))
        if len(of_box) < len(parts):  # which of two regions of one box has which track cannot be told
            return
        now = {track: of_box[box] for track, box in zip(tracks.track_id[here].tolist(), found)}
        assert len(now) == len(parts)
        assert all(track in before for track in seen & now.keys())
        shared = {(b, n): len(before[b] & now[n]) for b in before for n in now}
        for (b, n), pixels in shared.items():
            assert max(shared.get((b, b), 0), shared.get((n, n), 0)) >= pixels
            assert b != n or pixels
        seen |= now.keys()
        before = now
    assert seen == set(range(len(seen)))


# Frames of each track of the test clips of UCSD Ped2; none of them is broken.
PED2 = [[120], [86], [146, 124], [150, 60], [129], [109, 131], [135, 123], [180, 61, 76], [55, 107]]
PED2 += [[150], [129, 180, 67], [93]]


@pytest.mark.parametrize("clip", range(1, 13))
def test_regions_of_real_masks(real_data: Path, clip: int) -> None:
    path = label_path("ped2", real_data / "UCSDped2", f"Test{clip:03d}")
    masks = read_masks("ped2", path)
    assert masks is not None
    tracks = tracks_of_masks(masks)
    assert np.bincount(tracks.track_id).tolist() == PED2[clip - 1]
    for track in set(tracks.track_id.tolist()):
        assert set(np.diff(tracks.frame[tracks.track_id == track])) == {1}
    assert sorted(set(tracks.frame.tolist())) == np.flatnonzero(masks.any(axis=(1, 2))).tolist()

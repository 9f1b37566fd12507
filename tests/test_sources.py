"""A signature follows what files hold, not their dates."""

import os
from pathlib import Path

import pytest

from fastaed.sources import signature

SIZE = 20_000


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "01.mp4"
    path.write_bytes(bytes(range(250)) * (SIZE // 250))
    return path


def changed(path: Path, place: int) -> str:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    return signature([path])


def test_dates_and_folders_do_not_count(video: Path, tmp_path: Path) -> None:
    before = signature([video])
    os.utime(video, (1, 1))
    copy = tmp_path / "elsewhere" / video.name
    copy.parent.mkdir()
    copy.write_bytes(video.read_bytes())
    assert signature([video]) == signature([copy]) == before


@pytest.mark.parametrize("place", [0, 4095, SIZE - 4096, SIZE - 1])
def test_either_end_counts(video: Path, place: int) -> None:
    before = signature([video])
    assert changed(video, place) != before


def test_length_counts_and_the_middle_does_not(video: Path) -> None:
    before = signature([video])
    assert changed(video, SIZE // 2) == before
    video.write_bytes(video.read_bytes() + b"\0")
    assert signature([video]) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "9.png").write_bytes(b"x"),
        lambda folder: (folder / "1.png").unlink(),
        lambda folder: (folder / "1.png").write_bytes(b"longer"),
        lambda folder: (folder / "0.png").write_bytes(b"Z"),
        lambda folder: (folder / "2.png").write_bytes(b"Z"),
        lambda folder: (folder / "1.png").rename(folder / "1a.png"),
    ],
    ids=["added", "removed", "longer", "first", "middle", "renamed"],
)
def test_a_folder_of_frames(tmp_path: Path, change: object) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(b"a")
    before = signature([folder])
    change(folder)  # type: ignore[operator]
    assert signature([folder]) != before


def test_what_is_absent_differs_from_what_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    empty, absent = tmp_path / "a" / "x", tmp_path / "x"
    empty.touch()
    assert signature([empty]) != signature([absent])
    assert signature([]) != signature([absent])

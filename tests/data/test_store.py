import json
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fastaed.data.store import (
    CHUNK_FRAMES,
    ChunkCache,
    Encoding,
    Frames,
    FrameStore,
    Maps,
    check_maps,
    frame_delta,
    frame_sum,
    map_clips,
    read_maps,
    write_frames,
    write_maps,
)
from fastaed.errors import DataError, OutputError, StoreError
from fastaed.pyramid import MapPyramid

LENGTH = 300  # two whole shards and a part; the last chunk is a part too


def noise(length: int = LENGTH, height: int = 6, width: int = 9, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (length, height, width, 3), dtype=np.uint8)


def pyramid(length: int = 40, seed: int = 0) -> Maps:
    rng = np.random.default_rng(seed)
    return MapPyramid(*(rng.random((length, side, side), dtype=np.float32) for side in (1, 4, 16)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "01.zarr"
    write_frames(path, noise(), {"clip": "01", "source_height": 12, "source_width": 18, "rate": 25.0})
    return path


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "01.zarr"))


def shard(path: Path, number: int) -> Path:
    return path / "c" / str(number) / "0" / "0" / "0"


def test_frames_come_back_exactly(whole: Path) -> None:
    store = FrameStore(whole)
    assert (len(store), store.height, store.width, store.clip) == (LENGTH, 6, 9, "01")
    assert store.attributes["source_height"] == 12
    assert store.attributes["rate"] == 25.0
    assert store.attributes["colour"] == "RGB"
    assert store.attributes["frames"] == LENGTH
    np.testing.assert_array_equal(store.read(0, LENGTH), noise())


@given(start=st.integers(0, LENGTH - 1), length=st.integers(1, 60))
def test_any_run_of_frames_is_read(whole: Path, start: int, length: int) -> None:
    stop = min(start + length, LENGTH)
    np.testing.assert_array_equal(FrameStore(whole).read(start, stop), noise()[start:stop])


@given(st.lists(st.integers(-10, LENGTH + 10), min_size=1, max_size=8))
def test_gathering_repeats_the_frames_at_the_ends(whole: Path, numbers: list[int]) -> None:
    expected = np.stack([noise()[min(max(number, 0), LENGTH - 1)] for number in numbers])
    np.testing.assert_array_equal(FrameStore(whole).gather(numbers), expected)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 127, 128, 129, 256])
def test_any_length_is_stored(tmp_path: Path, length: int) -> None:
    assert write_frames(tmp_path / "a.zarr", iter(noise(length)), {"clip": "a"}) == length
    np.testing.assert_array_equal(FrameStore(tmp_path / "a.zarr").read(0, length), noise(length))


def test_a_clip_is_few_files(whole: Path) -> None:
    files = {file.relative_to(whole).as_posix() for file in whole.rglob("*") if file.is_file()}
    assert files == {"zarr.json", "c/0/0/0/0", "c/1/0/0/0", "c/2/0/0/0"}
    assert Encoding().chunk_frames == CHUNK_FRAMES


def test_black_frames_are_stored_and_not_taken_for_missing(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.zarr", np.zeros((200, 4, 4, 3), np.uint8), {})
    assert not FrameStore(tmp_path / "a.zarr").read(0, 200).any()


def test_a_clip_without_a_name_is_called_like_its_store(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.zarr", noise(8), {})
    assert FrameStore(tmp_path / "a.zarr").clip == "a"


@pytest.mark.parametrize(
    "encoding",
    [
        Encoding(delta=False, compressor="lz4", level=1),
        Encoding(delta=False, shuffle="shuffle"),
        Encoding(delta=False, shuffle="bitshuffle"),
        Encoding(chunk_frames=4, shard_frames=4),
    ],
)
def test_other_encodings_are_read_just_as_well(tmp_path: Path, encoding: Encoding) -> None:
    write_frames(tmp_path / "a.zarr", noise(37), {}, encoding)
    store = FrameStore(tmp_path / "a.zarr")
    np.testing.assert_array_equal(store.read(0, 37), noise(37))
    np.testing.assert_array_equal(store.gather([36, 0, 5]), noise(37)[[36, 0, 5]])


FRAMES = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.just(3))
)


@given(FRAMES)
def test_differences_are_those_of_the_formula(frames: Frames) -> None:
    length, height, width, _ = frames.shape
    expected = np.zeros((length, 3, height, width), np.uint8)

    def plane(time: int, channel: int, y: int, x: int) -> int:
        green = int(frames[time, y, x, 1])
        return green if channel == 1 else int(frames[time, y, x, channel]) - green

    for time in range(length):
        for channel in range(3):
            for y in range(height):
                for x in range(width):
                    before = plane(time - 1, channel, y, x) if time else 0
                    expected[time, channel, y, x] = (plane(time, channel, y, x) - before) % 256
    np.testing.assert_array_equal(frame_delta(frames), expected)


@given(FRAMES)
def test_differences_lose_nothing(frames: Frames) -> None:
    np.testing.assert_array_equal(frame_sum(frame_delta(frames)), frames)


def test_a_standing_grey_camera_leaves_nothing_but_its_first_frame() -> None:
    grey = np.repeat(noise(1, 5, 7)[..., :1], 3, axis=3)
    differences = frame_delta(np.repeat(grey, 6, axis=0))
    np.testing.assert_array_equal(differences[0, 1], grey[0, ..., 0])
    assert not differences[0, [0, 2]].any()
    assert not differences[1:].any()


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    """A buffer of one shard and its encoding, whatever the length."""

    def peak(length: int) -> int:
        frame = noise(1, 60, 80)[0]
        tracemalloc.start()
        write_frames(tmp_path / "a.zarr", (frame for _ in range(length)), {})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(1280) < 1.3 * peak(256)


def test_no_frame_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="source is empty"):
        write_frames(tmp_path / "a.zarr", [], {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "second", [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_frames_of_another_kind_are_refused(tmp_path: Path, second: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="the first one uint8 of"):
        write_frames(tmp_path / "a.zarr", [np.zeros((4, 4, 3), np.uint8), second], {})
    assert list(tmp_path.iterdir()) == []


def test_an_error_midway_leaves_the_old_store(damaged: Path) -> None:
    def breaking_off() -> Iterator[Frames]:
        yield from noise(200, seed=1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_frames(damaged, breaking_off(), {})
    np.testing.assert_array_equal(FrameStore(damaged).read(0, LENGTH), noise())
    assert [path.name for path in damaged.parent.iterdir()] == ["01.zarr"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*a\.zarr: No space left on device"):
        write_frames(small_disk / "a.zarr", noise(300, 40, 40), {})
    with pytest.raises(OutputError, match=r"cannot write .*m\.zarr: No space left on device"):
        write_maps(small_disk / "m.zarr", {"a": pyramid(600)}, {})
    assert list(small_disk.iterdir()) == []


def test_a_store_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a\.zarr is missing .* decode again"):
        FrameStore(tmp_path / "a.zarr")


def test_an_array_of_something_else_is_an_error(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=np.zeros((3, 4)), attributes={"frames": 3})
    with pytest.raises(StoreError, match=r"not frames \(T, H, W, 3\)"):
        FrameStore(tmp_path / "a.zarr")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_deleted_shard_is_noticed(damaged: Path, number: int) -> None:
    """Zarr itself would read it as zeros."""
    shard(damaged, number).unlink()
    with pytest.raises(StoreError, match="incomplete"):
        FrameStore(damaged)


def test_deleted_metadata_is_noticed(damaged: Path) -> None:
    (damaged / "zarr.json").unlink()
    with pytest.raises(StoreError, match="decode again"):
        FrameStore(damaged)


@pytest.mark.parametrize("field", ["frames", "height", "width"])
def test_altered_sizes_are_noticed(damaged: Path, field: str) -> None:
    metadata = json.loads((damaged / "zarr.json").read_text())
    metadata["shape"][["frames", "height", "width"].index(field)] -= 1
    (damaged / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match="altered"):
        FrameStore(damaged)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_shard_cut_off_is_noticed(damaged: Path, share: float) -> None:
    file = shard(damaged, 1)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    store = FrameStore(damaged)
    np.testing.assert_array_equal(store.read(0, 128), noise()[:128])
    with pytest.raises(StoreError, match=r"frames 128\.\.143 are damaged"):
        store.gather([130])


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_is_noticed(damaged: Path, number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    file = shard(damaged, number)
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    file.write_bytes(content)
    store = FrameStore(damaged)
    with pytest.raises(StoreError, match="decode again"):
        store.read(0, LENGTH)


@pytest.mark.parametrize("seed", range(40))
def test_altered_metadata_never_give_wrong_frames(damaged: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray((damaged / "zarr.json").read_bytes())
    place = int(rng.integers(len(content)))
    if seed % 4:
        content[place] ^= 1 << int(rng.integers(8))
    else:
        del content[place:]
    (damaged / "zarr.json").write_bytes(content)
    try:
        read = FrameStore(damaged).read(0, LENGTH)
    except StoreError:
        return
    np.testing.assert_array_equal(read, noise())


def test_the_cache_decodes_a_chunk_once(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FrameStore(whole, ChunkCache(10**6))
    reads: list[int] = []
    read = FrameStore.read

    def counted(self: FrameStore, start: int, stop: int) -> Frames:
        reads.append(start)
        return read(self, start, stop)

    monkeypatch.setattr(FrameStore, "read", counted)
    for number in (0, 15, 16, 3, 299, 17, 298):
        store.gather([number])
    assert reads == [0, 16, 288]


def test_the_cache_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    chunk = np.zeros((10,), np.uint8)
    cache = ChunkCache(30)
    for number in range(3):
        cache.put(tmp_path, number, chunk)
    assert cache.get(tmp_path, 0) is chunk
    cache.put(tmp_path, 3, chunk)
    assert cache.get(tmp_path, 1) is None
    assert all(cache.get(tmp_path, number) is chunk for number in (0, 2, 3))
    for _ in range(5):  # held already: nothing else has to go
        cache.put(tmp_path, 3, chunk)
    assert cache.get(tmp_path, 0) is chunk


def test_the_cache_keeps_one_chunk_however_large(tmp_path: Path) -> None:
    cache = ChunkCache(0)
    cache.put(tmp_path, 0, np.zeros(10, np.uint8))
    cache.put(tmp_path, 1, np.ones(10, np.uint8))
    assert cache.get(tmp_path, 0) is None
    assert cache.get(tmp_path, 1) is not None


def test_maps_come_back_exactly(tmp_path: Path) -> None:
    clips = {"02": pyramid(40, 2), "Test001": pyramid(1100, 1)}
    write_maps(tmp_path / "m.zarr", clips, {"teacher": "density"})
    (tmp_path / "m.zarr" / ".snakemake_timestamp").touch()  # left by Snakemake in a folder that is an output
    assert map_clips(tmp_path / "m.zarr") == ["02", "Test001"]
    for clip, written in clips.items():
        read = read_maps(tmp_path / "m.zarr", clip)
        for level, expected in zip(read, written):
            np.testing.assert_array_equal(level, expected)
            assert level.dtype == np.float32


def test_the_maps_of_many_frames_are_few_files(tmp_path: Path) -> None:
    """The published code writes one file a frame and scale: 823,545 for ShanghaiTech."""
    levels = (np.zeros((2000, side, side), np.float32) for side in (1, 4, 16))
    write_maps(tmp_path / "maps.zarr", {"long": MapPyramid(*levels)}, {})
    assert sum(file.is_file() for file in (tmp_path / "maps.zarr").rglob("*")) <= 11


def test_footage_of_one_name_is_told_apart(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 8, 10, 3), dtype=np.uint8)
    last = frames.copy()
    last[-1, 0, 0, 0] ^= 1
    found = []
    for number, footage in enumerate((frames, frames, last, frames[:-1], frames.reshape(20, 10, 8, 3))):
        path = tmp_path / str(number) / "a.zarr"
        write_frames(path, footage, {"clip": "a"})
        found.append(FrameStore(path).fingerprint())
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_maps_of_nothing_but_zeros_are_not_taken_for_missing(tmp_path: Path) -> None:
    zeros = MapPyramid(*(np.zeros((9, side, side), np.float32) for side in (1, 4, 16)))
    write_maps(tmp_path / "m.zarr", {"a": zeros}, {})
    assert not read_maps(tmp_path / "m.zarr", "a").sixteen.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_what_is_no_map_is_not_written(tmp_path: Path, value: float) -> None:
    maps = pyramid()
    maps.four[7, 1, 2] = value
    with pytest.raises(DataError, match="maps of clip a"):
        write_maps(tmp_path / "m.zarr", {"a": maps}, {})
    assert list(tmp_path.iterdir()) == []


@given(arrays.arrays(np.float32, (2, 3, 3), elements=st.floats(0, 1, width=32)))
def test_maps_between_zero_and_one_are_fine(maps: NDArray[np.float32]) -> None:
    check_maps(maps, "here")


def test_missing_maps_are_an_error(tmp_path: Path) -> None:
    write_maps(tmp_path / "m.zarr", {"a": pyramid()}, {})
    with pytest.raises(StoreError, match="maps of clip b are missing"):
        read_maps(tmp_path / "m.zarr", "b")
    for read in (map_clips, lambda path: read_maps(path, "a")):
        with pytest.raises(StoreError, match="missing or damaged"):
            read(tmp_path / "n.zarr")


@pytest.mark.parametrize("how", ["delete", "cut", "flip"])
@pytest.mark.parametrize("level", ["one", "four", "sixteen"])
def test_damaged_maps_are_noticed(tmp_path: Path, level: str, how: str) -> None:
    write_maps(tmp_path / "m.zarr", {"a": pyramid()}, {})
    file = next(path for path in (tmp_path / "m.zarr" / "a" / level / "c").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    if how == "delete":
        file.unlink()
    else:
        file.write_bytes(content if how == "flip" else content[:-9])
    with pytest.raises(StoreError, match="maps of clip a are missing or damaged"):
        read_maps(tmp_path / "m.zarr", "a")

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fastaed import decode
from fastaed.config import DecodeSettings
from fastaed.data.benchmarks import label_path, list_clips
from fastaed.data.store import Frames, FrameStore
from fastaed.errors import DataError, MissingDataError, OutputError
from fastaed.files import content_digest, read_manifest

SETTINGS = DecodeSettings(width=64, height=48)
Image = NDArray[Any]


def pictures(length: int = 20, height: int = 48, width: int = 64) -> Frames:
    """RGB: a red field over a blue bottom, with a green square whose place tells frames apart."""
    frames = np.zeros((length, height, width, 3), np.uint8)
    frames[..., 0] = 120
    for number, frame in enumerate(frames):
        left = 2 * number % (width - 12)
        frame[8:20, left : left + 12] = (10, 220, 30)
    frames[:, -8:, :] = (20, 30, 240)
    return frames


def write_video(path: Path, frames: Frames, code: str, rate: float = 12.0) -> Path:
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate, (width, height))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV cannot write {code}")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def write_images(folder: Path, images: list[Image], pattern: str = "{:03}.png") -> Path:
    """Images as OpenCV takes them: grey, BGR or BGRA."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        assert cv2.imwrite(str(folder / pattern.format(number)), image)
    return folder


@pytest.fixture(scope="module")
def avi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "01.avi", pictures(60), "XVID")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., FrameStore]:
    """Decode a source to `01.zarr` and open it."""

    def run(
        source: Path, labels: Path | None = None, layout: str = "folder", settings: DecodeSettings = SETTINGS
    ) -> FrameStore:
        store = tmp_path / "out" / "01.zarr"
        decode.decode_clip(source, store, store.with_suffix(".json"), labels, layout, settings)
        return FrameStore(store)

    return run


@pytest.fixture
def refused(run: Callable[..., FrameStore], tmp_path: Path) -> Callable[..., str]:
    """The message with which a source is refused; nothing may be left behind."""

    def refused(source: Path, *more: object, error: type[Exception] = DataError) -> str:
        with pytest.raises(error) as caught:
            run(source, *more)
        out = tmp_path / "out"
        assert not out.exists() or list(out.iterdir()) == []
        return str(caught.value)

    return refused


def cut_off(path: Path, share: float, to: Path) -> Path:
    content = path.read_bytes()
    to.write_bytes(content[: int(share * len(content))])
    return to


# What comes out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "suffix"),
    [("XVID", "avi"), ("MJPG", "avi"), ("mp4v", "mp4"), ("mp4v", "mov"), ("mp4v", "mkv"), ("VP80", "webm")],
)
def test_videos_become_rgb_frames_in_order(
    code: str, suffix: str, tmp_path: Path, run: Callable[..., FrameStore]
) -> None:
    frames = pictures(30)
    store = run(write_video(tmp_path / f"01.{suffix}", frames, code))
    assert len(store) == 30
    read = store.read(0, 30).astype(int)
    assert np.abs(read - frames).mean() < 12  # lossy, but not swapped: red against blue would be 100 away
    nearest = [int(np.abs(frames.astype(int) - frame).sum(axis=(1, 2, 3)).argmin()) for frame in read[:26]]
    assert nearest == list(range(26))
    assert store.attributes["rate"] == pytest.approx(12.0)


def test_lossless_video_is_exact(tmp_path: Path, run: Callable[..., FrameStore]) -> None:
    frames = np.repeat(pictures(9)[:, ::2, ::2], 2, axis=1).repeat(2, axis=2)
    source = write_images(tmp_path / "01", [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in frames])
    np.testing.assert_array_equal(run(source).read(0, 9), frames)


def test_manifest_and_attributes_tell_where_the_frames_come_from(
    avi: Path, tmp_path: Path, run: Callable[..., FrameStore]
) -> None:
    store = run(avi, settings=DecodeSettings(width=32, height=36))
    assert (store.clip, len(store), store.height, store.width) == ("01", 60, 36, 32)
    facts = {"clip": "01", "source_height": 48, "source_width": 64, "rate": 12.0}
    assert {name: store.attributes[name] for name in facts} == facts
    manifest = read_manifest(tmp_path / "out" / "01.json")
    assert manifest["stage"] == "decode"
    assert manifest["settings"] == {"width": 32, "height": 36}
    assert manifest["clips"] == {"01": 60}
    assert manifest["content"] == content_digest(store.path)
    assert {name: manifest[name] for name in facts} == facts


@pytest.mark.parametrize("pattern", ["{:03}.png", "frame{}.bmp", "{:04}.tif", "{}.TIFF"])
def test_folders_are_read_by_number_and_without_junk(
    pattern: str, tmp_path: Path, run: Callable[..., FrameStore]
) -> None:
    frames = pictures(12)
    source = write_images(tmp_path / "01", [frame[..., ::-1] for frame in frames], pattern)
    for junk in ("._001.png", "Thumbs.db", "readme.txt"):
        (source / junk).write_bytes(b"junk")
    store = run(source)
    np.testing.assert_array_equal(store.read(0, 12), frames)
    assert store.attributes["rate"] is None


def test_grey_alpha_and_deep_images_become_rgb_of_eight_bit(
    tmp_path: Path, run: Callable[..., FrameStore]
) -> None:
    deep = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    alpha = np.dstack([pictures(1)[0, ..., ::-1], np.full((48, 64), 7, np.uint8)])
    grey = pictures(1)[0, ..., 1]
    images = [
        deep,
        np.dstack([deep, deep, deep]),
        alpha,
        grey,
        np.full((48, 64), 65535, np.uint16),
        grey,
        grey,
    ]
    read = run(write_images(tmp_path / "01", images)).read(0, 7)
    rounded = np.floor(deep / 257 + 0.5).astype(np.uint8)
    for place, expected in ((0, rounded), (1, rounded), (3, grey), (4, np.full((48, 64), 255))):
        for channel in range(3):
            np.testing.assert_array_equal(read[place, ..., channel], expected)
    np.testing.assert_array_equal(read[2], pictures(1)[0])


def test_shrinking_takes_means_and_enlarging_interpolates(
    tmp_path: Path, run: Callable[..., FrameStore]
) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (7, 96, 128, 3), dtype=np.uint8)
    read = run(write_images(tmp_path / "large", [frame[..., ::-1] for frame in frames])).read(0, 7)
    means = frames.reshape(7, 48, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(read - means).max() <= 0.5
    small = np.repeat(np.arange(0, 160, 5, dtype=np.uint8)[None, :], 24, axis=0)
    read = run(write_images(tmp_path / "small", [small] * 7)).read(0, 7)
    assert (np.diff(read[0, :, :, 0].astype(int), axis=1) >= 0).all()  # a ramp stays one, without steps of 5
    assert np.diff(read[0, :, :, 0].astype(int), axis=1).max() <= 3


def test_frames_can_be_had_without_a_store(avi: Path) -> None:
    frames = list(decode.open_frames(avi, DecodeSettings(width=32, height=32)))
    assert len(frames) == 60
    assert all(frame.shape == (32, 32, 3) and frame.dtype == np.uint8 for frame in frames)


def test_native_size_and_rate_are_known_before_the_first_frame(avi: Path) -> None:
    footage = decode.open_footage(avi)
    assert (footage.height, footage.width, footage.rate, footage.promised) == (48, 64, 12.0, 60)
    assert next(footage.frames).shape == (48, 64, 3)
    footage.frames.close()


# What is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97, 0.9999])
@pytest.mark.parametrize(("code", "suffix"), [("XVID", "avi"), ("MJPG", "avi"), ("mp4v", "mp4")])
def test_a_video_cut_off_is_refused(
    code: str, suffix: str, share: float, tmp_path: Path, refused: Callable[..., str]
) -> None:
    """Also where the last frame would still decode, to a smear."""
    source = write_video(tmp_path / f"a.{suffix}", pictures(60), code)
    message = refused(cut_off(source, share, tmp_path / f"b.{suffix}"))
    assert f"b.{suffix} is cut off: it has {int(share * source.stat().st_size)} bytes" in message


def test_a_video_with_frames_destroyed_is_refused(
    avi: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    content = bytearray(avi.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    (tmp_path / "b.avi").write_bytes(content)
    message = refused(tmp_path / "b.avi")
    assert "frames can be decoded of the 60 that the file announces" in message


def test_lost_frames_in_other_containers_are_mentioned(
    tmp_path: Path, run: Callable[..., FrameStore], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_video(tmp_path / "a.mkv", pictures(60), "mp4v")
    store = run(cut_off(source, 0.5, tmp_path / "b.mkv"))
    assert 7 < len(store) < 50
    assert "of the 60 that the file announces; if the clip ends too early" in capsys.readouterr().err


def test_trailing_bytes_and_unknown_lengths_are_no_reason_to_refuse(
    avi: Path, tmp_path: Path, run: Callable[..., FrameStore]
) -> None:
    content = bytearray(avi.read_bytes())
    (tmp_path / "trailing.avi").write_bytes(content + b"\0\0\0 and some more")
    assert len(run(tmp_path / "trailing.avi")) == 60
    for unknown in (0, 0xFFFFFFFF):  # a recorder that could not go back to fill it in
        content[4:8] = unknown.to_bytes(4, "little")
        (tmp_path / "stream.avi").write_bytes(content)
        assert len(run(tmp_path / "stream.avi")) == 60
    mp4 = write_video(tmp_path / "a.mp4", pictures(60), "mp4v")
    mp4.write_bytes(mp4.read_bytes() + bytes(3))
    assert len(run(mp4)) == 60


def test_an_empty_file_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "a.avi").touch()
    assert "is empty (0 bytes)" in refused(tmp_path / "a.avi")


@pytest.mark.parametrize(
    "content", [b"nothing to see here\n" * 50, b"RIFF", b"RIFF\0\0\0\0AVI ", bytes(5000)]
)
def test_what_is_no_video_is_refused(content: bytes, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "a.avi").write_bytes(content)
    assert "cannot be decoded" in refused(tmp_path / "a.avi")


def test_what_is_not_there_is_missing(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "a.avi does not exist" in refused(tmp_path / "a.avi", error=MissingDataError)
    (tmp_path / "empty").mkdir()
    assert "no image" in refused(tmp_path / "empty", error=MissingDataError)


@pytest.mark.parametrize("url", ["rtsp://user:secret@camera/1", "https://example.org/a.mp4?token=secret"])
def test_urls_are_refused_without_repeating_their_secrets(url: str, refused: Callable[..., str]) -> None:
    message = refused(Path(url))
    assert "URL" in message
    assert "secret" not in message


@pytest.mark.parametrize("length", [1, 6])
def test_clips_too_short_for_a_tube_are_refused(
    length: int, tmp_path: Path, refused: Callable[..., str]
) -> None:
    source = write_images(tmp_path / "01", [np.zeros((48, 64), np.uint8)] * length)
    assert f"has {length} frames, at least 7" in refused(source)


def test_a_gap_in_a_folder_is_named(tmp_path: Path, refused: Callable[..., str]) -> None:
    source = write_images(tmp_path / "01", [np.zeros((48, 64), np.uint8)] * 12)
    (source / "007.png").unlink()
    assert "image 7 is missing" in refused(source)


def test_images_of_two_sizes_are_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    images = [np.zeros((48, 64), np.uint8)] * 9 + [np.zeros((48, 60), np.uint8)]
    message = refused(write_images(tmp_path / "01", images))
    assert "frame 9 is 60x48 pixels, the first one 64x48" in message


@pytest.mark.parametrize("damage", [b"", b"no image", None])
def test_a_damaged_image_is_named(damage: bytes | None, tmp_path: Path, refused: Callable[..., str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    source = write_images(tmp_path / "01", [noise] * 9)
    content = (source / "004.png").read_bytes()
    (source / "004.png").write_bytes(content[: len(content) // 3] if damage is None else damage)
    assert "004.png cannot be read" in refused(source)


def test_images_of_real_numbers_are_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    source = write_images(tmp_path / "01", [np.zeros((48, 64), np.float32)] * 9, "{}.tiff")
    assert "float32" in refused(source)


@pytest.mark.parametrize("labelled", [59, 61])
def test_labels_of_another_length_are_refused(
    labelled: int, avi: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    np.save(tmp_path / "01.npy", np.zeros(labelled, np.uint8))
    message = refused(avi, tmp_path / "01.npy")
    assert "01.avi has 60 frames" in message
    assert f"01.npy cover {labelled}" in message


def test_labels_of_the_same_length_are_fine(
    avi: Path, tmp_path: Path, run: Callable[..., FrameStore]
) -> None:
    (tmp_path / "01.csv").write_text("frame,label,kind\n" + "".join(f"{frame},0,\n" for frame in range(60)))
    assert len(run(avi, tmp_path / "01.csv")) == 60


# Some clips together ----------------------------------------------------------------------------------------


@pytest.fixture
def clips(tmp_path: Path) -> dict[str, Path]:
    """Three sources of 20, 30 and 40 frames."""
    return {
        name: write_video(tmp_path / f"{name}.avi", pictures(length), "XVID")
        for name, length in (("a", 20), ("b", 30), ("c", 40))
    }


@pytest.fixture
def decoded(
    clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., set[str]]:
    """Decode all of them and tell which really were."""

    def decoded(at_once: int = 1, settings: DecodeSettings = SETTINGS, **labels: Path) -> set[str]:
        capsys.readouterr()
        decode.run(clips, tmp_path / "out", tmp_path / "list.json", labels, "folder", settings, at_once)
        said = capsys.readouterr().err
        return {name for name in clips if f"decode {name}: as it was" not in said}

    return decoded


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_clips_decoded_side_by_side_are_those_decoded_alone(
    at_once: int, clips: dict[str, Path], decoded: Callable[..., set[str]], tmp_path: Path
) -> None:
    assert decoded(at_once) == {"a", "b", "c"}
    listed = json.loads((tmp_path / "list.json").read_text())
    assert listed["clips"] == {"a": 20, "b": 30, "c": 40}
    for name, source in clips.items():
        alone = tmp_path / "alone" / f"{name}.zarr"
        decode.decode_clip(source, alone, alone.with_suffix(".json"), None, "folder", SETTINGS)
        assert content_digest(tmp_path / "out" / alone.name) == content_digest(alone)
        assert listed["contents"][name] == content_digest(alone)


def change_a_source(tmp_path: Path) -> None:
    write_video(tmp_path / "b.avi", pictures(31), "XVID")


def damage_a_store(tmp_path: Path) -> None:
    chunk = next(path for path in (tmp_path / "out/b.zarr/c").rglob("*") if path.is_file())
    os.truncate(chunk, 100)


def lose_a_store(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "out/b.zarr")


def lose_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "out/b.json").unlink()


def cut_a_manifest(tmp_path: Path) -> None:
    os.truncate(tmp_path / "out/b.json", 10)


@pytest.mark.parametrize(
    "change", [change_a_source, damage_a_store, lose_a_store, lose_a_manifest, cut_a_manifest]
)
def test_only_what_changed_is_decoded_again(
    change: Callable[[Path], None], decoded: Callable[..., set[str]], tmp_path: Path
) -> None:
    decoded()
    before = {name: (tmp_path / f"out/{name}.json").stat().st_mtime_ns for name in "abc"}
    change(tmp_path)
    assert decoded() == {"b"}
    assert all((tmp_path / f"out/{name}.json").stat().st_mtime_ns == before[name] for name in "ac")
    for name in "abc":
        store = FrameStore(tmp_path / f"out/{name}.zarr")
        assert len(store.read(0, len(store))) == len(store)
    assert decoded() == set()


def test_other_settings_labels_or_code_decode_all_they_concern(
    decoded: Callable[..., set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded()
    labels = tmp_path / "b.csv"
    labels.write_text("frame,label\n" + "".join(f"{frame},0\n" for frame in range(30)))
    assert decoded(b=labels) == {"b"}
    assert decoded(settings=DecodeSettings(width=48, height=32), b=labels) == {"a", "b", "c"}
    monkeypatch.setattr(decode, "code_hash", lambda name: "other")
    assert decoded(settings=DecodeSettings(width=48, height=32), b=labels) == {"a", "b", "c"}


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_damaged_clip_leaves_no_list_and_what_was_whole(
    at_once: int, clips: dict[str, Path], decoded: Callable[..., set[str]], tmp_path: Path
) -> None:
    whole = clips["c"].read_bytes()
    cut_off(clips["c"], 0.5, clips["c"])
    with pytest.raises(DataError, match=r"c\.avi is cut off"):
        decoded(at_once)
    assert not (tmp_path / "list.json").exists()
    assert not (tmp_path / "out/c.zarr").exists()
    clips["c"].write_bytes(whole)
    again = decoded(at_once)
    assert "c" in again
    assert at_once > 1 or again == {"c"}


def test_labels_of_no_clip_are_refused(decoded: Callable[..., set[str]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels of d but no such clip"):
        decoded(d=tmp_path / "d.csv")


# What goes wrong --------------------------------------------------------------------------------------------


def test_an_interrupt_leaves_the_old_store(
    avi: Path, tmp_path: Path, run: Callable[..., FrameStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run(avi).read(0, 60)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    resized = decode.resized

    def interrupted(frames: Iterator[Frames], width: int, height: int) -> Iterator[Frames]:
        for number, frame in enumerate(resized(frames, width, height)):
            if number == 30:
                raise KeyboardInterrupt
            yield 255 - frame

    monkeypatch.setattr(decode, "resized", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(avi)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names == ["01.json", "01.zarr"]
    np.testing.assert_array_equal(FrameStore(tmp_path / "out" / "01.zarr").read(0, 60), before)


def test_ctrl_c_on_the_process_leaves_nothing_half_written(tmp_path: Path) -> None:
    source = write_video(tmp_path / "01.avi", pictures(1500, 96, 128), "XVID")
    out = tmp_path / "out"
    code = (
        "from pathlib import Path; from fastaed import decode; from fastaed.config import DecodeSettings; "
        f"decode.run({{'01': Path({str(source)!r})}}, Path({str(out)!r}), None, {{}}, 'folder', "
        "DecodeSettings(), at_once=2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background jobs
    )
    deadline = time.monotonic() + 60
    while not (out.is_dir() and list(out.rglob("c/*"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert list(out.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    out = tmp_path / "disk"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(out)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        noise = np.random.default_rng(0).integers(0, 256, (140, 48, 64, 3), dtype=np.uint8)
        source = write_images(tmp_path / "01", list(noise))
        with pytest.raises(OutputError, match="No space left on device"):
            decode.decode_clip(source, out / "01.zarr", out / "01.json", None, "folder", SETTINGS)
        assert list(out.iterdir()) == []
    finally:
        subprocess.run(["umount", str(out)], check=True)


# Real footage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "split", "clip", "length", "size"),
    [
        ("ped2", "test", "Test006", 180, (240, 360)),
        ("avenue", "test", "08", 36, (360, 640)),
        ("avenue", "test", "21", 76, (360, 640)),
        ("avenue", "train", "12", 145, (360, 640)),
    ],
)
def test_real_clips(
    layout: str,
    split: Any,
    clip: str,
    length: int,
    size: tuple[int, int],
    real_data: Path,
    run: Callable[..., FrameStore],
) -> None:
    source = list_clips(layout, real_data, split)[clip]
    labels = label_path(layout, real_data, clip) if split == "test" else None
    store = run(source, labels, layout, DecodeSettings(width=160, height=96))
    assert len(store) == length
    assert (store.attributes["source_height"], store.attributes["source_width"]) == size
    assert 40 < store.read(0, 7).mean() < 200


def test_real_videos_announce_what_they_hold_and_none_is_refused(real_data: Path) -> None:
    """The rules against damaged files raise no false alarm: XviD and H.264, every one whole."""
    videos = sorted([*real_data.glob("avenue/*/*.avi"), *real_data.glob("ucsd_ped2_h264/*/*.mp4")])
    for video in videos[::4]:
        footage = decode.open_footage(video)
        assert sum(1 for _ in footage.frames) == footage.promised


@pytest.mark.parametrize("name", ["avenue/testing_videos/08.avi", "ucsd_ped2_h264/testing_videos/01.mp4"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_real_videos_cut_off_are_refused(
    name: str, share: float, real_data: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    source = real_data / name
    assert "is cut off" in refused(cut_off(source, share, tmp_path / source.name))


def test_manifest_is_json(avi: Path, tmp_path: Path, run: Callable[..., FrameStore]) -> None:
    run(avi)
    assert json.loads((tmp_path / "out" / "01.json").read_text())["schema"] == 1

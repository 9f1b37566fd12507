"""Without a card: torchcodec decodes by FFmpeg, where both are here; the rest needs neither."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from fastaed import cli, decode, decode_on_card
from fastaed.config import DecodeSettings, StudentSettings
from fastaed.errors import ConfigError, DataError, MissingDataError
from fastaed.models.student import build_student
from fastaed.weights import save_weights

LENGTH = 41
CPU = torch.device("cpu")
TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)


@pytest.fixture(scope="module")
def video(filmed: Callable[[int, int], Path]) -> Path:
    return filmed(LENGTH, 20)


@pytest.fixture
def by_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder of torchcodec's shape, so that what surrounds it is tested without it."""

    class VideoDecoder:
        def __init__(self, source: str, dimension_order: str, device: torch.device) -> None:
            assert dimension_order == "NCHW"
            frames = np.stack(list(decode.open_footage(Path(source)).frames))
            self._frames = torch.from_numpy(frames).permute(0, 3, 1, 2).to(device)

        def __len__(self) -> int:
            return len(self._frames)

        def get_frames_in_range(self, start: int, stop: int) -> SimpleNamespace:
            if stop > len(self):
                raise IndexError(stop)
            return SimpleNamespace(data=self._frames[start:stop])

    monkeypatch.setattr(decode_on_card, "_decoders", lambda: SimpleNamespace(VideoDecoder=VideoDecoder))


@pytest.fixture
def by_torchcodec() -> None:
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"no torchcodec that works here: {type(error).__name__}")


def expected(video: Path, width: int, height: int) -> torch.Tensor:
    frames = list(decode.open_frames(video, DecodeSettings(width=width, height=height)))
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [(128, 96), (64, 48), (200, 130)])
@pytest.mark.parametrize("decoder", ["by_opencv", "by_torchcodec"])
def test_the_frames_are_those_of_decode(
    video: Path, size: tuple[int, int], decoder: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(decoder)
    chunks = list(decode_on_card.open_chunks(video, *size, CPU, 16))
    assert [len(chunk) for chunk in chunks] == [16, 16, 9]
    assert {chunk.dtype for chunk in chunks} == {torch.uint8}
    difference = (torch.cat(chunks).int() - expected(video, *size)).abs()
    assert difference.max() <= (1 if decoder == "by_opencv" else 4)
    assert difference.float().mean() < (0.2 if decoder == "by_opencv" else 0.5)


@pytest.mark.parametrize("size", [(50, 30), (75, 45), (100, 59), (33, 17), (150, 90), (40, 90)])
def test_resizing_is_opencvs_to_the_rounding(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 100, 3)).astype(np.uint8)
    (theirs,) = decode.resized(iter([picture]), *size)
    (ours,) = decode_on_card.resized(torch.from_numpy(picture).permute(2, 0, 1)[None], *size)
    assert np.abs(ours.permute(1, 2, 0).numpy().astype(int) - theirs).max() <= 1


def test_one_sentence_for_what_cannot_be_decoded(video: Path, tmp_path: Path, by_opencv: None) -> None:
    with pytest.raises(MissingDataError, match=r"video .* does not exist"):
        next(decode_on_card.open_chunks(tmp_path / "none.mp4", 64, 48, CPU, 4))
    with pytest.raises(ConfigError, match=r"is a folder of frames, .* leave out --hardware"):
        next(decode_on_card.open_chunks(tmp_path, 64, 48, CPU, 4))
    short = tmp_path / "short.mp4"
    writer = cv2.VideoWriter(str(short), cv2.VideoWriter.fourcc(*"mp4v"), 20, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    with pytest.raises(DataError, match=r"has 3 frames, at least 7"):
        next(decode_on_card.open_chunks(short, 64, 48, CPU, 4))


def test_a_decoder_that_breaks_off_is_one_sentence(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __init__(self, *_: object, **__: object) -> None:
            raise RuntimeError("no kernel\nimage " + 200 * "x")

    monkeypatch.setattr(decode_on_card, "_decoders", lambda: SimpleNamespace(VideoDecoder=Broken))
    with pytest.raises(DataError, match=r"cannot be decoded on the card \(no kernel image x+\); leave out"):
        next(decode_on_card.open_chunks(video, 64, 48, CPU, 4))


def test_hardware_without_a_card_or_for_stores_is_refused(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = tmp_path / "student.safetensors"
    facts = {"student": TINY.model_dump(mode="json"), "height": 48, "width": 64}
    save_weights(student, build_student(TINY).state_dict(), facts)
    common = ["--student", str(student), "--hardware", "--out"]
    for footage, table, why in (
        (video, "s.csv", "runs by PyTorch cpu"),
        (tmp_path / "a.zarr", "s.parquet", "leave it out for frame stores"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["score", str(footage), *common, str(tmp_path / table), "--set", "device=cpu"])
        assert end.value.code == 2
        assert why in capsys.readouterr().err
    assert not list(tmp_path.glob("s.*"))

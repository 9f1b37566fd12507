import csv
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from fastaed import cli, decode, export, score, watch
from fastaed.config import DecodeSettings, ScoreSettings, StudentSettings
from fastaed.data.scores import SCORE_COLUMNS
from fastaed.data.store import Frames, Maps
from fastaed.errors import ConfigError, DataError
from fastaed.metrics.smoothing import causal
from fastaed.models.student import build_student
from fastaed.pyramid import MapPyramid
from fastaed.walkway.media import write_pictures
from fastaed.weights import save_weights

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)
Walkers = Callable[..., list[Frames]]
LENGTH, RATE = 41, 20
EXACT = ["--set", "precision=float32", "--set", "device=cpu", "--set", "batch_size=6"]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    network = build_student(TINY)
    torch.nn.init.normal_(network.heads.one.linear.weight, 0, 2)  # so that scores differ
    facts = {"student": TINY.model_dump(mode="json"), "height": 48, "width": 64}
    save_weights(path, network.state_dict(), facts)
    return path


@pytest.fixture(scope="module")
def video(filmed: Callable[[int, int], Path]) -> Path:
    return filmed(LENGTH, RATE)


def answer(clips: Frames) -> Maps:
    """A network whose score is how red frame t is."""
    bright = (clips[:, 0].mean(axis=(1, 2)) / 255).astype(np.float32)
    return MapPyramid(*(np.tile(bright[:, None, None], (1, side, side)) for side in (1, 4, 16)))


NETWORK = export.Network(answer, {"smoothing": {"sigma_frames": 3.0}}, "brightness")


def on_tensors(inputs: export.Inputs) -> Maps:
    """The same, of what lies on a card or not."""
    return answer(np.asarray(inputs))


def plain_source(length: int, name: str = "x", rate: float | None = 10.0) -> watch.Source:
    levels = np.random.default_rng(0).integers(0, 256, length)
    frames = (np.full((8, 8, 3), level, np.uint8) for level in levels)
    return watch.Source(name, frames, rate, length)


def test_scores_are_those_of_the_pipeline(
    student: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decoded into a store and scored there, or straight from the file: the same, at both ends as well."""
    size = DecodeSettings(width=64, height=48)
    decode.decode_clip(video, tmp_path / "street.zarr", tmp_path / "street.json", None, "folder", size)
    settings = ScoreSettings(batch_size=7, device="cpu", precision="float32")
    stage = (tmp_path / "s.parquet", tmp_path / "m.zarr", tmp_path / "m.json")
    score.run_student(student, [tmp_path / "street.zarr"], *stage, settings)
    expected = pd.read_parquet(stage[0])

    cli.main(["score", str(video), "--student", str(student), "--out", str(tmp_path / "s.csv"), *EXACT])
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table.columns) == list(watch.COLUMNS)
    assert len(table) == LENGTH
    assert table["frame"].tolist() == expected["frame"].tolist()
    for column in SCORE_COLUMNS:
        np.testing.assert_allclose(table[column], expected[column], atol=1e-5)
    np.testing.assert_allclose(table["smoothed"], causal(expected["mean"].to_numpy(), 21.0), atol=1e-5)
    np.testing.assert_allclose(table["time"], np.arange(LENGTH) / RATE)
    assert table["mean"].nunique() > 1

    cli.main(["score", str(video), "--student", str(student), *EXACT])
    assert capsys.readouterr().out == (tmp_path / "s.csv").read_text()


def test_pictures_of_the_scores_and_an_overlay(student: Path, video: Path, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "s.csv"), "--curve", str(tmp_path / "c.png")]
    cli.main(
        ["score", str(video), "--student", str(student), *out, "--overlay", str(tmp_path / "o.mp4"), *EXACT]
    )
    assert cv2.imread(str(tmp_path / "c.png")).shape[2] == 3
    film = list(decode.open_frames(tmp_path / "o.mp4", DecodeSettings(width=64, height=48)))
    assert len(film) == LENGTH
    assert {path.name for path in tmp_path.iterdir()} == {"s.csv", "c.png", "o.mp4"}


def test_several_sources_share_a_table(student: Path, video: Path, tmp_path: Path, walkers: Walkers) -> None:
    write_pictures(tmp_path / "yard", np.stack(walkers(9, seed=1)), "{:03d}.png")
    out = ["--out", str(tmp_path / "s.csv"), "--curve", str(tmp_path / "c.png")]
    cli.main(["score", str(video), str(tmp_path / "yard"), "--student", str(student), *out, *EXACT])
    with (tmp_path / "s.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["frame"] for row in rows] == [str(t) for t in (*range(LENGTH), *range(9))]
    assert {row["clip"] for row in rows} == {"street", "yard"}
    assert {row["time"] for row in rows if row["clip"] == "yard"} == {""}, "a folder has no rate"


@pytest.mark.parametrize("length", [1, 5, 40, 100])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_smoothing_batch_by_batch_is_smoothing_of_the_whole(length: int, batch_size: int) -> None:
    parts = list(watch.scored(NETWORK, plain_source(length), batch_size, 3.0))
    raw = np.concatenate([part.scores[:, -1] for part in parts])
    assert [part.first for part in parts] == list(range(0, length, batch_size))
    assert np.array_equal(np.concatenate([part.smoothed for part in parts]), causal(raw, 3.0))


@pytest.mark.parametrize(
    ("on_card", "promised", "beside"), [(False, 40, False), (False, None, True), (True, 40, True)]
)
def test_footage_is_read_beside_the_network_where_the_cpu_is_free_or_a_camera_does_not_wait(
    on_card: bool, promised: int | None, beside: bool
) -> None:
    readers: set[int] = set()

    def frames() -> Iterator[Frames]:
        for frame in plain_source(40).frames:
            readers.add(threading.get_ident())
            yield frame

    source = watch.Source("x", frames(), None, promised)
    network = replace(NETWORK, score=on_tensors, card=torch.device("cpu") if on_card else None)
    for _ in watch.scored(network, source, 4, 3.0):
        pass
    assert (readers != {threading.get_ident()}) is beside


def test_frames_uploaded_once_or_decoded_on_the_card_give_the_same_scores_and_pictures() -> None:
    """The CPU stands in for the card: windows are made from tensors of frames, chunk by chunk."""
    card = replace(NETWORK, score=on_tensors, card=torch.device("cpu"))
    expected = list(watch.scored(NETWORK, plain_source(23), 4, 3.0))
    frames = np.stack(list(plain_source(23).frames))
    tensors = torch.from_numpy(frames).permute(0, 3, 1, 2)
    decoded = watch.Source("x", iter(()), 10.0, 23, iter(tensors.split(9)))
    for source in (plain_source(23), decoded):
        parts = list(watch.scored(card, source, 4, 3.0, shown=True))
        assert [part.first for part in parts] == np.cumsum(
            [0, *(len(part.scores) for part in parts[:-1])]
        ).tolist()
        for what in ("scores", "smoothed"):
            assert np.array_equal(
                np.concatenate([getattr(part, what) for part in parts]),
                np.concatenate([getattr(part, what) for part in expected]),
            )
        assert np.array_equal([frame for part in parts for frame in part.frames], frames)
    assert not any(part.frames for part in watch.scored(card, plain_source(23), 4, 3.0))


def test_the_three_threads_work_at_the_same_time() -> None:
    """Reading a camera, the network and writing take 10 ms a batch each: together about 10, not 30."""

    def slow(clips: Frames) -> Maps:
        time.sleep(0.01)
        return answer(clips)

    def frames() -> Iterator[Frames]:
        for frame in plain_source(40).frames:
            time.sleep(0.01)
            yield frame

    network = export.Network(slow, NETWORK.facts, "slow")
    start = time.perf_counter()
    for _ in watch.ahead(watch.scored(network, watch.Source("x", frames(), None, None), 1, 3.0)):
        time.sleep(0.01)
    assert time.perf_counter() - start < 0.8 * 40 * 0.03


def test_what_is_read_ahead_is_bounded_and_ends_with_its_reader() -> None:
    made: list[int] = []
    before = threading.active_count()
    items = watch.ahead((made.append(i) or i for i in range(1000)), depth=2)  # type: ignore[func-returns-value]
    assert [next(items), next(items)] == [0, 1]
    time.sleep(0.05)
    assert len(made) <= 6
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_of_the_thread_is_raised_where_items_are_used() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise DataError("frame 1 is damaged")

    items = watch.ahead(broken())
    assert next(items) == 1
    with pytest.raises(DataError, match="frame 1 is damaged"):
        next(items)


def test_a_curve_keeps_the_extremes_whatever_the_length() -> None:
    rng = np.random.default_rng(0)
    raw, smoothed = rng.random(50_001), rng.random(50_001)
    curve = watch.Curve(25.0)
    for start in range(0, len(raw), 777):
        curve.add(raw[start : start + 777], smoothed[start : start + 777])
    bounds, span = curve.bounds(), curve.span_frames
    assert len(bounds) == -(-len(raw) // span) <= watch._MOST_SPANS
    for number, (lowest, highest, smooth) in enumerate(bounds):
        part = slice(number * span, (number + 1) * span)
        assert (lowest, highest, smooth) == (raw[part].min(), raw[part].max(), smoothed[part].max())


LOOPED = """
import sys, resource
import numpy as np
from pathlib import Path
from fastaed import watch
from tests.test_watch import NETWORK
loops = int(sys.argv[1])
still = [np.full((48, 64, 3), level, np.uint8) for level in range(50)]
source = watch.Source("x", (frame for _ in range(loops) for frame in still), 25.0, None)
watch.run(NETWORK, [Path("x")], lambda path: source, Path(sys.argv[2]), Path(sys.argv[3]), None, 50)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_footage(tmp_path: Path) -> None:
    """1 minute against 10 minutes of 25 frames/s: the peak grows by less than a second of frames takes."""

    def peak(loops: int) -> float:
        arguments = [str(loops), str(tmp_path / "s.csv"), str(tmp_path / "c.png")]
        done = subprocess.run(
            [sys.executable, "-c", LOOPED, *arguments],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
        )
        return int(done.stdout) * 1024

    assert peak(300) - peak(30) < 8e6
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 1 + 30 * 50


def interrupted_after(calls: int) -> export.Network:
    """The network, until Ctrl-C."""
    left = iter(range(calls))

    def score(clips: export.Inputs) -> Maps:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return answer(np.asarray(clips))

    return replace(NETWORK, score=score)


@pytest.mark.parametrize("on_card", [False, True])
@pytest.mark.parametrize(
    "torn", ["", "24 0.5 0.", "24 0.5 0.5 x 0.5\n", "\0\0\0", "24 \xff\xfe", "26 0 0 0 0\n", "24 0 0 0\n"]
)
def test_an_interrupted_run_goes_on_and_its_results_are_those_of_one_in_one_piece(
    tmp_path: Path, torn: str, on_card: bool
) -> None:
    """Whatever a power cut left of the last line; the network sees what it has not seen, and nothing else."""
    lengths = {"a": 30, "b": 33}
    seen = 0

    def counted(clips: export.Inputs) -> Maps:
        nonlocal seen
        seen += len(clips)
        return answer(np.asarray(clips))

    def run(network: export.Network, table: str, keep: dict[str, str] | None) -> None:
        card = torch.device("cpu") if on_card else None
        watch.run(
            replace(network, card=card),
            [tmp_path / name for name in lengths],
            lambda path: plain_source(lengths[path.stem], path.stem),
            tmp_path / table,
            tmp_path / f"{table}.png",
            None,
            4,
            keep,
        )

    for name in lengths:
        (tmp_path / name).mkdir()
    run(replace(NETWORK, score=on_tensors), "whole.csv", None)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted_after(8 + 6), "s.csv", {"student": "x"})
    assert not (tmp_path / "s.csv").exists()
    (kept,) = (tmp_path / "s.checkpoint").glob("b.*.scores")
    done = len(kept.read_text().splitlines())
    assert done >= 12, "all batches but those on their way from thread to thread"
    if torn:
        with kept.open("a", encoding="latin-1") as stream:
            stream.write(torn)
    run(replace(NETWORK, score=counted), "s.csv", {"student": "x"})
    assert seen == 33 - done
    assert (tmp_path / "s.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert (tmp_path / "s.csv.png").read_bytes() == (tmp_path / "whole.csv.png").read_bytes()
    assert not (tmp_path / "s.checkpoint").exists()


def test_what_another_student_said_is_not_taken(tmp_path: Path) -> None:
    def run(network: export.Network, student: str) -> None:
        paths = [tmp_path / "x"]
        out = tmp_path / "s.csv"
        watch.run(network, paths, lambda path: plain_source(30), out, None, None, 4, {"student": student})

    with pytest.raises(KeyboardInterrupt):
        run(interrupted_after(5), "one")
    dark = replace(NETWORK, score=lambda clips: answer(np.zeros_like(clips)))
    run(dark, "another")
    assert (pd.read_csv(tmp_path / "s.csv")["mean"] == 0).all()


def test_mistakes_are_sentences(
    student: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            cli.main(["score", *arguments])
        assert caught.value.code == 2
        return capsys.readouterr().err

    table = ["--out", str(tmp_path / "s.csv")]
    assert "does not exist" in said("no.mp4", "--student", str(student), *table)
    assert "does not exist" in said(str(video), "--student", "no.onnx", *table)
    assert "two videos are called street" in said(str(video), str(video), "--student", str(student), *table)
    assert "invalid _size value" in said(str(video), "--student", str(student), "--size", "big")
    assert "width" in said(str(video), "--student", str(student), "--size", "8x8")
    assert "belong to frame stores" in said(str(video), "--student", str(student), "--maps", "m.zarr")
    film = ["--overlay", str(tmp_path / "o.mp4")]
    assert "one by one" in said(str(video), str(video), "--student", str(student), *table, *film)
    assert "needs --out" in said("a.zarr", "--student", str(student))
    assert not list(tmp_path.iterdir())


def test_maps_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    broken = export.Network(
        lambda clips: answer(clips)._replace(four=np.full((1, 4, 4), np.nan)), NETWORK.facts, ""
    )
    with pytest.raises(DataError, match="NaN"):
        watch.run(broken, [Path("x")], lambda path: plain_source(5), tmp_path / "s.csv", None, None, 4)
    assert not (tmp_path / "s.csv").exists()


def test_overlays_show_one_video(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one by one"):
        watch.run(
            NETWORK, [Path("a"), Path("b")], lambda path: plain_source(5), None, None, tmp_path / "o", 4
        )

import json
from pathlib import Path

import numpy as np
import pytest

from fastaed import bench, cli
from fastaed.data.store import Encoding
from fastaed.metrics.auc import micro_auc
from fastaed.metrics.events import runs
from fastaed.metrics.region import region_metrics

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def measurements(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    out = tmp_path_factory.mktemp("bench") / "store.json"
    still = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3), dtype=np.uint8), 40, axis=0)
    bench.store({"still": iter(still)}, out)
    read: dict[str, object] = json.loads(out.read_text())
    return read


def test_every_encoding_is_measured(measurements: dict[str, list[dict[str, object]]]) -> None:
    rows = measurements["rows"]
    assert len(rows) == len(bench.CANDIDATES)
    assert Encoding() in bench.CANDIDATES
    assert [Encoding(**row["encoding"]) for row in rows] == list(bench.CANDIDATES)  # type: ignore[arg-type]
    assert all(row["raw_bytes"] == 40 * 24 * 32 * 3 and row["frames"] == 40 for row in rows)
    assert all(row[name] >= 0 for row in rows for name in ("write_ms", "read_ms", "random_read_ms"))  # type: ignore[operator]


def test_a_still_picture_is_stored_once_a_chunk(measurements: dict[str, list[dict[str, int]]]) -> None:
    delta = next(row for row in measurements["rows"] if row["encoding"] == vars(Encoding()))
    picture, chunks, metadata = 24 * 32 * 3, 3, 3000
    assert chunks * picture <= delta["stored_bytes"] <= chunks * picture + picture + metadata


def test_the_table_in_the_documentation_is_that_of_its_measurements() -> None:
    measured = json.loads((DOCS / "storage.json").read_text())
    text = (DOCS / "storage.md").read_text()
    assert bench.store_table(measured) in text
    assert measured["date"] in text
    assert measured["machine"] in text
    assert {row["clip"] for row in measured["rows"]} == {"Avenue 16", "Ped2 Test001"}


def test_the_chosen_encoding_is_marked(measurements: dict[str, object]) -> None:
    lines = bench.store_table(measurements).splitlines()
    assert len(lines) == 2 + len(bench.CANDIDATES)
    assert [line for line in lines if "**" in line] == [
        line for line in lines if "**delta, zstd 3, chunks of 16, shards of 128**" in line
    ]
    assert len({line.count("|") for line in lines}) == 1


@pytest.fixture(scope="module")
def small() -> bench._Invented:
    return bench._invented(5, 400, 3, np.random.default_rng(0))


def test_invented_results_have_the_size_asked_for(small: bench._Invented) -> None:
    lengths = [len(labels) for labels in small.labels]
    assert len(lengths) == 5
    assert sum(lengths) == 400
    assert min(lengths) >= 20
    for labels, scores, truth, boxes, maps in zip(*small):
        assert labels.mean() == pytest.approx(0.42, abs=0.03)
        assert len(runs(labels)) == 1
        assert len(np.unique(scores)) == len(scores) == len(maps) == len(labels)
        assert np.bincount(boxes.frame, minlength=len(labels)).tolist() == [3] * len(labels)
        assert np.bincount(truth.frame, minlength=len(labels)).tolist() == (2 * labels).tolist()
        assert (truth.xyxy >= 0).all()
        assert (truth.xyxy <= [856, 480, 856, 480]).all()


def test_invented_results_are_better_than_chance_and_not_perfect(small: bench._Invented) -> None:
    """Otherwise curves of two points, quickly measured, would pass for those of a model."""
    assert 0.6 < (micro_auc(small.scores, small.labels) or 0) < 0.9
    for counts in (bench._counts_of_boxes(small), bench._counts_of_maps(small)):
        rbdc, tbdc = region_metrics(counts)
        assert 0.05 < (rbdc or 0) < 0.9
        assert 0.05 < (tbdc or 0) <= 1
        assert len(counts.thresholds) >= 25


def test_measures_of_an_evaluation_are_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "evaluation.json"
    bench.evaluation(out, clips=5, frames=400, detections_per_frame=3, resamples=50)
    written = json.loads(out.read_text())
    assert (written["clips"], written["frames"], written["resamples"]) == (5, 400, 50)
    assert written["seconds"] == sum(row["seconds"] for row in written["rows"])
    assert all(row["seconds"] > 0 for row in written["rows"])
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == [
        *(row["what"] for row in written["rows"]),
        "all together",
    ]


def test_documented_evaluation_is_of_shanghaitech_size_and_quick() -> None:
    measured = json.loads((DOCS / "evaluation.json").read_text())
    assert (measured["clips"], measured["frames"]) == (107, 40_791)
    assert (measured["detections_per_frame"], measured["resamples"]) == (10, 2_000)
    assert measured["seconds"] < 20


@pytest.mark.parametrize("given", [["store"], ["evaluate", "a=b"], ["evaluate", "--set", "width=64"]])
def test_bench_refuses_what_it_does_not_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["bench", *given, "--out", str(tmp_path / "out.json")])
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out.json").exists()

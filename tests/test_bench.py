import json
from pathlib import Path

import numpy as np
import pytest

from fastaed import bench
from fastaed.data.store import Encoding

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

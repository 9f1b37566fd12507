"""Speeds in the pages are those of the committed measurements."""

import json
import re
from pathlib import Path

import pytest

from fastaed import cli, speed
from fastaed.config import StudentSettings
from fastaed.errors import DataError, MissingDataError

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "docs/speed"
PAGES = ("README.md", "docs/speed.md")


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_the_files(page: str) -> None:
    text = (ROOT / page).read_text()
    assert "<!-- speed: " in text
    assert speed.filled(text, MEASURED) == text


def test_every_file_is_shown() -> None:
    named = {
        name
        for page in PAGES
        for found in re.findall(r"<!-- speed: \w+ (.*?) -->", (ROOT / page).read_text())
        for name in found.split()
    }
    assert {path.stem for path in MEASURED.glob("*.json")} <= named


@pytest.mark.parametrize("name", ["published", "bolt"])
def test_speeds_are_of_the_networks_they_are_said_to_be_of(name: str) -> None:
    measured = json.loads((MEASURED / f"{name}.json").read_text())
    assert (measured["width"], measured["height"]) == (640, 360)
    assert measured["weights"] != "untrained"
    assert StudentSettings.model_validate(measured["student"]) == StudentSettings.model_validate(name)
    assert measured["work"]["published"]["flop"] == pytest.approx(14.1e9, rel=0.01)


def test_only_places_for_tables_change(tmp_path: Path) -> None:
    whole = {"minutes": 1, "frames": 1500, "peak_memory_bytes": 2e8}
    (tmp_path / "a.json").write_text(json.dumps({"memory": [whole]}))
    page = tmp_path / "page.md"
    page.write_text("Words.\n<!-- speed: memory a -->\nold\n<!-- end -->\nMore *words*.\n")
    cli.main(["speed", str(tmp_path), "--into", str(page)])
    assert page.read_text() == (
        "Words.\n<!-- speed: memory a -->\n| footage | frames | peak memory |\n|---|---:|---:|\n"
        "| a, 1 min | 1,500 | 200.0 MB |\n<!-- end -->\nMore *words*.\n"
    )


def test_a_difference_comes_from_an_evaluation(tmp_path: Path) -> None:
    text = "<!-- speed: paired a -->\n<!-- end -->\n"
    assert "\nNot measured: a.\n" in speed.filled(text, tmp_path)
    row = {"model": "bolt", "against": "published", "difference": 0.012, "low": -0.003, "high": 0.02}
    rows = [{**row, "metric": metric} for metric in ("micro_auc", "average_precision")]
    baseline = {**row, "metric": "micro_auc", "against": "baseline:ramp"}
    (tmp_path / "a.json").write_text(json.dumps({"differences": [*rows, baseline]}))
    lines = speed.filled(text, tmp_path).splitlines()
    assert [line for line in lines if "bolt" in line] == [
        "| bolt less published, micro AUC | +1.2 | -0.3 to +2.0 |"
    ]


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    with pytest.raises(MissingDataError, match="does not exist"):
        speed.run(tmp_path, page)
    page.write_text("words")
    with pytest.raises(DataError, match="has no place for a table"):
        speed.run(tmp_path, page)
    page.write_text("<!-- speed: pie a -->\n<!-- end -->")
    with pytest.raises(DataError, match="no table 'pie'"):
        speed.run(tmp_path, page)

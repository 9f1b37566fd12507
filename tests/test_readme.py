"""Numbers in the README come from committed tables."""

import re
from pathlib import Path

import pytest

from fastaed import report

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
SHOWN = re.findall(r"```\n\$ fastaed show (\S+)\n(.*?)```", README, re.DOTALL)


def test_readme_shows_results() -> None:
    assert [folder for folder, _ in SHOWN] == ["docs/results/ped2"]


@pytest.mark.parametrize(("folder", "text"), SHOWN, ids=[folder for folder, _ in SHOWN])
def test_results_are_those_of_the_table(folder: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert text.strip() == report.show(Path(folder)).strip()


def test_files_named_in_the_readme_exist() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []

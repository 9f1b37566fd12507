"""Costs are summed by stage from Snakemake's own files."""

import json
from pathlib import Path

import pandas as pd
import pytest

from fastaed import cost
from fastaed.errors import MissingDataError

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(path: Path, seconds: float, memory: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{seconds}\t0:00:01\t{memory}\t1\t1\t1\t1\t1\t1\t{2 * seconds}\n")


def test_sums_times_and_takes_the_largest_memory(tmp_path: Path) -> None:
    benchmark(tmp_path / "b/decode/train-000.tsv", 10, 100)
    benchmark(tmp_path / "b/decode/test-000.tsv", 20, 50)
    benchmark(tmp_path / "b/teach/baf/0.tsv", 60, 900)
    benchmark(tmp_path / "b/distill.tsv", 5, 10)
    benchmark(tmp_path / "b/pretrain.tsv", 8, 10)
    (tmp_path / "r/decode/test").mkdir(parents=True)
    (tmp_path / "r/decode/x").write_bytes(bytes(2_500_000))
    for clip, frames in (("01", 40), ("02", 20)):
        manifest = json.dumps({"clips": {clip: frames}, "content": "digest"})
        (tmp_path / f"r/decode/test/{clip}.json").write_text(manifest)
    listed = json.dumps({"clips": {"01": 40}, "contents": {"01": "digest"}})
    (tmp_path / "r/decode/test-000.json").write_text(listed)
    (tmp_path / "r/decode/.zattrs.json").write_text("[]")
    (tmp_path / "r/pretrain").mkdir()
    (tmp_path / "r/pretrain/losses.csv").write_text("epoch,samples_per_second\n1,30\n2,50\n")
    cost.run(tmp_path / "r", tmp_path / "b", tmp_path / "cost.csv")
    table = pd.read_csv(tmp_path / "cost.csv").set_index("stage")
    assert table.loc["decode"].tolist() == [2, 30, 60, 100, 2.5, 40, 2, 41.67, 0], (
        "a trial's clip is another job's"
    )
    teacher = table.loc["teach/baf"]
    assert teacher.iloc[:5].tolist() == [1, 60, 120, 900, 0]
    assert teacher.iloc[5:8].isna().all(), "a teacher's fold names no frames"
    assert table.loc["pretrain", "frames_per_second"] == 40
    assert list(table.index) == ["decode", "teach/baf", "distill", "pretrain"]


def test_waiting_is_time_in_which_no_core_works(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/report.tsv").write_text(f"{HEAD}20\t0:00:20\t1\t1\t1\t1\t1\t1\t1\t5\n")
    cost.run(tmp_path / "r", tmp_path / "b", tmp_path / "cost.csv")
    assert pd.read_csv(tmp_path / "cost.csv").set_index("stage").loc["report", "waiting"] == 0.75


def test_nothing_recorded_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no benchmark file"):
        cost.run(tmp_path, tmp_path / "b", tmp_path / "cost.csv")

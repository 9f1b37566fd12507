"""The table of an ablation against numbers computed by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from fastaed import ablation, cli
from fastaed.ablation import COLUMNS, rank_correlation
from fastaed.config import EvaluateSettings
from fastaed.errors import DataError
from fastaed.evaluation.truth import GroundTruth

# One clip of eight frames, the last four abnormal. Without smoothing to speak of, an AUC counts pairs of 16.
LABELS = [0, 0, 0, 0, 1, 1, 1, 1]
FINE, GUARDED = EvaluateSettings(sigma_frames=0.01), EvaluateSettings(sigma_frames=0.01, guard_frames=1)
PERFECT = [0, 1, 2, 3, 4, 5, 6, 7]
ONE_SWAPPED = [0, 1, 2, 4, 3, 5, 6, 7]  # 15 of 16 pairs; without the frames beside the change 9 of 9
REVERSED = PERFECT[::-1]


def scores(folder: Path, part: str, students: dict[str, list[int]]) -> dict[str, list[Path]]:
    """A table a student; every scale but `mean` is constant, so that no other gives the expected numbers."""
    files = {}
    for student, values in students.items():
        files[student] = [folder / part / student / "000.parquet"]
        files[student][0].parent.mkdir(parents=True)
        wrong = dict.fromkeys(("1x1", "4x4", "16x16"), np.zeros(8))
        table = {"clip": part, "frame": np.arange(8), **wrong, "mean": np.array(values, float)}
        pd.DataFrame(table).to_parquet(files[student][0], index=False)
    return files


def clips(
    folder: Path, part: str, students: dict[str, list[int]], settings: EvaluateSettings = FINE
) -> ablation.Clips:
    folder.mkdir(exist_ok=True)
    labels = folder / f"{part}.csv"
    pd.DataFrame({"frame": range(8), "label": LABELS}).to_csv(labels, index=False)
    truth = GroundTruth("toy", "folder", {part: labels})
    return ablation.Clips(scores(folder, part, students), truth, settings)


def run(
    folder: Path, trial: ablation.Clips, test: ablation.Clips | None, benchmarks: Path | None = None
) -> tuple[pd.DataFrame, dict]:
    out, facts, picture = (folder / f"ablation.{kind}" for kind in ("csv", "json", "png"))
    ablation.run(trial, test, benchmarks, out, facts, picture)
    assert imread(picture)[..., :3].std() > 0.02  # something is drawn
    return pd.read_csv(out).set_index("variant"), json.loads(facts.read_text())


STUDENTS = {
    "base/1": PERFECT,
    "base/2": ONE_SWAPPED,
    "no-x/1": ONE_SWAPPED,
    "no-x/2": ONE_SWAPPED,
    "no-y/1": REVERSED,
    "no-y/2": PERFECT,
}


def test_means_and_spreads_over_seeds(tmp_path):
    table, _ = run(tmp_path, clips(tmp_path, "trial", STUDENTS), clips(tmp_path, "test", STUDENTS))
    assert list(table.reset_index().columns.sort_values()) == sorted(COLUMNS)
    assert list(table.index) == ["base", "no-x", "no-y"]
    assert (table["seeds"] == 2).all()
    assert (table["dataset"] == "toy").all()
    for measure in ("trial_micro_auc", "test_micro_auc", "test_macro_auc"):  # of one clip micro is macro
        assert table[measure].tolist() == pytest.approx([31 / 32, 15 / 16, 0.5], abs=1e-6)
        spreads = [np.sqrt(2) / 32, 0, np.sqrt(0.5)]  # two values apart by d: d / sqrt(2)
        assert table[f"{measure}_spread"].tolist() == pytest.approx(spreads, abs=1e-6)


def test_each_part_has_its_own_guard_and_filter(tmp_path):
    wide = EvaluateSettings(sigma_frames=100.0)
    trial = clips(tmp_path, "trial", {"base/1": ONE_SWAPPED}, GUARDED)
    table, facts = run(tmp_path, trial, clips(tmp_path, "test", {"base/1": ONE_SWAPPED}))
    assert (table.loc["base", "trial_micro_auc"], table.loc["base", "test_micro_auc"]) == (1, 15 / 16)
    assert facts["trial"]["settings"]["guard_frames"] == 1
    assert facts["test"]["settings"]["guard_frames"] == 0
    # what is high in the first frame only falls along the clip under a filter that is wider than it
    early = {"base/1": [1, 0, 0, 0, 0, 0, 0, 0]}
    smoothed, _ = run(tmp_path, clips(tmp_path / "wide", "trial", early, wide), None)
    assert smoothed.loc["base", "trial_micro_auc"] == 0


def test_one_seed_has_no_spread_and_no_labels_no_test(tmp_path):
    trial = clips(tmp_path, "trial", {"base/1": PERFECT, "no-x/1": ONE_SWAPPED, "no-y/1": REVERSED})
    table, facts = run(tmp_path, trial, None)
    assert table["trial_micro_auc"].tolist() == [1, 15 / 16, 0]
    empty = [column for column in COLUMNS if "spread" in column or "test" in column or "seconds" in column]
    assert table[empty].isna().all(axis=None)
    assert facts["rank_correlation"] is None
    assert facts["test"] is None


def test_seconds_are_means_of_what_was_recorded(tmp_path):
    for seed, seconds in ((1, 10), (2, 20)):
        file = tmp_path / f"benchmarks/base/{seed}/distill.tsv"
        file.parent.mkdir(parents=True)
        file.write_text(f"s\th:m:s\tcpu_time\n{seconds}\t0:00:10\t{3 * seconds}\n")
    students = {name: values for name, values in STUDENTS.items() if "no-y" not in name}
    table, _ = run(tmp_path, clips(tmp_path, "trial", students), None, tmp_path / "benchmarks")
    assert table.loc["base", ["wall_seconds", "cpu_seconds"]].tolist() == [15, 45]
    assert table.loc["no-x", ["wall_seconds", "cpu_seconds"]].isna().all()


@pytest.mark.parametrize(
    ("trial", "test", "expected"),
    [
        ([0.1, 0.2, 0.3], [0.5, 0.6, 0.9], 1.0),
        ([0.1, 0.2, 0.3], [0.9, 0.6, 0.5], -1.0),
        ([0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.3, 0.4], 0.8),  # 1 - 6 (1 + 1) / (4 (16 - 1))
        ([0.1, 0.2, 0.2], [0.1, 0.2, 0.3], np.sqrt(0.75)),  # ranks 1, 2.5, 2.5 against 1, 2, 3
        ([0.1, 0.2], [0.1, 0.2], None),
        ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5], None),
        ([0.1, 0.2, 0.3], [np.nan, np.nan, np.nan], None),
    ],
)
def test_rank_correlation(trial, test, expected):
    assert rank_correlation(pd.Series(trial), pd.Series(test)) == (expected and pytest.approx(expected))


def test_the_correlation_is_over_the_means_of_variants(tmp_path):
    better = {**STUDENTS, "no-y/1": PERFECT}  # no-y: last on the trial, first on the test
    _, facts = run(tmp_path, clips(tmp_path, "trial", STUDENTS), clips(tmp_path, "test", better))
    assert facts["rank_correlation"] == pytest.approx(-0.5)  # base, no-x, no-y: ranks 3, 2, 1 and 2, 1, 3
    assert facts["variants"] == 3


def test_the_picture_has_a_row_a_variant_best_on_the_trial_on_top():
    table = pd.DataFrame(index=range(3), columns=list(COLUMNS)).assign(variant=["base", "no-x", "no-y"])
    table["trial_micro_auc"], table["trial_micro_auc_spread"] = [0.95, 0.6, 0.99], [0.02, None, 0.05]
    table["test_micro_auc"] = [0.9, 0.5, 1.0]
    panels = ablation.draw(table, 1.0).axes
    assert [axes.get_title(loc="left") for axes in panels] == [
        "trial clips",
        "test clips, rank correlation 1.00",
    ]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["no-x", "base", "no-y"]
    points = [
        [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"] for axes in panels
    ]
    assert points == [[[[0.6, 0]], [[0.95, 1]], [[0.99, 2]]], [[[0.5, 0]], [[0.9, 1]], [[0.998, 2]]]]
    bars = [line.get_xdata() for line in panels[0].lines if line.get_marker() == "None"]
    assert np.allclose(
        bars, [[0.6, 0.6], [0.93, 0.97], [0.95, 0.95], [0.94, 0.998]]
    )  # third: the base's line


def test_the_picture_without_a_test_has_the_trial_alone():
    table = pd.DataFrame(index=range(2), columns=list(COLUMNS)).assign(variant=["base", "no-x"])
    table["trial_micro_auc"] = [0.9, 0.8]
    assert [axes.get_title(loc="left") for axes in ablation.draw(table, None).axes] == ["trial clips"]


def test_what_does_not_belong_together_is_refused(tmp_path):
    trial = clips(tmp_path, "trial", {"base/1": PERFECT, "base/2": PERFECT})
    with pytest.raises(DataError, match="student base/2 has scores of only one"):
        run(tmp_path, trial, clips(tmp_path, "test", {"base/1": PERFECT}))
    with pytest.raises(DataError, match="'base' should be VARIANT/SEED"):
        run(tmp_path, clips(tmp_path / "other", "trial", {"base": PERFECT}), None)


def test_the_command_hands_each_part_its_own(tmp_path):
    trial, test = clips(tmp_path, "trial", STUDENTS, GUARDED), clips(tmp_path, "test", STUDENTS)
    expected, facts = run(tmp_path, trial, test)
    of_trial, of_test = (
        [f"{name}={path}" for name, paths in part.scores.items() for path in paths] for part in (trial, test)
    )
    outputs = [tmp_path / f"cli.{kind}" for kind in ("csv", "json", "png")]
    cli.main(
        [
            *("ablation", *of_trial, "--trial-labels", f"trial={tmp_path / 'trial.csv'}"),
            *("--trial-settings", '{"sigma_frames": 0.01, "guard_frames": 1}', "--set", "sigma_frames=0.01"),
            *("--test", *of_test, "--labels", f"test={tmp_path / 'test.csv'}", "--dataset", "toy"),
            *(word for pair in zip(("--out", "--facts", "--picture"), map(str, outputs)) for word in pair),
        ]
    )
    assert pd.read_csv(outputs[0]).set_index("variant").equals(expected)
    assert json.loads(outputs[1].read_text()) == facts

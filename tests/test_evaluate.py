"""The table of AUCs against one computed by hand, and every way in which scores and labels may not fit."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fastaed import evaluate
from fastaed.config import EvaluateSettings
from fastaed.errors import DataError, MissingDataError
from fastaed.evaluate import Evidence
from fastaed.evaluation.truth import GroundTruth

SIGMA = 3.0
SETTINGS = EvaluateSettings(sigma_frames=SIGMA, random_draws=5)
SCALES = ("1x1", "4x4", "16x16", "mean")
SMOOTHINGS = ("raw", "centred", "causal")
EVENTS = {"01": (10, 20, "look"), "02": (0, 12, "motion"), "03": (0, 30, "place"), "04": (0, 0, "")}
FRAMES = {"01": 40, "02": 25, "03": 30, "04": 20}  # 03 is wholly abnormal, 04 wholly normal


def true_labels(clip):
    first, stop, _ = EVENTS[clip]
    labels = np.zeros(FRAMES[clip], int)
    labels[first:stop] = 1
    return labels


def score_table(clip, seed, frames=None):
    frames = FRAMES[clip] if frames is None else frames
    rng = np.random.default_rng([seed, int(clip)])
    levels = np.sort(rng.integers(0, 16, (frames, 3)), axis=1) * 3 / 64  # exact in binary: ties are ties
    levels += 12 / 64 * np.resize(true_labels(clip), frames)[:, None]
    table = pd.DataFrame(levels, columns=SCALES[:3])
    table.insert(0, "frame", np.arange(frames))
    table.insert(0, "clip", clip)
    return table.assign(mean=levels.mean(axis=1))


@pytest.fixture
def inputs(tmp_path):
    """Scores of a student (two tables) and of two teachers (one each), and labels, as files."""
    scores = {}
    for seed, (name, batches) in enumerate(
        {
            "student": [["01", "02"], ["03", "04"]],
            "teacher:ssmtl": [list(FRAMES)],
            "teacher:baf": [list(FRAMES)],
        }.items()
    ):
        scores[name] = []
        for number, clips in enumerate(batches):
            path = tmp_path / "score" / name.replace(":", "-") / f"{number:03d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pd.concat([score_table(clip, seed) for clip in clips]).to_parquet(path, index=False)
            scores[name].append(path)
    labels = {}
    for clip, (_, _, kind) in EVENTS.items():
        labels[clip] = tmp_path / "labels" / f"{clip}.csv"
        labels[clip].parent.mkdir(exist_ok=True)
        told = true_labels(clip)
        pd.DataFrame(
            {"frame": range(len(told)), "label": told, "kind": [kind if y else "" for y in told]}
        ).to_csv(labels[clip], index=False)
    return scores, labels


def evaluated(inputs, folder, settings=SETTINGS):
    scores, labels = inputs
    out, table = folder / "out" / "evaluate", folder / "out" / "auc.csv"
    evaluate.run(Evidence(scores), GroundTruth("toy", "folder", labels), out, table, settings)
    return pd.read_csv(table), pd.read_csv(out / "kinds.csv")


def literally_smoothed(scores, smoothing):
    if smoothing == "raw":
        return list(scores)
    smoothed = []
    for t in range(len(scores)):
        last = t if smoothing == "causal" else len(scores) - 1
        near = [u for u in range(last + 1) if abs(u - t) <= 4 * SIGMA]
        weights = [np.exp(-((u - t) ** 2) / (2 * SIGMA**2)) for u in near]
        smoothed.append(sum(w * scores[u] for w, u in zip(weights, near)) / sum(weights))
    return smoothed


def expected_scores(model, clip, scale):
    if model == "baseline:constant":
        return np.zeros(FRAMES[clip])
    if model == "baseline:ramp":
        return np.arange(FRAMES[clip]) / (FRAMES[clip] - 1)
    seeds = {"student": [0], "teacher:ssmtl": [1], "teacher:baf": [2], "teachers": [1, 2]}[model]
    return sum(score_table(clip, seed)[scale].to_numpy() for seed in seeds) / len(seeds)


def test_every_row_equals_one_computed_by_hand(inputs, tmp_path):
    table, _ = evaluated(inputs, tmp_path)
    by_row = table.set_index(["model", "scale", "smoothing"])
    models = ["student", "teacher:ssmtl", "teacher:baf", "teachers"]
    rows = [(model, scale) for model in models for scale in SCALES]
    rows += [("baseline:constant", "none"), ("baseline:ramp", "none")]
    for model, scale in rows:
        for smoothing in SMOOTHINGS:
            scores = {
                clip: literally_smoothed(expected_scores(model, clip, scale), smoothing) for clip in FRAMES
            }
            pooled = np.concatenate(list(scores.values())).round(12)
            labels = np.concatenate([true_labels(clip) for clip in FRAMES])
            own = [roc_auc_score(true_labels(clip), np.round(scores[clip], 12)) for clip in ("01", "02")]
            row = by_row.loc[(model, scale, smoothing)]
            assert row["micro_auc"] == pytest.approx(roc_auc_score(labels, pooled), abs=1e-6)
            assert row["macro_auc"] == pytest.approx(np.mean(own), abs=1e-6)
    assert len(table) == 3 * (len(rows) + 1)  # and baseline:random


def test_columns_and_counts(inputs, tmp_path):
    table, kinds = evaluated(inputs, tmp_path)
    assert ",".join(table.columns) == (
        "dataset,model,scale,smoothing,micro_auc,macro_auc,macro_clips,clips,frames,label_version"
    )
    assert set(table["macro_clips"]) == {2}  # one-class clips 03 and 04 are left out
    assert set(table["clips"]) == {4}
    assert set(table["frames"]) == {115}
    assert set(table["dataset"]) == {"toy"}
    assert set(table["label_version"]) == {"folder"}
    assert list(dict.fromkeys(table["smoothing"])) == list(SMOOTHINGS)
    assert table["model"].iloc[0] == "student"
    baselines = table[table["model"].str.startswith("baseline:")]
    assert set(baselines["scale"]) == {"none"}
    assert set(kinds["kind"]) == {"look", "motion", "place"}


def test_constant_is_one_half_under_every_smoothing(inputs, tmp_path):
    table, kinds = evaluated(inputs, tmp_path)
    constant = table[table["model"] == "baseline:constant"]
    assert constant["micro_auc"].tolist() == [0.5] * 3
    assert constant["macro_auc"].tolist() == [0.5] * 3
    assert set(kinds[kinds["model"] == "baseline:constant"]["micro_auc"]) == {0.5}


def test_random_is_seeded_and_the_mean_of_its_draws(inputs, tmp_path):
    def random_row(settings):
        table, _ = evaluated(inputs, tmp_path, settings)
        return table[table["model"] == "baseline:random"]["micro_auc"].tolist()

    assert random_row(SETTINGS) == random_row(SETTINGS)
    assert random_row(SETTINGS) != random_row(SETTINGS.model_copy(update={"random_seed": 1}))
    rng = np.random.default_rng(SETTINGS.random_seed)
    draws = [np.concatenate([rng.random(frames) for frames in FRAMES.values()]) for _ in range(5)]
    labels = np.concatenate([true_labels(clip) for clip in FRAMES])
    mean = np.mean([roc_auc_score(labels, draw) for draw in draws])
    assert random_row(SETTINGS)[0] == pytest.approx(mean, abs=1e-6)


def test_kinds_are_each_measured_against_all_normal_frames(inputs, tmp_path):
    _, kinds = evaluated(inputs, tmp_path)
    assert ",".join(kinds.columns) == (
        "dataset,model,scale,smoothing,kind,micro_auc,kind_frames,normal_frames,label_version"
    )
    row = kinds[
        (kinds["model"] == "student")
        & (kinds["scale"] == "4x4")
        & (kinds["smoothing"] == "raw")
        & (kinds["kind"] == "look")
    ].iloc[0]
    scores = {clip: score_table(clip, 0)["4x4"].to_numpy() for clip in FRAMES}
    look = scores["01"][10:20]
    normal = np.concatenate([scores[clip][true_labels(clip) == 0] for clip in FRAMES])
    wins = [(a > n) + 0.5 * (a == n) for a in look for n in normal]
    assert row["micro_auc"] == pytest.approx(np.mean(wins), abs=1e-6)
    assert (row["kind_frames"], row["normal_frames"]) == (10, 30 + 13 + 20)


def test_labels_without_kinds_leave_the_table_of_kinds_empty(inputs, tmp_path):
    scores, labels = inputs
    for path in labels.values():
        pd.read_csv(path)[["frame", "label"]].to_csv(path, index=False)
    table, kinds = evaluated((scores, labels), tmp_path)
    assert len(kinds) == 0
    assert "kind" in kinds
    assert table["micro_auc"].notna().all()


def test_an_abnormal_frame_of_no_kind_is_counted_as_unnamed(inputs, tmp_path):
    scores, labels = inputs
    told = pd.read_csv(labels["01"], keep_default_na=False)
    told["kind"] = ""
    told.to_csv(labels["01"], index=False)
    _, kinds = evaluated((scores, labels), tmp_path)
    assert set(kinds["kind"]) == {"unnamed", "motion", "place"}
    assert set(kinds[kinds["kind"] == "unnamed"]["kind_frames"]) == {10}


def test_what_is_undefined_is_an_empty_cell(inputs, tmp_path):
    """All frames normal: no AUC exists, and none is written."""
    scores, labels = inputs
    for path in labels.values():
        told = pd.read_csv(path, keep_default_na=False)
        told.assign(label=0, kind="").to_csv(path, index=False)
    table, _ = evaluated((scores, labels), tmp_path)
    assert table["micro_auc"].isna().all()
    assert table["macro_auc"].isna().all()
    assert set(table["macro_clips"]) == {0}
    assert "toy,student,1x1,raw,,,0,4,115,folder" in (tmp_path / "out" / "auc.csv").read_text()


def test_without_teachers_there_is_no_row_of_their_mean(inputs, tmp_path):
    scores, labels = inputs
    table, _ = evaluated(({"student": scores["student"]}, labels), tmp_path)
    assert set(table["model"]) == {"student", "baseline:constant", "baseline:random", "baseline:ramp"}


def test_the_order_of_tables_and_labels_does_not_matter(inputs, tmp_path):
    scores, labels = inputs
    table, _ = evaluated(inputs, tmp_path)
    shuffled = {name: paths[::-1] for name, paths in reversed(scores.items())}
    other, _ = evaluated((shuffled, labels), tmp_path)
    key = ["model", "scale", "smoothing"]
    pd.testing.assert_frame_equal(
        table.sort_values(key, ignore_index=True), other.sort_values(key, ignore_index=True)
    )


# --- What does not fit -------------------------------------------------------------------------------------


def rewrite(path, change):
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def refused(inputs, tmp_path, error, match):
    with pytest.raises(error, match=match) as caught:
        evaluated(inputs, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "auc.csv").exists()


def test_refuses_a_data_set_without_labels(inputs, tmp_path):
    scores, _ = inputs
    refused(
        (scores, {}), tmp_path, DataError, "no labels .*AUC needs labels; ask for results/toy/report instead"
    )


def test_refuses_labels_that_are_not_there(inputs, tmp_path):
    scores, labels = inputs
    labels["02"].unlink()
    refused((scores, labels), tmp_path, MissingDataError, "02.csv")


def test_refuses_scores_of_fewer_or_other_clips(inputs, tmp_path):
    scores, labels = inputs
    fewer = {"student": scores["student"][:1]}
    refused((fewer, labels), tmp_path, DataError, "student: clip 03 is missing")
    one_less = {clip: path for clip, path in labels.items() if clip != "04"}
    refused((scores, one_less), tmp_path, DataError, "clip 04 has no counterpart in the labels")


def test_refuses_models_scored_on_different_clips(inputs, tmp_path):
    scores, labels = inputs
    rewrite(scores["teacher:baf"][0], lambda table: table[table["clip"] != "02"])
    refused((scores, labels), tmp_path, DataError, "teacher:baf: clip 02 is missing")


def test_refuses_another_number_of_frames_and_names_both(inputs, tmp_path):
    scores, _ = inputs
    for paths in scores.values():
        for path in paths:
            rewrite(path, lambda table: table[(table["clip"] != "02") | (table["frame"] < 24)])
    refused(inputs, tmp_path, DataError, "clip 02 has 24 frames but 25 in the labels")


def test_refuses_scores_that_are_nan(inputs, tmp_path):
    scores, _ = inputs

    def spoil(table):
        table.loc[7, "16x16"] = np.nan
        return table

    rewrite(scores["student"][0], spoil)
    refused(inputs, tmp_path, DataError, "clip 01: 16x16 of frame 7 is nan")


def test_refuses_a_frame_that_is_missing_or_twice_there(inputs, tmp_path):
    scores, _ = inputs
    whole = pd.read_parquet(scores["teacher:ssmtl"][0])
    rewrite(scores["teacher:ssmtl"][0], lambda table: table.drop(index=3))
    refused(inputs, tmp_path, DataError, "clip 01: frame 3 is missing")
    rewrite(scores["teacher:ssmtl"][0], lambda table: pd.concat([whole, whole.iloc[:1]]))
    refused(inputs, tmp_path, DataError, "clip 01: frame 0 is there twice")


def test_refuses_a_clip_scored_in_two_tables(inputs, tmp_path):
    scores, labels = inputs
    twice = {**scores, "student": [*scores["student"], scores["student"][0]]}
    refused((twice, labels), tmp_path, DataError, "clip 01 is there twice")


def test_refuses_a_damaged_or_foreign_table(inputs, tmp_path):
    scores, _ = inputs
    rewrite(scores["student"][0], lambda table: table.drop(columns="mean"))
    refused(inputs, tmp_path, DataError, "columns")
    rewrite(scores["student"][1], lambda table: table.drop(columns="mean"))
    refused(inputs, tmp_path, DataError, "scores of student have no column mean")
    scores["student"][0].write_bytes(b"PAR1 no longer")
    refused(inputs, tmp_path, DataError, "cannot be read as a parquet table")
    scores["student"][0].unlink()
    refused(inputs, tmp_path, MissingDataError, "does not exist")


def test_refuses_an_evaluation_of_nothing(inputs, tmp_path):
    refused(({}, inputs[1]), tmp_path, DataError, "no scores to evaluate")

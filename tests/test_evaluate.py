"""The tables against ones computed by hand, called as a stranger would; and every way not to fit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fastaed import cli, evaluate
from fastaed.config import EvaluateSettings
from fastaed.data.benchmarks import label_paths
from fastaed.data.labels import read_masks
from fastaed.data.maps import pool_pyramid
from fastaed.data.store import write_frames
from fastaed.errors import DataError, MissingDataError
from fastaed.evaluate import Evidence
from fastaed.evaluation.protocol import fingerprint
from fastaed.evaluation.truth import GroundTruth
from fastaed.metrics.auc import micro_auc
from fastaed.metrics.bootstrap import FRAME_METRICS, clip_weights, frame_metrics

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
def tables_only(monkeypatch):
    """Drawing the page takes longer than all the rest, and has tests of its own."""
    monkeypatch.setattr(evaluate, "write_page", lambda path, page: None)


@pytest.fixture
def inputs(tmp_path, tables_only):
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


def evaluated(inputs, folder, settings=SETTINGS, tracks=(), **further):
    scores, labels = inputs
    out, table = folder / "out" / "evaluate", folder / "out" / "auc.csv"
    truth = GroundTruth("toy", "folder", labels, dict(tracks))
    evaluate.run(Evidence(scores, **further), truth, out, table, settings)
    return pd.read_csv(table), pd.read_csv(out / "kinds.csv")


def facts(out):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((out / "evaluation.json").read_text(), parse_constant=refuse)


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
    others = {"baseline:random", "baseline:tent", "baseline:clip_length"}
    assert set(table["model"]) == {model for model, _ in rows} | others
    assert len(table) == 3 * (len(rows) + len(others))


def test_frames_near_a_change_of_label_are_smoothed_over_but_not_counted(inputs, tmp_path):
    table, _ = evaluated(inputs, tmp_path, SETTINGS.model_copy(update={"guard_frames": 3}))
    row = table.set_index(["model", "scale", "smoothing"]).loc[("student", "mean", "centred")]
    kept = {clip: np.ones(frames, bool) for clip, frames in FRAMES.items()}
    for number, change in (("01", 10), ("01", 20), ("02", 12)):
        kept[number][change - 3 : change + 3] = False
    scores = {
        clip: literally_smoothed(expected_scores("student", clip, "mean"), "centred") for clip in FRAMES
    }
    pooled = np.concatenate([np.asarray(scores[clip])[kept[clip]] for clip in FRAMES]).round(12)
    labels = np.concatenate([true_labels(clip)[kept[clip]] for clip in FRAMES])
    assert row["micro_auc"] == pytest.approx(roc_auc_score(labels, pooled), abs=1e-6)
    assert row["frames"] == len(labels) == sum(FRAMES.values()) - 18


def test_columns_and_counts(inputs, tmp_path):
    table, kinds = evaluated(inputs, tmp_path)
    assert ",".join(table.columns) == (
        "dataset,model,scale,smoothing,micro_auc,macro_auc,macro_clips,clips,frames,label_version,"
        "average_precision,equal_error_rate,tpr_at_fpr_1,tpr_at_fpr_5,rbdc,tbdc,"
        "micro_auc_low,micro_auc_high,macro_auc_low,macro_auc_high,average_precision_low,"
        "average_precision_high,equal_error_rate_low,equal_error_rate_high,tpr_at_fpr_1_low,"
        "tpr_at_fpr_1_high,tpr_at_fpr_5_low,tpr_at_fpr_5_high,rbdc_low,rbdc_high,tbdc_low,tbdc_high,"
        "threshold,event_precision,event_recall,event_f1,delay_frames,false_alarms,false_alarms_per_hour,"
        "seeds,micro_auc_mean,micro_auc_spread,macro_auc_mean,macro_auc_spread"
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


def test_means_and_spreads_over_seeds(inputs, tmp_path):
    scores, _ = inputs
    repeats = {"student/8": scores["teacher:ssmtl"], "student/9": scores["teacher:baf"]}
    table, _ = evaluated(inputs, tmp_path, repeats=repeats)
    rows = table.set_index(["model", "scale", "smoothing"])
    for scale in SCALES:
        for smoothing in SMOOTHINGS:
            row = rows.loc[("student", scale, smoothing)]
            models = ("student", "teacher:ssmtl", "teacher:baf")
            for metric in ("micro_auc", "macro_auc"):
                one, two, three = (rows.loc[(model, scale, smoothing), metric] for model in models)
                mean = (one + two + three) / 3
                spread = (((one - mean) ** 2 + (two - mean) ** 2 + (three - mean) ** 2) / 2) ** 0.5
                assert row[f"{metric}_mean"] == pytest.approx(mean, abs=2e-6)
                assert row[f"{metric}_spread"] == pytest.approx(spread, abs=2e-6)
            assert row["seeds"] == 3
    assert table[table["model"] != "student"]["seeds"].isna().all()


@pytest.mark.parametrize("name", ["student", "somebody/2"])
def test_refuses_repeats_of_what_is_no_model(inputs, tmp_path, name):
    with pytest.raises(DataError, match=f"--repeats names {name}"):
        evaluated(inputs, tmp_path, repeats={name: inputs[0]["teacher:baf"]})


def test_constant_is_one_half_under_every_smoothing(inputs, tmp_path):
    table, kinds = evaluated(inputs, tmp_path)
    constant = table[table["model"] == "baseline:constant"]
    assert constant["micro_auc"].tolist() == [0.5] * 3
    assert constant["macro_auc"].tolist() == [0.5] * 3
    assert set(kinds[kinds["model"] == "baseline:constant"]["micro_auc"]) == {0.5}


def test_random_is_seeded_and_the_mean_of_its_draws(inputs, tmp_path):
    scores, labels = inputs
    truth = np.concatenate([true_labels(clip) for clip in FRAMES])
    for seed in (0, 1):
        settings = SETTINGS.model_copy(update={"random_seed": seed})
        table, _ = evaluated(({"student": scores["student"]}, labels), tmp_path, settings)
        raw = table[(table["model"] == "baseline:random") & (table["smoothing"] == "raw")].iloc[0]
        rng = np.random.default_rng(seed)
        draws = [np.concatenate([rng.random(frames) for frames in FRAMES.values()]) for _ in range(5)]
        mean = np.mean([roc_auc_score(truth, draw) for draw in draws])
        assert raw["micro_auc"] == pytest.approx(mean, abs=1e-6)


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
    """Every clip is of one class: no macro AUC exists, and none is written."""
    scores, labels = inputs
    for clip, path in labels.items():
        told = pd.read_csv(path, keep_default_na=False)
        told.assign(label=int(clip < "03"), kind="").to_csv(path, index=False)
    table, _ = evaluated((scores, labels), tmp_path)
    undefined = ["macro_auc", "macro_auc_low", "macro_auc_high", "rbdc", "tbdc_low", "threshold", "event_f1"]
    assert table[undefined].isna().all(axis=None)
    assert table["micro_auc"].notna().all()
    assert set(table["macro_clips"]) == {0}
    row = (tmp_path / "out/auc.csv").read_text().splitlines()[1].split(",")
    assert (row[:4], row[5:10]) == (["toy", "student", "1x1", "raw"], ["", "0", "4", "115", "folder"])


def test_without_teachers_there_is_no_row_of_their_mean(inputs, tmp_path):
    scores, labels = inputs
    table, _ = evaluated(({"student": scores["student"]}, labels), tmp_path)
    baselines = {f"baseline:{name}" for name in ("constant", "random", "ramp", "tent", "clip_length")}
    assert set(table["model"]) == {"student"} | baselines


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
    assert not (tmp_path / "out").exists()


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
    refused(
        (fewer, labels),
        tmp_path,
        DataError,
        "scores of student: clips 03, 04 are missing, only 2 of 4 clips are there",
    )
    one_less = {clip: path for clip, path in labels.items() if clip != "04"}
    refused((scores, one_less), tmp_path, DataError, "is of clip '04', which the labels do not have")


def test_refuses_models_scored_on_different_clips(inputs, tmp_path):
    scores, labels = inputs
    rewrite(scores["teacher:baf"][0], lambda table: table[table["clip"] != "02"])
    refused((scores, labels), tmp_path, DataError, "teacher:baf: clip 02 is missing")


def test_refuses_another_number_of_frames_and_names_both(inputs, tmp_path):
    scores, _ = inputs
    for paths in scores.values():
        for path in paths:
            rewrite(path, lambda table: table[(table["clip"] != "02") | (table["frame"] < 24)])
    refused(inputs, tmp_path, DataError, "clip 02: scores of 24 frames but labels of 25")


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


# --- Intervals, places, events, differences ----------------------------------------------------------------


def test_intervals_are_those_of_literally_drawn_clips(inputs, tmp_path):
    table, _ = evaluated(inputs, tmp_path)
    row = table.set_index(["model", "scale", "smoothing"]).loc[("student", "4x4", "raw")]
    scores = [score_table(clip, 0)["4x4"].to_numpy() for clip in FRAMES]
    labels = [true_labels(clip) for clip in FRAMES]
    values = {metric: [] for metric in FRAME_METRICS}
    for weights in clip_weights(4, SETTINGS.resamples, SETTINGS.resampling_seed):
        drawn = np.repeat(range(4), weights)
        measures = frame_metrics([scores[k] for k in drawn], [labels[k] for k in drawn])
        for metric, value in measures.items():
            values[metric] += [] if value is None else [value]
    for metric, drawn in values.items():
        ends = [row[f"{metric}_low"], row[f"{metric}_high"]]
        assert ends == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-6)
    assert 0 < row["micro_auc_low"] < row["micro_auc"] < row["micro_auc_high"] < 1


@pytest.fixture
def places(tmp_path):
    """One track in each abnormal clip, a box of 40x40 in a picture of 160x160; maps and boxes that find some.

    The maps score .9 on the region in 5 of 10 frames of clip 01 and in all 30 of clip 03, .3 in all 12 of
    clip 02, and .5 elsewhere in all 20 frames of clip 04. So with t = 20 / 115 and of 52 regions, 3 tracks:

        RBDR |        ._______ 47/52 from .3 on              TBDR |        ._______ 3/3
             |________|        35/52 from .9 on                   |________|        2/3
             0        t      1  FPR                               0        t      1

    At threshold 0 each frame is one region, the whole picture: an IoU of 1/16, one false positive a frame.
    """
    tracks, maps, boxes = {}, tmp_path / "maps", tmp_path / "boxes.csv"
    maps.mkdir()
    rows = ["clip,frame,x1,y1,x2,y2,score"]
    for clip, frames in FRAMES.items():
        tracks[clip] = tmp_path / "tracks" / f"{clip}.csv"
        tracks[clip].parent.mkdir(exist_ok=True)
        lines = [f"1,{t},0,0,40,40" for t in np.flatnonzero(true_labels(clip))]
        tracks[clip].write_text("\n".join(["track_id,frame,x1,y1,x2,y2", *lines]) + "\n")
        values = np.zeros((frames, 16, 16))
        first, stop, score = {
            "01": (10, 15, 0.9),
            "02": (0, 12, 0.3),
            "03": (0, 30, 0.9),
            "04": (0, 20, 0.5),
        }[clip]
        at = slice(10, 14) if clip == "04" else slice(0, 4)
        values[first:stop, at, at] = score
        np.save(maps / f"{clip}.npy", values)
        corners = "100,100,140,140" if clip == "04" else "0,0,40,40"
        rows += [f"{clip},{t},{corners},{score}" for t in range(first, stop)]
    boxes.write_text("\n".join(rows) + "\n")
    return tracks, maps, boxes


def areas(weights):
    """RBDC and TBDC of `places` by the drawing there, for (..., 4) numbers of times that each clip counts."""
    one, two, three, four = np.moveaxis(np.asarray(weights), -1, 0)
    t = 20 * four / (40 * one + 25 * two + 30 * three + 20 * four)
    regions, tracks = 10 * one + 12 * two + 30 * three, one + two + three
    with np.errstate(invalid="ignore"):
        rbdc = (t * (5 * one + 30 * three) + (1 - t) * (5 * one + 12 * two + 30 * three)) / regions
        return rbdc, (t * (one + three) + (1 - t) * tracks) / tracks


REGION_COLUMNS = [f"{metric}{end}" for metric in ("rbdc", "tbdc") for end in ("", "_low", "_high")]


@pytest.mark.parametrize("kind", ["maps", "detections"])
def test_regions_stand_in_one_row_and_equal_those_on_paper(inputs, places, tmp_path, kind):
    tracks, maps, boxes = places
    settings = SETTINGS.model_copy(update={"frame_size": (160, 160)})
    found = {"student": [maps if kind == "maps" else boxes]}
    table, _ = evaluated(inputs, tmp_path, settings, tracks, **{kind: found})
    is_there = (table["model"] == "student") & (table["scale"] == "16x16") & (table["smoothing"] == "raw")
    row = table[is_there].iloc[0]
    assert table[~is_there][REGION_COLUMNS].isna().all(axis=None)
    assert (row["rbdc"], row["tbdc"]) == pytest.approx(areas([1, 1, 1, 1]), abs=1e-6)
    resamples = areas(clip_weights(4, settings.resamples, settings.resampling_seed))
    for metric, values in zip(("rbdc", "tbdc"), resamples):
        ends = np.nanquantile(values, [0.025, 0.975])
        assert [row[f"{metric}_low"], row[f"{metric}_high"]] == pytest.approx(ends, abs=1e-6)


def test_boxes_need_the_size_of_the_picture(inputs, places, tmp_path):
    tracks, maps, _ = places
    with pytest.raises(DataError, match="give frame stores, or set frame_size"):
        evaluated(inputs, tmp_path, tracks=tracks, maps={"student": [maps]})


ALARMS = {"01": (12, 22), "02": (10, 20), "03": (5, 25), "04": (3, 6)}  # frame 15 of 03 is silent


@pytest.fixture
def alarms(inputs, tmp_path):
    """Scores 1 in the alarms above, else 0, and normal footage whose scores have .98 as 99th percentile."""
    _, labels = inputs
    rows = []
    for clip, frames in FRAMES.items():
        scores = np.zeros(frames)
        scores[slice(*ALARMS[clip])] = 1
        scores[15] *= clip != "03"
        rows += [f"{clip},{frame},{score}" for frame, score in enumerate(scores)]
    tested, normal = tmp_path / "alarms.csv", tmp_path / "normal.npy"
    tested.write_text("\n".join(["clip,frame,score", *rows]))
    np.save(normal, np.arange(100) / 100)
    return ({"mine": [tested]}, labels), {"mine": [normal]}


def test_events_equal_those_counted_by_hand(alarms, tmp_path):
    """01 is found 2 frames late; 2 of 12 frames of 02, by a false alarm; 03 5 frames late; 04 is false."""
    inputs, normal = alarms
    # so narrow a Gaussian changes nothing: the three smoothings are one
    settings = EvaluateSettings(sigma_frames=0.1, join_frames=2, frames_per_second=10, random_draws=1)
    table, _ = evaluated(inputs, tmp_path, settings, normal=normal)
    mine = table[table["model"] == "mine"]
    assert set(mine["threshold"]) == {0.98}  # just above it
    expected = {
        "event_precision": 2 / 4,
        "event_recall": 2 / 3,
        "event_f1": 4 / 7,
        "delay_frames": 3.5,
        "false_alarms": 2,
        "false_alarms_per_hour": 2 * 3600 / 11.5,
    }
    for column, value in expected.items():
        assert mine[column].tolist() == pytest.approx([value] * 3, abs=1e-6)
    assert table[table["model"] != "mine"][list(expected)].isna().all(axis=None)
    clips = pd.read_csv(tmp_path / "out/evaluate/clips.csv", dtype={"clip": str})
    mine = clips[clips["model"] == "mine"].set_index("clip")
    assert mine["events"].tolist() == [1, 1, 1, 0]
    assert mine["events_hit"].tolist() == [1, 0, 1, 0]
    assert mine["events_missed"].tolist() == [0, 1, 0, 0]
    assert mine["false_alarms"].tolist() == [0, 1, 0, 1]


def test_clips_have_a_row_for_each_model_at_its_main_scale(inputs, tmp_path):
    table, _ = evaluated(inputs, tmp_path)
    clips = pd.read_csv(tmp_path / "out/evaluate/clips.csv", dtype={"clip": str})
    assert len(clips) == 4 * table["model"].nunique()
    assert set(clips["smoothing"]) == {"centred"}
    assert set(clips["scale"]) == {"mean", "none"}
    mine = clips[clips["model"] == "student"].set_index("clip")
    assert mine["frames"].to_dict() == FRAMES
    assert mine["abnormal_frames"].to_dict() == {"01": 10, "02": 12, "03": 30, "04": 0}
    assert mine["verdict"].fillna("").to_dict() == {"01": "", "02": "", "03": "one class", "04": "one class"}
    smoothed = np.round(literally_smoothed(expected_scores("student", "02", "mean"), "centred"), 12)
    assert mine.loc["02", "auc"] == pytest.approx(roc_auc_score(true_labels("02"), smoothed), abs=1e-6)
    assert mine["auc"].isna().tolist() == [False, False, True, True]
    assert mine["events_hit"].isna().all()  # no normal footage, no threshold


def test_a_threshold_of_some_teachers_is_none_of_their_mean(inputs, tmp_path):
    scores, _ = inputs
    known = {"teacher:baf": scores["teacher:baf"]}
    table, _ = evaluated(inputs, tmp_path, normal=known)
    assert set(table[table["threshold"].notna()]["model"]) == {"teacher:baf"}
    both = {**known, "teacher:ssmtl": scores["teacher:ssmtl"]}
    table, _ = evaluated(inputs, tmp_path, normal=both)
    assert set(table[table["threshold"].notna()]["model"]) == {*both, "teachers"}


def test_differences_to_the_same_scores_are_nothing_and_to_others_are_literal(inputs, tmp_path):
    scores, _ = inputs
    against = {"same": scores["student"], "other": scores["teacher:baf"]}
    evaluated(inputs, tmp_path, against=against)
    rows = pd.DataFrame(facts(tmp_path / "out/evaluate")["differences"]).set_index(["against", "metric"])
    assert set(rows["model"]) == {"student"}
    assert (rows.loc["against:same"][["difference", "low", "high"]] == 0).all(axis=None)
    assert set(rows.loc["against:same"].index) == set(FRAME_METRICS)
    pairs = []
    for seed in (0, 2):
        smoothed = [
            np.round(literally_smoothed(score_table(clip, seed)["mean"].to_numpy(), "centred"), 12)
            for clip in FRAMES
        ]
        pairs.append(smoothed)
    truth = [true_labels(clip) for clip in FRAMES]

    def difference(drawn):
        mine, theirs = (micro_auc([one[k] for k in drawn], [truth[k] for k in drawn]) for one in pairs)
        return np.nan if mine is None else mine - theirs

    row = rows.loc[("against:other", "micro_auc")]
    assert row["difference"] == pytest.approx(difference(range(4)), abs=1e-9)
    drawn = [difference(np.repeat(range(4), weights)) for weights in clip_weights(4, SETTINGS.resamples, 0)]
    assert [row["low"], row["high"]] == pytest.approx(np.nanquantile(drawn, [0.025, 0.975]), abs=1e-9)


# --- As a stranger calls it --------------------------------------------------------------------------------

CLIPS = [f"{number:02d}" for number in range(1, 13)]


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Scores and maps of 12 clips in .npy files, masks of 16x16 pixels as labels; clip 12 is normal."""
    for folder in ("scores", "maps", "labels"):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    for clip in CLIPS:
        masks = np.zeros((30, 16, 16), np.uint8)
        masks[10:20, 4:8, 4:8] = clip != "12"
        np.save(tmp_path / "labels" / f"{clip}.npy", masks)
        np.save(tmp_path / "scores" / f"{clip}.npy", rng.random(30) + masks.any(axis=(1, 2)))
        np.save(tmp_path / "maps" / f"{clip}.npy", rng.random((30, 4, 4)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMAND = ("evaluate", "mine=scores", "--labels", "labels", "--out", "out", "--set", "random_draws=1")
TRAP = "raise AssertionError('torch is imported')"


def without_torch(folder, *arguments):
    """Python where `import torch` fails, in a way that nobody takes for torch not being installed."""
    (folder / "trap").mkdir(exist_ok=True)
    (folder / "trap" / "torch.py").write_text(TRAP)
    root = Path(__file__).resolve().parent.parent
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder / 'trap'}{os.pathsep}{root}"},
    )


def test_a_folder_of_foreign_files_is_evaluated_without_torch(stranger):
    assert "torch is imported" in without_torch(stranger, "-c", "import torch").stderr
    ended = without_torch(stranger, "-m", "fastaed", *COMMAND)
    assert ended.returncode == 0, ended.stderr
    table = pd.read_csv(stranger / "out/auc.csv")
    raw = table[(table["model"] == "mine") & (table["smoothing"] == "raw")].iloc[0]
    scores, labels = (
        [np.load(stranger / kind / f"{clip}.npy") for clip in CLIPS] for kind in ("scores", "labels")
    )
    truth = np.concatenate([masks.any(axis=(1, 2)) for masks in labels])
    assert raw["micro_auc"] == pytest.approx(roc_auc_score(truth, np.concatenate(scores)), abs=1e-6)
    names = {path.name for path in (stranger / "out").iterdir()}
    assert names == {"auc.csv", "clips.csv", "kinds.csv", "evaluation.json", "manifest.json", "report.html"}


def test_one_file_for_all_says_the_same_and_no_measure_needs_torch(stranger):
    scores = {clip: np.load(stranger / "scores" / f"{clip}.npy") for clip in CLIPS}
    np.savez(stranger / "all.npz", **scores)
    rows = [
        {"clip": clip, "frame": frame, "score": repr(float(score))}
        for clip, values in scores.items()
        for frame, score in enumerate(values)
    ]
    pd.DataFrame(rows).to_csv(stranger / "all.csv", index=False)
    program = (
        "import importlib, pkgutil, fastaed.metrics\n"
        "for module in pkgutil.iter_modules(fastaed.metrics.__path__, 'fastaed.metrics.'):\n"
        "    importlib.import_module(module.name)\n"
        "from fastaed import cli\n"
        "for kind in ('npz', 'csv'):\n"
        "    cli.main(['evaluate', f'mine=all.{kind}', '--labels', 'labels', '--out', kind, '--set',\n"
        "              'random_draws=1'])\n"
    )
    ended = without_torch(stranger, "-c", program)
    assert ended.returncode == 0, ended.stderr
    cli.main(COMMAND)
    expected = (stranger / "out/auc.csv").read_text()
    assert [(stranger / kind / "auc.csv").read_text() for kind in ("npz", "csv")] == [expected] * 2


# --- The protocol and the page -----------------------------------------------------------------------------


def test_facts_and_page_say_what_was_done(stranger, capsys):
    cli.main(COMMAND)
    written = facts(stranger / "out")
    assert written["protocol"]["frames"] == 12 * 30
    assert written["protocol"]["abnormal_frames"] == 11 * 10
    assert written["protocol"]["settings"] == EvaluateSettings(random_draws=1).model_dump(mode="json")
    assert "sigma 21 frames; centred 169 weights, causal 85" in written["protocol"]["smoothing"]
    assert written["fingerprint"] == fingerprint(written["protocol"])
    left_out = "macro AUC leaves out 1 of 12 clips, wholly normal or wholly abnormal: 12"
    assert left_out in written["warnings"]
    assert f"warning: {left_out}" in capsys.readouterr().err
    assert {row["model"] for row in written["conventions_of_papers"]} == {"mine"}
    page = (stranger / "out/report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert written["fingerprint"] in page
    assert left_out in page


def test_other_scores_take_the_place_of_the_first_under_the_same_fingerprint(stranger, tables_only):
    cli.main(COMMAND)
    first, table = facts(stranger / "out"), Path("out/auc.csv").read_text()
    np.save("scores/07.npy", np.arange(30))
    cli.main(COMMAND)
    assert facts(stranger / "out")["fingerprint"] == first["fingerprint"]
    assert Path("out/auc.csv").read_text() != table
    np.save("labels/07.npy", np.ones(30, int))
    cli.main(COMMAND)
    assert facts(stranger / "out")["fingerprint"] != first["fingerprint"]


# --- What a stranger may get wrong -------------------------------------------------------------------------


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(values))


def too_few():
    Path("scores/07.npy").unlink()


def too_long():
    save(Path("scores/07.npy"), np.zeros(31))


def words():
    Path("scores/07.npy").unlink()
    Path("scores/07.csv").write_text("score\n" + "0.5\n" * 3 + "high\n" + "0.5\n" * 26)


def nothing_there():
    for path in Path("scores").iterdir():
        path.unlink()


def all_normal():
    for clip in CLIPS:
        save(Path(f"labels/{clip}.npy"), np.zeros(30, int))


def one_mask_of_another_size():
    """Masks as images, a folder a clip."""
    Path("labels/07.npy").unlink()
    folder = Path("labels/07")
    folder.mkdir()
    for frame in range(30):
        size = (16, 16) if frame != 4 else (16, 12)
        cv2.imwrite(str(folder / f"{frame:03d}.png"), np.full(size, 255, np.uint8))


def one_mask_too_many():
    for clip in CLIPS:
        masks = np.load(f"labels/{clip}.npy")
        save(Path(f"testing/test_frame_mask/01_00{clip}.npy"), masks.any(axis=(1, 2)).astype(int))
        save(Path(f"testing/test_pixel_mask/01_00{clip}.npy"), np.concatenate([masks, masks[:1]]))
        for kind in ("scores", "maps"):
            Path(f"{kind}/{clip}.npy").rename(f"{kind}/01_00{clip}.npy")


def a_track_that_leaves():
    track = Path("labels/tracks/07.csv")
    track.parent.mkdir()
    track.write_text("track_id,frame,x1,y1,x2,y2\n1,10,4,4,8,8\n1,11,12,4,17,8\n")


def maps_too_short():
    save(Path("maps/07.npy"), np.zeros((29, 4, 4)))


def nan_in_a_map():
    maps = np.zeros((30, 4, 4))
    maps[3, 1, 2] = np.nan
    save(Path("maps/07.npy"), maps)


def a_shorter_store():
    write_frames(Path("07.zarr"), np.zeros((29, 16, 16, 3), np.uint8), {"clip": "07"})


def of_another_name():
    Path("normal.csv").write_text("likelihood\n0.1\n0.2\n")


def a_folder_of_other_things():
    Path("out").mkdir()
    Path("out/thesis.tex").write_text("the only copy")


def a_file():
    Path("out").write_text("the only copy")


def size(width, height):
    return "--set", f"frame_size=[{width}, {height}]"


MAPS = ("--maps", "mine=maps")
SHANGHAITECH = ("--labels", ".", "--layout", "shanghaitech")


@pytest.mark.parametrize(
    ("spoil", "further", "said"),
    [
        (too_few, (), "scores of mine: clip 07 is missing, only 11 of 12 clips are there"),
        (too_long, (), "07.npy: scores of 31 frames but labels of 30"),
        (words, (), "07.csv, line 5 (high): score is no number"),
        (nothing_there, (), "folder scores holds no .csv, .npy, .npz, .parquet file"),
        (all_normal, (), "call all frames of all 12 clips normal, so nothing can be measured"),
        (one_mask_of_another_size, ("--labels", "."), "07/004.png is 12x16 pixels, the one of the first"),
        (None, (*MAPS, *size(32, 16)), "masks of clip 01 are 16x16 pixels but the picture is 32x16"),
        (one_mask_too_many, (*MAPS, *SHANGHAITECH), "clip 01_0001 has 31 masks but 30 labels"),
        (a_track_that_leaves, (*MAPS, *size(16, 16)), "line 3: the box from (12, 4) to (17, 8) leaves"),
        (maps_too_short, MAPS, "07.npy: maps of 29 frames but labels of 30"),
        (nan_in_a_map, MAPS, "07.npy: the map of frame 3 is not finite"),
        (None, ("--maps", "yours=maps"), "--maps names yours, of which there are no scores (there are:"),
        (None, ("--detections", "yours=maps"), "--detections names yours"),
        (None, ("--normal", "yours=scores"), "--normal names yours"),
        (None, ("--against", "yours=nowhere"), "scores of yours: nowhere does not exist"),
        (None, ("--maps", "mine=nowhere"), "maps: nowhere does not exist"),
        (None, ("--stores", "nowhere.zarr"), "nowhere.zarr"),
        (a_shorter_store, ("--stores", "07.zarr"), "07.zarr holds 29 frames but clip 07 has 30 labels"),
        (of_another_name, ("--normal", "mine=normal.csv"), "normal scores of mine have no column score"),
        (a_folder_of_other_things, (), "out is there and holds no evaluation that may be replaced"),
        (a_file, (), "out is there and holds no evaluation that may be replaced"),
        (None, ("--out", "."), ". is there and holds no evaluation that may be replaced"),
        (None, ("--out", "scores"), "scores is there and holds no evaluation that may be replaced"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_nothing_is_written(stranger, capsys, spoil, further, said):
    if spoil:
        spoil()
    before = listing(stranger)
    with pytest.raises(SystemExit) as caught:
        cli.main([*COMMAND, *further])
    assert caught.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("true regions: ")]
    assert len(lines) == 1
    assert lines[0].startswith("fastaed evaluate: ")
    assert said in lines[0]
    assert listing(stranger) == before


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("labels", ["nowhere", "scores/nothing"])
def test_labels_that_are_not_found_show_what_is_looked_for(stranger, capsys, labels):
    Path("scores/nothing").mkdir()
    with pytest.raises(SystemExit) as caught:
        cli.main([*COMMAND, "--labels", labels])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"of layout 'folder' not found; looked for {labels}" in said
    assert "labels/01.csv" in said
    assert "Traceback" not in said
    assert not Path("out").exists()


def test_ctrl_c_while_it_writes_leaves_what_was_there(stranger, tables_only, monkeypatch, capsys):
    cli.main(COMMAND)
    before = listing(stranger)

    def interrupted(path, page):
        path.write_text("half a")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(evaluate, "write_page", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    try:
        for out in ("out", "new"):
            with pytest.raises(SystemExit) as caught:
                cli.main([*COMMAND, "--out", out])
            assert caught.value.code == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert "interrupted" in capsys.readouterr().err
    assert listing(stranger) == before


# --- Real labels -------------------------------------------------------------------------------------------


def test_a_constant_on_ped2_is_one_half(real_data, tables_only, tmp_path):
    source, scores, out = real_data / "UCSDped2", tmp_path / "all.npz", tmp_path / "out"
    masks = {clip: read_masks("ped2", path) for clip, path in label_paths("ped2", source).items()}
    np.savez(scores, **{clip: np.full(len(abnormal), 0.3) for clip, abnormal in masks.items()})
    labels = ("--layout", "ped2", "--labels", str(source))
    cli.main(["evaluate", f"flat={scores}", *labels, "--out", str(out), "--set", "random_draws=1"])
    table = pd.read_csv(out / "auc.csv")
    rows = table[table["model"] == "flat"]
    assert set(rows["frames"]) == {2010}
    assert set(rows["macro_clips"]) == {8}
    for metric in ("micro_auc", "macro_auc", "equal_error_rate"):
        assert rows[[metric, f"{metric}_low", f"{metric}_high"]].eq(0.5).all(axis=None)
    assert facts(out)["protocol"]["abnormal_frames"] == 1648
    assert "flat gives all 2010 frames the same score" in facts(out)["warnings"]


def test_maps_of_ped2s_masks_find_nearly_all(real_data, tables_only, tmp_path):
    """The masks on 16x16 cells: RBDC is below 1, as regions merge and some fill little of their cells."""
    clips = ("Test001", "Test004", "Test009")
    paths = label_paths("ped2", real_data / "UCSDped2")
    (tmp_path / "maps").mkdir()
    (tmp_path / "scores").mkdir()
    for clip in clips:
        masks = read_masks("ped2", paths[clip])
        np.save(tmp_path / "maps" / f"{clip}.npy", pool_pyramid(masks.astype(np.float32))[2])
        np.save(tmp_path / "scores" / f"{clip}.npy", np.zeros(len(masks)))
    labels = ("--layout", "ped2", "--labels", *(f"{clip}={paths[clip]}" for clip in clips))
    files = (f"mine={tmp_path / 'scores'}", "--maps", f"mine={tmp_path / 'maps'}")
    cli.main(["evaluate", *files, *labels, "--out", str(tmp_path / "out"), "--set", "random_draws=1"])
    raw = pd.read_csv(tmp_path / "out/auc.csv").iloc[0]
    assert (raw["model"], raw["smoothing"]) == ("mine", "raw")
    assert 0.9 < raw["rbdc"] < 1
    assert raw["tbdc"] > 0.9

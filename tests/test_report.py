"""Pictures of small made-up results: what they show is chosen rightly, and text says what tables say."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from sklearn.metrics import roc_auc_score

from fastaed import report
from fastaed.config import ReportSettings
from fastaed.data.store import write_frames, write_maps
from fastaed.errors import DataError, MissingDataError, StoreError
from fastaed.evaluate import COLUMNS, KIND_COLUMNS
from fastaed.pyramid import MapPyramid

FRAMES = 40
SETTINGS = ReportSettings(sigma_frames=2.0, worst_frames=4, most_clips=2)
EVENTS = {"01": (10, 20), "02": (0, 0), "03": (25, 40)}


def labels_of(clip):
    labels = np.zeros(FRAMES, np.uint8)
    labels[slice(*EVENTS[clip])] = 1
    return labels


def scores_of(clip, seed):
    rng = np.random.default_rng([seed, int(clip)])
    return 0.2 + 0.2 * rng.random(FRAMES) + 0.4 * labels_of(clip)


def make_results(folder):
    """The arguments of `report.run` for three clips, all as files."""
    scores = {}
    for seed, model in enumerate(("student", "teacher:ssmtl")):
        path = folder / "score" / model / "000.parquet"
        path.parent.mkdir(parents=True)
        parts = []
        for clip in EVENTS:
            values = scores_of(clip, seed)
            columns = dict.fromkeys(("1x1", "4x4", "16x16", "mean"), values)
            parts.append(pd.DataFrame({"clip": clip, "frame": np.arange(FRAMES), **columns}))
        pd.concat(parts).to_parquet(path, index=False)
        scores[model] = [path]
    labels, stores, pyramids = {}, [], {}
    for clip in EVENTS:
        labels[clip] = folder / f"{clip}.csv"
        told = labels_of(clip)
        kinds = np.where(told == 1, "look", "")
        pd.DataFrame({"frame": range(FRAMES), "label": told, "kind": kinds}).to_csv(labels[clip], index=False)
        stores.append(folder / "decode" / f"{clip}.zarr")
        picture = np.random.default_rng(0).integers(0, 255, (36, 64, 3), dtype=np.uint8)
        write_frames(stores[-1], [picture] * FRAMES, {"clip": clip})
        sixteen = np.zeros((FRAMES, 16, 16), np.float32)
        sixteen[:, 4, 4] = scores_of(clip, 0)
        four = sixteen.reshape(FRAMES, 4, 4, 4, 4).max(axis=(2, 4))
        pyramids[clip] = MapPyramid(four.max(axis=(1, 2), keepdims=True), four, sixteen)
    maps = [folder / "score" / "student" / f"{number}.zarr" for number in ("000", "001")]
    write_maps(maps[0], {clip: pyramids[clip] for clip in ("01", "02")}, {})
    write_maps(maps[1], {"03": pyramids["03"]}, {})
    losses = {"distill": folder / "distill.csv", "density-0": folder / "density.csv"}
    pd.DataFrame(
        {"epoch": [1, 2, 3], "imitate": [0.9, 0.1, 0.01], "judge": [0.5, np.nan, 0.6], "learning_rate": 1e-4}
    ).to_csv(losses["distill"], index=False)
    losses["density-0"].write_text("epoch\n")
    return {
        "scores": scores,
        "labels": labels,
        "layout": "folder",
        "maps": maps,
        "stores": stores,
        "losses": losses,
        "out": folder / "report",
        "settings": SETTINGS,
    }


@pytest.fixture
def results(tmp_path):
    return make_results(tmp_path)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of pictures of unspoilt results, and the results."""
    results = make_results(tmp_path_factory.mktemp("results"))
    report.run(**results)
    return results["out"], results


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")


def words(svg):
    """The texts of an SVG picture: matplotlib leaves each as a comment beside its outlines."""
    return re.findall(r"<!-- (.*?) -->", svg.read_text())


def test_draws_every_picture(drawn):
    out, _ = drawn
    assert files(out) == [
        "clips.png",
        "clips.svg",
        "contact.png",
        "losses.png",
        "losses.svg",
        "roc.png",
        "roc.svg",
    ]
    for picture in out.glob("*.png"):
        pixels = imread(picture)[..., :3]
        assert min(pixels.shape[:2]) > 200
        assert pixels.std() > 0.05  # something is drawn
    labels = np.concatenate([labels_of(clip) for clip in EVENTS])
    ramp = np.tile(np.arange(FRAMES), len(EVENTS))
    assert f"baseline:ramp  {100 * roc_auc_score(labels, ramp):.1f}" in words(out / "roc.svg")
    clips = words(out / "clips.svg")
    assert any("2 of 3 clips, those of the lowest AUC" in word for word in clips)
    assert "true event" in clips
    losses = words(out / "losses.svg")
    assert {"distill", "imitate", "judge"} <= set(losses)
    assert not {"learning_rate", "density-0"} & set(losses)


def test_the_same_results_give_the_same_pictures(drawn, tmp_path):
    out, results = drawn
    report.run(**{**results, "out": tmp_path / "again"})
    for name in files(out):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_without_labels_nothing_is_judged(results, capsys):
    out = results["out"]
    out.mkdir()
    (out / "old.png").write_bytes(b"")  # the folder is replaced as a whole
    report.run(**{**results, "labels": {}, "losses": {}})
    assert files(out) == ["clips.png", "clips.svg", "contact.png"]
    clips = words(out / "clips.svg")
    assert any("2 of 3 clips, those of the highest scores" in word for word in clips)
    assert not any("AUC" in word or "event" in word for word in clips)
    assert "no labels" in capsys.readouterr().err


def test_without_both_classes_there_is_no_roc_curve(results):
    """And all clips are shown where there is room."""
    results["settings"] = SETTINGS.model_copy(update={"most_clips": 24})
    for path in results["labels"].values():
        pd.read_csv(path, keep_default_na=False).assign(label=0, kind="").to_csv(path, index=False)
    report.run(**results)
    assert "roc.png" not in files(results["out"])
    clips = words(results["out"] / "clips.svg")
    assert any("all 3 clips" in word for word in clips)
    assert {"01   all normal", "02   all normal", "03   all normal"} <= set(clips)


@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        (lambda r: r["maps"].pop(), StoreError, "no store with maps of clip 03"),
        (lambda r: r["stores"].pop(), StoreError, "no frame store of clip 03"),
        (lambda r: r["scores"].pop("student"), DataError, "needs scores of the student"),
        (lambda r: r["labels"].pop("02"), DataError, "clip 02 has no counterpart in the labels"),
        (
            lambda r: r["losses"]["distill"].unlink(),
            StoreError,
            "losses .*distill.csv are missing or damaged",
        ),
    ],
)
def test_says_what_is_missing_and_writes_nothing(results, spoil, error, match):
    spoil(results)
    with pytest.raises(error, match=match):
        report.run(**results)
    assert not results["out"].exists()


# --- Text --------------------------------------------------------------------------------------------------


def make_table(columns):
    rows = []
    for model, scales in (("student", ("1x1", "4x4", "16x16", "mean")), ("baseline:ramp", ("none",))):
        for scale in scales:
            for number, smoothing in enumerate(("raw", "centred", "causal")):
                value = (0.8 if model == "student" else 0.5) + number / 100 + (scale == "mean") / 1000
                rows.append(("toy", model, scale, smoothing, value, None, 0, 3, 120, "folder"))
    return pd.DataFrame(rows, columns=COLUMNS[:10]).reindex(columns=columns)


def write_tables(folder, table):
    folder.mkdir(parents=True)
    table.to_csv(folder / "auc.csv", index=False)
    kinds = [
        ("toy", "student", "mean", "centred", kind, value, 30, 90, "folder")
        for kind, value in (("look", 0.912), ("motion", 0.5))
    ]
    (folder / "evaluate").mkdir()
    pd.DataFrame(kinds, columns=KIND_COLUMNS).to_csv(folder / "evaluate" / "kinds.csv", index=False)
    (folder / "report").mkdir()
    (folder / "report" / "roc.png").write_bytes(b"")


def test_show_is_an_aligned_table(tmp_path):
    write_tables(tmp_path / "toy", make_table(COLUMNS[:10]))
    text = report.show(tmp_path / "toy")
    lines = text.splitlines()
    assert lines[0] == "toy: 3 clips, 120 frames, labels folder"
    student = next(line for line in lines if line.startswith("student "))
    assert student.split() == ["student", "81.1", "-", "82.1", "-", "80.1", "-"]  # centred, causal, raw
    header = lines[lines.index(student) - 1]
    ramp = next(line for line in lines if line.startswith("baseline:ramp"))
    assert header.split() == ["scale", "mean", *["micro", "macro"] * 3]
    assert len({len(header), len(student), len(ramp)}) == 1
    assert [line.split()[0] for line in lines if line.startswith(("1x1", "4x4", "16x16", "mean"))] == [
        "1x1",
        "4x4",
        "16x16",
        "mean",
    ]
    assert "by kind of event, micro  look  motion" in lines
    assert ["student", "91.2", "50.0"] in [line.split() for line in lines]
    assert lines[-1].strip() == (tmp_path / "toy" / "report" / "roc.png").as_posix()
    assert not any(word in text for word in ("95 %", "regions", "events at", "page"))


def make_full_table():
    """With intervals, regions in one row of a model, events where there is a threshold."""
    table = make_table(COLUMNS)
    table["micro_auc_low"], table["micro_auc_high"] = table["micro_auc"] - 0.1, table["micro_auc"] + 0.05
    student = table["model"] == "student"
    place = student & (table["scale"] == "16x16") & (table["smoothing"] == "raw")
    table.loc[place, ["rbdc", "rbdc_low", "rbdc_high", "tbdc"]] = [0.456, 0.4, 0.5, 0.789]
    table.loc[student, ["threshold", "event_recall", "false_alarms", "false_alarms_per_hour"]] = [
        0.5,
        0.75,
        2,
        1234.56,
    ]
    return table


def test_show_knows_intervals_regions_and_events(tmp_path):
    write_tables(tmp_path / "toy", make_full_table())
    page = tmp_path / "toy" / "evaluate" / "report.html"
    page.write_text("")
    text = report.show(tmp_path / "toy")
    lines = [line.split() for line in text.splitlines()]
    numbers = ["81.1", "71.1", "to", "86.1", "-", "82.1", "-", "80.1", "-"]
    assert lines.index(["student", *numbers]) < lines.index(
        ["student", "45.6", "40.0", "to", "50.0", "78.9", "-"]
    )
    assert ["baseline:ramp", "51.0", "41.0", "to", "56.0", "-", "52.0", "-", "50.0", "-"] in lines
    assert ["model", *["recall", "false/h"] * 3] in lines
    assert ["student", *["75.0", "1,234.6"] * 3] in lines
    assert sum(line[:1] == ["baseline:ramp"] for line in lines) == 1  # it has neither regions nor alarms
    assert ["page", page.as_posix()] == [word for line in lines[-5:-3] for word in line]
    assert all(len(line) <= 100 for line in text.splitlines() if "/" not in line)


def test_show_tells_means_and_spreads_over_seeds(tmp_path):
    table = make_full_table()
    columns = ["seeds", *(f"m{a}cro_auc_{what}" for a in "ia" for what in ("mean", "spread"))]
    table.loc[table["model"] == "student", columns] = [3, 0.9, 0.017, 0.95, 0.0]
    write_tables(tmp_path / "toy", table)
    lines = [line.split() for line in report.show(tmp_path / "toy").splitlines()]
    head = lines.index(["over", "seeds", *["seeds", "smoothing", "micro", "spread", "macro", "spread"]])
    assert lines[head + 1 : head + 4] == [
        ["student", "3", smoothing, "90.0", "1.7", "95.0", "0.0"]
        for smoothing in ("centred", "causal", "raw")
    ]
    assert lines[head + 4] == []


def test_show_counts_false_alarms_where_the_hour_is_unknown(tmp_path):
    write_tables(tmp_path / "toy", make_full_table().assign(false_alarms_per_hour=np.nan))
    lines = [line.split() for line in report.show(tmp_path / "toy").splitlines()]
    assert ["model", *["recall", "false"] * 3] in lines
    assert ["student", *["75.0", "2"] * 3] in lines


def test_show_reads_the_folder_of_an_evaluation_of_any_model(tmp_path):
    """All files lie in one folder; a model is shown at its own scale, and may be called 7."""
    table = make_full_table().replace({"model": {"student": "7"}, "scale": {"mean": "theirs"}})
    write_tables(tmp_path / "out", table[table["scale"].isin(["theirs", "none"])])
    (tmp_path / "out" / "report.html").write_text("")
    lines = [line.split() for line in report.show(tmp_path / "out").splitlines()]
    assert ["7", "81.1", "71.1", "to", "86.1", "-", "82.1", "-", "80.1", "-"] in lines
    assert any(line[:2] == ["scale", "theirs"] for line in lines)
    assert [(tmp_path / "out" / "report.html").as_posix()] in lines


def test_show_without_labels_points_at_the_pictures(tmp_path):
    (tmp_path / "toy" / "report").mkdir(parents=True)
    (tmp_path / "toy" / "report" / "clips.png").write_bytes(b"")
    text = report.show(tmp_path / "toy")
    assert "no table of AUCs" in text
    assert "clips.png" in text


def test_show_refuses_a_folder_without_results(tmp_path):
    with pytest.raises(MissingDataError, match=r"has no auc\.csv and no report"):
        report.show(tmp_path)


def test_show_refuses_a_table_of_something_else(tmp_path):
    (tmp_path / "auc.csv").write_text("")
    with pytest.raises(StoreError, match="not a table of AUCs"):
        report.show(tmp_path)
    (tmp_path / "auc.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StoreError, match="not a table of AUCs"):
        report.show(tmp_path)

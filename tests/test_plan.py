"""Clips, batches and folds of a data set, as the rules ask for them."""

import json
from pathlib import Path
from typing import Any

import pytest

from fastaed.config import Config, StudentSettings
from fastaed.errors import ConfigError, DataError, MissingDataError
from fastaed.plan import Ablation, Plan, plan
from fastaed.teach import fold_of

VARIANTS = Path(__file__).resolve().parent.parent / "config/ablation"


def footage(folder: Path, train: int, test: int) -> Path:
    for split, count in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / split / f"cam{number}.mp4").touch()
    return folder


def plan_for(tmp_path: Path, text: str = "clips_per_batch: 4", train: int = 11, test: int = 3) -> Plan:
    (tmp_path / "cam.yaml").write_text(text)
    return plan("cam", tmp_path, {"data": str(footage(tmp_path / "footage", train, test))})


def test_batches_partition_the_clips_in_natural_order(tmp_path: Path) -> None:
    planned = plan_for(tmp_path)
    assert planned.clips("train") == [f"cam{number}" for number in range(1, 12)]
    assert planned.batches("train") == ["000", "001", "002"]
    together = [clip for batch in planned.batches("train") for clip in planned.clips_of_batch("train", batch)]
    assert together == planned.clips("train")
    assert planned.batches("test") == ["000"]


def test_the_student_learns_from_all_but_every_so_many_th_clip(tmp_path: Path) -> None:
    planned = plan_for(tmp_path, "{clips_per_batch: 4, validation_every: 5}")
    assert planned.clips("validation") == ["cam5", "cam10"]
    assert planned.clips("fitting") == [f"cam{number}" for number in (1, 2, 3, 4, 6, 7, 8, 9, 11)]
    assert planned.batches("validation") == ["000"]
    assert planned.batches_with("train", planned.clips("validation")) == ["001", "002"]


def test_of_few_clips_the_last_is_kept_from_the_student(tmp_path: Path) -> None:
    planned = plan_for(tmp_path, train=3)
    assert (planned.clips("fitting"), planned.clips("validation")) == (["cam1", "cam2"], ["cam3"])


def test_trial_clips_are_variants_of_those_kept_from_the_student(tmp_path: Path) -> None:
    planned = plan_for(tmp_path, "{clips_per_batch: 3, validation_every: 5, trial: {variants: 2}}")
    assert planned.clips("trial") == ["cam5-1", "cam5-2", "cam10-1", "cam10-2"]
    assert [planned.made_from(clip) for clip in planned.clips("trial")] == ["cam5", "cam5", "cam10", "cam10"]
    assert planned.clips_of_batch("trial", planned.batches("trial")[1]) == ["cam10-2"]


@pytest.mark.parametrize("folds", [2, 3])
def test_alike_are_the_clips_that_the_folds_of_the_validation_clips_judge(tmp_path: Path, folds: int) -> None:
    planned = plan_for(tmp_path, f"{{validation_every: 4, teach: {{folds: {folds}}}}}")
    parts = [fold_of(planned.clips("train"), fold, folds)[1] for fold in range(folds)]
    assert planned.clips("validation") == ["cam4", "cam8"]
    alike = set().union(*(part for part in parts if {"cam4", "cam8"} & set(part)))
    assert planned.clips("alike") == [clip for clip in planned.clips("train") if clip in alike]


def test_missing_labels_are_said_but_pictures_need_none(tmp_path: Path) -> None:
    planned = plan_for(tmp_path)
    with pytest.raises(DataError, match=r"no labels.*cam1.*results/cam/report"):
        planned.all_labels()
    assert planned.known_labels() == []


def test_labels_are_found_by_clip(tmp_path: Path) -> None:
    planned = plan_for(tmp_path)
    (tmp_path / "footage" / "labels").mkdir()
    for clip in planned.clips("test"):
        (tmp_path / "footage" / "labels" / f"{clip}.csv").touch()
    assert [path.stem for path in planned.all_labels()] == planned.clips("test")


def test_jobs_of_ssmtl_depend_on_its_resnet(tmp_path: Path) -> None:
    planned = plan_for(tmp_path, "teach: {ssmtl: {resnet_weights: weights/resnet50.pth}}")
    assert planned.teacher_weights("ssmtl") == [Path("weights/resnet50.pth")]
    assert planned.teacher_weights("baf") == planned.teacher_weights("density") == []


def test_missing_footage_says_where_it_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "cam.yaml").write_text("")
    with pytest.raises(MissingDataError, match="nowhere"):
        plan("cam", tmp_path, {"data": str(tmp_path / "nowhere")})


def test_one_teachers_settings_know_nothing_of_another(tmp_path: Path) -> None:
    changed = plan_for(tmp_path, "teach: {baf: {epochs: 3}}")
    assert json.loads(changed.teach_settings("baf"))["baf"]["epochs"] == 3
    assert "baf" not in json.loads(changed.teach_settings("ssmtl"))


@pytest.mark.parametrize(
    ("detect", "files"),
    [
        ("{detector: motion}", []),
        ("{weights: some/where.pt}", ["some/where.pt"]),
        ("{weights: nowhere.pt}", []),
        ("{weights: mine.pt}", ["weights/mine.pt"]),
        ("{weights: here.pt}", ["here.pt"]),
        ("{weights: yolov8n.pt}", ["weights/yolov8n.pt"]),
        ("{weights: yolo11x.pt}", ["weights/yolo11x.pt"]),
        ("{weights: yolo_mine.pt}", []),
    ],
)
def test_jobs_depend_on_weights_that_are_there_or_can_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detect: str, files: list[str]
) -> None:
    planned = plan_for(tmp_path, f"detect: {detect}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    for name in ("weights/mine.pt", "weights/here.pt", "here.pt"):
        (tmp_path / name).touch()
    assert planned.detector_weights() == [Path(name) for name in files]


def test_downloaded_weights_are_told_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what they made would be made again as soon as they are there."""
    planned = plan_for(tmp_path, "")
    monkeypatch.chdir(tmp_path)
    before = planned.contents(planned.detector_weights())
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/yolov8n.pt").write_text("downloaded")
    assert planned.contents(planned.detector_weights()) == before
    (tmp_path / "weights/mine.pt").write_text("one")
    one = planned.contents([Path("weights/mine.pt")])
    (tmp_path / "weights/mine.pt").write_text("another")
    assert planned.contents([Path("weights/mine.pt")]) != one


def test_generated_data_set_is_planned_before_it_exists(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text("data: {demo: {train_clips: 2, test_clips: 3}}")
    planned = plan("toy", tmp_path, {})
    assert planned.clips("train") == ["01", "02"]
    assert planned.sources["test"]["03"] == Path("data/toy/test/03.mp4")
    assert planned.all_labels() == [Path(f"data/toy/labels/0{number}.csv") for number in (1, 2, 3)]


def ablation(folder: Path = VARIANTS, **changes: Any) -> Ablation:
    return Ablation(Config.model_validate({"name": "cam", **changes}), folder)


SMALL = {"stem_stride": 2, "channels": [8, 16, 32, 64], "shared_head": True, "eyes": [2, 4, 4, 6]}


def test_shipped_variants_turn_off_what_their_names_say() -> None:
    weighed = {"student": SMALL, "scale_weights": [1, 4, 16]}
    found = ablation(pretrain={"student": SMALL}, distill=weighed, detect={"weights": "small.pt"}).variants
    base = found["base"]
    assert next(iter(found)) == "base"
    assert set(found) == {path.stem for path in VARIANTS.glob("*.yaml")}
    for name, variant in found.items():  # nothing but the training changes, and that in one respect
        assert variant.model_copy(update={"pretrain": base.pretrain, "distill": base.distill}) == base, name
    distill = {name: variant.distill for name, variant in found.items()}
    assert distill["no-positives"].positives is None
    assert distill["no-adversary"].adversarial_weight == 0
    assert distill["no-average"].average_decay == 0
    assert distill["even-scales"].scale_weights == (1, 1, 1)
    assert found["no-pretraining"].pretrain.epochs == 0
    assert not distill["own-heads"].student.shared_head
    assert (base.distill.student.eyes is not None, distill["no-eyes"].student.eyes) == (True, None)
    assert distill["published-student"].student == Config(name="a").distill.student
    assert distill["bolt-student"].student == StudentSettings.model_validate("bolt")
    assert [found[f"{name}-only"].distilled_teachers for name in ("ssmtl", "baf")] == [("ssmtl",), ("baf",)]
    kinds = {name: set(one.positives.kinds) for name, one in distill.items() if one.positives}
    assert kinds["base"] - kinds["no-paste"] == {"paste"}
    assert kinds["base"] - kinds["no-walkers"] == {"fast", "glide", "stranger"}
    assert kinds["no-replays"] == kinds["base"]
    assert [distill[name].positives.replays for name in ("no-replays", "no-walkers")] == [0, 0]


def test_a_variant_that_changes_nothing_is_left_out_unless_it_is_named() -> None:
    assert {"own-heads", "published-student", "even-scales"}.isdisjoint(ablation().variants)
    assert set(ablation(ablation={"variants": ["own-heads", "base"]}).variants) == {"own-heads", "base"}
    alike = ablation(pretrain={"student": "hawk"}, distill={"student": "hawk"}).variants
    assert ("no-eyes" in alike, "bolt-student" in alike) == (True, False)  # bolt is hawk without eyes
    alone = {"teach": {"teachers": ["baf"]}, "ablation": {"variants": ["base", "no-average"]}}
    assert set(ablation(**alone).variants) == {"base", "no-average"}
    with pytest.raises(ConfigError, match=r"density-only.yaml.*density, which is not among teach.teachers"):
        ablation(teach={"teachers": ["baf", "ssmtl"]})


def test_one_teacher_of_one_is_no_variant(tmp_path: Path) -> None:
    for name, text in {"base": "", "baf-only": "distill: {teachers: [baf]}"}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    assert list(ablation(tmp_path, teach={"teachers": ["baf"]}).variants) == ["base"]
    assert list(ablation(tmp_path).variants) == ["base", "baf-only"]


def test_only_variants_of_phase_1_have_a_phase_1_of_their_own() -> None:
    shared = {name for name in ablation().variants if ablation().shares_pretraining(name)}
    assert set(ablation().variants) - shared == {"no-pretraining", "bolt-student"}


def test_variants_differ_by_seed_and_have_one_budget() -> None:
    planned = ablation(distill={"seed": 5}, ablation={"seeds": 2, "epochs": 4})
    assert planned.seeds() == ["5", "6"]
    settings = json.loads(planned.distill_settings("no-average", "6"))
    assert (settings["seed"], settings["epochs"], settings["average_decay"]) == (6, 4, 0)
    assert settings["halve_every_epochs"] == 1  # of 35 epochs every 10th
    assert json.loads(planned.pretrain_settings("no-pretraining"))["epochs"] == 0

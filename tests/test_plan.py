"""Clips, batches and folds of a data set, as the rules ask for them."""

import json
from pathlib import Path

import pytest

from fastaed.errors import DataError, MissingDataError
from fastaed.plan import Plan, plan


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
    assert planned.train_batches_with(planned.clips("validation")) == ["001", "002"]


def test_of_few_clips_the_last_is_kept_from_the_student(tmp_path: Path) -> None:
    planned = plan_for(tmp_path, train=3)
    assert (planned.clips("fitting"), planned.clips("validation")) == (["cam1", "cam2"], ["cam3"])


def test_trial_clips_are_variants_of_those_kept_from_the_student(tmp_path: Path) -> None:
    planned = plan_for(tmp_path, "{clips_per_batch: 3, validation_every: 5, trial: {variants: 2}}")
    assert planned.clips("trial") == ["cam5-1", "cam5-2", "cam10-1", "cam10-2"]
    assert [planned.made_from(clip) for clip in planned.clips("trial")] == ["cam5", "cam5", "cam10", "cam10"]
    assert planned.clips_of_batch("trial", planned.batches("trial")[1]) == ["cam10-2"]


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
    assert planned.teacher_weights("baf") == []


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
    [("{detector: motion}", 0), ("{weights: some/where.pt}", 1), ("{weights: nowhere.pt}", 0)],
)
def test_jobs_depend_on_weights_that_are_files(tmp_path: Path, detect: str, files: int) -> None:
    assert len(plan_for(tmp_path, f"detect: {detect}").detector_weights()) == files


def test_generated_data_set_is_planned_before_it_exists(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text("data: {demo: {train_clips: 2, test_clips: 3}}")
    planned = plan("toy", tmp_path, {})
    assert planned.clips("train") == ["01", "02"]
    assert planned.sources["test"]["03"] == Path("data/toy/test/03.mp4")
    assert planned.all_labels() == [Path(f"data/toy/labels/0{number}.csv") for number in (1, 2, 3)]

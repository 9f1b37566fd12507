"""What a change reruns: each row a change, and exactly the jobs that a dry run then speaks of."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from workflow_runs import (
    CAMERA,
    LIMITS,
    STUDENT,
    TARGETS,
    copy_checkout,
    jobs_of,
    make_camera,
    rules_to_run,
    run,
    snakemake,
    snakemake_in,
)

from fastaed.yolo import open_ultralytics

# Rules that follow when a result changes: a stage and all that reads what it writes, directly or not.
AFTER_SCORE = {"evaluate", "report"}
AFTER_DISTILL = {"score_student", *AFTER_SCORE}
AFTER_LABEL = {"distill", "score_teacher", *AFTER_DISTILL}
AFTER_TEACH = {"label", *AFTER_LABEL}
AFTER_DETECT = {"teach", *AFTER_TEACH}
AFTER_DECODE = {"detect", "pretrain", *AFTER_DETECT}


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"report": {"worst_frames": 3}}, {"report"}),
        ({"seeds": 2}, {"distill_repeat", "score_repeat", "evaluate"}),
        ({"evaluate": {"sigma_frames": 4}}, {"evaluate"}),
        ({"score": {"batch_size": 8}}, {"score_student", *AFTER_SCORE}),
        ({"distill": {"epochs": 3}}, {"distill", *AFTER_DISTILL}),
        ({"pretrain": {"epochs": 2}}, {"pretrain", "distill", *AFTER_DISTILL}),
        ({"label": {"cell": 10}}, {"label", *AFTER_LABEL}),
        ({"teach": {"seed": 5}}, {"teach", *AFTER_TEACH}),
        ({"detect": {"minimum_side": 5}}, {"detect", *AFTER_DETECT}),
        ({"decode": {"width": 96}}, {"decode", *AFTER_DECODE}),
        # resampling_seed and random_seed are 0 and 0, event_overlap and region_overlap 0.5 and 0.1
        ({"evaluate": {"event_overlap": 0.1, "region_overlap": 0.5}}, {"evaluate"}),
        # the same values, written otherwise: no change
        ({"decode": {"height": 96, "width": 128}, "report": {"worst_frames": 12}}, set()),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_changed_setting(finished: Path, changes: dict[str, Any], rules: set[str]) -> None:
    assert rules_to_run(finished, **changes) == rules


def test_more_gpus_are_no_news(finished: Path) -> None:
    assert rules_to_run(finished, "--set-resources", "distill:gpu=2") == set()


def test_a_setting_of_one_teacher_is_no_news_to_the_others(camera: Path) -> None:
    assert camera_jobs(camera, teach={"baf": {"epochs": 9}}) == Counter()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path / "checkout")


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("report", {"report"}),
        ("metrics/region", {"evaluate"}),
        ("metrics/auc", {"evaluate", "report"}),
        ("score", {"score_student", "score_teacher", *AFTER_SCORE}),
        ("losses", {"distill", *AFTER_DISTILL}),
        ("distill", {"distill", *AFTER_DISTILL}),
        ("pretrain", {"pretrain", "distill", *AFTER_DISTILL}),
        ("models/discriminator", {"distill", *AFTER_DISTILL}),
        ("models/student", {"pretrain", "distill", "score_student", "score_teacher", *AFTER_SCORE}),
        ("label", {"label", *AFTER_LABEL}),
        ("teach", {"teach", *AFTER_TEACH}),
        ("models/neighbours", {"teach", *AFTER_TEACH}),
        ("detect", {"detect", *AFTER_DETECT}),
        ("decode", {"decode", *AFTER_DECODE}),
        ("data/store", {"decode", *AFTER_DECODE}),
        ("walkway/camera", {"demo", "decode", *AFTER_DECODE}),
        ("cli", set()),
        ("status", set()),
        ("watch", set()),  # a new module that nothing imports
    ],
)
def test_changed_code(finished: Path, checkout: Path, module: str, rules: set[str]) -> None:
    with (checkout / "fastaed" / f"{module}.py").open("a") as file:
        file.write("\n\ndef added() -> int:\n    return 1\n")
    assert rules_to_run(finished, checkout=checkout) == rules


@pytest.mark.parametrize("teacher", ["ssmtl", "baf", "density"])
def test_code_of_one_teacher_reruns_that_teacher(finished: Path, checkout: Path, teacher: str) -> None:
    with (checkout / "fastaed/teachers" / f"{teacher}.py").open("a") as file:
        file.write("\nX = 1\n")
    said = run(snakemake(finished, "--dry-run", *TARGETS, checkout=checkout))
    fitted = re.findall(r"^    output: (results/demo/teach/\S+/\d\.safetensors),", said, re.MULTILINE)
    assert sorted(fitted) == [f"results/demo/teach/{teacher}/{fold}.safetensors" for fold in (0, 1)]
    jobs = jobs_of(said)
    assert (jobs["teach"], jobs["label"], jobs["distill"]) == (2, 3, 1)
    assert jobs.keys() == {"teach", *AFTER_TEACH}


def test_comments_docstrings_and_formatting(finished: Path, checkout: Path) -> None:
    for file in (checkout / "fastaed").rglob("*.py"):
        text = re.sub(r'^( *)"""(?=[A-Z])', r'\1"""In other words. ', file.read_text(), flags=re.MULTILINE)
        file.write_text(f"# a comment\n{text}\n\n# another\n" if text else "")
    narrow = [sys.executable, "-m", "ruff", "format", "--quiet", "--line-length", "60"]
    subprocess.run([*narrow, str(checkout / "fastaed")], check=True)
    assert rules_to_run(finished, checkout=checkout) == set()


# Footage that the workflow did not make: four training clips and three test clips in data/cam, one teacher,
# at most three clips a batch.
NOTHING: Counter[str] = Counter()
TRAINED = {
    "teach": 2,
    "label": 3,
    "distill": 1,
    "score_student": 2,
    "score_teacher": 2,
    "evaluate": 1,
    "report": 1,
}


def camera_jobs(folder: Path, **changes: Any) -> Counter[str]:
    """Jobs of each rule that a dry run for the camera's table and pictures speaks of."""
    config = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    given = ["--config", *config] if config else []
    return jobs_of(run([*snakemake_in(folder), *LIMITS, "--dry-run", *CAMERA, *given]))


@pytest.fixture
def copy(camera: Path, tmp_path: Path) -> Path:
    """All of the camera's folder, dates and Snakemake's memory included, to be changed."""
    folder = tmp_path / "copy"
    shutil.copytree(camera, folder)
    return folder


def touch_footage(folder: Path) -> None:
    for file in (folder / "data").rglob("*.*"):
        file.touch()


def touch_results(folder: Path) -> None:
    for file in sorted((folder / "results").rglob("*")):
        file.touch()


def restore_an_older_video(folder: Path) -> None:
    """As `tar` and `rsync -t` do: other footage of the same name, older than what was made from it."""
    videos = folder / "data/cam/train"
    shutil.copy(videos / "02.mp4", videos / "01.mp4")
    os.utime(videos / "01.mp4", (1, 1))


def restore_older_labels(folder: Path) -> None:
    labels = folder / "data/cam/labels/01.csv"
    labels.write_text(labels.read_text().replace(",1", ",0", 1))
    os.utime(labels, (1, 1))


def delete_a_store(folder: Path) -> None:
    shutil.rmtree(folder / "results/cam/decode/train/01.zarr")


def delete_a_manifest(folder: Path) -> None:
    (folder / "results/cam/decode/train/01.json").unlink()


def delete_a_list(folder: Path) -> None:
    (folder / "results/cam/decode/train-000.json").unlink()


def rebuild_a_store(folder: Path) -> None:
    """Decoded again, really: the same pixels, younger than what was made from them."""
    delete_a_store(folder)
    delete_a_manifest(folder)
    manifests = folder / "results/cam/decode/train"
    kept = (manifests / "02.json").stat().st_mtime_ns
    run([*snakemake_in(folder), *LIMITS, "results/cam/decode/train-000.json"])
    assert (manifests / "01.json").exists()
    assert (manifests / "02.json").stat().st_mtime_ns == kept, "of the same batch"


def detect_in_another_training_video(folder: Path) -> None:
    """Other footage of the same name, of which an earlier run made all that `detect` makes."""
    replace_and_detect(folder, "train")


def detect_in_another_test_video(folder: Path) -> None:
    replace_and_detect(folder, "test")


def replace_and_detect(folder: Path, split: str) -> None:
    videos = folder / "data/cam" / split
    shutil.copy(videos / "02.mp4", videos / "01.mp4")
    run([*snakemake_in(folder), *LIMITS, f"results/cam/detect/{split}/000.json"])


def add_a_clip(folder: Path) -> None:
    shutil.copy(folder / "data/cam/train/04.mp4", folder / "data/cam/train/05.mp4")


def lose_snakemakes_memory(folder: Path) -> None:
    shutil.rmtree(folder / ".snakemake")


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        (lambda folder: None, {}),
        (touch_footage, {}),
        (touch_results, {}),
        (rebuild_a_store, {}),
        (delete_a_store, {}),  # nobody asks for it: its consumers' results stand
        (delete_a_manifest, {}),
        (delete_a_list, {}),
        (restore_an_older_video, {"decode": 1, "detect": 1, "pretrain": 1, **TRAINED}),
        (
            restore_older_labels,
            {
                "decode": 1,
                "detect": 1,
                "label": 1,
                "score_student": 1,
                "score_teacher": 1,
                "evaluate": 1,
                "report": 1,
            },
        ),
        (detect_in_another_training_video, {"pretrain": 1, **TRAINED}),
        (
            detect_in_another_test_video,
            {"label": 1, "score_student": 1, "score_teacher": 1, "evaluate": 1, "report": 1},
        ),
        (add_a_clip, {"decode": 1, "detect": 1, "pretrain": 1, **TRAINED}),
        (lose_snakemakes_memory, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_changed_files(copy: Path, change: Callable[[Path], None], jobs: dict[str, int]) -> None:
    change(copy)
    assert camera_jobs(copy) == Counter(jobs)


def test_a_touched_folder_of_ground_truth(tmp_path: Path) -> None:
    """Snakemake has no digest of a folder, so its date would count; its files' signature does."""
    for part in ("Train/Train001", "Test/Test001", "Test/Test001_gt"):
        folder = tmp_path / "UCSDped2" / part
        folder.mkdir(parents=True)
        for frame in range(8):
            picture = np.full((48, 64), 0 if "_gt" in part else 100 + frame, np.uint8)
            assert cv2.imwrite(str(folder / f"{frame:03}.{'bmp' if '_gt' in part else 'tif'}"), picture)
    command = [*snakemake_in(tmp_path), *LIMITS, "results/ped2/decode/test-000.json"]
    command += ["--config", f"data={tmp_path / 'UCSDped2'}"]
    run(command)
    os.utime(tmp_path / "UCSDped2/Test/Test001_gt", (2e9, 2e9))
    assert jobs_of(run([*command, "--dry-run"])) == NOTHING
    (tmp_path / "UCSDped2/Test/Test001_gt/000.bmp").unlink()
    assert jobs_of(run([*command, "--dry-run"])) == Counter(decode=1)


def test_one_teacher_more(camera: Path) -> None:
    """The one that is there stays; a new one is fitted on both folds and labels all three batches."""
    more = camera_jobs(camera, teach={"teachers": ["density", "baf"]})
    added = {"teach": 2, "label": 3, "score_teacher": 2}
    assert more == Counter({**added, "distill": 1, "score_student": 2, "evaluate": 1, "report": 1})


def test_copied_with_new_dates(camera: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", str(camera), str(tmp_path / "copied")], check=True)
    assert camera_jobs(tmp_path / "copied") == NOTHING


@pytest.mark.parametrize(
    ("store", "need"),
    [
        ("train/01", {"pretrain": {"epochs": 3}}),
        ("train/01", {"teach": {"seed": 5}}),
        ("train/04", {"teach": {"seed": 5}}),  # a validation clip
        ("test/01", {"label": {"cell": 10}}),
    ],
)
def test_a_deleted_store_comes_back_for_who_needs_it(copy: Path, store: str, need: dict[str, Any]) -> None:
    """The list of its batch is not true without it; `detect` waits for that, `teach` and `label` for it."""
    shutil.rmtree(copy / f"results/cam/decode/{store}.zarr")
    jobs = camera_jobs(copy, **need)
    assert (jobs["decode"], jobs["detect"]) == (1, 1)


def test_without_its_memory_snakemake_sees_dates_only(copy: Path) -> None:
    """A known limit: settings and code are then compared by `fastaed status`, which reads the manifests."""
    lose_snakemakes_memory(copy)
    assert camera_jobs(copy, label={"cell": 10}) == NOTHING
    status = [sys.executable, "-m", "fastaed", "status", "results/cam", "--set", "label.cell=10"]
    told = subprocess.run(status, cwd=copy, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "settings: cell 20 -> 10" in told.stdout


# Two variants of the camera's training, one seed of each, on one trial clip.
ABLATION = "results/cam/ablation.csv"
FEW: dict[str, Any] = {"ablation": {"seeds": 1, "epochs": 1}, "trial": {"variants": 1}}


def ablation_command(folder: Path, *arguments: str, **changes: Any) -> list[str]:
    config = [f"{key}={json.dumps({**value, **changes.get(key, {})})}" for key, value in FEW.items()]
    return [*snakemake_in(folder), *LIMITS, *arguments, ABLATION, "--config", *config]


@pytest.fixture(scope="module")
def ablated(camera: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The camera's folder with its ablation."""
    folder = tmp_path_factory.mktemp("ablated") / "run"
    shutil.copytree(camera, folder)
    (folder / "config/ablation").mkdir()
    (folder / "config/ablation/base.yaml").touch()
    (folder / "config/ablation/no-average.yaml").write_text("distill: {average_decay: 0}")
    run(ablation_command(folder))
    return folder


def test_an_ablation_really_made(ablated: Path) -> None:
    table = pd.read_csv(ablated / ABLATION)
    assert table["variant"].tolist() == ["base", "no-average"]
    assert (table["seeds"] == 1).all()
    assert table[["test_micro_auc", "test_macro_auc", "trial_micro_auc"]].stack().between(0, 1).all()
    assert (table["wall_seconds"] > 0).all()
    students = [
        ablated / f"results/cam/ablation/{name}/1/distill/student.safetensors" for name in table["variant"]
    ]
    assert students[0].read_bytes() != students[1].read_bytes()
    assert not list((ablated / "results").rglob("*.checkpoint"))


def test_status_agrees_that_all_of_a_real_run_is_up_to_date(ablated: Path) -> None:
    """Manifests as the stages wrote them: the trial's tables have settings of their own."""
    run(ablation_command(ablated, "results/cam/trial/auc.csv", "results/cam/trial/teachers.csv"))
    status = [sys.executable, "-m", "fastaed", "status", "results/cam", "--digests"]
    few = [word for key, value in FEW.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    told = subprocess.run([*status, *few], cwd=ablated, capture_output=True, text=True, check=False)
    assert "everything is up to date" in told.stdout, told.stdout + told.stderr
    assert re.search(r"^evaluate +3 ", told.stdout, re.MULTILINE)


VARIANT = {"distill_variant": 1, "score_variant": 2}


@pytest.mark.parametrize(
    ("variant", "changes", "jobs"),
    [
        ("# Off: nothing new.\ndistill: {average_decay: 0.0}", {}, {}),
        ("distill: {average_decay: 0.5}", {}, {**VARIANT, "ablation": 1}),
        (
            "{pretrain: {seed: 2}, distill: {average_decay: 0}}",
            {},
            {"pretrain_variant": 1, **VARIANT, "ablation": 1},
        ),
        (None, {"ablation": {"seeds": 2}}, {"distill_variant": 2, "score_variant": 4, "ablation": 1}),
        (None, {"ablation": {"variants": ["base"]}}, {"ablation": 1}),
    ],
    ids=["comment", "setting", "phase 1", "one seed more", "one variant less"],
)
def test_a_variants_jobs_depend_on_its_file_alone(
    ablated: Path, variant: str | None, changes: dict[str, Any], jobs: dict[str, int]
) -> None:
    file = ablated / "config/ablation/no-average.yaml"
    before = file.read_text()
    file.write_text(variant or before)
    try:
        said = run(ablation_command(ablated, "--dry-run", **changes))
    finally:
        file.write_text(before)
    assert jobs_of(said) == Counter(jobs)
    if variant:
        outputs = re.findall(r"^    output: results/cam/ablation/([^/]+)/", said, re.MULTILINE)
        assert set(outputs) <= {"no-average"}


# --- the detector's weights ------------------------------------------------------------


def test_weights_that_were_downloaded_are_no_news(finished: Path, checkout: Path, tmp_path: Path) -> None:
    """They are not there when the first run is planned, but before the second; nobody downloads twice."""
    made = tmp_path / "made.pt"
    open_ultralytics().YOLO("yolov8n.yaml", task="detect").save(str(made))
    module = checkout / "fastaed/yolo.py"
    download = "downloads.attempt_download_asset(str(target), retry=0, progress=False)"
    code = module.read_text()
    assert download in code
    module.write_text(code.replace(download, f"shutil.copyfile({str(made)!r}, target)"))
    folder = tmp_path / "cam"
    make_camera(finished / "data/demo", folder)
    own = ["--config", "detect={detector: yolo, weights: yolov8n.pt, input_size: 64}"]
    command = [*snakemake_in(folder, checkout), *LIMITS, "results/cam/detect/train/000.json"]
    assert jobs_of(run([*command, *own])) == {"weights": 1, "decode": 1, "detect": 1}
    assert (folder / "weights/yolov8n.pt").read_bytes() == made.read_bytes()
    assert jobs_of(run([*command, "--dry-run", *own])) == Counter()
    (folder / "weights/yolov8n.pt").unlink()
    assert jobs_of(run([*command, "--dry-run", *own])) == Counter()


@pytest.mark.parametrize(
    ("eyes", "density_eyes", "jobs"),
    [
        (None, None, {"detect"}),
        ([2, 4, 4, 6], None, {"detect", "distill"}),
        (None, [2, 4, 4, 6], {"detect", "teach"}),
    ],
)
def test_other_weights_make_who_sees_through_them_anew(
    finished: Path,
    tmp_path: Path,
    eyes: list[int] | None,
    density_eyes: list[int] | None,
    jobs: set[str],
) -> None:
    """The jobs of a student or a density with eyes name them, and read them as detect does."""
    folder = tmp_path / "cam"
    make_camera(finished / "data/demo", folder)
    (folder / "mine").mkdir()
    student = json.dumps({**STUDENT, "eyes": eyes})
    own = [
        f"pretrain={{student: {student}}}",
        f"distill={{student: {student}}}",
        "detect={detector: yolo, weights: mine/a.pt}",
        f"teach={{teachers: [density], density: {{eyes: {json.dumps(density_eyes)}}}}}",
    ]
    target = "results/cam/distill/student.safetensors"
    command = [*snakemake_in(folder), *LIMITS, target, "--dry-run", "--printshellcmds", "--config", *own]
    (folder / "mine/a.pt").write_bytes(b"weights")
    said = run(command)
    readers = re.findall(r"^rule (\w+):\n    input: .*mine/a\.pt", said, re.MULTILINE)
    assert set(readers) == jobs
    assert ("--detector mine/a.pt" in said) is (jobs != {"detect"})

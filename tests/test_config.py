"""The configuration: defaults in one place, mistakes in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fastaed.config import (
    STUDENTS,
    Config,
    DetectSettings,
    DistillSettings,
    SsmtlSettings,
    StudentSettings,
    TeachSettings,
    load_config,
    load_variant,
    read_settings,
    settings_json,
)
from fastaed.errors import ConfigError

CONFIG = Path(__file__).resolve().parent.parent / "config"


@pytest.mark.parametrize("file", sorted(CONFIG.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_configurations_are_valid(file: Path) -> None:
    assert load_config(file.stem, CONFIG).name == file.stem


def write(folder: Path, text: str) -> Path:
    (folder / "cam.yaml").write_text(text)
    return folder


def test_file_says_only_what_differs_and_overrides_win(tmp_path: Path) -> None:
    write(tmp_path, "detect: {confidence: 0.3, batch_size: 4}")
    config = load_config("cam", tmp_path, {"detect": {"confidence": 0.7}, "data": "/footage"})
    assert (config.detect.confidence, config.detect.batch_size) == (0.7, 4)
    assert config.data_path == Path("/footage")
    assert load_config("cam", tmp_path).data_path == Path("data/cam")


def test_overrides_as_snakemake_hands_them_over_are_text(tmp_path: Path) -> None:
    write(tmp_path, "")
    overrides = {
        "data": "/a: b",
        "distill": {"positives": "null", "epochs": "3"},
        "detect": {"weights": "a.pt"},
    }
    config = load_config("cam", tmp_path, overrides)
    assert config.distill.positives is None
    assert (config.distill.epochs, config.detect.weights, config.data.path) == (3, "a.pt", "/a: b")


def test_generated_data_never_lies_over_given_footage(tmp_path: Path) -> None:
    write(tmp_path, "data: {demo: {}}")
    assert load_config("cam", tmp_path, {"data": "/footage"}).data_path == Path("data/cam")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("detect: {confidense: 0.3}", ["detect.confidense", "allowed here", "confidence"]),
        ("detect: {confidence: 1.3}", ["detect.confidence", "1.3", "less than or equal to 1"]),
        ("teach: {teachers: [ssmtl, resnet]}", ["teach.teachers.1", "'resnet'", "'density'"]),
        ("teach: {ssmtl: {epoch: 3}}", ["teach.ssmtl.epoch", "epochs"]),
        ("teach: {teachers: [baf, baf]}", ["twice"]),
        ("distill: {seed: -1}", ["distill.seed", "-1", "greater than or equal to 0"]),
        ("distill: {teachers: [baf, baf]}", ["distill.teachers", "twice"]),
        ("{teach: {teachers: [baf]}, distill: {teachers: [ssmtl]}}", ["ssmtl", "teach.teachers (baf)"]),
        ("ablation: {variants: [a/b]}", ["ablation.variants.0", "a/b"]),
        ("pretrain: {student: {blocks: 2}}", ["must be equal"]),
        ("distill: {student: volt}", ["distill.student", "'volt'", "published, bolt"]),
        ("distill: {student: {stem_stride: 2}}", ["channels", "stride 2 needs 4 numbers, not 5"]),
        ("- a\n- b", ["sections"]),
        ("detect: {", ["not valid YAML"]),
    ],
)
def test_a_mistake_names_key_value_and_what_is_allowed(tmp_path: Path, text: str, said: list[str]) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config("cam", tmp_path)
    assert all(words in str(caught.value) for words in ["cam.yaml", *said])
    assert "\n" not in str(caught.value)


def test_missing_configuration_names_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(ConfigError, match=r"avenu.*there are: cam"):
        load_config("avenu", tmp_path)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Config(name="a").detect.confidence = 0.1  # type: ignore[misc]


def test_canonical_json_survives_the_way_to_a_stage() -> None:
    settings = DetectSettings(confidence=0.25)
    text = settings_json(settings)
    assert read_settings(DetectSettings, text) == settings
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_stage_sees_defaults_files_and_single_changes(tmp_path: Path) -> None:
    assert read_settings(DetectSettings, None) == DetectSettings()
    file = tmp_path / "detect.yaml"
    file.write_text("confidence: 0.2")
    assert read_settings(DetectSettings, str(file), {"batch_size": 2}) == DetectSettings(
        confidence=0.2, batch_size=2
    )
    with pytest.raises(ConfigError, match="does not exist"):
        read_settings(DetectSettings, str(tmp_path / "no.yaml"))


def test_teachers_settings_can_be_given_without_the_others() -> None:
    text = settings_json(TeachSettings(), only={"folds", "seed", "density"})
    assert set(json.loads(text)) == {"folds", "seed", "density"}
    assert read_settings(TeachSettings, text) == TeachSettings()


def test_a_student_may_be_named(tmp_path: Path) -> None:
    write(tmp_path, "pretrain: {student: bolt}\ndistill: {student: bolt}")
    student = load_config("cam", tmp_path).distill.student
    assert student == StudentSettings.model_validate(STUDENTS["bolt"])
    assert StudentSettings.model_validate("published") == StudentSettings()
    assert StudentSettings.model_validate(student.model_dump(mode="json")) == student


def test_sizes_are_chosen_by_one_word_and_sections_win_over_it(tmp_path: Path) -> None:
    text = "sizes: small\nteach: {ssmtl: {epochs: 2}}\ndistill: {epochs: 3}\n"
    (tmp_path / "mycam.yaml").write_text(text)
    small = load_config("mycam", tmp_path, {"label": {"cell": 7}})
    assert (small.teach.ssmtl.epochs, small.distill.epochs, small.label.cell) == (2, 3, 7)
    assert (small.teach.ssmtl.channels, small.distill.batch_size) == ((8, 16, 32), 16)
    assert small.distill.student == small.pretrain.student == StudentSettings.model_validate("hawk")
    published = load_config("mycam", tmp_path, {"sizes": "published"})
    assert published.teach.ssmtl == SsmtlSettings(epochs=2)
    assert published.distill == DistillSettings(epochs=3)
    large = load_config("mycam", tmp_path, {"sizes": "large"})
    assert (large.teach.ssmtl, large.teach.baf) == (published.teach.ssmtl, published.teach.baf)
    assert (published.teach.density.eyes, large.teach.density.eyes) == (None, (16, 32, 64, 128))
    assert large.distill.student == large.pretrain.student == small.distill.student
    assert (large.distill.scale_weights, large.distill.epochs) == (small.distill.scale_weights, 3)
    with pytest.raises(ConfigError, match=r"sizes = 'tiny': Input should be 'published', 'large' or 'small'"):
        load_config("mycam", tmp_path, {"sizes": "tiny"})


def test_the_student_learns_from_all_teachers_unless_some_are_named() -> None:
    assert Config(name="a").distilled_teachers == ("ssmtl", "baf", "density")
    named = Config.model_validate({"name": "a", "distill": {"teachers": ["baf"]}})
    assert named.distilled_teachers == ("baf",)


def test_a_variant_is_laid_over_the_data_sets_own_settings(tmp_path: Path) -> None:
    write(tmp_path, "distill: {epochs: 7, positives: {share: 0.2}, batch_size: 4}")
    (tmp_path / "no-replays.yaml").write_text("distill: {positives: {replays: 0}, batch_size: 2}")
    variant = load_variant(load_config("cam", tmp_path), tmp_path / "no-replays.yaml")
    assert variant.distill.positives is not None
    assert (variant.distill.positives.share, variant.distill.positives.replays) == (0.2, 0)
    assert (variant.distill.epochs, variant.distill.batch_size, variant.name) == (7, 2, "cam")
    budget = load_config("cam", tmp_path, {"ablation": {"epochs": 2}})
    assert load_variant(budget, tmp_path / "no-replays.yaml").distill.epochs == 2
    assert budget.distill.epochs == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label: {cell: 3}", ["unknown key 'label'", "distill, pretrain"]),
        ("distill: {epoch: 3}", ["distill.epoch", "epochs"]),
        ("pretrain: {student: {blocks: 2}}", ["must be equal"]),
        ("a: b: c", ["not valid YAML"]),
    ],
)
def test_a_mistake_in_a_variant_names_its_file(tmp_path: Path, text: str, said: list[str]) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_variant(Config(name="cam"), tmp_path / "odd.yaml")
    assert all(words in str(caught.value) for words in ["odd.yaml", *said])


def test_a_missing_variant_names_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").touch()
    with pytest.raises(ConfigError, match=r"no variant 'bas'.*there are: base"):
        load_variant(Config(name="cam"), tmp_path / "bas.yaml")


def test_a_student_with_eyes_needs_a_detector_to_see_through(tmp_path: Path) -> None:
    (tmp_path / "mycam.yaml").write_text("sizes: small\n")
    assert load_config("mycam", tmp_path).distill.student.eyes == (16, 32, 64, 128)
    with pytest.raises(
        ConfigError,
        match=r"detect\.detector is motion: set it to yolo, or .* to bolt; the density .*\.eyes to null",
    ):
        load_config("mycam", tmp_path, {"detect": {"detector": "motion"}})
    for other in ("some/yolo11n.pt", "yolov8s.pt", "yolov8x-seg.onnx"):
        with pytest.raises(ConfigError, match=rf"detect\.weights is {other}: set it to yolov8n\.pt, or"):
            load_config("mycam", tmp_path, {"detect": {"weights": other}})
    for mine in ("yolov8n_int8.onnx", "yolov8mine.pt", "best.pt"):
        load_config("mycam", tmp_path, {"detect": {"weights": mine}})
    student = {"student": {**STUDENTS["hawk"], "eyes": (32, 64, 128, 256)}}
    wide = {"detect": {"weights": "yolov8s.pt"}, "pretrain": student, "distill": student}
    with pytest.raises(ConfigError, match=r"density teacher .* or teach\.density\.eyes to null"):
        load_config("mycam", tmp_path, wide)
    wide["teach"] = {"density": {"eyes": (32, 64, 128, 256)}}
    assert load_config("mycam", tmp_path, wide).distill.student.eyes == (32, 64, 128, 256)
    blind: dict[str, Any] = {name: {"student": "bolt"} for name in ("pretrain", "distill")}
    with pytest.raises(
        ConfigError, match=r"density teacher has the eyes of YOLO, but detect\.detector is mo"
    ):
        load_config("mycam", tmp_path, {"detect": {"detector": "motion"}, **blind})
    blind["teach"] = {"density": {"eyes": None}}
    assert (
        load_config("mycam", tmp_path, {"detect": {"detector": "motion"}, **blind}).distill.student.eyes
        is None
    )

"""The one configuration: every default lives here, and a file in `config/` says only what differs.

`load_config` merges a data set's YAML file with overrides from the command line and validates the result
once, before any job starts. A stage receives its own section only, as canonical JSON (`settings_json`) that
it validates back into the same class (`read_settings`).

This module imports no torch and takes a tenth of a second to load.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fastaed.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Eyes = tuple[Positive, Positive, Positive, Positive]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what all random generators take
TeacherName = Literal["ssmtl", "baf", "density"]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
Precision = Literal["auto", "float32", "bfloat16"]


def _each_once(names: tuple[TeacherName, ...]) -> tuple[TeacherName, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a teacher is named twice")
    return names


TeacherNames = Annotated[tuple[TeacherName, ...], Field(min_length=1), AfterValidator(_each_once)]


class Settings(BaseModel):
    """Base of all sections: immutable, and a key that is not known is an error."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True, extra="forbid")


class DemoSettings(Settings):
    """The generated data set: a camera over a walkway (`fastaed demo`)."""

    seed: Seed = 7
    train_clips: Positive = 6
    test_clips: Annotated[int, Field(ge=3)] = 6  # kinds of event take turns: look, motion, place
    frames: Annotated[int, Field(ge=30)] = 150  # per clip
    width: Annotated[int, Field(ge=64, multiple_of=2)] = 320  # even: the codecs cut odd sizes
    height: Annotated[int, Field(ge=64, multiple_of=2)] = 180
    walkers: Positive = 5  # people in view, about
    detector_images: Annotated[int, Field(ge=2)] = 400  # pictures that the demo's own YOLO is trained on
    detector_epochs: Positive = 14


class DataSettings(Settings):
    """Where the raw footage lies and how it is laid out."""

    layout: Literal["folder", "avenue", "shanghaitech", "ped2"] = "folder"
    path: str | None = None  # default: data/<name of the data set>
    demo: DemoSettings | None = None  # generate the data set first


class DecodeSettings(Settings):
    """Raw video to frame stores."""

    width: Annotated[int, Field(ge=32)] = 640
    height: Annotated[int, Field(ge=32)] = 360


class DetectSettings(Settings):
    """Objects in each frame."""

    detector: Literal["yolo", "motion", "yolo+motion"] = "yolo"
    weights: str = (
        "yolov8n.pt"  # name (looked for in weights/, else downloaded by ultralytics) or path, .pt or .onnx
    )
    input_size: Positive = 640  # longer side of the detector's input, pixels
    confidence: Fraction = 0.5
    overlap: Fraction = 0.7  # IoU above which non-maximum suppression keeps one box of two
    minimum_side: Positive = 10  # pixels of the stored frame; smaller boxes are dropped
    nested: Fraction = 0.9  # a box with this share of its area inside a larger one is dropped
    batch_size: Positive = 16  # frames at once
    motion_threshold: Annotated[float, Field(gt=0)] = (
        16.0  # squared distance of a pixel from the background model
    )
    device: Device = "auto"


class SsmtlSettings(Settings):
    """Self-supervised multi-task teacher (Georgescu et al., CVPR 2021), at the published size."""

    channels: tuple[Positive, Positive, Positive] = (32, 64, 64)
    convs_per_stage: Positive = 2
    epochs: Positive = 30
    tubes_per_epoch: Positive = 100_000  # drawn anew each epoch where there are more
    batch_size: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    distillation_weight: Annotated[float, Field(ge=0)] = 0.2
    resnet_weights: str | None = None  # torchvision's file, .pth or .safetensors; null: YOLO's classes alone
    device: Device = "auto"
    precision: Precision = "auto"


class BafSettings(Settings):
    """Background-agnostic autoencoders with adversarial decoders (Georgescu et al., TPAMI 2022)."""

    channels: tuple[Positive, Positive, Positive] = (32, 32, 16)
    epochs: Positive = 20
    classifier_epochs: Positive = 5
    bank_size: Positive = 40_000  # objects drawn once and held in memory, 72 KB each
    batch_size: Positive = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    adversarial_weight: Annotated[float, Field(ge=0)] = 0.1
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    device: Device = "auto"
    precision: Precision = "auto"


class DensitySettings(Settings):
    """Speeds, and neighbours over looks and geometry (after Reiss & Hoshen, AI-VAD)."""

    neighbours: Positive = 3
    bank_size: Positive = 20_000  # objects drawn and kept
    eyes: Eyes | None = (
        None  # channels of the detector's first layers, by which each object is looked at closely as well
    )
    device: Device = "auto"  # of the eyes
    precision: Precision = "auto"


class TeachSettings(Settings):
    """Object-level teachers, each fitted once per fold of training clips."""

    teachers: TeacherNames = ("ssmtl", "baf", "density")
    folds: Annotated[int, Field(ge=2)] = 3  # clip i of the training split is held out of fold i modulo folds
    seed: Seed = 1
    low_percentile: Annotated[float, Field(ge=0, lt=100)] = 50.0  # of held-out normal scores: calibrated to 0
    high_percentile: Annotated[float, Field(gt=0, le=100)] = (
        99.0  # of held-out normal scores: calibrated to 0.5
    )
    calibration_objects: Positive = 5_000  # held-out detections scored to find the percentiles
    ssmtl: SsmtlSettings = SsmtlSettings()
    baf: BafSettings = BafSettings()
    density: DensitySettings = DensitySettings()

    @model_validator(mode="after")
    def _percentiles_are_ordered(self) -> "TeachSettings":
        if self.low_percentile >= self.high_percentile:
            raise ValueError("low_percentile must be below high_percentile")
        return self


class LabelSettings(Settings):
    """Teachers' scores painted into anomaly maps."""

    cell: Positive = 20  # pixels of the stored frame per cell of the painted grid
    smooth: Annotated[int, Field(ge=0)] = 5  # side of the 3-D mean filter in cells and frames, odd; 0: none
    device: Device = "auto"

    @model_validator(mode="after")
    def _filter_has_a_middle(self) -> "LabelSettings":
        if self.smooth and self.smooth % 2 == 0:
            raise ValueError(f"smooth = {self.smooth}: the side must be odd, or 0")
        return self


_BOLT: dict[str, Any] = {
    "stem_stride": 2,
    "channels": (16, 32, 96, 192),
    "blocks": 3,
    "heads": 3,
    "head_width": 64,
    "mlp_ratio": 2,
    "shared_head": True,
}
_EYES = {"n": (16, 32, 64, 128), "s": (32, 64, 128, 256)}  # channels of YOLOv8n and s; larger ones are deeper
STUDENTS: dict[str, dict[str, Any]] = {
    "published": {},
    "bolt": _BOLT,  # a quarter of the published operations
    "hawk": {**_BOLT, "eyes": _EYES["n"]},  # bolt with the eyes of YOLOv8n
}


class StudentSettings(Settings):
    """Size of the student, or the name of one in `STUDENTS`; the defaults are the published network."""

    stem_stride: Literal[1, 2, 4] = 1  # of the 7x7 convolution that meets the pixels
    channels: tuple[Positive, ...] = (
        16,
        32,
        64,
        128,
        256,
    )  # of the stem and of each convolution of stride 2 after it, down to 1/16 of the size
    blocks: Positive = 5
    heads: Positive = 5
    head_width: Positive = 64
    mlp_ratio: Positive = 4
    map_channels: Positive = 64
    shared_head: bool = False  # true: one head, of whose last convolution each scale has a channel
    eyes: Eyes | None = (
        None  # channels of the detector's first layers, through which the student sees frame t as well
    )

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in STUDENTS:
            raise ValueError(f"no student is called '{given}' (there are: {', '.join(STUDENTS)})")
        return STUDENTS[given]

    @model_validator(mode="after")
    def _ends_at_a_sixteenth(self) -> "StudentSettings":
        levels = {1: 5, 2: 4, 4: 3}[self.stem_stride]
        if len(self.channels) != levels:
            raise ValueError(
                f"channels: a stem of stride {self.stem_stride} needs {levels} numbers, not "
                f"{len(self.channels)}, so that the features end at 1/16 of the frame's size"
            )
        return self


PositiveKind = Literal["paste", "texture", "speed", "fast", "glide", "stranger"]


class PositivesSettings(Settings):
    """Synthetic anomalies composited into the student's training frames."""

    share: Fraction = 0.4  # of the training samples that receive one or more
    kinds: Annotated[tuple[PositiveKind, ...], Field(min_length=1)] = get_args(PositiveKind)
    most_objects: Positive = 3  # laid over one sample by `paste` and `texture`
    replays: Fraction = 0.25  # of the samples that receive a normal walker or two, anomaly or not


class PretrainSettings(Settings):
    """Phase 1: the student's encoder learns to reproduce frames."""

    student: StudentSettings = StudentSettings()
    epochs: Annotated[int, Field(ge=0)] = 35  # 0: no pre-training
    batch_size: Positive = 48
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    samples_per_epoch: Positive = 100_000
    seed: Seed = 1
    device: Device = "auto"
    precision: Precision = "auto"


class DistillSettings(Settings):
    """Phase 2: the student learns the teachers' maps."""

    student: StudentSettings = StudentSettings()
    teachers: TeacherNames | None = None  # whose maps are learnt; null: all of teach.teachers
    positives: PositivesSettings | None = PositivesSettings()  # null: normal footage only
    epochs: Positive = 35
    batch_size: Positive = 48
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 5e-6
    halve_every_epochs: Positive = 10
    scale_weights: tuple[Weight, Weight, Weight] = (1, 1, 1)  # of the errors of 1x1, 4x4 and 16x16 maps
    adversarial_weight: Weight = 0.1
    average_decay: Annotated[float, Field(ge=0, lt=1)] = (
        0.998  # of the averaged weights that are kept; 0: last weights
    )
    samples_per_epoch: Positive = 100_000
    workers: Annotated[int, Field(ge=0)] = 0  # processes that make batches; 0: threads, enough for most GPUs
    seed: Seed = 1
    device: Device = "auto"
    precision: Precision = "auto"


class ScoreSettings(Settings):
    """Student and teachers on the test split."""

    batch_size: Positive = 16
    device: Device = "auto"
    precision: Precision = "auto"


class EvaluateSettings(Settings):
    """The table, its intervals and the page; nothing here is chosen on labels."""

    sigma_frames: Annotated[float, Field(gt=0)] = (
        21.0  # of the temporal Gaussian, as published; fixed beforehand
    )
    guard_frames: Annotated[int, Field(ge=0)] = 0  # left out of all AUCs on either side of a change of label
    random_seed: Seed = 0
    random_draws: Positive = 20  # the random baseline's values are means over these
    resamples: Annotated[int, Field(ge=2000)] = 2000  # of clips, for 95 % intervals
    resampling_seed: Seed = 0
    region_overlap: Fraction = 0.1  # IoU from which a detection finds a true region, for RBDC and TBDC
    track_share: Fraction = 0.1  # of a track's regions from which it is found, for TBDC
    event_overlap: Fraction = 0.5  # share of an event that alarms cover, and of an alarm that events cover
    join_frames: Annotated[int, Field(ge=0)] = 12  # a longer gap parts two events or alarms
    normal_percentile: Annotated[float, Field(gt=0, le=100)] = 99.0  # of normal scores: the threshold
    frames_per_second: Annotated[float, Field(gt=0)] | None = None  # null: as the frame stores have it
    frame_size: tuple[Positive, Positive] | None = None  # width, height; null: as the frame stores have it
    most_shift_frames: Positive = 10  # scores are slid this far against labels, for a warning
    worst_frames: Annotated[int, Field(ge=0)] = 6  # misses and false alarms shown, of each


class TrialStrengths(Settings):
    """Kinds of synthetic anomaly and the strengths that take turns; an empty list leaves a kind out."""

    object: tuple[Annotated[float, Field(gt=0)], ...] = (0.7, 1.0, 1.5)  # size; 1: as beside people there
    texture: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.25, 0.5, 1.0)  # contrast; 1: black to white
    fast: tuple[Annotated[float, Field(gt=1)], ...] = (2.0, 4.0, 6.0)  # times the pace of people there
    skip: tuple[Annotated[int, Field(ge=2)], ...] = (2, 3, 4)  # frames from one to the next
    ride: tuple[Annotated[float, Field(gt=0)], ...] = ()  # times the pace of people there
    glide: tuple[Annotated[float, Field(gt=1)], ...] = ()  # likewise; both for where all else is told
    reverse: tuple[Literal[1], ...] = ()  # [1]: time runs backwards; hardly to be seen from afar, so left out


class TrialSettings(Settings):
    """Validation clips with synthetic anomalies: what is chosen is chosen on them, never on test labels."""

    seed: Seed = 1
    variants: Positive = 3  # trial clips made of each validation clip
    most_frames: Annotated[int, Field(ge=60)] = 600  # of a longer clip, an excerpt is used
    strengths: TrialStrengths = TrialStrengths()
    passers_by: bool = True  # somebody laid over normal frames, who walks as usual: a seam is no anomaly

    @model_validator(mode="after")
    def _some_kind_is_left(self) -> "TrialSettings":
        if not any(self.strengths.model_dump().values()):
            raise ValueError("strengths: all kinds are empty; name a strength of one")
        return self


class EvaluateTrialSettings(Settings):
    """What takes the place of evaluate's own values on the trial clips."""

    sigma_frames: Annotated[float, Field(gt=0)] = 3.0  # the events are short
    guard_frames: Annotated[int, Field(ge=0)] = (
        4  # events come and go at once, and the student looks 3 frames ahead and back
    )


class AblationSettings(Settings):
    """Students trained with one part off at a time, each part a file in `config/ablation/`."""

    variants: Annotated[tuple[Name, ...], Field(min_length=1)] | None = (
        None  # names of files; null: all that change something of this data set, and `base`
    )
    seeds: Positive = 3  # students of each variant: distill.seed and those that follow it
    epochs: Positive | None = (
        None  # of distillation, for all variants, halving as often; null: distill.epochs
    )


class ReportSettings(Settings):
    """Pictures."""

    sigma_frames: Annotated[float, Field(gt=0)] = 21.0
    worst_frames: Positive = 12  # in the contact sheet, those of the highest scores
    most_clips: Positive = 24  # with a score curve of their own; of more, those of the lowest AUC


_CLOSE_LOOK: dict[str, Any] = {"eyes": _EYES["n"]}
_HAWKS: dict[str, Any] = {  # what Ped2's trial chose
    "student": "hawk",
    "scale_weights": (1, 4, 16),  # or so few cells of an anomaly hardly count (EXPERIMENTS.md)
    "positives": {"share": 0.5},
}
SIZES: dict[str, dict[str, Any]] = {
    "published": {},
    "large": {  # published teachers and schedules
        "teach": {"density": _CLOSE_LOOK},
        "pretrain": {"student": "hawk"},
        "distill": _HAWKS,
    },
    "small": {  # those of docs/results/ped2
        "teach": {
            "folds": 2,
            "ssmtl": {
                "channels": (8, 16, 32),
                "convs_per_stage": 1,
                "epochs": 12,
                "tubes_per_epoch": 4000,
                "batch_size": 32,
            },
            "baf": {"channels": (16, 16, 8), "epochs": 6, "classifier_epochs": 6, "bank_size": 5000},
            "density": _CLOSE_LOOK,
        },
        "pretrain": {"student": "hawk", "epochs": 1, "samples_per_epoch": 2000, "batch_size": 16},
        "distill": {
            **_HAWKS,
            "epochs": 12,
            "samples_per_epoch": 2500,
            "batch_size": 16,
            "learning_rate": 6e-4,  # 1e-3 fits the maps worse (EXPERIMENTS.md)
            "halve_every_epochs": 4,
        },
    },
}


class Config(Settings):
    """A data set's whole configuration, one section a stage."""

    name: Name
    sizes: Literal["published", "large", "small"] = (
        "published"  # of teachers, student and their schedules, where the sections say nothing: for a GPU as
        # published, for a GPU with hawk as the student, or what two cores train in an evening
    )
    clips_per_batch: Positive = 32  # clips handled by one job of decode, detect, label and score
    validation_every: Annotated[int, Field(ge=2)] = (
        8  # every so many-th training clip is kept from the student: thresholds and choices are made on it
    )
    seeds: Positive = (
        1  # students distilled: with distill.seed and those that follow; auc.csv has their mean and spread
    )
    data: DataSettings = DataSettings()
    decode: DecodeSettings = DecodeSettings()
    detect: DetectSettings = DetectSettings()
    teach: TeachSettings = TeachSettings()
    label: LabelSettings = LabelSettings()
    pretrain: PretrainSettings = PretrainSettings()
    distill: DistillSettings = DistillSettings()
    score: ScoreSettings = ScoreSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    trial: TrialSettings = TrialSettings()
    evaluate_trial: EvaluateTrialSettings = EvaluateTrialSettings()
    report: ReportSettings = ReportSettings()
    ablation: AblationSettings = AblationSettings()

    @model_validator(mode="after")
    def _phases_build_one_student(self) -> "Config":
        if self.pretrain.student != self.distill.student:
            raise ValueError(
                "pretrain.student and distill.student must be equal: one network goes through both"
            )
        return self

    @model_validator(mode="after")
    def _sees_through_a_detector(self) -> "Config":
        seeing = (
            ("student", self.distill.student.eyes, "pretrain.student and distill.student to bolt"),
            ("density teacher", self.density_eyes, "teach.density.eyes to null"),
        )
        problems = (_eyes_problem(*one, self.detect) for one in seeing)
        if found := [problem for problem in problems if problem]:
            raise ValueError("; ".join(found))
        return self

    @model_validator(mode="after")
    def _distills_what_is_taught(self) -> "Config":
        for teacher in self.distilled_teachers:
            if teacher not in self.teach.teachers:
                raise ValueError(
                    f"distill.teachers names {teacher}, which is not among teach.teachers "
                    f"({', '.join(self.teach.teachers)}): add it there or leave it out here"
                )
        return self

    @property
    def distilled_teachers(self) -> tuple[TeacherName, ...]:
        """Teachers whose maps the student learns."""
        return self.distill.teachers or self.teach.teachers

    @property
    def density_eyes(self) -> Eyes | None:
        """The detector's layers that the density teacher looks through, if there is one and it does."""
        return self.teach.density.eyes if "density" in self.teach.teachers else None

    @property
    def trial_evaluation(self) -> EvaluateSettings:
        """Evaluate's section as it holds for the trial clips."""
        return self.evaluate.model_copy(update=self.evaluate_trial.model_dump())

    @property
    def data_path(self) -> Path:
        """Folder of the raw footage; generated footage always lies in data/<name>, never over given one."""
        given = self.data.path if self.data.demo is None else None
        return Path(given) if given else Path("data") / self.name


_OF_VARIANTS = {"pretrain", "distill"}  # sections that a variant of an ablation may change


def _eyes_problem(whose: str, eyes: Eyes | None, blind: str, detect: DetectSettings) -> str | None:
    """What keeps these eyes from being those of the detector, as far as the configuration tells."""
    if eyes is None:
        return None
    if "yolo" not in detect.detector:
        return (
            f"the {whose} has the eyes of YOLO, but detect.detector is {detect.detector}: set it to yolo, "
            f"or {blind}"
        )
    named = re.match(r"yolov?(\d+)(?:([nsmlx])(?![a-z]))?", Path(detect.weights).name)
    of_another_width = named and named[2] and _EYES.get(named[2]) != eyes
    if named and (named[1] != "8" or of_another_width):
        return (
            f"the {whose} has the eyes of YOLOv8 with {eyes} channels, but detect.weights is "
            f"{detect.weights}: set it to yolov8n.pt, or {blind}"
        )
    return None


def load_config(name: str, folder: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration of data set `name` from `folder/<name>.yaml`.

    Args:
        name: the data set, as in `results/<name>/auc.csv`.
        folder: where the YAML files lie.
        overrides: nested values that win over the file; `data: /path` is short for `data: {path: /path}`.

    Raises:
        ConfigError: no such file, not YAML, an unknown key or a value that is not allowed.
    """
    file = folder / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none"
        raise ConfigError(
            f"no configuration for data set '{name}': {file} does not exist (there are: {known})"
        )
    merged = _merge(_sections(file), _long_form(overrides or {}))
    sizes = merged.get("sizes")
    if isinstance(sizes, str):
        merged = _merge(SIZES.get(sizes, {}), merged)
    return _validate(Config, {"name": name, **merged}, str(file))


def load_variant(config: Config, file: Path) -> Config:
    """A data set's configuration with one variant of its ablation laid over it.

    Args:
        config: of the data set.
        file: YAML with sections `pretrain` and `distill`, which says only what differs.

    Raises:
        ConfigError: no such file, not YAML, another section, or a value that is not allowed.
    """
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in file.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"no variant '{file.stem}': {file} does not exist (there are: {known})")
    values = _sections(file)
    for name in values.keys() - _OF_VARIANTS:
        raise ConfigError(f"{file}: unknown key '{name}' (allowed here: {', '.join(sorted(_OF_VARIANTS))})")
    merged = _merge(config.model_dump(mode="json"), values)
    if config.ablation.epochs is not None:
        whole, part = merged["distill"], config.ablation.epochs
        halve = max(1, round(whole["halve_every_epochs"] * part / whole["epochs"]))
        merged = _merge(merged, {"distill": {"epochs": part, "halve_every_epochs": halve}})
    return _validate(Config, merged, str(file))


def _sections(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file} must hold sections with keys, not a {type(values).__name__}")
    return values


Section = TypeVar("Section", bound=Settings)


def settings_json(section: Settings, only: set[str] | None = None) -> str:
    """Canonical JSON of a section: equal settings give equal text, whatever the order in the file."""
    return json.dumps(section.model_dump(mode="json", include=only), sort_keys=True, separators=(",", ":"))


def read_settings(
    section: type[Section], text: str | None, overrides: Mapping[str, Any] | None = None
) -> Section:
    """A stage's settings from the JSON text of a rule, a YAML file's path, or nothing (all defaults).

    Raises:
        ConfigError: not JSON or YAML, an unknown key or a value that is not allowed.
    """
    source = "the settings"
    values: Any = {}
    if text is not None and not text.lstrip().startswith("{"):
        source = text
        if not Path(text).is_file():
            raise ConfigError(f"settings file {text} does not exist")
        text = Path(text).read_text()
    if text is not None:
        try:
            values = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise ConfigError(f"{source} cannot be read: {' '.join(str(error).split())}") from error
    return _validate(section, _merge(values, overrides or {}), source)


def _long_form(overrides: Mapping[str, Any]) -> dict[str, Any]:
    data = overrides.get("data")
    if isinstance(data, str | Path):
        overrides = {**overrides, "data": {"path": str(data)}}
    return {key: _typed(value) for key, value in overrides.items()}


def _typed(value: Any) -> Any:
    """`2`, `true` and `null` from strings: `--config detect='{confidence: 0.2}'` arrives as text."""
    if isinstance(value, Mapping):
        return {key: _typed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_typed(part) for part in value]
    if isinstance(value, str):
        try:
            scalar = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        return scalar if scalar is None or isinstance(scalar, bool | int | float) else value
    return value


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _validate(section: type[Section], values: Mapping[str, Any], source: str) -> Section:
    try:
        return section.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_sentence(section, problem) for problem in error.errors())
        raise ConfigError(f"{source}: {problems}") from error


def _sentence(section: type[Settings], problem: Any) -> str:
    """Key, value and what is allowed, for one of pydantic's findings."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}' (allowed here: {', '.join(_keys_beside(section, problem['loc']))})"
    return f"{key} = {problem['input']!r}: {problem['msg']}" if key else str(problem["msg"])


def _keys_beside(section: type[Settings], location: tuple[str | int, ...]) -> list[str]:
    model: Any = section
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(
            option for option in options if isinstance(option, type) and issubclass(option, Settings)
        )
    return sorted(model.model_fields)

"""What the workflow needs to know about a data set before any job runs: its clips, batches, labels and folds.

The rules in `workflow/` ask this module and nothing else. It imports no torch.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fastaed import demo
from fastaed.config import Config, load_config, load_variant, settings_json
from fastaed.data import benchmarks
from fastaed.errors import DataError
from fastaed.sources import signature, weights_places

OFFICIAL = r"yolo(v?\d+)[a-z](-\w+)?u?\.pt"  # names of ultralytics' own weights, which can be downloaded
BASE = "base"  # the variant of an ablation in which nothing is off


@dataclass(frozen=True)
class Plan:
    """One data set's configuration and the clips found for it; each file beside them is looked for once.

    Attributes:
        config: the validated configuration.
        sources: split -> clip -> video file or folder of frames.
    """

    config: Config
    sources: Mapping[str, Mapping[str, Path]] = field(repr=False)
    _labels: dict[str, Path | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def clips(self, split: str) -> list[str]:
        """Clip names in their natural order.

        Args:
            split: `train` or `test` as the data set has them; of the training clips, `fitting` are those that
                the student learns from, `validation` those kept from it (the last, where there are few),
                `trial` what is made of these, each `<clip>-1`, `<clip>-2` ..., and `alike` those that the
                same folds of a teacher judge as these.
        """
        return self._clips[split]

    @cached_property
    def _clips(self) -> dict[str, list[str]]:
        train, test = list(self.sources["train"]), list(self.sources["test"])
        every = min(self.config.validation_every, len(train))
        validation = train[every - 1 :: every]
        kept = set(validation)
        variants = range(1, self.config.trial.variants + 1)
        fold = {clip: number % self.config.teach.folds for number, clip in enumerate(sorted(train))}
        judging = {fold[clip] for clip in validation}
        return {
            "train": train,
            "test": test,
            "validation": validation,
            "fitting": [clip for clip in train if clip not in kept],
            "trial": [f"{clip}-{variant}" for clip in validation for variant in variants],
            "alike": [clip for clip in train if fold[clip] in judging],
        }

    def batches(self, split: str) -> list[str]:
        """Names of the batches of clips that one job handles: `000`, `001`, ..."""
        return [_batch_name(number) for number in range(self._batch_of(len(self.clips(split)) - 1) + 1)]

    def clips_of_batch(self, split: str, batch: str) -> list[str]:
        """The clips of one batch: fixed blocks of the sorted list."""
        size = self.config.clips_per_batch
        return self.clips(split)[int(batch) * size : (int(batch) + 1) * size]

    def batches_with(self, split: str, clips: Iterable[str]) -> list[str]:
        """The batches of `train` or `test` that hold these clips."""
        place = self._places[split]
        return [_batch_name(number) for number in sorted({self._batch_of(place[clip]) for clip in clips})]

    @cached_property
    def _places(self) -> dict[str, dict[str, int]]:
        return {
            split: {clip: number for number, clip in enumerate(self.clips(split))}
            for split in ("train", "test")
        }

    def untrue_lists(self, folder: Path) -> list[Path]:
        """Lists of decoded clips that speak of a store, or a manifest, that is gone.

        Args:
            folder: `decode` of the data set's results.
        """
        untrue = []
        for split in ("train", "test"):
            there = {path.name for path in (folder / split).glob("*")}
            for batch in self.batches(split):
                listing = folder / f"{split}-{batch}.json"
                clips = self.clips_of_batch(split, batch)
                wanted = {f"{clip}{suffix}" for clip in clips for suffix in (".zarr", ".json")}
                if listing.exists() and not wanted <= there:
                    untrue.append(listing)
        return untrue

    def _batch_of(self, number: int) -> int:
        return number // self.config.clips_per_batch

    def made_from(self, clip: str) -> str:
        """The validation clip that a trial clip is made from."""
        return clip.rpartition("-")[0]

    def folds(self) -> list[str]:
        """Names of the folds each teacher is fitted on: `0`, `1`, ..."""
        return [str(fold) for fold in range(self.config.teach.folds)]

    def labels(self, clip: str) -> Path | None:
        """Ground truth of a test clip, None where there is none."""
        if clip not in self._labels:
            self._labels[clip] = self._find_labels(clip)
        return self._labels[clip]

    def _find_labels(self, clip: str) -> Path | None:
        if self.config.data.demo:
            return self.config.data_path / "labels" / f"{clip}.csv"
        return benchmarks.label_path(self.config.data.layout, self.config.data_path, clip)

    def all_labels(self) -> list[Path]:
        """Ground truth of every test clip, in the clips' order.

        Raises:
            DataError: some or all clips have none, so no AUC can be computed.
        """
        paths = {clip: self.labels(clip) for clip in self.clips("test")}
        missing = [clip for clip, path in paths.items() if path is None]
        if missing:
            raise DataError(
                f"data set '{self.config.name}' has no labels for test clip(s) {', '.join(missing[:5])}"
                f"{' ...' if len(missing) > 5 else ''}: AUC needs labels below {self.config.data_path}; "
                f"without them ask for results/{self.config.name}/report"
            )
        return [path for path in paths.values() if path is not None]

    def known_labels(self) -> list[Path]:
        """Ground truth of every test clip, or an empty list if not all clips have it."""
        paths = [self.labels(clip) for clip in self.clips("test")]
        return [path for path in paths if path is not None] if all(paths) else []

    def tracks(self) -> dict[str, Path]:
        """Test clip -> its track file, for those that have one."""
        return self._tracks

    @cached_property
    def _tracks(self) -> dict[str, Path]:
        if self.config.data.demo:
            return {
                clip: self.config.data_path / "tracks" / "test" / f"{clip}.csv" for clip in self.clips("test")
            }
        layout, root = self.config.data.layout, self.config.data_path
        found = ((clip, benchmarks.track_path(layout, root, clip)) for clip in self.clips("test"))
        return {clip: path for clip, path in found if path is not None}

    def settings(self, stage: str, *only: str) -> str:
        """Canonical JSON of a stage's section, for `teach` without the sections of other teachers."""
        section = getattr(self.config, stage)
        return settings_json(section, only=set(only) if only else None)

    def demo_settings(self) -> str:
        """Canonical JSON of the generated data set's section."""
        if self.config.data.demo is None:
            raise DataError(f"data set '{self.config.name}' is not a generated one: its data.demo is empty")
        return settings_json(self.config.data.demo)

    def detector_weights(self) -> list[Path]:
        """The detector's weights as a file that jobs depend on, there or downloaded; none for motion."""
        if self.config.detect.detector == "motion":
            return []
        *first, last = weights_places(self.config.detect.weights)
        if not first:
            return [last]
        there = [path for path in (*first, last) if path.is_file()]
        if not there and _is_official(last):
            return [last]
        return there[:1]

    def teacher_weights(self, teacher: str, to_fit: bool = True) -> list[Path]:
        """Weights that a teacher needs beside its own, as files that jobs depend on.

        Args:
            teacher: ssmtl, baf or density.
            to_fit: also those that are in its own once it is fitted.
        """
        if to_fit and teacher == "density" and self.config.teach.density.eyes:
            return self.detector_weights()
        given = self.config.teach.ssmtl.resnet_weights if teacher == "ssmtl" else None
        return [Path(given)] if given else []

    def contents(self, files: Iterable[Path]) -> str:
        """What tells given files from others of the same name; nothing for what the workflow makes itself.

        Weights with a name of ultralytics' are told by it, whether they are there yet or not.
        """
        return "" if self.config.data.demo else signature(path for path in files if not _is_official(path))

    def further_seeds(self) -> list[str]:
        """Seeds of the students that are trained beside the one, for the table's means and spreads."""
        return _seeds(self.config, self.config.seeds)[1:]

    def distill_settings(self, seed: str) -> str:
        """Canonical JSON of the section `distill` with another seed."""
        return _distill_settings(self.config, seed)

    def teach_settings(self, teacher: str) -> str:
        """The `teach` section as one teacher sees it: a changed `baf` key is no news to `ssmtl`."""
        mine = {"folds", "seed", "low_percentile", "high_percentile", "calibration_objects", teacher}
        return self.settings("teach", *mine)


def _is_official(path: Path) -> bool:
    return path.parent == Path("weights") and re.fullmatch(OFFICIAL, path.name) is not None


def _seeds(config: Config, count: int) -> list[str]:
    """distill.seed and those that follow it."""
    return [str(config.distill.seed + number) for number in range(count)]


def _distill_settings(config: Config, seed: str) -> str:
    return settings_json(config.distill.model_copy(update={"seed": int(seed)}))


def _batch_name(number: int) -> str:
    return f"{number:03d}"


def split_of(part: str) -> str:
    """The split whose folders hold the clips of a part, as of `Plan.clips`."""
    return part if part in ("test", "trial") else "train"


class Ablation:
    """The variants of a data set's training, each a student trained with one part off or changed.

    Args:
        config: of the data set.
        folder: where the variants' YAML files lie.

    Attributes:
        variants: name -> the configuration it amounts to, `base` first, then parts that are off. Where the
            data set names none, these are all but those that change nothing of it, or the same as another.

    Raises:
        ConfigError: a file is missing or wrong.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self._config = config
        named = config.ablation.variants
        there = sorted({BASE, *(file.stem for file in folder.glob("*.yaml"))}, key=_place)
        found = {name: load_variant(config, folder / f"{name}.yaml") for name in named or there}
        trainings = [_training(variant) for variant in found.values()]
        self.variants = {
            name: variant
            for number, (name, variant) in enumerate(found.items())
            if named or trainings[number] not in trainings[:number]
        }

    def seeds(self) -> list[str]:
        """Seeds that each variant is distilled with."""
        return _seeds(self._config, self._config.ablation.seeds)

    def pretrain_settings(self, variant: str) -> str:
        """Canonical JSON of the variant's section `pretrain`."""
        return settings_json(self.variants[variant].pretrain)

    def distill_settings(self, variant: str, seed: str) -> str:
        """Canonical JSON of the variant's section `distill`."""
        return _distill_settings(self.variants[variant], seed)

    def shares_pretraining(self, variant: str) -> bool:
        """Whether the variant starts from the same weights as the data set's own student."""
        return self.variants[variant].pretrain == self._config.pretrain


def _place(variant: str) -> tuple[bool, bool, str]:
    """Sorts the base before parts that are off, and these before what takes a part's place."""
    return variant != BASE, not variant.startswith("no-"), variant


def _training(config: Config) -> tuple[object, ...]:
    """Whatever makes two variants different students."""
    teachers = config.distilled_teachers
    return config.pretrain, config.distill.model_copy(update={"teachers": None}), set(teachers)


def plan(name: str, config_folder: Path, overrides: Mapping[str, Any]) -> Plan:
    """Read the configuration of data set `name` and find its clips.

    Raises:
        ConfigError: the configuration is missing or wrong.
        MissingDataError: the footage is not where it is looked for.
    """
    config = load_config(name, config_folder, overrides)
    return Plan(config, _sources(config))


def _sources(config: Config) -> dict[str, dict[str, Path]]:
    if config.data.demo:
        return {
            split: {clip: config.data_path / split / f"{clip}.mp4" for clip in clips}
            for split, clips in demo.plan(config.data.demo).items()
        }
    layout, root = config.data.layout, config.data_path
    return {
        "train": benchmarks.list_clips(layout, root, "train"),
        "test": benchmarks.list_clips(layout, root, "test"),
    }

"""Teachers by name, and the files that hold them: weights, settings, calibration and provenance in one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from torch import Tensor

from fastaed.config import TeacherName, TeachSettings
from fastaed.errors import ConfigError, WeightsError
from fastaed.teachers.baf import Baf
from fastaed.teachers.density import Density
from fastaed.teachers.ssmtl import Ssmtl
from fastaed.teachers.teacher import Teacher
from fastaed.weights import load_weights, save_weights


def build_teacher(
    name: TeacherName | str, settings: TeachSettings, detector: Mapping[str, Tensor] | None = None
) -> Teacher:
    """An unfitted teacher.

    Args:
        name: ssmtl, baf or density.
        settings: of the stage.
        detector: `yolo.layer_weights`, for a density with eyes that is to be fitted.

    Raises:
        ConfigError: there is no teacher of this name.
    """
    match name:
        case "ssmtl":
            return Ssmtl(settings.ssmtl)
        case "baf":
            return Baf(settings.baf)
        case "density":
            return Density(settings.density, detector)
        case _:
            raise ConfigError(
                f"there is no teacher '{name}'; name one of ssmtl, baf, density in teach.teachers"
            )


def save_teacher(path: Path, teacher: Teacher, facts: Mapping[str, Any]) -> None:
    """Write a fitted teacher to one safetensors file.

    Args:
        path: the file, replaced as a whole.
        teacher: fitted.
        facts: JSON values; `teacher` (its name) and `settings` (of the stage) are needed to load it again.
    """
    save_weights(path, teacher.state(), facts)


def load_teacher(path: Path, device: str | None = None) -> tuple[Teacher, dict[str, Any]]:
    """A fitted teacher and the facts written with it.

    Args:
        path: a file written by `save_teacher`.
        device: where to run it, if not where its settings say.

    Raises:
        WeightsError: the file is missing, damaged or not a teacher's.
    """
    tensors, facts = load_weights(path)
    try:
        settings = TeachSettings.model_validate(facts["settings"])
        teacher = build_teacher(facts["teacher"], _on(device, settings))
        teacher.restore(tensors)
    except (KeyError, ValidationError, ConfigError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{path} does not hold a teacher of this version ({reason}); teach again"
        ) from error
    return teacher, facts


def _on(device: str | None, settings: TeachSettings) -> TeachSettings:
    if device is None:
        return settings
    place = {"device": device}
    moved = {name: getattr(settings, name).model_copy(update=place) for name in get_args(TeacherName)}
    return settings.model_copy(update=moved)

"""Teachers are built by name and come back from their files."""

from pathlib import Path

import pytest
import torch

from fastaed.config import TeachSettings
from fastaed.errors import ConfigError, WeightsError
from fastaed.teachers.baf import Baf
from fastaed.teachers.build import build_teacher, load_teacher, save_teacher
from fastaed.teachers.density import Density
from fastaed.teachers.ssmtl import Ssmtl
from fastaed.weights import save_weights

SETTINGS = TeachSettings.model_validate(
    {"ssmtl": {"channels": [2, 3, 4], "convs_per_stage": 1, "device": "cpu", "batch_size": 3}}
)


@pytest.mark.parametrize(("name", "kind"), [("ssmtl", Ssmtl), ("baf", Baf), ("density", Density)])
def test_every_name_is_a_teacher(name: str, kind: type) -> None:
    assert isinstance(build_teacher(name, SETTINGS), kind)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no teacher 'oracle'"):
        build_teacher("oracle", SETTINGS)


def test_a_saved_teacher_comes_back_with_its_facts(tmp_path: Path) -> None:
    torch.manual_seed(3)
    teacher = build_teacher("ssmtl", SETTINGS)
    facts = {"teacher": "ssmtl", "settings": SETTINGS.model_dump(mode="json"), "fitted_on": ["a", "b"]}
    save_teacher(tmp_path / "0.safetensors", teacher, facts)
    loaded, known = load_teacher(tmp_path / "0.safetensors", device="cpu")
    assert isinstance(loaded, Ssmtl)
    assert known == facts
    for name, tensor in teacher.state().items():
        torch.testing.assert_close(loaded.state()[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    save_weights(path, {"weight": torch.zeros(1)}, {"model": "student"})
    with pytest.raises(WeightsError, match="does not hold a teacher of this version"):
        load_teacher(path)
    save_weights(
        path, {"weight": torch.zeros(1)}, {"teacher": "ssmtl", "settings": SETTINGS.model_dump(mode="json")}
    )
    with pytest.raises(WeightsError, match="teach again"):
        load_teacher(path)
    with pytest.raises(WeightsError, match="do not exist"):
        load_teacher(tmp_path / "nothing.safetensors")

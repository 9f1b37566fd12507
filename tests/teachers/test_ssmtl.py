"""The four tasks of `ssmtl` are asked as published and learned; a resumed fit ends as an undisturbed one."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18, resnet50

from fastaed.config import SsmtlSettings, TeachSettings
from fastaed.data.boxes import Detections
from fastaed.data.store import ChunkCache, FrameStore, write_frames
from fastaed.data.tubes import ClipObjects, cut_tubes
from fastaed.errors import DataError, WeightsError
from fastaed.models.cnn3d import Answers
from fastaed.teachers import ssmtl
from fastaed.teachers.build import load_teacher, save_teacher
from fastaed.teachers.rarity import fisher_score
from fastaed.teachers.ssmtl import (
    CONSECUTIVE,
    Ssmtl,
    object_terms,
    split_objects,
    still,
    task_losses,
    training_views,
    tube_offsets,
    without_middle,
)

SMALL = SsmtlSettings(
    channels=(4, 4, 8),
    convs_per_stage=1,
    epochs=3,
    tubes_per_epoch=16,
    batch_size=8,
    device="cpu",
    precision="float32",
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def walking_clip(folder: Path, seed: int, classes: int = 3, length: int = 40) -> ClipObjects:
    """A bright square that walks right over a dark floor, one detection a frame."""
    frames = np.full((length, 48, 120, 3), 30, np.uint8)
    frames += np.random.default_rng(seed).integers(0, 5, frames.shape, dtype=np.uint8)
    left = 10 + 2 * np.arange(length)
    for frame, at in zip(frames, left):
        frame[16:32, at : at + 6] = (220, 180, 140)
        frame[20:28, at + 6 : at + 9] = (60, 90, 220)  # it looks where it goes
    path = folder / f"{seed}.zarr"
    write_frames(path, frames, {"clip": str(seed)})
    xyxy = np.stack([left - 6, np.full(length, 12), left + 16, np.full(length, 36)], axis=1)
    probabilities = np.full((length, classes), 0.1, np.float32)
    probabilities[:, :1] = 0.8
    detections = Detections(
        np.arange(length, dtype=np.int32),
        xyxy.astype(np.float32),
        np.ones(length, np.float32),
        np.zeros(length, np.int16),
        probabilities,
        np.zeros((length, 0), np.float16),
    )
    return ClipObjects(FrameStore(path, ChunkCache(1 << 24)), detections)


def numbered_tubes(count: int, offsets: NDArray[np.int64]) -> torch.Tensor:
    """Tubes (N, 3, 13, 64, 64) whose pixels are their frame's offset."""
    values = torch.from_numpy(offsets.astype(np.float32))
    return values[:, None, :, None, None].expand(count, 3, -1, 64, 64)


def test_offsets_are_consecutive_then_irregular_with_gaps_of_1_to_4() -> None:
    offsets = tube_offsets(np.random.default_rng(0), 500)
    assert offsets.shape == (500, 13)
    assert (offsets[:, :7] == [-3, -2, -1, 0, 1, 2, 3]).all()
    irregular = np.hstack([offsets[:, 7:10], np.zeros((500, 1), int), offsets[:, 10:]])
    gaps = np.diff(irregular, axis=1)
    for column in gaps.T:
        assert np.bincount(column, minlength=5)[1:].min() > 80
        assert set(column) == {1, 2, 3, 4}


def test_every_task_is_shown_its_own_view() -> None:
    offsets = tube_offsets(np.random.default_rng(1), 4)
    views = training_views(numbered_tubes(4, offsets + 1))
    shown = [view[:, 0, :, 5, 5].to(int).tolist() for view in views]
    forward, backward, irregular = shown[0][:4], shown[0][4:8], shown[0][8:]
    assert forward == [[-2, -1, 0, 1, 2, 3, 4]] * 4
    assert backward == [[4, 3, 2, 1, 0, -1, -2]] * 4
    assert irregular == [[*row[7:10], 1, *row[10:]] for row in (offsets + 1).tolist()]
    assert shown[1] == [[-2, -1, 0, 0, 2, 3, 4]] * 4  # black is 0
    assert shown[2] == [[1] * 7] * 4


def test_the_irregular_tube_is_cut_from_the_frames_it_names(tmp_path: Path) -> None:
    frames = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.ones((1, 40, 40, 3), np.uint8)
    write_frames(tmp_path / "c.zarr", frames, {})
    clip = walking_clip(tmp_path, 1).detections.take(np.array([30, 31]))
    boxes = Detections(
        clip.frame,
        np.array([[0, 0, 20, 20]] * 2, np.float32),
        clip.confidence,
        clip.class_id,
        clip.probabilities,
        clip.features,
    )
    offsets = tube_offsets(np.random.default_rng(2), 2)
    tubes = torch.from_numpy(cut_tubes(FrameStore(tmp_path / "c.zarr"), boxes, offsets)).transpose(1, 2)
    views = training_views(tubes)
    for row, frame, view in zip(offsets, (30, 31), views.motion[4:]):
        assert view[0, :, 9, 9].tolist() == [frame + o for o in (*row[7:10], 0, *row[10:])]


def some_answers(
    count: int, motion: int, classes: Sequence[int]
) -> tuple[Answers, torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(count)
    answers = Answers(
        torch.randn(motion, 2),
        torch.randn(motion, 2),
        torch.rand(count, 3, 64, 64),
        torch.rand(count, sum(classes)) if classes else None,
    )
    return answers, torch.rand(count, 3, 64, 64), [torch.rand(count, k) ** 3 for k in classes]


def class_differences(answers: Answers, targets: Sequence[torch.Tensor], i: int) -> list[float]:
    """Of object i, the mean absolute difference to each classifier."""
    if answers.classes is None:
        return []
    given = answers.classes[i].tolist()
    wanted = [target[i].tolist() for target in targets]
    means = []
    for probabilities in wanted:
        own, given = given[: len(probabilities)], given[len(probabilities) :]
        means.append(sum(abs(a - p) for a, p in zip(own, probabilities)) / len(probabilities))
    assert not given
    return means


@pytest.mark.parametrize("classes", [(), (5,), (5, 40)])
def test_losses_equal_their_literal_twin(classes: Sequence[int]) -> None:
    answers, middle, targets = some_answers(4, 12, classes)
    losses = task_losses(answers, middle, targets)

    def surprise(logits: torch.Tensor, truth: int) -> float:
        return float(-torch.log(torch.exp(logits[truth]) / torch.exp(logits).sum()))

    arrow = [surprise(answers.arrow[i], 0) for i in range(4)]
    arrow += [surprise(answers.arrow[i], 1) for i in range(4, 8)]
    irregularity = [surprise(answers.irregularity[i], 0) for i in range(4)]
    irregularity += [surprise(answers.irregularity[i], 1) for i in range(8, 12)]
    differences = abs(answers.middle - middle).flatten().tolist()
    distillation = [class_differences(answers, targets, i) for i in range(4)] if classes else [[0.0]]
    expected = [np.mean(part) for part in (arrow, irregularity, differences, distillation)]
    np.testing.assert_allclose([float(loss) for loss in losses], expected, rtol=1e-4)
    assert float(losses.total(0.2)) == pytest.approx(sum(expected[:3]) + 0.2 * expected[3], rel=1e-4)


@pytest.mark.parametrize("classes", [(), (5,), (5, 40)])
def test_terms_equal_their_literal_twin(classes: Sequence[int]) -> None:
    answers, middle, targets = some_answers(3, 3, classes)
    terms = object_terms(answers, middle, targets)
    assert terms.shape == (3, 4 if classes else 3)
    for i in range(3):
        arrow, motion = np.exp(answers.arrow[i].numpy()), np.exp(answers.irregularity[i].numpy())
        expected = [np.log(arrow[1] / arrow[0]), np.log(motion[1] / motion[0])]
        expected += [np.abs(answers.middle[i].numpy() - middle[i].numpy()).mean()]
        expected += [np.mean(class_differences(answers, targets, i))] if classes else []
        np.testing.assert_allclose(terms[i], expected, rtol=1e-4, atol=1e-6)


def test_a_worse_answer_is_a_higher_term_of_its_task_alone() -> None:
    answers, middle, targets = some_answers(1, 1, [5])
    before = object_terms(answers, middle, targets)
    worse = torch.tensor([[-1.0, 1.0]])
    for task, changed in enumerate(
        (
            answers._replace(arrow=answers.arrow + worse),
            answers._replace(irregularity=answers.irregularity + worse),
            answers._replace(middle=(middle + 0.9)),
            answers._replace(classes=(targets[0] + 0.9)),
        )
    ):
        higher = (object_terms(changed, middle, targets) > before)[0]
        assert higher.tolist() == [other == task for other in range(4)]


def test_a_split_parts_the_detections(tmp_path: Path) -> None:
    clips = [walking_clip(tmp_path, 1), walking_clip(tmp_path, 2, length=20)]
    training, validation = split_objects(clips, 0.15, seed=4)
    assert sum(len(clip.detections) for clip in validation) == 9
    for clip, one, other in zip(clips, training, validation):
        together = np.sort(np.concatenate([one.detections.frame, other.detections.frame]))
        np.testing.assert_array_equal(together, clip.detections.frame)


def test_it_learns_scores_and_is_restored(tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"epochs": 4, "tubes_per_epoch": 48})
    clips = [walking_clip(tmp_path, seed) for seed in (1, 2)]
    teacher = Ssmtl(settings)
    history = teacher.fit(clips, tmp_path / "checkpoint", {"run": 1}, seed=1)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history[-1]["training"] < 0.8 * history[0]["training"]
    assert min(row["validation_arrow"] for row in history) < 0.6  # chance is ln 2 = 0.69
    unseen = walking_clip(tmp_path, 3)
    scores = teacher.score(unseen)
    assert scores.shape == (40,)
    assert scores.dtype == np.float32
    assert (scores >= 0).all()
    assert teacher.state()["normal_terms"].shape == (12, 4)  # of the 15 % of 80 that are held out
    twin = Ssmtl(settings)
    twin.restore(teacher.state())
    np.testing.assert_array_equal(twin.score(unseen), scores)
    nothing = ClipObjects(unseen.frames, unseen.detections.take(np.zeros(40, np.bool_)))
    assert teacher.score(nothing).shape == (0,)


def test_scores_do_not_depend_on_the_batch_and_follow_the_detections(tmp_path: Path) -> None:
    teacher = Ssmtl(SMALL.model_copy(update={"epochs": 1}))
    teacher.fit([walking_clip(tmp_path, 1)], tmp_path / "checkpoint", {}, seed=1)
    clip = walking_clip(tmp_path, 2)  # unseen: an object that is its own equal would hang on rounding
    alone = Ssmtl(SMALL.model_copy(update={"batch_size": 1}))
    alone.restore(teacher.state())
    np.testing.assert_allclose(alone.score(clip), teacher.score(clip), rtol=1e-4)
    tubes = torch.from_numpy(cut_tubes(clip.frames, clip.detections, CONSECUTIVE)).transpose(1, 2) / 255
    network = alone._network.eval()
    with torch.no_grad():
        answers = network(tubes, without_middle(tubes), still(tubes))
        terms = object_terms(answers, tubes[:, :, 3], [torch.from_numpy(clip.detections.probabilities)])
    normal = teacher.state()["normal_terms"].numpy()
    np.testing.assert_allclose(teacher.score(clip), fisher_score(terms.numpy(), normal), rtol=1e-4)


def test_a_detector_without_classes_is_enough(tmp_path: Path) -> None:
    clip = walking_clip(tmp_path, 1, classes=0)
    teacher = Ssmtl(SMALL.model_copy(update={"epochs": 1}))
    history = teacher.fit([clip], tmp_path / "checkpoint", {}, seed=1)
    assert history[0]["training_distillation"] == 0
    assert "resnet_digest" not in teacher.state()
    assert not any(name.startswith("network.classes") for name in teacher.state())
    twin = Ssmtl(SMALL)
    twin.restore(teacher.state())
    np.testing.assert_array_equal(twin.score(clip), teacher.score(clip))


def test_the_epoch_of_the_lowest_validation_loss_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    losses = iter([0.5, 0.2, 0.9])

    def validation(self: Ssmtl, network: torch.nn.Module, clips: object, seed: int) -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        loss = next(losses)
        return {"validation": loss}

    monkeypatch.setattr(Ssmtl, "_validation", validation)
    teacher = Ssmtl(SMALL)
    teacher.fit([walking_clip(tmp_path, 1)], tmp_path / "checkpoint", {}, seed=1)
    state = teacher.state()
    for name, tensor in seen[1].items():
        torch.testing.assert_close(state[f"network.{name}"], tensor, rtol=0, atol=0)


class PowerCutError(Exception):
    """Stands for whatever ends a run."""


@pytest.mark.parametrize("batches_done", [2, 4])
def test_a_resumed_fit_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches_done: int
) -> None:
    clips = [walking_clip(tmp_path, seed) for seed in (1, 2)]
    undisturbed = Ssmtl(SMALL)
    history = undisturbed.fit(clips, tmp_path / "one", {"run": 1}, seed=5)

    calls = 0

    def fail_once(*arguments: torch.Tensor) -> ssmtl.TaskLosses:
        nonlocal calls
        calls += 1
        if calls > batches_done:
            raise PowerCutError
        return task_losses(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ssmtl, "task_losses", fail_once)
        with pytest.raises(PowerCutError):
            Ssmtl(SMALL).fit(clips, tmp_path / "two", {"run": 1}, seed=5)
    resumed = Ssmtl(SMALL)
    assert resumed.fit(clips, tmp_path / "two", {"run": 1}, seed=5) == history
    state = resumed.state()
    for name, tensor in undisturbed.state().items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)


def test_another_detectors_classes_are_refused(tmp_path: Path) -> None:
    teacher = Ssmtl(SMALL.model_copy(update={"epochs": 1}))
    teacher.fit([walking_clip(tmp_path, 1, classes=3)], tmp_path / "checkpoint", {}, seed=1)
    restored = Ssmtl(SMALL)
    restored.restore(teacher.state())
    for fitted in (teacher, restored):
        for classes in (0, 5):
            with pytest.raises(DataError, match=f"have {classes} classes, those that ssmtl was fitted on 3"):
                fitted.score(walking_clip(tmp_path, 2, classes=classes))


def test_too_few_detections_are_an_error(tmp_path: Path) -> None:
    clip = walking_clip(tmp_path, 1)
    one = ClipObjects(clip.frames, clip.detections.take(np.array([3])))
    with pytest.raises(DataError, match="1 detections in 1 clips are too few"):
        Ssmtl(SMALL).fit([one], tmp_path / "checkpoint", {}, seed=1)


def test_different_detectors_are_an_error(tmp_path: Path) -> None:
    clips = [walking_clip(tmp_path, 1, classes=3), walking_clip(tmp_path, 2, classes=0)]
    with pytest.raises(DataError, match="have 0 and 3 classes"):
        Ssmtl(SMALL).fit(clips, tmp_path / "checkpoint", {}, seed=1)


# --- ResNet-50 -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-50 that has learned nothing, as torchvision's files are."""
    torch.manual_seed(11)
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(resnet50(weights=None).state_dict(), path)
    return path


def tiny_resnet() -> nn.Module:
    """Stands for ResNet-50 where its size does not matter."""
    with torch.device("meta"):
        return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 1000))


@pytest.fixture
def tiny_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of `tiny_resnet`, which takes ResNet-50's place."""
    monkeypatch.setattr(ssmtl, "empty_resnet50", tiny_resnet)
    path = tmp_path / "resnet50.pth"
    write_tiny_weights(path, seed=12)
    return path


def write_tiny_weights(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    torch.save({"2.weight": 5 * torch.randn(1000, 12), "2.bias": torch.randn(1000)}, path)


def asking(resnet: Path, **changes: Any) -> SsmtlSettings:
    return SMALL.model_copy(update={"epochs": 1, "resnet_weights": str(resnet), **changes})


def some_objects(clip: ClipObjects, count: int) -> ClipObjects:
    return ClipObjects(clip.frames, clip.detections.take(np.arange(len(clip.detections)) < count))


def test_resnet_is_learned_asked_again_and_comes_back_from_the_file(
    tmp_path: Path, resnet_file: Path
) -> None:
    settings = TeachSettings(ssmtl=asking(resnet_file, tubes_per_epoch=8))
    clip = walking_clip(tmp_path, 1, length=16)
    teacher = Ssmtl(settings.ssmtl)
    history = teacher.fit([clip], tmp_path / "checkpoint", {}, seed=1)
    assert history[0]["validation_distillation"] > 0
    assert teacher.state()["network.classes.4.bias"].shape == (3 + 1000,)
    save_teacher(tmp_path / "0.safetensors", teacher, {"teacher": "ssmtl", "settings": settings.model_dump()})
    loaded, _ = load_teacher(tmp_path / "0.safetensors", "cpu")
    assert isinstance(loaded, Ssmtl)
    few = some_objects(walking_clip(tmp_path, 2, length=16), 4)
    scores = loaded.score(few)
    np.testing.assert_array_equal(scores, teacher.score(few))

    official = resnet50(weights=None).eval()
    official.load_state_dict(torch.load(resnet_file, weights_only=True))
    tubes = torch.from_numpy(cut_tubes(few.frames, few.detections, CONSECUTIVE)).transpose(1, 2) / 255
    mean, deviation = (
        torch.tensor(rgb)[:, None, None] for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    crops = torch.nn.functional.interpolate(tubes[:, :, 3], (224, 224), mode="bilinear")
    with torch.no_grad():
        imagenet = official((crops - mean) / deviation).softmax(dim=1)
        answers = loaded._network.eval()(tubes, without_middle(tubes), still(tubes))
        detector = torch.from_numpy(few.detections.probabilities)
        terms = object_terms(answers, tubes[:, :, 3], [detector, imagenet])
    normal = teacher.state()["normal_terms"].numpy()
    np.testing.assert_allclose(scores, fisher_score(terms.numpy(), normal), rtol=1e-4)


def test_resnet_is_frozen_and_imitated(tmp_path: Path, tiny_file: Path) -> None:
    teacher = Ssmtl(asking(tiny_file, epochs=3, distillation_weight=50.0, learning_rate=1e-2))
    history = teacher.fit([walking_clip(tmp_path, 1)], tmp_path / "checkpoint", {}, seed=1)
    assert history[-1]["validation_distillation"] < 0.1  # an untrained head says 0.5 of every class
    kept = torch.load(tiny_file, weights_only=True)
    assert teacher._resnet is not None
    assert not any(parameter.requires_grad for parameter in teacher._resnet.parameters())
    torch.testing.assert_close(teacher._resnet.network.state_dict(), kept, rtol=0, atol=0)


def test_resnet_alone_is_imitated_where_the_detector_has_no_classes(tmp_path: Path, tiny_file: Path) -> None:
    clip = walking_clip(tmp_path, 1, classes=0)
    teacher = Ssmtl(asking(tiny_file))
    history = teacher.fit([clip], tmp_path / "checkpoint", {}, seed=1)
    assert 0 < history[0]["validation_distillation"] < 1
    twin = Ssmtl(asking(tiny_file))
    twin.restore(teacher.state())
    np.testing.assert_array_equal(twin.score(clip), teacher.score(clip))
    with pytest.raises(DataError, match="have 3 classes, those that ssmtl was fitted on 0"):
        twin.score(walking_clip(tmp_path, 2))


def test_a_safetensors_file_holds_the_same_weights(tmp_path: Path, tiny_file: Path) -> None:
    save_file(torch.load(tiny_file, weights_only=True), tmp_path / "resnet50.safetensors")
    one, other = (Ssmtl(asking(path))._resnet for path in (tiny_file, tmp_path / "resnet50.safetensors"))
    crops = torch.rand(2, 3, 64, 64)
    assert one is not None
    assert other is not None
    torch.testing.assert_close(one(crops), other(crops), rtol=0, atol=0)


def test_other_weights_than_those_at_fitting_are_refused(tmp_path: Path, tiny_file: Path) -> None:
    clip = walking_clip(tmp_path, 1)
    with_resnet, without = Ssmtl(asking(tiny_file)), Ssmtl(SMALL)
    with_resnet.fit([clip], tmp_path / "checkpoint", {}, seed=1)
    with pytest.raises(WeightsError, match=r"resnet_weights = None: not the ResNet-50 .* teach again"):
        Ssmtl(SMALL).restore(with_resnet.state())
    with pytest.raises(WeightsError, match=r"resnet_weights = .*resnet50\.pth: not the ResNet-50"):
        Ssmtl(asking(tiny_file)).restore(without.state())
    write_tiny_weights(tiny_file, seed=13)
    with pytest.raises(WeightsError, match=r"resnet_weights = .*resnet50\.pth: not the ResNet-50"):
        Ssmtl(asking(tiny_file)).restore(with_resnet.state())


def test_a_fit_is_not_resumed_with_other_weights(tmp_path: Path, tiny_file: Path) -> None:
    clip = walking_clip(tmp_path, 1)
    Ssmtl(asking(tiny_file)).fit([clip], tmp_path / "checkpoint", {"run": 1}, seed=1)
    write_tiny_weights(tiny_file, seed=13)
    fresh = Ssmtl(asking(tiny_file)).fit([clip], tmp_path / "other", {"run": 1}, seed=1)
    assert Ssmtl(asking(tiny_file)).fit([clip], tmp_path / "checkpoint", {"run": 1}, seed=1) == fresh


def test_missing_weights_are_one_sentence(tmp_path: Path) -> None:
    for name in ("nothing.pth", "nothing.safetensors"):
        with pytest.raises(WeightsError, match=rf"/{name} do not exist; put .*resnet50-11ad3fa6\.pth"):
            Ssmtl(asking(tmp_path / name))


@pytest.mark.parametrize("name", ["resnet50.pth", "resnet50.safetensors"])
@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda _: b"<!DOCTYPE html>", lambda _: b"hello", lambda whole: whole[:100_000]]
)
def test_damaged_weights_are_one_sentence(
    tmp_path: Path, resnet_file: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    with resnet_file.open("rb") as stream:
        (tmp_path / name).write_bytes(damage(stream.read(200_000)))
    with pytest.raises(WeightsError, match=rf"/{name} are damaged .*resnet50-11ad3fa6\.pth"):
        Ssmtl(asking(tmp_path / name))


def test_weights_of_something_else_are_one_sentence(tmp_path: Path, resnet_file: Path) -> None:
    ten_classes = torch.load(resnet_file, weights_only=True)
    ten_classes |= {"fc.weight": torch.zeros(10, 2048), "fc.bias": torch.zeros(10)}
    others = (resnet18(weights=None).state_dict(), ten_classes, [torch.zeros(3)], {1: torch.zeros(3)})
    for other in others:
        torch.save(other, tmp_path / "other.pth")
        with pytest.raises(
            WeightsError, match=r"other\.pth does not hold a ResNet-50 .*1000 classes"
        ) as raised:
            Ssmtl(asking(tmp_path / "other.pth"))
        assert len(str(raised.value)) < 400


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"fc.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth are damaged"):
        Ssmtl(asking(tmp_path / "evil.pth"))
    assert not (tmp_path / "executed").exists()

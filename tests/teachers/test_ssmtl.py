"""The four tasks of `ssmtl` are asked as published and learned; a resumed fit ends as an undisturbed one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastaed.config import SsmtlSettings
from fastaed.data.boxes import Detections
from fastaed.data.store import ChunkCache, FrameStore, write_frames
from fastaed.data.tubes import ClipObjects, cut_tubes
from fastaed.errors import DataError
from fastaed.models.cnn3d import Answers
from fastaed.teachers import ssmtl
from fastaed.teachers.ssmtl import (
    CONSECUTIVE,
    Ssmtl,
    object_scores,
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
    )
    offsets = tube_offsets(np.random.default_rng(2), 2)
    tubes = torch.from_numpy(cut_tubes(FrameStore(tmp_path / "c.zarr"), boxes, offsets)).transpose(1, 2)
    views = training_views(tubes)
    for row, frame, view in zip(offsets, (30, 31), views.motion[4:]):
        assert view[0, :, 9, 9].tolist() == [frame + o for o in (*row[7:10], 0, *row[10:])]


def some_answers(count: int, motion: int, classes: int) -> tuple[Answers, torch.Tensor, torch.Tensor]:
    torch.manual_seed(count)
    answers = Answers(
        torch.randn(motion, 2),
        torch.randn(motion, 2),
        torch.rand(count, 3, 64, 64),
        torch.rand(count, classes) if classes else None,
    )
    return answers, torch.rand(count, 3, 64, 64), torch.rand(count, classes)


@pytest.mark.parametrize("classes", [0, 5])
def test_losses_equal_their_literal_twin(classes: int) -> None:
    answers, middle, probabilities = some_answers(4, 12, classes)
    losses = task_losses(answers, middle, probabilities)

    def surprise(logits: torch.Tensor, truth: int) -> float:
        return float(-torch.log(torch.exp(logits[truth]) / torch.exp(logits).sum()))

    arrow = [surprise(answers.arrow[i], 0) for i in range(4)]
    arrow += [surprise(answers.arrow[i], 1) for i in range(4, 8)]
    irregularity = [surprise(answers.irregularity[i], 0) for i in range(4)]
    irregularity += [surprise(answers.irregularity[i], 1) for i in range(8, 12)]
    differences = abs(answers.middle - middle).flatten().tolist()
    distillation = abs(answers.classes - probabilities).flatten().tolist() if classes else [0.0]
    expected = [np.mean(part) for part in (arrow, irregularity, differences, distillation)]
    np.testing.assert_allclose([float(loss) for loss in losses], expected, rtol=1e-4)
    assert float(losses.total(0.2)) == pytest.approx(sum(expected[:3]) + 0.2 * expected[3], rel=1e-4)


@pytest.mark.parametrize("classes", [0, 5])
def test_scores_equal_their_literal_twin(classes: int) -> None:
    answers, middle, probabilities = some_answers(3, 3, classes)
    usual = torch.tensor([0.25, 0.4])
    scores = object_scores(answers, middle, probabilities, usual)
    for i in range(3):
        arrow, motion = np.exp(answers.arrow[i].numpy()), np.exp(answers.irregularity[i].numpy())
        error = np.abs(answers.middle[i].numpy() - middle[i].numpy()).mean()
        terms = [arrow[1] / arrow.sum(), motion[1] / motion.sum(), error / (error + 0.25)]
        if answers.classes is not None:
            error = np.abs(answers.classes[i].numpy() - probabilities[i].numpy()).mean()
            terms.append(error / (error + 0.4))
        assert float(scores[i]) == pytest.approx(np.mean(terms), rel=1e-5)
        assert 0 <= scores[i] <= 1


def test_a_worse_answer_is_a_higher_score() -> None:
    answers, middle, probabilities = some_answers(1, 1, 5)
    usual = torch.tensor([0.3, 0.3])
    before = object_scores(answers, middle, probabilities, usual)
    worse = torch.tensor([[-1.0, 1.0]])
    for changed in (
        answers._replace(arrow=answers.arrow + worse),
        answers._replace(irregularity=answers.irregularity + worse),
        answers._replace(middle=(middle + 0.9)),
        answers._replace(classes=(probabilities + 0.9)),
    ):
        assert object_scores(changed, middle, probabilities, usual) > before


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
    assert (scores <= 1).all()
    twin = Ssmtl(settings)
    twin.restore(teacher.state())
    np.testing.assert_array_equal(twin.score(unseen), scores)
    nothing = ClipObjects(unseen.frames, unseen.detections.take(np.zeros(40, np.bool_)))
    assert teacher.score(nothing).shape == (0,)


def test_scores_do_not_depend_on_the_batch_and_follow_the_detections(tmp_path: Path) -> None:
    clip = walking_clip(tmp_path, 1)
    teacher = Ssmtl(SMALL.model_copy(update={"epochs": 1}))
    teacher.fit([clip], tmp_path / "checkpoint", {}, seed=1)
    alone = Ssmtl(SMALL.model_copy(update={"batch_size": 1}))
    alone.restore(teacher.state())
    np.testing.assert_allclose(alone.score(clip), teacher.score(clip), atol=1e-5)
    tubes = torch.from_numpy(cut_tubes(clip.frames, clip.detections, CONSECUTIVE)).transpose(1, 2) / 255
    network = alone._network.eval()
    with torch.no_grad():
        answers = network(tubes, without_middle(tubes), still(tubes))
        literal = object_scores(
            answers, tubes[:, :, 3], torch.from_numpy(clip.detections.probabilities), alone._usual_errors
        )
    np.testing.assert_allclose(teacher.score(clip), literal.numpy(), atol=1e-5)


def test_a_detector_without_classes_is_enough(tmp_path: Path) -> None:
    clip = walking_clip(tmp_path, 1, classes=0)
    teacher = Ssmtl(SMALL.model_copy(update={"epochs": 1}))
    history = teacher.fit([clip], tmp_path / "checkpoint", {}, seed=1)
    assert history[0]["training_distillation"] == 0
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
        return {"validation": loss, "validation_middle": loss / 2, "validation_distillation": loss / 4}

    monkeypatch.setattr(Ssmtl, "_validation", validation)
    teacher = Ssmtl(SMALL)
    teacher.fit([walking_clip(tmp_path, 1)], tmp_path / "checkpoint", {}, seed=1)
    state = teacher.state()
    for name, tensor in seen[1].items():
        torch.testing.assert_close(state[f"network.{name}"], tensor, rtol=0, atol=0)
    torch.testing.assert_close(state["usual_errors"], torch.tensor([0.1, 0.05]))


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

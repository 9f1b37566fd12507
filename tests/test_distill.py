import inspect
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from detector_layers import layers_of
from torch import nn

from fastaed import distill, pretrain
from fastaed.config import DistillSettings, PositivesSettings, PretrainSettings, StudentSettings
from fastaed.data.boxes import Detections, no_detections, write_detections
from fastaed.data.clips import Samples, equal_parts, student_input
from fastaed.data.maps import pool_pyramid
from fastaed.data.store import FrameStore, write_frames, write_maps
from fastaed.errors import ConfigError, DataError, DeviceMemoryError, StoreError, TrainingError, WeightsError
from fastaed.models.discriminator import Discriminator
from fastaed.models.eyes import Eyes
from fastaed.models.student import Student, build_student, restored_student
from fastaed.pyramid import MapPyramid
from fastaed.sources import signature
from fastaed.training import AveragedModel, seed_everything
from fastaed.weights import load_weights

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)
FRAMES = {"a": 18, "b": 20, "c": 17}


def _settings(**changes):
    given = {
        "student": TINY,
        "epochs": 3,
        "batch_size": 8,
        "device": "cpu",
        "precision": "float32",
        **changes,
    }
    return DistillSettings.model_validate(given)


class Inputs:
    """The files that distill reads: three clips, two teachers, their maps in two stores each."""

    def __init__(self, folder, walkers):
        self.folder = folder
        self.detections = folder / "detections"
        self.stores = [folder / f"{clip}.zarr" for clip in FRAMES]
        for number, (clip, length) in enumerate(FRAMES.items()):
            write_frames(folder / f"{clip}.zarr", walkers(length, seed=number), {"clip": clip})
            write_detections(self.detections / f"{clip}.parquet", _detections(length))
        self.maps = {}
        for teacher in ("one", "two"):
            pyramids = {clip: self.pyramid(teacher, clip) for clip in FRAMES}
            self.maps[teacher] = [folder / f"{teacher}{batch}.zarr" for batch in (0, 1)]
            # Neither the order of stores nor that of clips within one is the order of the frame stores.
            write_maps(self.maps[teacher][0], {"c": pyramids["c"]}, {})
            write_maps(self.maps[teacher][1], {"b": pyramids["b"], "a": pyramids["a"]}, {})
        self.pretrained = folder / "pretrained.safetensors"
        settings = PretrainSettings(student=TINY, epochs=0, device="cpu")
        pretrain.run(self.stores, self.pretrained, folder / "pretrain.csv", settings)

    @staticmethod
    def pyramid(teacher, clip):
        """Every value tells its teacher, clip and frame."""
        base = {"one": 0.1, "two": 0.5}[teacher] + 0.1 * list(FRAMES).index(clip)
        values = base + 0.001 * np.arange(FRAMES[clip], dtype=np.float32)
        return pool_pyramid(np.broadcast_to(values[:, None, None], (len(values), 4, 5)))

    def footage(self, settings):
        return distill.read_footage(self.stores, [self.detections], self.maps, settings)

    def run(self, folder, settings, **changes):
        given = {
            "stores": self.stores,
            "detections": [self.detections],
            "maps": self.maps,
            "pretrained": self.pretrained,
            **changes,
        }
        distill.run(
            **given,
            out=folder / "student.safetensors",
            losses=folder / "losses.csv",
            curves=folder / "losses.png",
            positives_sheet=folder / "positives.png",
            settings=settings,
        )
        return load_weights(folder / "student.safetensors")


def _detections(length):
    frames = np.arange(length, dtype=np.int32)
    boxes = np.tile(np.array([[10, 10, 22, 30]], np.float32), (length, 1))
    return Detections(
        frames,
        boxes,
        np.ones(length, np.float32),
        np.zeros(length, np.int16),
        np.zeros((length, 0), np.float32),
        np.zeros((length, 0), np.float16),
    )


@pytest.fixture
def inputs(tmp_path, walkers):
    return Inputs(tmp_path, walkers)


def test_from_files_to_a_student_that_carries_all_it_needs(inputs, tmp_path):
    tensors, facts = inputs.run(tmp_path / "out", _settings())
    student = restored_student(tensors, facts)
    maps = student(torch.zeros(1, 9, 48, 64, dtype=torch.uint8))
    assert maps.sixteen.shape == (1, 16, 16)
    assert facts["teachers"] == ["one", "two"]
    assert facts["clips"] == ["a", "b", "c"]
    assert (facts["height"], facts["width"]) == (48, 64)
    assert facts["settings"] == _settings().model_dump(mode="json")
    losses = pd.read_csv(tmp_path / "out" / "losses.csv")
    assert tuple(losses.columns) == distill.COLUMNS
    assert losses["epoch"].tolist() == [1, 2, 3]
    assert np.isfinite(losses.to_numpy()).all()
    for picture in ("losses.png", "positives.png"):
        assert cv2.imread(str(tmp_path / "out" / picture)) is not None
    assert not (tmp_path / "out" / "student.checkpoint").exists()


@pytest.mark.filterwarnings("error")
def test_frames_and_maps_are_paired_by_clip_and_frame_number(inputs):
    """Pairing by position in two lists, as published, would give other clips' maps here."""
    footage = inputs.footage(_settings(positives=None))
    samples = Samples(np.array([2, 0, 1]), np.array([16, 0, 7]))
    batch = distill.training_batch(footage, samples, seed=1, epoch=0)
    for i, (clip, frame) in enumerate((("c", 16), ("a", 0), ("b", 7))):
        store = FrameStore(inputs.folder / f"{clip}.zarr")
        before, after = max(frame - 3, 0), frame + 3 if frame + 3 < len(store) else frame
        np.testing.assert_array_equal(
            batch.clip[i].numpy(), student_input(store.gather([frame, before, after]))
        )
        for teacher in ("one", "two"):
            expected = inputs.pyramid(teacher, clip)
            for ours, theirs in zip(batch.targets[teacher], expected):
                np.testing.assert_array_equal(ours[i].numpy(), theirs[frame])


def test_batches_do_not_depend_on_their_company(inputs):
    footage = inputs.footage(_settings(positives=PositivesSettings(share=0.5)))
    clip, frame = np.array([0, 1, 1, 2, 2]), np.array([4, 3, 9, 0, 11])
    together = distill.training_batch(footage, Samples(clip, frame), seed=1, epoch=2)
    for i in range(5):
        alone = distill.training_batch(footage, Samples(clip[i : i + 1], frame[i : i + 1]), seed=1, epoch=2)
        assert torch.equal(alone.clip[0], together.clip[i])
        assert torch.equal(alone.targets["one"].sixteen[0], together.targets["one"].sixteen[i])
    later = distill.training_batch(footage, Samples(clip, frame), seed=1, epoch=3)
    assert not torch.equal(later.clip, together.clip)


@pytest.mark.faults  # slow: each of its processes imports everything anew
def test_batches_do_not_depend_on_who_makes_them(inputs):
    """Two processes against threads, in two epochs; a process that meets damage says so in one sentence."""
    settings = _settings(positives=PositivesSettings(share=0.5), workers=2)
    given = {"detections": [inputs.detections], "maps": inputs.maps, "settings": settings}
    opened = partial(distill.read_footage, stores=inputs.stores, **given)
    footage = opened()
    parts = equal_parts(footage.clips.samples(), 8)
    processes = distill.maker(footage, opened, settings)
    threads = distill.maker(footage, opened, _settings(positives=settings.positives))
    for epoch in (0, 1):
        pairs = list(zip(processes(epoch, parts), threads(epoch, parts), strict=True))
        assert len(pairs) == len(parts)
        for one, other in pairs:
            assert torch.equal(one.clip, other.clip)
            assert one.targets.keys() == other.targets.keys()
            for teacher, pyramid in one.targets.items():
                assert all(map(torch.equal, pyramid, other.targets[teacher]))
    gone = distill.maker(footage, partial(opened, stores=[inputs.folder / "gone.zarr"]), settings)
    with pytest.raises(StoreError, match=r"gone\.zarr"):
        next(gone(0, parts))


def test_positives_lift_the_maps_of_every_teacher(inputs):
    footage = inputs.footage(_settings(positives=PositivesSettings(share=1, kinds=("paste",))))
    samples = Samples(np.repeat(1, 10), np.arange(3, 13))
    batch = distill.training_batch(footage, samples, seed=1, epoch=0)
    for teacher, maps in batch.targets.items():
        normal = inputs.pyramid(teacher, "b")
        for i, frame in enumerate(range(3, 13)):
            sixteen = maps.sixteen[i].numpy()
            lifted = sixteen == 1
            assert lifted.any()
            np.testing.assert_array_equal(sixteen[~lifted], normal.sixteen[frame][~lifted])
            np.testing.assert_array_equal(maps.four[i] == 1, lifted.reshape(4, 4, 4, 4).any(axis=(1, 3)))
            assert maps.one[i].item() == 1


class OneLayer(nn.Module):
    """The smallest student: one number, the same at every place of every map."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, clip):
        value = torch.sigmoid(self.layer(clip.float().mean((1, 2, 3))[:, None] / 255))
        return MapPyramid(*(value[:, :, None].expand(-1, side, side) for side in (1, 4, 16)))


def _one_layer_training(settings, teachers=("one",)):
    torch.manual_seed(0)
    student = OneLayer()
    judges = {teacher: Discriminator() for teacher in teachers}
    optimizers = [
        torch.optim.Adam(student.parameters(), lr=1e-2),
        torch.optim.Adam([w for judge in judges.values() for w in judge.parameters()], lr=1e-2),
    ]
    schedules = tuple(torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5) for optimizer in optimizers)
    averaged = AveragedModel(student, settings.average_decay)
    return distill.Training(student, averaged, judges, *optimizers, schedules)


def _flat_batch(values, teachers=("one",)):
    maps = MapPyramid(*(torch.tensor(values)[:, None, None].expand(-1, s, s) for s in (1, 4, 16)))
    return distill.TrainingBatch(
        torch.zeros(len(values), 9, 8, 8, dtype=torch.uint8), dict.fromkeys(teachers, maps)
    )


def test_a_step_imitates():
    settings = _settings(adversarial_weight=0)
    training = _one_layer_training(settings)
    losses = [distill.train_step(_flat_batch([0.9, 0.9]), training, settings) for _ in range(300)]
    assert losses[-1].imitate < 0.05 * losses[0].imitate
    with torch.no_grad():
        prediction = training.student(torch.zeros(1, 9, 8, 8))
    assert prediction.one.item() == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("weights", [(1, 1, 1), (0, 2, 5)])
def test_a_step_reports_the_losses_of_its_start(weights):
    settings = _settings(scale_weights=weights)
    training = _one_layer_training(settings, ("one", "two"))
    batch = _flat_batch([0.2, 0.7], ("one", "two"))
    with torch.no_grad():
        prediction = training.student(batch.clip)
    imitate = sum(
        weight * ((ours - theirs) ** 2).mean().item()
        for maps in batch.targets.values()
        for weight, ours, theirs in zip(weights, prediction, maps)
    )
    with torch.no_grad():
        judge = sum(
            -(d(batch.targets[t]).sigmoid().log().mean() + (1 - d(prediction).sigmoid()).log().mean()).item()
            for t, d in training.discriminators.items()
        )
    losses = distill.train_step(batch, training, settings)
    assert losses.imitate == pytest.approx(imitate, rel=1e-5)
    assert losses.judge == pytest.approx(judge, rel=1e-4)


def test_the_discriminator_learns_from_the_student_not_only_from_the_teacher():
    """With the judge's output detached, as published, both students would leave the same discriminator."""
    after = []
    for bias in (-3.0, 3.0):
        settings = _settings()
        training = _one_layer_training(settings)
        with torch.no_grad():
            training.student.layer.bias.fill_(bias)
        for _ in range(3):
            distill.train_step(_flat_batch([0.5, 0.5]), training, settings)
        after.append(training.discriminators["one"].state_dict())
    assert any(not torch.allclose(after[0][name], after[1][name], atol=1e-4) for name in after[0])


def test_deceiving_moves_the_student_but_not_the_discriminator():
    settings = _settings(adversarial_weight=1.0)
    batch = _flat_batch([0.6, 0.6])
    with_adversary, without = (_one_layer_training(_settings()) for _ in range(2))
    distill.train_step(batch, with_adversary, settings)
    distill.train_step(batch, without, settings.model_copy(update={"adversarial_weight": 0.0}))
    judges = [t.discriminators["one"].state_dict() for t in (with_adversary, without)]
    assert all(torch.equal(judges[0][name], judges[1][name]) for name in judges[0])
    gradients = [t.student.layer.bias.grad.item() for t in (with_adversary, without)]
    assert gradients[0] != gradients[1]


def test_an_interrupted_run_ends_with_the_same_student(inputs, tmp_path, monkeypatch):
    settings = _settings(halve_every_epochs=2)
    whole = inputs.run(tmp_path / "whole", settings)[0]
    epoch_of = distill.train_epoch

    def interrupted(epoch, *rest):
        if epoch == 1:
            raise KeyboardInterrupt
        return epoch_of(epoch, *rest)

    monkeypatch.setattr(distill, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        inputs.run(tmp_path / "halved", settings)
    assert not (tmp_path / "halved" / "student.safetensors").exists()
    monkeypatch.setattr(distill, "train_epoch", epoch_of)
    halved = inputs.run(tmp_path / "halved", settings)[0]
    assert all(torch.equal(halved[name], whole[name]) for name in whole)
    tables = [pd.read_csv(tmp_path / name / "losses.csv") for name in ("whole", "halved")]
    kept = [column for column in distill.COLUMNS if column not in ("samples_per_second", "waiting_share")]
    pd.testing.assert_frame_equal(tables[0][kept], tables[1][kept])
    assert tables[0]["learning_rate"].tolist() == pytest.approx([1e-4, 1e-4, 5e-5])


def test_changed_inputs_are_not_resumed(inputs, tmp_path, monkeypatch, capsys):
    def stop(epoch, *rest):
        if epoch == 1:
            raise KeyboardInterrupt
        return dict.fromkeys(distill.COLUMNS, 1.0)

    monkeypatch.setattr(distill, "train_epoch", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            inputs.run(tmp_path / "out", _settings())
    assert "resuming after epoch 1" in capsys.readouterr().err
    write_maps(inputs.maps["one"][0], {"c": inputs.pyramid("two", "c")}, {})
    with pytest.raises(KeyboardInterrupt):
        inputs.run(tmp_path / "out", _settings())
    assert "other settings, code or data" in capsys.readouterr().err


def test_the_weights_kept_are_the_average_not_the_last(inputs, tmp_path):
    averaged = inputs.run(tmp_path / "averaged", _settings(learning_rate=1e-2))[0]
    last = inputs.run(tmp_path / "last", _settings(learning_rate=1e-2, average_decay=0))[0]
    assert any(not torch.equal(averaged[name], last[name]) for name in last)
    losses = [pd.read_csv(tmp_path / name / "losses.csv")["imitate"] for name in ("averaged", "last")]
    pd.testing.assert_series_equal(*losses)


def test_the_student_starts_from_phase_1(inputs):
    training = distill.new_training(["one"], inputs.pretrained, _settings(seed=9))
    tensors, _ = load_weights(inputs.pretrained)
    state = training.student.state_dict()
    assert tensors
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())
    bigger = TINY.model_copy(update={"blocks": 2})
    with pytest.raises(WeightsError, match="another size"):
        distill.new_training(["one"], inputs.pretrained, _settings(student=bigger))


def test_the_defaults_are_the_published_ones_and_positives():
    defaults = DistillSettings()
    assert (defaults.epochs, defaults.batch_size, defaults.halve_every_epochs) == (35, 48, 10)
    assert (defaults.learning_rate, defaults.weight_decay, defaults.adversarial_weight) == (1e-4, 5e-6, 0.1)
    assert defaults.positives is not None  # targets on normal footage alone are nearly flat
    assert defaults.positives.share > 0


def test_both_optimizers_decay_weights_and_halve_their_rate(inputs):
    settings = _settings(learning_rate=0.5, weight_decay=0.25, halve_every_epochs=1, samples_per_epoch=8)
    training = distill.new_training(["one", "two"], inputs.pretrained, settings)
    for optimizer in (training.student_optimizer, training.judge_optimizer):
        assert {(group["lr"], group["weight_decay"]) for group in optimizer.param_groups} == {(0.5, 0.25)}
    footage = inputs.footage(settings)
    row = distill.train_epoch(
        0, footage, training, settings, distill.maker(footage, lambda: footage, settings)
    )
    assert 0 < row["waiting_share"] < 1
    for optimizer in (training.student_optimizer, training.judge_optimizer):
        assert {group["lr"] for group in optimizer.param_groups} == {0.25}


def test_clips_without_detections_are_learned_from_all_the_same(inputs, tmp_path):
    for clip in FRAMES:
        write_detections(inputs.detections / f"{clip}.parquet", no_detections(80))
    tensors, _ = inputs.run(tmp_path / "out", _settings(epochs=1, positives=PositivesSettings(share=1)))
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_nothing_of_the_test_split_is_read():
    """The published code chooses its best epoch on test labels; here there is no way to hand any in."""
    assert set(inspect.signature(distill.run).parameters) == {
        *(
            "stores",
            "detections",
            "maps",
            "pretrained",
            "out",
            "losses",
            "curves",
            "positives_sheet",
            "settings",
            "detector",
        )
    }


def test_inputs_that_do_not_belong_together_are_refused(inputs):
    settings = _settings()
    with pytest.raises(DataError, match=r"no detections for 2 of 3 clips \(a is the first\).*run detect"):
        distill.read_footage(inputs.stores, [inputs.detections / "b.parquet"], inputs.maps, settings)
    only_c = {"one": inputs.maps["one"][:1]}
    with pytest.raises(DataError, match=r"no map of teacher one for training clip a; run label"):
        distill.read_footage(inputs.stores, [inputs.detections], only_c, settings)
    twice = {"one": [*inputs.maps["one"], inputs.maps["two"][0]]}
    with pytest.raises(DataError, match="clip c is in two stores of one's maps"):
        distill.read_footage(inputs.stores, [inputs.detections], twice, settings)
    short = MapPyramid(*(level[:-1] for level in inputs.pyramid("one", "c")))
    write_maps(inputs.maps["one"][0], {"c": short}, {})
    with pytest.raises(DataError, match="clip c has 17 frames but teacher one has 16 maps"):
        distill.read_footage(inputs.stores, [inputs.detections], inputs.maps, settings)


def test_detections_of_other_footage_and_no_teacher_are_refused(inputs):
    settings = _settings()
    with pytest.raises(DataError, match="name the maps of one teacher or more"):
        distill.read_footage(inputs.stores, [inputs.detections], {}, settings)
    with pytest.raises(DataError, match=r"distill\.teachers is baf but the maps are of one, two"):
        distill.read_footage(inputs.stores, [inputs.detections], inputs.maps, _settings(teachers=["baf"]))
    write_detections(inputs.detections / "c.parquet", _detections(18))
    with pytest.raises(DataError, match=r"clip c: detections go up to frame 17 of a clip of 17"):
        distill.read_footage(inputs.stores, [inputs.detections], inputs.maps, settings)


def test_class_probabilities_are_not_held(inputs):
    """The student has no use for them, and for ShanghaiTech they would take half a gigabyte."""
    table = replace(_detections(18), probabilities=np.full((18, 80), 0.5, np.float32))
    write_detections(inputs.detections / "a.parquet", table)
    footage = inputs.footage(_settings())
    assert footage.detections[0].probabilities.shape == (18, 0)
    np.testing.assert_array_equal(footage.detections[0].xyxy, table.xyxy)


def test_normal_footage_alone_and_no_adversary_also_run(inputs, tmp_path):
    inputs.run(tmp_path / "out", _settings(positives=None, adversarial_weight=0, epochs=1))
    footage = inputs.footage(_settings(positives=None))
    assert footage.positives is None
    assert replace(footage) == footage


@pytest.mark.parametrize(("bias", "said"), [(-40.0, "distill died: after epoch 1"), (np.nan, "diverged")])
def test_a_student_that_died_or_diverged_is_not_written(inputs, tmp_path, monkeypatch, bias, said):
    """A bias of -40 holds the sigmoid at its flat end, whatever the frames show."""
    fresh = distill.new_training

    def spoilt(*arguments):
        training = fresh(*arguments)
        with torch.no_grad():
            for network in (training.student, training.averaged.average):
                network.heads.sixteen.convolutions[-1].bias.fill_(bias)
                network.heads.sixteen.convolutions[-1].weight.zero_()
        return training

    monkeypatch.setattr(distill, "new_training", spoilt)
    with pytest.raises(TrainingError, match=said):
        inputs.run(tmp_path / "out", _settings())
    assert not (tmp_path / "out" / "student.safetensors").exists()


def _out_of_memory_above(monkeypatch, limit, after=0):
    """The student's forward pass raises for more than `limit` samples, from call number `after` on."""
    forward, sizes = Student.forward, []

    def limited(self, clip):
        sizes.append(len(clip))
        if len(clip) > limit and len(sizes) > after:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, clip)

    monkeypatch.setattr(Student, "forward", limited)
    return sizes


def test_a_step_in_parts_is_the_same_step():
    settings = _settings(adversarial_weight=1.0)
    batch = _flat_batch([0.2, 0.4, 0.6, 0.8, 1.0])
    batch.clip[:] = torch.arange(5, dtype=torch.uint8)[:, None, None, None]
    whole = _one_layer_training(settings)
    parts = replace(_one_layer_training(settings), at_once=2)
    for _ in range(3):
        losses = [distill.train_step(batch, training, settings) for training in (whole, parts)]
        assert losses[0] == pytest.approx(losses[1])
    torch.testing.assert_close(whole.student.state_dict(), parts.student.state_dict())
    torch.testing.assert_close(*(t.discriminators["one"].state_dict() for t in (whole, parts)))


def test_out_of_memory_halves_what_is_computed_at_once(inputs, tmp_path, monkeypatch, capsys):
    sizes = _out_of_memory_above(monkeypatch, limit=3)
    settings = _settings(epochs=1, positives=None)
    tensors, _ = inputs.run(tmp_path / "out", settings)
    assert sizes[:2] == [8, 4]
    assert max(sizes[2:]) <= 2
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if "memory" in line] == [
        f"distill: out of memory; going on with {half} at once" for half in (4, 2)
    ]
    assert len(pd.read_csv(tmp_path / "out" / "losses.csv")) == 1
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_out_of_memory_in_a_later_epoch_costs_that_epoch_only(inputs, tmp_path, monkeypatch, capsys):
    _out_of_memory_above(monkeypatch, limit=4, after=10)  # an epoch has seven batches
    inputs.run(tmp_path / "out", _settings(epochs=2, positives=None))
    said = capsys.readouterr().err
    assert said.index("going on with 4") < said.index("resuming after epoch 1 ")
    assert pd.read_csv(tmp_path / "out" / "losses.csv")["epoch"].tolist() == [1, 2]


def test_a_sample_that_does_not_fit_is_one_sentence(inputs, tmp_path, monkeypatch):
    _out_of_memory_above(monkeypatch, limit=0)
    with pytest.raises(DeviceMemoryError, match="does not hold one sample"):
        inputs.run(tmp_path / "out", _settings(positives=None))
    assert not (tmp_path / "out" / "student.safetensors").exists()


# --- eyes --------------------------------------------------------------------------------------------------

EYED = TINY.model_copy(update={"eyes": (2, 4, 4, 6)})


@pytest.fixture
def detector(tmp_path, monkeypatch):
    """A detector's file, of which only the name is read, and the layers in it."""
    layers = layers_of(EYED.eyes)
    monkeypatch.setattr(distill, "layer_weights", lambda path: layers)
    path = tmp_path / "yolo.pt"
    path.write_bytes(b"layers")
    return path


@pytest.fixture
def eyed(inputs, tmp_path):
    """Inputs whose phase 1 is that of a student with eyes."""
    inputs.pretrained = tmp_path / "eyed.safetensors"
    settings = PretrainSettings(student=EYED, epochs=0, device="cpu")
    pretrain.run(inputs.stores, inputs.pretrained, tmp_path / "pretrain.csv", settings)
    return inputs


def test_eyes_are_the_detectors_and_stay_so_while_what_is_made_of_them_learns(eyed, detector, tmp_path):
    settings = _settings(student=EYED)
    seed_everything(settings.seed)
    start = build_student(EYED).state_dict()  # as the run begins
    tensors, facts = eyed.run(tmp_path / "out", settings, detector=str(detector))
    for name in Eyes(EYED.eyes).state_dict():
        assert torch.equal(
            tensors[f"sight.eyes.{name}"], distill.layer_weights(detector)[name.replace("layers", "model")]
        )
    assert not torch.equal(tensors["sight.near.weight"], start["sight.near.weight"])
    assert not torch.equal(tensors["sight.norm.running_mean"], torch.zeros(8))
    assert facts["source"] == signature([detector])
    student = restored_student(tensors, facts)
    assert not any(weight.requires_grad for weight in student.sight.eyes.parameters())
    assert student(torch.zeros(1, 9, 48, 64, dtype=torch.uint8)).one.shape == (1, 1, 1)


def test_a_student_with_eyes_needs_the_detector(eyed, tmp_path):
    with pytest.raises(ConfigError, match="--detector"):
        eyed.run(tmp_path / "out", _settings(student=EYED))
    with pytest.raises(WeightsError, match=r"nowhere\.pt"):
        eyed.run(tmp_path / "out", _settings(student=EYED), detector="folder/nowhere.pt")


def test_a_run_does_not_go_on_with_another_detectors_eyes(eyed, detector, tmp_path, monkeypatch):
    """It begins anew: two halves of two students are none."""
    epochs = []
    whole = distill.train_epoch

    def stopped(epoch, *rest):
        epochs.append(epoch)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return whole(epoch, *rest)

    monkeypatch.setattr(distill, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        eyed.run(tmp_path / "out", _settings(student=EYED), detector=str(detector))
    detector.write_bytes(b"others")
    eyed.run(tmp_path / "out", _settings(student=EYED), detector=str(detector))
    assert epochs == [0, 1, 2, 0, 1, 2]

"""The background-agnostic teacher: what it sees, what it learns, and that an interruption changes nothing."""

import tracemalloc
from dataclasses import fields

import numpy as np
import pytest
import torch
from footage import last_walkers, walkway

from fastaed.config import BafSettings
from fastaed.teachers import baf
from fastaed.teachers.baf import Baf, BafNetworks, Bank, cut_bank, faster_objects, pseudo_abnormal_crops
from fastaed.teachers.teacher import ClipObjects
from fastaed.training import Checkpoint

TINY = BafSettings(
    channels=(3, 4, 2),
    epochs=2,
    classifier_epochs=2,
    bank_size=24,
    batch_size=8,
    device="cpu",
    precision="float32",
)
SMALL = BafSettings(
    channels=(8, 8, 4),
    epochs=3,
    classifier_epochs=5,
    bank_size=140,
    batch_size=8,
    learning_rate=3e-3,
    device="cpu",
    precision="float32",
)
VIEW_CHANNELS = {"look": 1, "before": 2, "after": 2}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def normal_clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normal")
    return [walkway(folder, f"normal{seed}", seed) for seed in range(4)]


@pytest.fixture(scope="module")
def fitted(normal_clips, tmp_path_factory):
    teacher = Baf(SMALL)
    history = teacher.fit(normal_clips[:3], tmp_path_factory.mktemp("run") / "checkpoint", {}, seed=1)
    return teacher, history


@pytest.fixture
def bank(normal_clips):
    return cut_bank(normal_clips[:1], np.random.default_rng(0))


def crops(number, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        view: torch.rand(number, channels, 64, 64, generator=generator)
        for view, channels in VIEW_CHANNELS.items()
    }


@pytest.mark.parametrize("event", [{"fast": True}, {"striped": True}])
def test_an_object_that_is_fast_or_looks_different_scores_higher(fitted, tmp_path, event):
    clip = walkway(tmp_path, "event", 9, **event)
    scores, abnormal = fitted[0].score(clip), last_walkers(clip)
    assert scores.shape == (72,)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert scores[abnormal].mean() > scores[~abnormal].mean() + 0.1


def test_losses_fall(fitted):
    history = fitted[1]
    assert [row["epoch"] for row in history] == list(range(1, 9))
    for view in baf.VIEWS:
        assert history[2][view] < history[0][view]
        assert history[7][f"{view}_classifier"] < history[3][f"{view}_classifier"]
        assert f"validation_{view}" in history[0]
        assert f"{view}_classifier" not in history[0]


def test_an_interrupted_run_ends_as_an_undisturbed_one(normal_clips, tmp_path, monkeypatch):
    clips, identity = normal_clips[:1], {"settings": "these"}
    undisturbed = Baf(TINY)
    history = undisturbed.fit(clips, tmp_path / "whole", identity, seed=3)

    save = Checkpoint.save
    for interrupted_after in (1, 3):  # in either phase
        path = tmp_path / f"after{interrupted_after}"

        def save_then_stop(self, epochs_done, rows, last=interrupted_after):
            save(self, epochs_done, rows)
            if epochs_done == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(Checkpoint, "save", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            Baf(TINY).fit(clips, path, identity, seed=3)
        monkeypatch.setattr(Checkpoint, "save", save)
        torch.manual_seed(999)
        resumed = Baf(TINY)
        assert resumed.fit(clips, path, identity, seed=3) == history
        for name, tensor in undisturbed.state().items():
            torch.testing.assert_close(resumed.state()[name], tensor, rtol=0, atol=0)


def test_a_restored_teacher_scores_the_same(fitted, normal_clips):
    other = Baf(SMALL)
    other.restore(fitted[0].state())
    np.testing.assert_array_equal(other.score(normal_clips[3]), fitted[0].score(normal_clips[3]))


def test_no_detections_no_scores(fitted, normal_clips):
    clip = normal_clips[0]
    nothing = ClipObjects(clip.frames, clip.detections.take(np.zeros(0, np.int64)))
    assert fitted[0].score(nothing).shape == (0,)


def test_score_is_the_mean_of_three_probabilities():
    torch.manual_seed(0)
    networks = BafNetworks((3, 4, 2))
    x = crops(5, 0)
    with torch.no_grad():
        expected = sum(1 / (1 + torch.exp(-networks.view(view)(x[view]))) for view in baf.VIEWS) / 3
        torch.testing.assert_close(networks(x), expected)


def test_autoencoder_losses_are_the_literal_ones():
    torch.manual_seed(0)
    networks, normal, strange = BafNetworks((3, 4, 2)), crops(4, 1), crops(4, 2)
    mask = torch.rand(4, 1, 64, 64)
    losses = baf.autoencoder_losses(networks, normal, strange, mask, 0.1)
    for view in baf.VIEWS:
        part = networks.view(view)
        away = part.decoder(part.encoder(normal[view])) - normal[view]
        torch.testing.assert_close(losses[view], (away**2).mean())
        away = part.adversary(part.encoder(strange[view])) - strange[view]
        torch.testing.assert_close(losses[f"{view}_adversary"], (away**2).mean())
    away = networks.mask(networks.view("look").encoder(normal["look"])) - mask
    torch.testing.assert_close(losses["mask"], (away**2).mean())
    assert len(losses) == 7


def test_the_mask_teaches_the_encoder_of_the_look():
    torch.manual_seed(0)
    networks, mask = BafNetworks((3, 4, 2)), torch.rand(4, 1, 64, 64)
    loss = baf.autoencoder_losses(networks, crops(4, 1), crops(4, 2), mask, 0.1)["mask"]
    encoder = list(networks.view("look").encoder.parameters())
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(loss, encoder))


def test_classifier_loss_is_the_literal_cross_entropy():
    torch.manual_seed(0)
    networks, normal, strange = BafNetworks((3, 4, 2)), crops(4, 1), crops(3, 2)
    losses = baf.classifier_losses(networks, normal, strange)
    for view in baf.VIEWS:
        good, bad = (networks.view(view)(x[view]).sigmoid() for x in (normal, strange))
        expected = -torch.cat([(1 - good).log(), bad.log()]).mean()
        torch.testing.assert_close(losses[f"{view}_classifier"], expected)


def test_the_phases_share_no_parameter_and_leave_none_out():
    networks = BafNetworks((3, 4, 2))
    first, second = ({id(p) for p in group} for group in (networks.autoencoders(), networks.classifiers()))
    assert not first & second
    assert first | second == {id(p) for p in networks.parameters()}


def test_the_bank_holds_motion_in_box_heights_and_its_gain(bank):
    assert bank.look.shape == bank.mask.shape == (72, 64, 64)
    assert bank.motion.shape == bank.irregular.shape == (72, 2, 2, 64, 64)
    middle = (slice(None), slice(None), slice(24, 40), slice(24, 40))
    speed = np.median(bank.motion[:, 1][middle][:, 0].astype(float))
    assert speed == pytest.approx(1.5 / 24, rel=0.3)  # walkers go 1.5 pixels a frame and are 24 tall
    gaps = np.median(bank.irregular[:, 1][middle][:, 0].astype(float)) / speed
    assert 1.6 < gaps < 4.4
    length = np.hypot(bank.irregular[:, :, 0].astype(float), bank.irregular[:, :, 1].astype(float))
    length -= np.hypot(bank.motion[:, :, 0].astype(float), bank.motion[:, :, 1].astype(float))
    np.testing.assert_allclose(bank.gain, np.maximum(length.mean(axis=(1, 2, 3)), 0), atol=1e-3)


def test_the_bank_is_held_once(normal_clips, bank, monkeypatch):
    """At the published size it is 2.9 GB, and twice as much where parts are kept to be joined."""
    monkeypatch.setattr("fastaed.teachers.objects._OBJECTS_AT_ONCE", 8)
    tracemalloc.start()
    large = cut_bank(normal_clips, np.random.default_rng(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = sum(getattr(large, field.name).nbytes for field in fields(Bank))
    assert peak < 1.5 * held
    for field in fields(Bank):  # neither blocks nor other clips change what is cut
        np.testing.assert_array_equal(getattr(large, field.name)[:72], getattr(bank, field.name))


def test_masks_show_the_object_before_its_background(bank):
    assert bank.mask[:, 24:40, 24:40].mean() > 150
    corners = np.concatenate([bank.mask[:, :6, :6], bank.mask[:, -6:, -6:]])
    assert corners.mean() < 60


def test_what_gains_nothing_by_a_gap_is_not_called_abnormal():
    gain, objects = np.array([0.0, 3.0, 1.0, 0.0, 9.0]), np.array([0, 1, 2, 3])
    drawn = faster_objects(gain, objects, 4000, np.random.default_rng(0))
    assert set(drawn.tolist()) == {1, 2}
    assert (drawn == 1).mean() == pytest.approx(0.75, abs=0.03)
    still = faster_objects(np.zeros(5), objects, 100, np.random.default_rng(0))
    assert set(still.tolist()) <= set(objects.tolist())


def test_pseudo_abnormal_crops_are_other_pictures_of_the_same_kind(bank):
    made = pseudo_abnormal_crops(bank.look, np.random.default_rng(0))
    assert made.shape == bank.look.shape
    assert made.dtype == np.uint8
    difference = np.abs(made.astype(float) - bank.look).mean(axis=(1, 2))
    assert difference.min() > 3
    np.testing.assert_array_equal(made, pseudo_abnormal_crops(bank.look, np.random.default_rng(0)))


def test_a_rearranged_crop_keeps_its_pixels(bank):
    made = baf._rearranged(bank.look[0], np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(made, axis=None), np.sort(bank.look[0], axis=None))
    assert not np.array_equal(made, bank.look[0])


def test_motion_is_measured_in_its_99th_percentile():
    motion = np.zeros((10, 2, 2, 64, 64), np.float16)
    motion[..., :2] = 0.5  # 3 % of the values
    assert baf._flow_unit(motion) == pytest.approx(0.5)
    assert baf._flow_unit(np.zeros_like(motion)) == pytest.approx(1e-3)
    assert isinstance(Bank(*[motion] * 5), Bank)

import pandas as pd
import pytest
import torch

from fastaed import pretrain
from fastaed.config import PretrainSettings, StudentSettings
from fastaed.data.clips import Clips, student_input
from fastaed.data.store import write_frames
from fastaed.errors import DataError
from fastaed.models.student import build_student
from fastaed.weights import load_weights

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)


@pytest.fixture
def stores(tmp_path, walkers):
    paths = []
    for number, name in enumerate(("a", "b")):
        paths.append(tmp_path / f"{name}.zarr")
        write_frames(paths[-1], walkers(20 + number, seed=number), {"clip": name})
    return paths


def _settings(**changes):
    given = {
        "student": TINY,
        "epochs": 3,
        "batch_size": 8,
        "device": "cpu",
        "precision": "float32",
        **changes,
    }
    return PretrainSettings.model_validate(given)


def test_the_encoder_learns_to_reproduce_and_the_decoder_is_thrown_away(stores, tmp_path):
    settings = _settings(epochs=6, learning_rate=1e-2)
    pretrain.run(stores, tmp_path / "a.safetensors", tmp_path / "losses.csv", settings)
    losses = pd.read_csv(tmp_path / "losses.csv")
    assert tuple(losses.columns) == pretrain.COLUMNS
    assert losses["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert losses["reproduce"].iloc[-1] < 0.5 * losses["reproduce"].iloc[0]
    assert (losses["samples_per_second"] > 0).all()
    tensors, facts = load_weights(tmp_path / "a.safetensors")
    student = build_student(TINY).state_dict()
    assert set(tensors) == {name for name in student if not name.startswith("heads.")}
    assert facts["student"] == TINY.model_dump(mode="json")
    assert facts["clips"] == ["a", "b"]
    assert not (tmp_path / "a.checkpoint").exists()


def test_the_encoder_sees_what_the_student_sees(stores):
    """Channels in another order would make phase 1 a start from a wrong place."""

    class Recorder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen = []

        def forward(self, clip):
            self.seen += [sample.numpy().tobytes() for sample in clip]
            return self.weight.expand(len(clip), 3, 24, 32)

    clips, recorder = Clips(stores), Recorder()
    optimizer = torch.optim.SGD(recorder.parameters(), lr=0.1)
    row = pretrain._epoch(0, clips, recorder, optimizer, _settings())
    expected = [student_input(clips.triplet(*sample)).tobytes() for sample in clips.samples()]
    assert sorted(recorder.seen) == sorted(expected)
    assert row["reproduce"] > 0


def test_no_epochs_save_the_initialisation(stores, tmp_path):
    pretrain.run(stores, tmp_path / "a.safetensors", tmp_path / "losses.csv", _settings(epochs=0, seed=5))
    tensors, _ = load_weights(tmp_path / "a.safetensors")
    torch.manual_seed(5)
    fresh = build_student(TINY).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in tensors.items())
    assert (tmp_path / "losses.csv").read_text() == ",".join(pretrain.COLUMNS) + "\n"


def test_an_interrupted_run_ends_with_the_same_weights(stores, tmp_path, monkeypatch):
    whole, halved = tmp_path / "whole" / "a.safetensors", tmp_path / "halved" / "a.safetensors"
    pretrain.run(stores, whole, tmp_path / "whole.csv", _settings())

    epoch_of = pretrain._epoch

    def interrupted(epoch, *rest):
        if epoch == 1:
            raise KeyboardInterrupt
        return epoch_of(epoch, *rest)

    monkeypatch.setattr(pretrain, "_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(stores, halved, tmp_path / "halved.csv", _settings())
    assert not halved.exists()
    monkeypatch.setattr(pretrain, "_epoch", epoch_of)
    pretrain.run(
        stores[::-1], halved, tmp_path / "halved.csv", _settings()
    )  # nor does the order of paths matter

    ours, theirs = load_weights(halved)[0], load_weights(whole)[0]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    columns = ["epoch", "reproduce"]
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "halved.csv")[columns], pd.read_csv(tmp_path / "whole.csv")[columns]
    )


def test_other_frames_of_the_same_clips_are_not_resumed(stores, tmp_path, monkeypatch, capsys, walkers):
    def stop(epoch, *rest):
        if epoch == 1:
            raise KeyboardInterrupt
        return dict.fromkeys(pretrain.COLUMNS, 1.0)

    monkeypatch.setattr(pretrain, "_epoch", stop)
    for message in ("", "resuming after epoch 1"):
        with pytest.raises(KeyboardInterrupt):
            pretrain.run(stores, tmp_path / "a.safetensors", tmp_path / "losses.csv", _settings())
        assert message in capsys.readouterr().err
    write_frames(stores[0], walkers(20, seed=0, width=80), {"clip": "a"})
    write_frames(stores[1], walkers(21, seed=1, width=80), {"clip": "b"})
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(stores, tmp_path / "a.safetensors", tmp_path / "losses.csv", _settings())
    assert "other settings, code or data" in capsys.readouterr().err


def test_no_clips_are_refused(tmp_path):
    with pytest.raises(DataError, match="at least one frame store"):
        pretrain.run([], tmp_path / "a.safetensors", tmp_path / "losses.csv", _settings())

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fastaed import training
from fastaed.errors import ConfigError, DeviceMemoryError
from fastaed.training import (
    AtOnce,
    AveragedModel,
    Checkpoint,
    autocast,
    descend,
    epoch_rng,
    in_parts,
    pick_device,
    seed_everything,
    write_losses,
)


def _network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Conv2d(2, 1, 3))


def _train(network, average, optimizer, steps):
    for _ in range(steps):
        loss = network(torch.randn(4, 1, 8, 8)).square().mean()
        descend(optimizer, loss)
        average.update(network)


@pytest.mark.parametrize("decay", [0.9, 0.3])
def test_the_average_against_its_definition(decay):
    seed_everything(0)
    network = _network()
    average = AveragedModel(network, decay)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    for n in range(30):
        _train(network, average, optimizer, 1)
        keep = min(decay, n / (n + 9))
        for name, value in network.state_dict().items():
            expected[name] = (
                keep * expected[name] + (1 - keep) * value if value.is_floating_point() else value
            )
    for name, value in average.average.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert average.average[1].num_batches_tracked == 30
    assert not average.average.training
    assert network.training


def test_decay_0_keeps_the_last_weights_and_statistics():
    seed_everything(0)
    network = _network()
    average = AveragedModel(network, 0.0)
    _train(network, average, torch.optim.SGD(network.parameters(), lr=0.1), 3)
    for name, value in average.average.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


def _parts():
    network = _network()
    average = AveragedModel(network, 0.9)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    return network, average, optimizer


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    def run(epochs, path):
        seed_everything(3)
        network, average, optimizer = _parts()
        parts = {"network": network, "average": average, "optimizer": optimizer}
        checkpoint = Checkpoint(path, {"settings": "x"}, parts)
        done, history = checkpoint.resume()
        for epoch in range(done, epochs):
            _train(network, average, optimizer, 2)
            history.append({"epoch": epoch + 1.0})
            checkpoint.save(epoch + 1, history)
        return network.state_dict(), average.state_dict(), history

    whole = run(4, tmp_path / "whole")
    run(2, tmp_path / "halved")
    torch.randn(17)  # the world's random state moves on in between
    halved = run(4, tmp_path / "halved")
    assert halved[2] == whole[2] == [{"epoch": float(e)} for e in (1, 2, 3, 4)]
    assert halved[1]["updates"] == whole[1]["updates"]
    for ours, theirs in ((halved[0], whole[0]), (halved[1]["average"], whole[1]["average"])):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_checkpoint_of_another_identity_or_a_damaged_one_is_not_resumed(tmp_path, capsys):
    network, average, optimizer = _parts()
    parts = {"network": network, "average": average, "optimizer": optimizer}
    path = tmp_path / "run.checkpoint"
    Checkpoint(path, {"settings": "x"}, parts).save(3, [{"epoch": 3.0}])
    assert Checkpoint(path, {"settings": "x"}, parts).resume() == (3, [{"epoch": 3.0}])
    assert Checkpoint(path, {"settings": "y"}, parts).resume() == (0, [])
    assert "other settings" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:100])
    assert Checkpoint(path, {"settings": "x"}, parts).resume() == (0, [])
    assert "unreadable" in capsys.readouterr().err
    Checkpoint(path, {"settings": "x"}, parts).remove()
    assert Checkpoint(path, {"settings": "x"}, parts).resume() == (0, [])


def test_epoch_rng_depends_on_seed_and_epoch_only():
    assert epoch_rng(1, 2).random() == epoch_rng(1, 2).random()
    assert len({epoch_rng(seed, epoch).random() for seed in range(3) for epoch in range(3)}) == 9


def test_descend_goes_down_and_forgets_the_last_gradient():
    weight = torch.tensor([2.0], requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.25)
    for expected in (1.0, 0.5):
        descend(optimizer, weight.square().sum())
        assert weight.item() == expected


def test_precision_and_device_by_name():
    cpu = torch.device("cpu")
    assert pick_device("cpu") == cpu
    layer = nn.Linear(2, 2)
    with autocast(cpu, "bfloat16"):
        assert layer(torch.zeros(1, 2)).dtype == torch.bfloat16
    with autocast(cpu, "float32"):
        assert layer(torch.zeros(1, 2)).dtype == torch.float32


@pytest.mark.parametrize(("words", "tiles"), [(False, False), (True, False), (False, True)])
def test_bfloat16_is_automatic_only_where_the_cpu_multiplies_it_itself(words, tiles, monkeypatch):
    """Torch works it out elsewhere, slower than float32."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: words)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    with autocast(torch.device("cpu"), "auto"):
        assert torch.is_autocast_enabled("cpu") is (words or tiles)


def test_a_device_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    assert pick_device("cuda") == torch.device("cuda")
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ConfigError, match="device = cuda:1: this machine has 1 CUDA devices"):
        pick_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="set device to auto or cpu"):
        pick_device("cuda")


@pytest.fixture
def two_cards(monkeypatch):
    """A machine with two CUDA devices of unlikely names; gives the one that torch was told to use."""
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda card: SimpleNamespace(uuid=f"{os.getpid()}-{card}")
    )
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    training._own_card.cache_clear()
    yield current
    _, claim = training._own_card()
    if claim:
        claim.close()
    training._own_card.cache_clear()


OTHER_PROCESS = """
import socket, sys
claim = socket.socket(socket.AF_UNIX)
claim.bind("\\0fastaed-" + sys.argv[1])
print("taken", flush=True)
sys.stdin.read()
"""


def take(card):
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, f"{os.getpid()}-{card}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout.readline() == b"taken\n"
    return other


def kill(process):
    process.kill()
    process.communicate()


def test_of_several_cards_a_process_has_one_for_itself_until_it_ends(two_cards):
    other = take(0)
    try:
        assert pick_device() == pick_device("auto") == torch.device("cuda:1")
        assert set(two_cards) == {torch.device("cuda:1")}
    finally:
        kill(other)
    training._own_card()[1].close()
    training._own_card.cache_clear()
    assert pick_device() == torch.device("cuda:0")


def test_where_all_cards_are_taken_one_is_shared(two_cards):
    others = [take(0), take(1)]
    try:
        assert pick_device() in {torch.device("cuda:0"), torch.device("cuda:1")}
    finally:
        for other in others:
            kill(other)


def test_a_card_by_name_is_used_whether_or_not_it_is_taken(two_cards):
    other = take(1)
    try:
        assert pick_device("cuda:1") == torch.device("cuda:1")
        assert two_cards == [torch.device("cuda:1")]
    finally:
        kill(other)


def test_losses_are_a_row_an_epoch_and_only_a_head_without_epochs(tmp_path):
    write_losses(
        tmp_path / "a.csv", [{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 1 / 3}], ["epoch", "loss"]
    )
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["epoch"].tolist() == [1, 2]
    np.testing.assert_allclose(table["loss"], [0.1, 1 / 3])
    write_losses(tmp_path / "b.csv", [], ["epoch", "loss"])
    assert (tmp_path / "b.csv").read_text() == "epoch,loss\n"


def _out_of_memory_above(limit, sizes):
    def compute(inputs):
        sizes.append(len(inputs))
        if len(inputs) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return inputs * 2

    return compute


def test_what_does_not_fit_is_halved_once_and_for_all(capsys):
    at_once, sizes = AtOnce("detect"), []
    compute = _out_of_memory_above(3, sizes)
    for _ in range(2):
        parts = list(at_once.each(torch.arange(16), compute))
        assert torch.equal(torch.cat(parts), 2 * torch.arange(16))
    assert sizes == [16, 8, 4, *[2] * 16]
    said = capsys.readouterr().err.splitlines()
    assert said == [f"detect: out of memory; going on with {half} at once" for half in (8, 4, 2)]


def test_one_sample_that_does_not_fit_is_one_sentence():
    with pytest.raises(DeviceMemoryError, match=r"does not hold one sample.*detect\.device"):
        list(AtOnce("detect").each(torch.arange(4), _out_of_memory_above(0, [])))


def test_other_processes_are_not_left_waiting_for_a_second_attempt():
    with pytest.raises(torch.OutOfMemoryError):
        list(AtOnce("distill", halves=False).each(torch.arange(4), _out_of_memory_above(2, [])))


@pytest.mark.parametrize("at_once", [1, 2, 3, 4])
def test_parts_have_the_gradient_of_the_whole(at_once):
    """But for batch norm, which is in evaluation mode here."""
    seed_everything(0)
    network, inputs = _network().eval(), torch.randn(5, 1, 8, 8)
    gradients = []
    for size in (5, at_once):
        network.zero_grad()
        parts = in_parts(network, inputs, size)
        assert max(map(len, parts)) <= size
        (torch.cat(parts) ** 3).mean().backward()
        gradients.append([weight.grad.clone() for weight in network.parameters()])
    torch.testing.assert_close(*gradients)


def test_of_parts_little_is_kept_and_statistics_are_counted_once():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    inputs, kept = torch.randn(6, 1, 8, 8), []
    for size in (6, 2):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: s.append(t) or t, lambda t: t):
            parts = in_parts(network, inputs, size)
        kept.append(sum(tensor.numel() for tensor in saved))
    assert kept[1] < kept[0] / 2
    before = network[1].running_mean.clone()
    torch.cat(parts).sum().backward()
    assert torch.equal(network[1].running_mean, before)
    assert network[1].momentum == 0.1

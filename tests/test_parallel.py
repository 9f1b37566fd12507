"""Two processes on the CPU against one, and what happens when one of them ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_distill import Inputs, _settings
from torch import distributed, nn

from fastaed import parallel
from fastaed.config import settings_json
from fastaed.data.clips import Samples
from fastaed.errors import ConfigError
from fastaed.parallel import JointBatchNorm, added, count, leads, own_part, shared
from fastaed.weights import load_weights

SETTINGS = _settings(epochs=6, batch_size=5)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, walkers):
    return Inputs(tmp_path_factory.mktemp("parallel"), walkers)


def _command(inputs, out, settings):
    """In two processes."""
    maps = [f"{teacher}={path}" for teacher, paths in inputs.maps.items() for path in paths]
    return [
        *(sys.executable, "-m", "fastaed", "distill", *map(str, inputs.stores)),
        *("--detections", str(inputs.detections), "--maps", *maps, "--pretrained", str(inputs.pretrained)),
        *("--out", str(out / "student.safetensors"), "--losses", str(out / "losses.csv")),
        *("--curves", str(out / "losses.png"), "--positives", str(out / "positives.png")),
        *("--gpus", "2", "--settings", settings_json(settings)),
    ]


def _children(process):
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _killed(command, epoch, chosen):
    """Run the command, kill one of (the launching process, first, second) after an epoch.

    Returns:
        Exit code, lines said, and the processes that were at work.
    """
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        said = []
        for line in run.stderr:
            said.append(line)
            if f"epoch {epoch}/6" in line:
                processes = [run.pid, *_children(run.pid)]
                os.kill(processes[chosen], signal.SIGKILL)
    return run.returncode, said, processes


def _wait_for_the_end_of(processes):
    until = time.monotonic() + 60
    while alive := [number for number in processes if Path(f"/proc/{number}").exists()]:
        assert time.monotonic() < until, alive
        time.sleep(0.1)


@pytest.mark.timeout(1800)
def test_two_processes_train_the_same_student_whoever_is_killed(inputs, tmp_path):
    """Over steps with 3 and 2 samples.

    Adam takes a whole step by the sign of a gradient that is zero but for rounding, and rounding differs by
    machine: on average the weights differ by less than half a step. Parts weighed alike, or batch norms of
    their own, make that four steps and more, and change the losses by 0.2 percent.
    """
    alone, _ = inputs.run(tmp_path / "alone", SETTINGS)
    out = tmp_path / "two"
    command = _command(inputs, out, SETTINGS)
    code, said, processes = _killed(command, epoch=1, chosen=2)
    assert (code, len(processes)) == (2, 3)
    assert "fastaed distill: process 2 was ended by SIGKILL; the same command" in said[-1]
    assert not any("Traceback" in line for line in said)
    _wait_for_the_end_of(processes)

    code, _, processes = _killed(command, epoch=3, chosen=0)
    assert code == -signal.SIGKILL
    _wait_for_the_end_of(processes)
    assert not (out / "student.safetensors").exists()

    again = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert again.count("resuming after epoch") == again.count("epoch 6/6") == 1
    assert "Warning" not in again
    pictures = {"losses.png", "positives.png"}
    assert {path.name for path in out.iterdir()} == {"student.safetensors", "losses.csv", *pictures}
    both, facts = load_weights(out / "student.safetensors")
    assert facts["settings"] == SETTINGS.model_dump(mode="json")
    statistics = {name for name in alone if "running" in name}
    assert set(both) == set(alone) > statistics
    difference = torch.cat([(both[name] - alone[name]).flatten() for name in set(alone) - statistics])
    assert difference.square().mean().sqrt() < SETTINGS.learning_rate / 2
    for name in statistics:
        torch.testing.assert_close(both[name], alone[name], rtol=0, atol=5e-3)
    tables = [pd.read_csv(tmp_path / name / "losses.csv") for name in ("alone", "two")]
    kept = ["epoch", "judge", "imitate", "deceive", "learning_rate"]
    pd.testing.assert_frame_equal(tables[0][kept], tables[1][kept], rtol=1e-4)


def test_what_both_processes_say_is_said_once(inputs, tmp_path):
    command = _command(inputs, tmp_path, SETTINGS.model_copy(update={"batch_size": 1}))
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    complaint = "fastaed distill: gpus = 2: there are batches of 1 samples; lower gpus or raise batch_size"
    assert [line for line in ended.stderr.splitlines() if "gpus" in line] == [complaint]


@pytest.mark.parametrize("processes", [2, 3])
def test_parts_make_up_every_batch_and_their_weighted_means_its_mean(monkeypatch, processes):
    batches = [Samples(np.arange(n), np.arange(n) + 100) for n in (7, 8)]
    monkeypatch.setattr(parallel, "count", lambda: processes)
    parts = []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
        parts.append(own_part(batches))
    for number, batch in enumerate(batches):
        mine = [(own[number], weights[number]) for own, weights in parts]
        assert np.concatenate([part.frame for part, _ in mine]).tolist() == batch.frame.tolist()
        mean = sum(weight * part.clip.mean() for part, weight in mine) / processes
        assert mean == pytest.approx(batch.clip.mean())
    with pytest.raises(ConfigError, match=f"gpus = {processes}: there are batches of 1 samples"):
        own_part([Samples(np.arange(1), np.arange(1))])


def test_alone_nothing_is_done():
    network, values = nn.Sequential(nn.BatchNorm2d(2)), np.array([1.0, 2.0])
    batches = [Samples(np.arange(1), np.arange(1))]
    assert (count(), leads()) == (1, True)
    assert shared(network) is network
    assert type(network[0]) is nn.BatchNorm2d
    assert added(values) is values
    assert own_part(batches) == (batches, [1.0])


@pytest.fixture
def a_group_of_one():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_joint_batch_norm_against_torchs(a_group_of_one, dtype):
    torch.manual_seed(0)
    ours, theirs = JointBatchNorm(3), nn.BatchNorm2d(3)
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
            norm.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    for _ in range(2):
        features = (5 + 3 * torch.randn(4, 3, 6, 5)).to(dtype)
        leaves = [features.clone().requires_grad_() for _ in range(2)]
        answers = [norm(leaf) for norm, leaf in zip((ours, theirs), leaves)]
        for answer in answers:
            (answer.float() ** 3).mean().backward()
        tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 3e-2, "atol": 3e-2}
        assert answers[0].dtype == dtype
        torch.testing.assert_close(*answers, **tolerance)
        torch.testing.assert_close(leaves[0].grad, leaves[1].grad, **tolerance)
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, **tolerance)
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, **tolerance)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(features), theirs.eval()(features))


def test_more_processes_than_cards_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="gpus = 3: this machine has 2 CUDA devices"):
        parallel.launch(3, ["distill"])

import numpy as np
import pandas as pd
import pytest
import torch

from fastaed import score
from fastaed.config import ScoreSettings, StudentSettings
from fastaed.data.clips import student_input
from fastaed.data.maps import pool_pyramid
from fastaed.data.score_files import read_score_set
from fastaed.data.store import FrameStore, read_maps, write_frames, write_maps
from fastaed.errors import DataError, WeightsError
from fastaed.files import content_digest, read_manifest
from fastaed.models.student import Student, build_student
from fastaed.weights import save_weights, weights_digest

TINY = StudentSettings(channels=(2, 4, 4, 8, 8), blocks=1, heads=2, head_width=4, map_channels=4)
SETTINGS = ScoreSettings(batch_size=7, device="cpu", precision="float32")
FRAMES = {"y": 37, "x": 20}


@pytest.fixture
def stores(tmp_path, walkers):
    paths = []
    for number, (clip, length) in enumerate(FRAMES.items()):
        paths.append(tmp_path / f"{clip}.zarr")
        write_frames(paths[-1], walkers(length, seed=number), {"clip": clip})
    return paths


@pytest.fixture
def student(tmp_path):
    torch.manual_seed(0)
    network = build_student(TINY)
    path = tmp_path / "student.safetensors"
    save_weights(
        path, network.state_dict(), {"student": TINY.model_dump(mode="json"), "height": 48, "width": 64}
    )
    return path, network.eval()


def _run(folder, student, stores, settings=SETTINGS):
    score.run_student(
        student, stores, folder / "0.parquet", folder / "maps.zarr", folder / "maps.json", settings
    )
    return pd.read_parquet(folder / "0.parquet")


@torch.inference_mode()
def test_scores_against_one_frame_at_a_time(tmp_path, student, stores):
    path, network = student
    table = _run(tmp_path / "out", path, stores)
    assert list(table.columns) == ["clip", "frame", "1x1", "4x4", "16x16", "mean"]
    assert table.groupby("clip").size().to_dict() == FRAMES
    for store in stores:
        frames = FrameStore(store)
        rows = table[table["clip"] == frames.clip].set_index("frame")
        maps = read_maps(tmp_path / "out" / "maps.zarr", frames.clip)
        for t in (0, 2, 3, 15, len(frames) - 2, len(frames) - 1):
            before, after = t - 3 if t >= 3 else t, t + 3 if t + 3 < len(frames) else t
            clip = torch.from_numpy(student_input(frames.gather([t, before, after])))[None]
            prediction = network(clip)
            for ours, theirs in zip(maps, prediction):
                np.testing.assert_allclose(ours[t], theirs[0].numpy(), atol=1e-5)
            expected = [level.max().item() for level in prediction]
            np.testing.assert_allclose(
                rows.loc[t, ["1x1", "4x4", "16x16"]].astype(float), expected, atol=1e-5
            )
            assert rows.loc[t, "mean"] == pytest.approx(sum(expected) / 3, abs=1e-5)


def test_the_order_of_paths_and_the_batch_size_change_nothing(tmp_path, student, stores):
    one = _run(tmp_path / "one", student[0], stores)
    other = _run(tmp_path / "other", student[0], stores[::-1], SETTINGS.model_copy(update={"batch_size": 64}))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4)


def test_frames_that_do_not_fit_together_are_scored_apart(tmp_path, student, stores, monkeypatch, capsys):
    forward = Student.forward

    def limited(self, clip):
        if len(clip) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, clip)

    whole = _run(tmp_path / "whole", student[0], stores)
    monkeypatch.setattr(Student, "forward", limited)
    apart = _run(tmp_path / "apart", student[0], stores)
    pd.testing.assert_frame_equal(whole, apart, rtol=1e-4)
    assert capsys.readouterr().err.count("out of memory; going on with") == 2  # 7, 3, 1


def test_training_and_scoring_see_the_same_channels(tmp_path, student, stores):
    """The published code stacks colours in another order at test time; both go through one function here."""
    from fastaed import distill, pretrain

    for stage in (distill, pretrain, score):
        assert stage.student_input is student_input


def test_each_chunk_is_decoded_once_and_in_order(tmp_path, student, stores, monkeypatch):
    reads = []
    read = FrameStore.read
    monkeypatch.setattr(
        FrameStore, "read", lambda self, a, b: reads.append((self.clip, a)) or read(self, a, b)
    )
    _run(tmp_path / "out", student[0], stores)
    assert sorted(reads) == [("x", 0), ("x", 16), ("y", 0), ("y", 16), ("y", 32)]


def test_the_manifest_vouches_for_the_maps(tmp_path, student, stores):
    _run(tmp_path / "out", student[0], stores)
    manifest = read_manifest(tmp_path / "out" / "maps.json")
    assert manifest["stage"] == "score"
    assert manifest["clips"] == FRAMES
    assert manifest["content"] == content_digest(tmp_path / "out" / "maps.zarr")
    assert manifest["weights"] == weights_digest(student[0])


def test_bfloat16_scores_are_close(tmp_path, student, stores):
    exact = _run(tmp_path / "one", student[0], stores)
    rough = _run(
        tmp_path / "other", student[0], stores, SETTINGS.model_copy(update={"precision": "bfloat16"})
    )
    np.testing.assert_allclose(exact["mean"], rough["mean"], atol=0.02)


def test_frames_of_another_size_are_refused(tmp_path, student, walkers):
    write_frames(tmp_path / "z.zarr", walkers(4, seed=0, width=80), {"clip": "z"})
    with pytest.raises(DataError, match=r"frames of 80x48 but .* was trained on 64x48"):
        _run(tmp_path / "out", student[0], [tmp_path / "z.zarr"])


def test_weights_of_something_else_are_refused(tmp_path, stores):
    save_weights(tmp_path / "teacher.safetensors", {"w": torch.zeros(1)}, {"teacher": "ssmtl"})
    with pytest.raises(WeightsError, match="not those of a student"):
        _run(tmp_path / "out", tmp_path / "teacher.safetensors", stores)


def test_a_student_that_has_diverged_is_refused(tmp_path, student, stores):
    path, network = student
    with torch.no_grad():
        network.heads.four.convolutions[-1].bias.fill_(torch.nan)
    save_weights(
        path, network.state_dict(), {"student": TINY.model_dump(mode="json"), "height": 48, "width": 64}
    )
    with pytest.raises(DataError, match="NaN"):
        _run(tmp_path / "out", path, stores)
    assert not (tmp_path / "out" / "0.parquet").exists()


def test_a_clip_whose_maps_are_given_twice_is_refused(tmp_path):
    maps = pool_pyramid(np.random.default_rng(0).random((9, 18, 32)).astype(np.float32))
    for name in ("0.zarr", "1.zarr"):
        write_maps(tmp_path / name, {"x": maps}, {})
    with pytest.raises(DataError, match=r"maps of clip x are in two stores, the second is .*1\.zarr"):
        score.run_teacher([tmp_path / "0.zarr", tmp_path / "1.zarr"], [], tmp_path / "scores.parquet")


def test_a_teachers_scores_are_the_maxima_of_its_maps(tmp_path):
    rng = np.random.default_rng(0)
    maps = {clip: pool_pyramid(rng.random((n, 18, 32)).astype(np.float32)) for clip, n in FRAMES.items()}
    write_maps(tmp_path / "0.zarr", {"y": maps["y"]}, {})
    write_maps(tmp_path / "1.zarr", {"x": maps["x"]}, {})
    score.run_teacher([tmp_path / "0.zarr", tmp_path / "1.zarr"], [], tmp_path / "scores.parquet")
    scores = read_score_set("teacher", [tmp_path / "scores.parquet"])
    assert set(scores) == {"x", "y"}
    for clip, columns in scores.items():
        for t in range(FRAMES[clip]):
            top = maps[clip].sixteen[t].max()
            assert columns["1x1"][t] == columns["4x4"][t] == columns["16x16"][t] == top
            assert columns["mean"][t] == pytest.approx(top)


def test_only_the_clips_asked_for_are_scored(tmp_path):
    maps = pool_pyramid(np.random.default_rng(0).random((9, 18, 32)).astype(np.float32))
    write_maps(tmp_path / "0.zarr", {"x": maps, "y": maps, "z": maps}, {})
    score.run_teacher([tmp_path / "0.zarr"], ["z", "x"], tmp_path / "scores.parquet")
    assert pd.read_parquet(tmp_path / "scores.parquet")["clip"].unique().tolist() == ["z", "x"]
    with pytest.raises(DataError, match=r"no maps of clip w in .*0\.zarr; run label"):
        score.run_teacher([tmp_path / "0.zarr"], ["w"], tmp_path / "scores.parquet")

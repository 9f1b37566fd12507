"""Labels of all clips, what they are told apart by, and what frame stores add."""

from dataclasses import replace

import numpy as np
import pytest

from fastaed.config import EvaluateSettings
from fastaed.data.store import write_frames
from fastaed.errors import DataError, StoreError
from fastaed.evaluation.truth import GroundTruth, Truth, read_footage, read_truth

TRUTH = Truth(["01", "02"], [np.array([0, 1, 1], np.uint8), np.array([0], np.uint8)], None, "toy")


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "1.csv").write_text("frame,label,kind\n0,0,look\n1,1,look\n2,1,\n")
    np.save(tmp_path / "2.npy", np.array([0, 1]))
    return {"b": tmp_path / "1.csv", "a": tmp_path / "2.npy"}


def test_clips_keep_the_order_in_which_they_are_named(labels):
    truth = read_truth(GroundTruth("toy", "folder", labels))
    assert truth.frames == {"b": 3, "a": 2}
    assert list(truth.clips) == ["b", "a"]
    assert truth.version == "folder"


def test_a_kind_counts_on_abnormal_frames_only_and_none_is_unnamed(labels):
    truth = read_truth(GroundTruth("toy", "folder", labels))
    assert truth.kinds.tolist() == ["", "look", "unnamed", "", "unnamed"]
    plain = read_truth(GroundTruth("toy", "folder", {"a": labels["a"]}))
    assert plain.kinds is None


def test_a_folder_and_an_archive_say_the_same_under_versions_of_their_own(tmp_path):
    values = {"2": np.array([0, 1]), "10": np.array([1])}
    np.savez(tmp_path / "corrected.npz", **values)
    for clip, value in values.items():
        np.save(tmp_path / f"{clip}.npy", value)
    folder, archive = (
        read_truth(GroundTruth("toy", "folder", path)) for path in (tmp_path, tmp_path / "corrected.npz")
    )
    assert list(folder.clips) == list(archive.clips) == ["2", "10"]
    assert folder.digest == archive.digest
    assert (folder.version, archive.version) == ("folder", "corrected.npz")


def test_the_digest_tells_labels_lengths_and_names_apart():
    ends_later = [np.array([0, 1], np.uint8), np.array([1, 0], np.uint8)]  # the same frames end to end
    others = [
        replace(TRUTH, labels=[np.array([0, 1, 0], np.uint8), TRUTH.labels[1]]),
        replace(TRUTH, labels=ends_later),
        replace(TRUTH, clips=["01", "03"]),
    ]
    assert len({TRUTH.digest, *(one.digest for one in others)}) == 4
    assert replace(TRUTH, version="other").digest == TRUTH.digest


@pytest.mark.parametrize(("value", "name"), [(0, "normal"), (1, "abnormal")])
def test_refuses_labels_of_one_class(tmp_path, value, name):
    np.savez(tmp_path / "labels.npz", **{"1": np.full(3, value), "2": np.full(2, value)})
    with pytest.raises(DataError, match=f"call all frames of all 2 clips {name}"):
        read_truth(GroundTruth("toy", "folder", tmp_path / "labels.npz"))


def test_clips_in_which_nothing_happens_stand_after_those_with_labels(tmp_path, labels):
    stores(tmp_path, c01={}, c02={})
    normal = [tmp_path / "c01.zarr", tmp_path / "c02.zarr"]
    truth = read_truth(GroundTruth("toy", "folder", labels, normal=normal))
    assert truth.frames == {"b": 3, "a": 2, "01": 3, "02": 1}
    assert not np.concatenate(truth.labels[2:]).any()
    assert truth.kinds.tolist() == ["", "look", "unnamed", "", "unnamed", "", "", "", ""]


def test_refuses_labels_of_a_clip_in_which_nothing_happens(tmp_path, labels):
    stores(tmp_path, c01={})
    with pytest.raises(DataError, match=r"c01\.zarr .* nothing happens, but there are labels of clip 01"):
        read_truth(GroundTruth("toy", "folder", {"01": labels["b"]}, normal=[tmp_path / "c01.zarr"]))


def stores(folder, **clips):
    for clip, attributes in clips.items():
        frames = np.zeros((3 if clip == "c01" else 1, 4, 6, 3), np.uint8)
        write_frames(folder / f"{clip}.zarr", frames, {"clip": clip.removeprefix("c"), **attributes})
    return [folder / f"{clip}.zarr" for clip in clips]


def test_what_all_stores_agree_on_is_known(tmp_path):
    about = {"rate": 25.0, "source_height": 240, "source_width": 360}
    paths = stores(tmp_path, c01=about, c02={**about, "rate": 24.0})
    footage = read_footage(paths, TRUTH, EvaluateSettings())
    assert (footage.rate, footage.size) == (None, (240, 360))
    assert set(footage.stores) == {"01", "02"}
    footage = read_footage(paths[:1], TRUTH, EvaluateSettings())
    assert footage.rate == 25.0


def test_settings_go_before_stores_and_nothing_is_guessed_without(tmp_path):
    nothing = read_footage([], TRUTH, EvaluateSettings())
    assert (nothing.rate, nothing.size, nothing.stores) == (None, None, {})
    paths = stores(tmp_path, c01={"rate": 25.0, "source_height": 240, "source_width": 360})
    told = EvaluateSettings(frames_per_second=10, frame_size=(640, 480))
    footage = read_footage(paths, TRUTH, told)
    assert (footage.rate, footage.size) == (10, (480, 640))


def test_refuses_a_store_of_other_footage(tmp_path):
    paths = stores(tmp_path, c01={})
    shorter = replace(TRUTH, labels=[TRUTH.labels[0][:2], TRUTH.labels[1]])
    with pytest.raises(DataError, match=r"01\.zarr holds 3 frames but clip 01 has 2 labels"):
        read_footage(paths, shorter, EvaluateSettings())
    with pytest.raises(StoreError):
        read_footage([tmp_path / "02.zarr"], TRUTH, EvaluateSettings())


def test_guarded_frames_are_those_near_a_change_of_label():
    labels = [np.array([0, 0, 0, 0, 1, 1, 1, 0, 0], np.uint8), np.array([1, 1], np.uint8)]
    kinds = np.array(["", "", "", "", "a", "a", "a", "", "", "b", "b"])
    truth = Truth(["01", "02"], labels, kinds, "toy")
    assert all(kept.all() for kept in truth.guarded(0))
    one, other = truth.guarded(1)
    assert one.tolist() == [True, True, True, False, False, True, False, False, True]
    assert other.all()
    counted = truth.at([one, other])
    assert [each.tolist() for each in counted.labels] == [[0, 0, 0, 1, 0], [1, 1]]
    assert counted.kinds.tolist() == ["", "", "", "a", "", "b", "b"]
    assert counted.frames == {"01": 5, "02": 2}
    assert [len(each) for each in truth.at(truth.guarded(9)).labels] == [0, 2]

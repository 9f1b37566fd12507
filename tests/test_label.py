"""Maps are made by models that have not seen the clip, and by nothing else."""

from dataclasses import asdict

import numpy as np
import pytest

from fastaed import label
from fastaed.config import LabelSettings, TeachSettings
from fastaed.data.boxes import Detections, write_detections
from fastaed.data.maps import paint_maps, pool_pyramid, smooth_maps
from fastaed.data.store import read_maps, write_frames
from fastaed.errors import DataError, MissingDataError, WeightsError
from fastaed.files import content_digest, read_manifest
from fastaed.teachers.build import build_teacher, save_teacher
from fastaed.teachers.calibration import Calibration
from fastaed.weights import weights_digest

FRAMES, HEIGHT, WIDTH = 6, 48, 64
SETTINGS = LabelSettings(cell=8, smooth=3, device="cpu")
CALIBRATION = Calibration(low=0.0, high=1.0)
EMPTY = pool_pyramid(np.zeros((FRAMES, HEIGHT // 8, WIDTH // 8), np.float32))


class Fixed:
    """A teacher that scores every object the same."""

    def __init__(self, score):
        self._score = score

    def score(self, clip):
        return np.full(len(clip.detections), self._score, np.float32)


@pytest.fixture
def clips(tmp_path):
    """Clips a and b with two objects a frame, and c without any."""
    (tmp_path / "detect").mkdir()
    for i, name in enumerate("abc"):
        rng = np.random.default_rng(i)
        pictures = rng.integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
        write_frames(tmp_path / f"{name}.zarr", pictures, {"clip": name})
        number = 0 if name == "c" else 2 * FRAMES
        corner = rng.uniform(0, 30, (number, 2))
        write_detections(
            tmp_path / "detect" / f"{name}.parquet",
            Detections(
                np.repeat(np.arange(FRAMES), 2)[:number].astype(np.int32),
                np.concatenate([corner, corner + 15], axis=1).astype(np.float32),
                np.ones(number, np.float32),
                np.zeros(number, np.int16),
                np.tile(np.array([[0.9, 0.1]], np.float32), (number, 1)),
                np.zeros((number, 0), np.float16),
            ),
        )
    return tmp_path


@pytest.fixture
def folds(monkeypatch):
    """Let a file `<score>-<clips>.safetensors` be a teacher of that score fitted on those clips."""

    def load(path, device=None):
        score, fitted_on = path.stem.split("-")
        facts = {"teacher": "fixed", "fitted_on": list(fitted_on), "calibration": asdict(CALIBRATION)}
        return Fixed(float(score)), facts

    monkeypatch.setattr(label, "load_teacher", load)


def run(folder, names, teachers, settings=SETTINGS):
    paths = [folder / f"{teacher}.safetensors" for teacher in teachers]
    for path in paths:
        path.touch()  # an empty stand-in, or the file that is there
    label.run(
        [folder / f"{name}.zarr" for name in names],
        [folder / "detect"],
        paths,
        folder / "maps.zarr",
        folder / "maps.json",
        settings,
    )


def test_each_clip_is_judged_by_the_mean_of_the_models_that_have_not_seen_it(clips, folds):
    run(clips, "ab", ["1.0-b", "3.0-a", "0.25-a"])
    scores = {"a": 1 / 2, "b": (3 / 4 + 0.25 / 1.25) / 2}  # u / (1 + u), then the mean
    for name, score in scores.items():
        detections = label.read_detections(clips / "detect" / f"{name}.parquet")
        painted = paint_maps(
            np.full(len(detections), score, np.float32), detections, FRAMES, HEIGHT, WIDTH, 8
        )
        expected = pool_pyramid(smooth_maps(painted, 3))
        for level, literal in zip(read_maps(clips / "maps.zarr", name), expected):
            np.testing.assert_allclose(level, literal, rtol=1e-6)
            assert level.max() > 0.1


def test_a_clip_that_every_model_has_seen_is_refused(clips, folds):
    with pytest.raises(DataError, match="every model was fitted on clip b, so none can judge it"):
        run(clips, "ab", ["1.0-b", "2.0-bc"])
    assert not (clips / "maps.zarr").exists()
    assert not (clips / "maps.json").exists()


def test_an_interrupted_batch_goes_on_after_its_last_whole_clip(clips, folds, monkeypatch):
    run(clips, "abc", ["1.0-d"])
    undisturbed = content_digest(clips / "maps.zarr")
    calls = []

    def second_interrupted(frames, *others, label_clip=label._label_clip):
        calls.append(frames.path.stem)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return label_clip(frames, *others)

    monkeypatch.setattr(label, "_label_clip", second_interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(clips, "abc", ["1.0-d"])
    run(clips, "abc", ["1.0-d"])
    assert calls == ["a", "b", "b", "c"]
    assert content_digest(clips / "maps.zarr") == undisturbed
    assert not (clips / "maps.checkpoint").exists()


@pytest.mark.parametrize("changed", ["settings", "detections", "teacher"])
def test_what_an_interrupted_batch_made_otherwise_is_not_taken(clips, folds, monkeypatch, changed):
    teachers, settings = ["1.0-b"], SETTINGS
    with pytest.raises(DataError, match="fitted on clip b"):  # after a, which is done
        run(clips, "ab", teachers)
    if changed == "settings":
        settings = SETTINGS.model_copy(update={"smooth": 5})
    elif changed == "detections":
        (clips / "detect" / "b.parquet").replace(clips / "detect" / "a.parquet")
    else:
        teachers = ["2.0-b"]
        (clips / "2.0-b.safetensors").write_bytes(b"another")
    calls = []
    monkeypatch.setattr(label, "_label_clip", lambda frames, *others: calls.append(frames.path.stem) or EMPTY)
    run(clips, "a", teachers, settings)
    assert calls == ["a"]


def test_a_clip_without_detections_has_empty_maps(clips, folds):
    run(clips, "c", ["1.0-a"])
    for level in read_maps(clips / "maps.zarr", "c"):
        assert len(level) == FRAMES
        assert not level.any()


def test_the_manifest_names_teacher_weights_and_clips(clips, folds):
    run(clips, "bc", ["1.0-a", "2.0-a"])
    manifest = read_manifest(clips / "maps.json")
    assert manifest["stage"] == "label"
    assert manifest["teacher"] == "fixed"
    assert manifest["clips"] == {"b": FRAMES, "c": FRAMES}
    assert manifest["settings"] == SETTINGS.model_dump(mode="json")
    assert manifest["content"] == content_digest(clips / "maps.zarr")
    digest = weights_digest(clips / "1.0-a.safetensors")
    assert manifest["weights"] == {"1.0-a.safetensors": digest, "2.0-a.safetensors": digest}
    assert manifest["detections"]["b"] == content_digest(clips / "detect" / "b.parquet")


def test_a_test_clip_of_a_training_clips_name_is_another_clip(clips):
    """Avenue calls clips of both splits 01, 02 ...; their frames differ."""
    one, other = (label.FrameStore(clips / f"{name}.zarr").fingerprint() for name in "ab")
    seen = label.FittedTeacher("fixed", Fixed(1), CALIBRATION, frozenset("a"), {"a": one})
    assert seen.has_seen("a", one)
    assert not seen.has_seen("a", other)
    assert not seen.has_seen("b", one)
    unsaid = label.FittedTeacher("fixed", Fixed(1), CALIBRATION, frozenset("a"), {})
    assert unsaid.has_seen("a", other)


def test_a_clip_made_from_another_is_judged_by_those_who_have_not_seen_the_original(clips, folds):
    fingerprint = label.FrameStore(clips / "a.zarr").fingerprint()
    pictures = label.FrameStore(clips / "b.zarr").read(0, FRAMES)
    facts = {"clip": "a-1", "made_from": {"clip": "a", "fingerprint": fingerprint}}
    write_frames(clips / "a-1.zarr", pictures, facts)
    (clips / "detect" / "b.parquet").rename(clips / "detect" / "a-1.parquet")
    run(clips, ["a-1"], ["1.0-b"])
    of_the_other_fold = read_maps(clips / "maps.zarr", "a-1")
    run(clips, ["a-1"], ["1.0-b", "3.0-a"])
    np.testing.assert_array_equal(read_maps(clips / "maps.zarr", "a-1").sixteen, of_the_other_fold.sixteen)
    with pytest.raises(DataError, match="every model was fitted on clip a-1"):
        run(clips, ["a-1"], ["3.0-a"])


def test_a_clip_detected_anew_is_still_the_clip_that_was_seen(clips, monkeypatch):
    """A lower threshold must not make footage that a model was fitted on pass for unseen footage."""
    fingerprint = label.FrameStore(clips / "a.zarr").fingerprint()

    def load(path, device=None):
        facts = {"teacher": "fixed", "fitted_on": ["a"], "calibration": asdict(CALIBRATION)}
        old = {"detections": {"a": "digest of the detections of then"}, "footage": {"a": fingerprint}}
        return Fixed(1), {**facts, **old}

    monkeypatch.setattr(label, "load_teacher", load)
    with pytest.raises(DataError, match="every model was fitted on clip a"):
        run(clips, "a", ["0"])


def test_maps_of_two_teachers_do_not_mix(clips, monkeypatch):
    def load(path, device=None):
        return Fixed(1), {"teacher": path.stem, "fitted_on": [], "calibration": asdict(CALIBRATION)}

    monkeypatch.setattr(label, "load_teacher", load)
    with pytest.raises(DataError, match="folds of one teacher, not of baf and density"):
        run(clips, "a", ["baf", "density"])
    with pytest.raises(DataError, match="not of none"):
        run(clips, "a", [])


def test_a_file_that_does_not_say_what_it_saw_is_refused(clips, monkeypatch):
    monkeypatch.setattr(label, "load_teacher", lambda path, device=None: (Fixed(1), {"teacher": "baf"}))
    with pytest.raises(WeightsError, match="does not say what it was fitted on"):
        run(clips, "a", ["baf"])


def test_missing_detections_are_named(clips, folds):
    (clips / "detect" / "b.parquet").unlink()
    with pytest.raises(MissingDataError, match=r"no detections for 1 of 2 clips \(b is the first\)"):
        run(clips, "ab", ["1.0-c"])


def test_an_even_filter_has_no_middle():
    with pytest.raises(ValueError, match="must be odd"):
        LabelSettings(smooth=4)
    assert LabelSettings(smooth=0).smooth == 0


@pytest.mark.parametrize("name", ["baf", "density"])
def test_a_real_teachers_file_labels_a_clip(clips, name):
    settings = TeachSettings.model_validate(
        {
            "baf": {"channels": [2, 2, 2], "epochs": 1, "classifier_epochs": 1, "device": "cpu"},
            "density": {},
        }
    )
    teacher = build_teacher(name, settings)
    objects = [
        label.ClipObjects(
            label.FrameStore(clips / f"{clip}.zarr"),
            label.read_detections(clips / "detect" / f"{clip}.parquet"),
        )
        for clip in "ac"
    ]
    teacher.fit(objects, clips / "checkpoint", {}, 1)
    raw = teacher.score(objects[0])
    facts = {
        "teacher": name,
        "settings": settings.model_dump(mode="json"),
        "fitted_on": ["a", "c"],
        "calibration": asdict(Calibration(float(raw.min()) - 1, float(raw.max()))),
    }
    save_teacher(clips / "0.safetensors", teacher, facts)
    run(clips, "b", ["0"])
    assert 0 < read_maps(clips / "maps.zarr", "b").one.max() < 1

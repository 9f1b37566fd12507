"""Trial clips: what is put into them is where, when and what the labels and tracks say."""

import json
from itertools import groupby

import cv2
import numpy as np
import pytest

from fastaed import cli, trial
from fastaed.config import TrialSettings, read_settings
from fastaed.data.labels import read_frame_labels
from fastaed.data.store import FrameStore, write_frames
from fastaed.data.tracks import read_tracks
from fastaed.errors import ConfigError
from fastaed.files import content_digest, read_manifest, write_manifest

FRAMES, HEIGHT, WIDTH = 180, 120, 200


def footage(frames=FRAMES, grey=True, people=True):
    """People walk to the right and to the left and round again; pixel (0, 0) counts frames."""
    rng = np.random.default_rng(1)
    ground = cv2.GaussianBlur(rng.uniform(60, 120, (HEIGHT, WIDTH, 1 if grey else 3)), (0, 0), 3)
    clip = np.repeat(np.broadcast_to(ground.reshape(HEIGHT, WIDTH, -1), (HEIGHT, WIDTH, 3))[None], frames, 0)
    clip = np.ascontiguousarray(clip).astype(np.uint8)
    for t, frame in enumerate(clip):
        for top, step in ((40, 1.0), (80, -0.8)) if people else ():
            left = 10 + round(t * step) % (WIDTH - 30)
            frame[top : top + 24, left : left + 10] = 20
        frame[0, 0] = t
    return clip


def settings(**strengths):
    kinds = dict.fromkeys(("object", "texture", "fast", "skip", "ride", "glide", "reverse"), ())
    return TrialSettings.model_validate({"strengths": {**kinds, **strengths}, "passers_by": False})


def make(frames, chosen=None, number=0):
    return trial.make(frames, number, chosen or TrialSettings(), np.random.default_rng(number))


def events(clip):
    """(kind, first, behind the last) of each run of frames of one kind."""
    runs, frame = [], 0
    for kind, group in groupby(clip.kinds):
        runs.append((kind, frame, frame := frame + len(list(group))))
    return [run for run in runs if run[0]]


@pytest.mark.parametrize(
    ("kind", "strengths"),
    [("object", (0.7, 1.5)), ("texture", (0.3, 1.0)), ("fast", (2,)), ("ride", (1.0, 2.0)), ("glide", (2,))],
)
@pytest.mark.parametrize("grey", [True, False])
def test_pasted_kinds_change_frames_inside_their_boxes_and_nowhere_else(kind, strengths, grey):
    original = footage(grey=grey)
    untouched = original.copy()
    clip = make(original, settings(**{kind: strengths}))
    assert (original == untouched).all()
    assert {name for name, _, _ in events(clip)} == {f"{kind}-{strength:g}" for strength in strengths}
    changed = (clip.frames != original).any(axis=3)
    boxes = np.zeros_like(changed)
    for _, frame, x1, y1, x2, y2 in clip.tracks:
        assert 0 <= x1 < x2 <= WIDTH
        assert 0 <= y1 < y2 <= HEIGHT
        boxes[frame, y1:y2, x1:x2] = True
        assert changed[frame, y1:y2, x1:x2].mean() > 0.1
    assert not (changed & ~boxes).any()
    assert [bool(kind) for kind in clip.kinds] == boxes.any(axis=(1, 2)).tolist()
    assert len({row[0] for row in clip.tracks}) == len(events(clip))
    if grey:
        assert (clip.frames == clip.frames[..., :1]).all()


@pytest.mark.parametrize("number", range(4))
def test_events_are_long_enough_and_apart(number):
    clip = make(footage(), number=number)
    found = events(clip)
    assert len(found) >= 3
    end = 0
    for _, start, stop in found:
        assert 15 <= stop - start <= 45
        assert start - end >= stop - start
        end = stop
    assert end < len(clip.kinds)


def test_what_is_laid_on_moves_smoothly():
    """The middle of the box goes the same way a frame, but for its rounding and a slow sway."""
    for kind, strength in (("object", 1.0), ("texture", 0.5), ("fast", 4)):
        clip = make(footage(), settings(**{kind: (strength,)}))
        rows = np.array([row for row in clip.tracks if row[0] == 0])
        inside = (rows[:, 2] > 0) & (rows[:, 4] < WIDTH)
        x = (rows[inside, 2] + rows[inside, 4]) / 2
        assert np.abs(np.diff(x) - np.diff(x).mean()).max() <= (4 if kind == "fast" else 1.5)


@pytest.mark.parametrize(
    ("kind", "factor"), [("fast", 2), ("fast", 3), ("fast", 6), ("ride", 1.5), ("ride", 3), ("glide", 3)]
)
def test_people_are_as_many_times_as_fast_as_the_others(kind, factor):
    frames = footage()
    clip = make(frames, settings(**{kind: (factor,)}))
    rows = np.array([row for row in clip.tracks if row[0] == 0])
    x = (rows[:, 2] + rows[:, 4]) / 2
    assert abs(np.polyfit(np.arange(len(x)), x, 1)[0]) == pytest.approx(0.9 * factor, rel=0.15)


def test_who_rides_has_a_bicycle_which_who_glides_has_not():
    """The person is 10 pixels wide, the bicycle wider; of both, the look stays the same."""
    for kind, wide in (("ride", True), ("glide", False)):
        clip = make(footage(), settings(**{kind: (2.0,)}))
        _, start, stop = events(clip)[0]
        boxes = {row[1]: row[2:] for row in clip.tracks}
        inside = [
            boxes[frame] for frame in range(start, stop) if boxes[frame][0] > 0 and boxes[frame][2] < WIDTH
        ]
        widths = [x2 - x1 for x1, _, x2, _ in inside]
        assert (min(widths) > 14) == wide
        assert max(widths) - min(widths) <= 2


@pytest.mark.parametrize("step", [2, 3, 4])
def test_skipped_frames_are_left_out_where_the_label_says(step):
    clip = make(footage(), settings(skip=(step,)))
    steps = np.diff(clip.frames[:, 0, 0, 0].astype(int))
    assert set(clip.kinds) == {"", f"skip-{step}"}
    expected = [step if kind else 1 for kind in clip.kinds[1:]]
    assert steps.tolist() == expected
    for frame in np.flatnonzero([bool(kind) for kind in clip.kinds]):
        original = clip.frames[frame, 0, 0, 0]
        boxes = [row[2:] for row in clip.tracks if row[1] == frame]
        assert boxes, f"nothing moves in frame {original}"


def test_reversed_frames_run_back_and_on_again_without_a_jump():
    clip = make(footage(), settings(reverse=(1,)))
    steps = np.diff(clip.frames[:, 0, 0, 0].astype(int))
    assert set(clip.kinds) == {"", "reverse"}
    assert steps.tolist() == [-1 if kind else 1 for kind in clip.kinds[1:]]


def test_boxes_of_what_moves_hold_the_walkers():
    clip = make(footage(), settings(skip=(2,)))
    for frame in {row[1] for row in clip.tracks}:
        boxes = np.zeros((HEIGHT, WIDTH), bool)
        for _, _, x1, y1, x2, y2 in (row for row in clip.tracks if row[1] == frame):
            boxes[y1:y2, x1:x2] = True
        dark = (clip.frames[frame] == 20).all(axis=2)
        assert (boxes & dark).sum() >= 0.4 * dark.sum()


@pytest.mark.parametrize("number", range(3))
def test_passers_by_are_laid_over_normal_frames_and_nothing_else_changes(number):
    alone, clip = (make(footage(), TrialSettings(passers_by=there), number) for there in (False, True))
    assert (clip.kinds, clip.tracks) == (alone.kinds, alone.tracks)
    changed = (clip.frames != alone.frames).any(axis=(1, 2, 3))
    normal = np.array([not kind for kind in clip.kinds])
    assert changed[normal].mean() > 0.5
    assert not changed[~normal].any()
    edges = [0, *(edge for _, *both in events(clip) for edge in both), len(changed)]
    stretches = [changed[start:stop] for start, stop in zip(edges[::2], edges[1::2])]
    assert all(stretch.all() or not stretch.any() for stretch in stretches)  # nobody appears out of nothing
    assert sum(bool(stretch.any()) for stretch in stretches) > len(stretches) / 2


def test_a_passer_by_walks_as_fast_as_the_others():
    alone, clip = (make(footage(), TrialSettings(passers_by=there)) for there in (False, True))
    _, start, _ = events(clip)[0]
    changed = (clip.frames[:start] != alone.frames[:start]).any(axis=3).any(axis=1)
    middles = [np.flatnonzero(columns).mean() for columns in changed[:15]]
    assert abs(np.polyfit(np.arange(15), middles, 1)[0]) == pytest.approx(0.9, rel=0.25)


def test_kinds_and_strengths_take_turns():
    strengths = TrialSettings().strengths
    first = trial.turns(strengths, 0)
    assert len(first) == len(set(first)) == 12
    assert [kind for kind, _ in first] == 3 * ["object", "texture", "fast", "skip"]
    assert first[:4] == [("object", 0.7), ("texture", 0.5), ("fast", 6), ("skip", 2)]
    for number in range(12):
        later = trial.turns(strengths, number)
        start = first.index(later[0])
        assert later == first[start:] + first[:start]
    assert {trial.turns(strengths, number)[0] for number in range(12)} == set(first)
    three_a_clip = {pair for number in range(6) for pair in trial.turns(strengths, number)[:3]}
    assert three_a_clip == set(first)  # two short clips, three variants each


def test_turns_of_a_single_kind():
    assert trial.turns(settings(fast=(2,)).strengths, 7) == [("fast", 2)]


def test_a_still_scene_has_no_motion_to_change():
    clip = make(footage(people=False))
    assert {name.split("-")[0] for name, _, _ in events(clip)} == {"object", "texture"}


def test_seed_and_number_decide_everything():
    frames = footage()
    once, again, other = (make(frames, number=number) for number in (3, 3, 4))
    assert (once.frames == again.frames).all()
    assert (once.kinds, once.tracks) == (again.kinds, again.tracks)
    assert once.kinds != other.kinds


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("train") / "cam8.zarr"
    write_frames(path, footage(100), {"clip": "cam8", "source_height": 9, "source_width": 9, "rate": 10.0})
    write_manifest(path.with_suffix(".json"), "decode", {}, path, {"cam8": 100})
    return path


def outputs(folder):
    return {
        "out": folder / "cam8-1.zarr",
        "manifest": folder / "cam8-1.json",
        "labels": folder / "labels" / "cam8-1.csv",
        "tracks": folder / "tracks" / "cam8-1.csv",
    }


def run(store, folder, number=0, chosen=None):
    trial.run(store, number, **outputs(folder), settings=chosen or TrialSettings())
    return outputs(folder)


def test_files_are_those_that_the_stages_read(store, tmp_path):
    files = run(store, tmp_path)
    made = FrameStore(files["out"])
    assert (made.clip, made.attributes["rate"]) == ("cam8-1", 10.0)
    assert (made.attributes["source_height"], made.attributes["source_width"]) == (HEIGHT, WIDTH)
    assert made.attributes["made_from"] == {"clip": "cam8", "fingerprint": FrameStore(store).fingerprint()}
    manifest = read_manifest(files["manifest"])
    assert manifest["clips"] == {"cam8-1": len(made)}
    assert manifest["content"] == content_digest(files["out"])
    assert manifest["inputs"] == {str(store): content_digest(store)}
    labels = read_frame_labels("folder", files["labels"])
    tracks = read_tracks(files["tracks"], len(made), HEIGHT, WIDTH)
    assert len(labels) == len(made)
    assert np.flatnonzero(labels.labels).tolist() == sorted(set(tracks.frame.tolist()))
    assert labels.labels.any()


def test_the_same_command_gives_the_same_bytes(store, tmp_path):
    one, other = (run(store, tmp_path / name) for name in "ab")
    assert {name: content_digest(path) for name, path in one.items()} == {
        name: content_digest(path) for name, path in other.items()
    }


def test_of_a_long_clip_an_excerpt_is_used(store, tmp_path):
    files = run(store, tmp_path, chosen=TrialSettings(most_frames=60))
    numbers = FrameStore(files["out"]).read(0, 60)[:, 0, 0, 0]
    assert len(FrameStore(files["out"])) <= 60
    assert numbers.max() - numbers.min() <= 60


def test_a_clip_too_short_for_an_event_is_said_and_stays_normal(tmp_path, capsys):
    write_frames(tmp_path / "cam8.zarr", frames := footage(30), {"clip": "cam8"})
    files = run(tmp_path / "cam8.zarr", tmp_path, chosen=settings(fast=(2,), object=(1,)))
    assert "no event fits into the 30 frames" in capsys.readouterr().err
    assert (FrameStore(files["out"]).read(0, 30) == frames).all()
    assert not read_frame_labels("folder", files["labels"]).labels.any()
    assert len(read_tracks(files["tracks"], 30, HEIGHT, WIDTH)) == 0


@pytest.mark.parametrize("moment", ["progress", "_write_rows", "write_manifest"])
def test_an_interrupted_run_leaves_nothing_half(store, tmp_path, monkeypatch, moment):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trial, moment, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(store, tmp_path)
    assert not outputs(tmp_path)["manifest"].exists()
    assert not list(tmp_path.rglob("*.part"))
    files = run(store, tmp_path)
    assert all(path.exists() for path in files.values())


def test_a_contact_sheet_shows_each_event(store, tmp_path):
    files = run(store, tmp_path)
    trial.draw_contact_sheet([files["out"]], [files["labels"]], [files["tracks"]], tmp_path / "contact.png")
    picture = cv2.imread(str(tmp_path / "contact.png"))
    assert picture.shape[1] == 5 * WIDTH
    assert ((picture == (40, 40, 255)).all(axis=2)).sum() > 100  # the boxes


def test_a_contact_sheet_of_nothing_is_a_picture(tmp_path):
    trial.draw_contact_sheet([], [], [], tmp_path / "contact.png")
    assert cv2.imread(str(tmp_path / "contact.png")) is not None


def test_command_line(store, tmp_path, capsys):
    files = outputs(tmp_path)
    paths = ["--labels", str(files["labels"]), "--tracks", str(files["tracks"])]
    with pytest.raises(SystemExit) as caught:
        cli.main(["trial", str(store), *paths])
    assert caught.value.code == cli.EXIT_USER_ERROR
    assert "--number, --out and --manifest" in capsys.readouterr().err
    where = ["--number", "2", "--out", str(files["out"]), "--manifest", str(files["manifest"])]
    cli.main(["trial", str(store), *where, *paths, "--set", "strengths.skip=[]"])
    assert json.loads(files["manifest"].read_text())["settings"]["strengths"]["skip"] == []
    cli.main(["trial", str(files["out"]), *paths, "--contact", str(tmp_path / "contact.png")])
    assert (tmp_path / "contact.png").is_file()


def test_a_trial_without_any_kind_is_refused():
    with pytest.raises(ValueError, match="all kinds are empty"):
        settings()
    nothing = '{"strengths": {"object": [], "texture": [], "fast": [], "skip": []}}'
    with pytest.raises(ConfigError, match="strengths"):
        read_settings(TrialSettings, nothing)

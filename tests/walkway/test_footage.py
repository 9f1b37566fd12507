"""Generated clips: the truth agrees with what is drawn, training is normal, and events look like events."""

import math
from collections import defaultdict

import numpy as np
import pytest

from fastaed.config import DemoSettings
from fastaed.walkway.actors import WALK
from fastaed.walkway.camera import NOISE, clip_camera
from fastaed.walkway.footage import Clip, film
from fastaed.walkway.scenery import LAWN_END, WALKWAY, background_picture

SMALL = DemoSettings(train_clips=2, test_clips=3, frames=40, width=160, height=96, walkers=3)
Clips = dict[str, list[Clip]]


@pytest.fixture(scope="module")
def default() -> Clips:
    """Two training clips and all test clips of the default data set."""
    settings = DemoSettings()
    few = settings.model_copy(update={"train_clips": 2})
    return {"train": list(film("train", few)), "test": list(film("test", settings))}


@pytest.fixture(scope="module")
def small() -> Clips:
    return {split: list(film(split, SMALL)) for split in ("train", "test")}


def routes(clip: Clip) -> dict[int, dict[int, tuple[float, float, float, float]]]:
    """Track -> frame -> box."""
    found: dict[int, dict[int, tuple[float, float, float, float]]] = defaultdict(dict)
    for track, frame, x1, y1, x2, y2, _, _ in clip.tracks:
        found[track][frame] = (x1, y1, x2, y2)
    return found


def walkway_rows(settings: DemoSettings) -> tuple[float, float]:
    camera = clip_camera(settings)
    return camera.foot(0, WALKWAY[1])[1], camera.foot(0, WALKWAY[0])[1]


@pytest.mark.parametrize("name", ["small", "default"])
def test_labels_masks_and_tracks_agree(name: str, request: pytest.FixtureRequest) -> None:
    for split, clips in request.getfixturevalue(name).items():
        for clip in clips:
            assert np.array_equal(clip.labels.astype(bool), clip.masks.any(axis=(1, 2)))
            boxes: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
            for _, frame, *box, _, kind in clip.tracks:
                x1, y1, x2, y2 = box
                assert 0 <= x1 < x2 <= clip.frames.shape[2]
                assert 0 <= y1 < y2 <= clip.frames.shape[1]
                if kind:
                    assert split == "test"
                    assert kind == clip.kinds[frame]
                    boxes[frame].append((x1, y1, x2, y2))
            assert [bool(boxes[frame]) for frame in range(len(clip.kinds))] == [bool(k) for k in clip.kinds]
            for frame, [(x1, y1, x2, y2)] in ((f, b) for f, b in boxes.items() if len(b) == 1):
                rows, columns = np.nonzero(clip.masks[frame])
                reach = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                assert np.abs(reach - (x1, y1, x2, y2)).max() <= 2, (split, clip.name, frame)


def test_masks_are_where_something_abnormal_is_drawn(default: Clips) -> None:
    """The picture differs from the empty scene much more inside the mask than elsewhere."""
    settings = DemoSettings()
    camera = clip_camera(settings)
    background = background_picture(camera, WALKWAY, LAWN_END, np.random.default_rng([7, 0]))
    clip = default["test"][0]
    frame = int(np.flatnonzero(clip.labels)[-1])
    difference = np.abs(clip.frames[frame].astype(float) - background).mean(axis=2)
    inside = clip.masks[frame]
    assert difference[inside].mean() > 3 * difference[~inside].mean()


def test_more_clips_leave_the_first_ones_as_they_are(small: Clips) -> None:
    more = film("test", SMALL.model_copy(update={"test_clips": 4}))
    assert np.array_equal(next(more).frames, small["test"][0].frames)


def test_training_shows_no_event(default: Clips) -> None:
    top, bottom = walkway_rows(DemoSettings())
    for clip in default["train"]:
        assert set(clip.kinds) == {""}
        assert not clip.masks.any()
        assert {row[6] for row in clip.tracks} == {"person"}
        assert all(top < row[5] < bottom for row in clip.tracks)  # feet on the walkway
        for boxes in routes(clip).values():
            assert most_widths_a_step(boxes) == 0 or most_widths_a_step(boxes) < 1.7 * WALK
            assert all((x2 - x1) < (y2 - y1) for x1, y1, x2, y2 in boxes.values())


def most_widths_a_step(boxes: dict[int, tuple[float, float, float, float]]) -> float:
    """The largest speed over 12 frames in metres a second, from boxes away from the picture's sides.

    The camera shows 1.0 m as scale pixels, and scale follows from the row of the feet.
    """
    camera = clip_camera(DemoSettings())
    speeds = [0.0]
    for frame, (x1, _, x2, y2) in boxes.items():
        later = boxes.get(frame + 12)
        if later is not None and min(x1, later[0]) > 1 and max(x2, later[2]) < 319:
            scale = (y2 - camera.horizon) / camera.above_ground
            speeds.append(abs(later[0] + later[2] - x1 - x2) / 2 / scale / 12 * 25)
    return max(speeds)


def test_people_farther_up_are_smaller(default: Clips) -> None:
    camera = clip_camera(DemoSettings())
    metres = [
        (y2 - y1) / ((y2 - camera.horizon) / camera.above_ground)
        for clip in default["train"]
        for _, _, _, y1, _, y2, *_ in clip.tracks
    ]
    assert 1.3 < min(metres) <= max(metres) < 2.1


def test_about_as_many_people_are_in_view_as_asked_for(default: Clips) -> None:
    for clip in default["train"]:
        assert 3.5 < len(clip.tracks) / len(clip.kinds) < 6
        directions = {np.sign(b[max(b)][0] - b[min(b)][0]) for b in routes(clip).values()}
        assert {-1.0, 1.0} <= directions


def test_the_camera_stands_still_and_its_light_changes_slowly(default: Clips) -> None:
    wall = default["train"][0].frames[:, :20].astype(float).mean(axis=(1, 2, 3))
    assert np.abs(np.diff(wall)).max() < 1.0
    assert wall.max() - wall.min() > 4
    noise = np.diff(default["train"][0].frames[:, :20].astype(float), axis=0).std()
    assert 0.8 * NOISE * math.sqrt(2) < noise < 1.3 * NOISE * math.sqrt(2)


def test_kinds_take_turns_and_every_test_clip_has_normal_stretches(default: Clips) -> None:
    kinds = [{kind for kind in clip.kinds if kind} for clip in default["test"]]
    assert kinds == [{"look"}, {"motion"}, {"place"}, {"look"}, {"motion"}, {"place"}]
    for clip in default["test"]:
        assert 1 <= len(clip.ranges) <= 2
        assert all(30 <= stop - start <= 60 for start, stop in clip.ranges)
        assert (clip.labels == 0).sum() >= 40


def test_even_the_smallest_settings_show_normal_and_abnormal_frames(small: Clips) -> None:
    for clip in small["test"]:
        assert 0 < clip.labels.sum() < len(clip.labels)


def test_running_shows_between_three_frames_before_and_after(default: Clips) -> None:
    fastest = max(most_widths_a_step(boxes) for clip in default["train"] for boxes in routes(clip).values())
    clip = default["test"][1]
    (first, *_) = [row[0] for row in clip.tracks if row[7] and row[1] < 75]
    runner = routes(clip)[first]
    assert most_widths_a_step(runner) > 2.2 * fastest


def test_falling_lays_a_person_down(default: Clips) -> None:
    clip = default["test"][1]
    lying = [
        (x2 - x1) / (y2 - y1) for _, frame, x1, y1, x2, y2, _, kind in clip.tracks if kind and frame > 75
    ]
    assert max(lying) > 2


def test_lawn_walkers_stand_where_nobody_stands_in_training(default: Clips) -> None:
    top, bottom = walkway_rows(DemoSettings())
    for clip in (default["test"][2], default["test"][5]):
        feet = [row[5] for row in clip.tracks if row[7] == "place"]
        assert feet
        assert all(foot < top or foot > bottom for foot in feet)

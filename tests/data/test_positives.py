import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastaed.config import PositivesSettings
from fastaed.data.boxes import Detections
from fastaed.data.clips import Clips
from fastaed.data.positives import (
    Bank,
    Positive,
    Positives,
    Surroundings,
    cells_of,
    composite,
    cut_objects,
    moving_boxes,
    object_patch,
    recoloured,
    seen,
    speed,
    texture,
    walkers_of,
    write_contact_sheet,
)
from fastaed.data.store import write_frames
from fastaed.data.walkers import Walker, Walkers

HEIGHT, WIDTH = 96, 128


def _background(seed=0):
    return np.random.default_rng(seed).integers(60, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def _walk(gap):
    """A bright square that moves 2 pixels a frame to the right, over a still background; t = 20."""
    frames = []
    for t in (20, 20 - gap, 20 + gap):
        frame = _background()
        frame[40:60, 2 * t : 2 * t + 12] = 250
        frames.append(frame)
    return np.stack(frames)


WALKER = np.array([[40, 40, 52, 60]], np.float32)
STILL = np.array([[90, 10, 110, 30]], np.float32)


NOBODY = Walkers([], np.full(HEIGHT, 20.0), 0.03, colourless=False)


def _sample(triplet_at=_walk, boxes=WALKER, walkers=NOBODY):
    return Surroundings(triplet_at, boxes, walkers)


@pytest.fixture(scope="module")
def bank():
    rng = np.random.default_rng(5)
    crops = [rng.integers(0, 256, (24, 12, 3)).astype(np.uint8) for _ in range(4)]
    return Bank(crops, rng.uniform(20, 80, (4, 2)).astype(np.float32))


def _positives(bank, share=1.0, kinds=("paste", "texture", "speed"), replays=0.0):
    return Positives(PositivesSettings(share=share, kinds=kinds, replays=replays), bank)


@pytest.mark.parametrize("kind", ["paste", "texture"])
def test_what_changes_in_frame_t_is_marked_and_nothing_else(bank, kind):
    maker = _positives(bank, kinds=(kind,))
    original = _walk(3)
    for seed in range(20):
        positive = maker.make(_sample(), np.random.default_rng(seed))
        assert positive.kind == kind
        assert positive.triplet.dtype == np.uint8
        changed = (positive.triplet != original).any(axis=3)
        assert changed[0].any()
        touched = cells_of(changed[0].astype(np.float32))
        # The soft edge may change pixels of cells that the solid part does not reach, never the reverse.
        assert (positive.target <= touched).all()
        assert set(np.unique(positive.target)) <= {0.0, 1.0}
        assert positive.target.shape == (16, 16)


def test_only_what_can_be_told_from_what_it_covers_is_marked():
    before = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    opacity = np.zeros((HEIGHT, WIDTH), np.float32)
    opacity[20:40, 10:30] = 1
    after = before.copy()
    after[20:40, 10:30, 1] = 111
    assert not seen(opacity, before, after).any(), "nearly the same grey"
    after[20:40, 10:20, 1] = 112
    expected = np.zeros_like(opacity)
    expected[20:40, 10:20] = 1
    np.testing.assert_array_equal(seen(opacity, before, after), expected)
    darker = before.copy()
    darker[20:40, 10:20] = 88
    np.testing.assert_array_equal(seen(opacity, before, darker), expected)
    after[22:40, 10:20] = after[20:22, 12:20] = 100
    assert not seen(opacity, before, after).any(), "four pixels of 12,288"


def test_what_cannot_be_seen_is_no_positive(bank):
    """People that are as black as the ground, and objects: another kind takes their place."""
    person = (np.zeros((24, 10, 3), np.uint8), np.ones((24, 10), np.float32))
    walker = Walker([person] * 20, np.stack([10 + 2.0 * np.arange(20), np.full(20, 60)], axis=1))
    walkers = Walkers([walker], np.full(HEIGHT, 24.0), 0.1, colourless=True)
    night = Surroundings(
        lambda gap: np.zeros((3, HEIGHT, WIDTH, 3), np.uint8), np.zeros((0, 4), np.float32), walkers
    )
    assert _positives(bank, kinds=("fast", "glide")).make(night, np.random.default_rng(0)) is None
    maker = _positives(bank, kinds=("fast", "glide", "texture"))
    made = [maker.make(night, np.random.default_rng(seed)) for seed in range(10)]
    assert {positive.kind for positive in made} == {"texture"}
    assert all(positive.target.any() for positive in made)


def test_composite_against_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    triplet = rng.integers(0, 256, (3, 12, 16, 3)).astype(np.uint8)
    patch = rng.integers(0, 256, (5, 4, 3)).astype(np.uint8)
    opacity = rng.choice([0.0, 0.3, 0.7, 1.0], (5, 4)).astype(np.float32)
    centres = [(8.0, 6.5), (1.0, 1.5), (40.0, 6.0)]  # inside, over the corner, outside
    laid, visible = composite(triplet, patch, opacity, centres)
    expected = triplet.copy()
    shown = np.zeros((12, 16), np.float32)
    for number, (x, y) in enumerate(centres):
        top, left = round(y - 2.5), round(x - 2)
        for i in range(5):
            for j in range(4):
                if 0 <= top + i < 12 and 0 <= left + j < 16:
                    under = triplet[number, top + i, left + j].astype(np.float64)
                    mixed = opacity[i, j] * patch[i, j] + (1 - opacity[i, j]) * under
                    expected[number, top + i, left + j] = np.rint(mixed.astype(np.float32))
                    if number == 0:
                        shown[top + i, left + j] = opacity[i, j]
    np.testing.assert_allclose(laid.astype(int), expected.astype(int), atol=1)
    np.testing.assert_array_equal(visible, shown)
    np.testing.assert_array_equal(laid[2], triplet[2])


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(32, 70),
    width=st.integers(32, 70),
    pixels=st.lists(st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)), min_size=0, max_size=5),
)
def test_cells_are_exactly_those_touched(height, width, pixels):
    opacity = np.zeros((height, width), np.float32)
    for y, x in pixels:
        opacity[int(y * height), int(x * width)] = 0.5
    opacity[0, 0] = min(opacity[0, 0], 0.49)
    cells = cells_of(opacity)
    for row in range(16):
        for column in range(16):
            inside = [
                opacity[y, x] >= 0.5
                for y in range(height)
                for x in range(width)
                if y * 16 // height == row and x * 16 // width == column
            ]
            assert cells[row, column] == float(any(inside))


def test_speed_takes_neighbours_two_to_four_times_as_far_away_and_marks_what_moves(bank):
    gaps = []

    def triplet_at(gap):
        gaps.append(gap)
        return _walk(gap)

    boxes = np.concatenate([WALKER, STILL])
    for seed in range(40):
        positive = speed(triplet_at, boxes, np.random.default_rng(seed))
        np.testing.assert_array_equal(positive.triplet, _walk(gaps[-1]))
        expected = np.zeros((HEIGHT, WIDTH), np.float32)
        expected[40:60, 40:52] = 1
        np.testing.assert_array_equal(positive.target, cells_of(expected))
    assert set(gaps) == set(range(6, 13))


def test_nothing_that_moves_is_no_speed_and_another_kind_takes_its_place(bank):
    assert speed(_walk, STILL, np.random.default_rng(0)) is None
    assert speed(_walk, np.zeros((0, 4), np.float32), np.random.default_rng(0)) is None
    assert _positives(bank, kinds=("speed",)).make(_sample(boxes=STILL), np.random.default_rng(0)) is None
    kinds = {_positives(bank).make(_sample(boxes=STILL), np.random.default_rng(i)).kind for i in range(20)}
    assert kinds == {"paste", "texture"}


def test_a_missing_neighbour_shows_no_movement():
    """At the end of a clip one neighbour repeats frame t, so nothing can be said to move."""
    triplet = _walk(8)
    triplet[2] = triplet[0]
    assert moving_boxes(_walk(8), WALKER) == [(40, 40, 52, 60)]
    assert moving_boxes(triplet, WALKER) == []


def test_share_and_kinds_are_respected(bank):
    maker = _positives(bank, share=0.3)
    made = [maker.maybe(_sample(), np.random.default_rng((7, i))) for i in range(600)]
    positives = [positive for positive in made if positive is not None]
    assert len(positives) / 600 == pytest.approx(0.3, abs=0.06)
    counts = {kind: sum(p.kind == kind for p in positives) for kind in ("paste", "texture", "speed")}
    assert min(counts.values()) > len(positives) / 3 * 0.6
    assert all(
        _positives(bank, share=0).maybe(_sample(), np.random.default_rng(i)) is None for i in range(50)
    )


def test_the_same_generator_makes_the_same_positive(bank):
    maker = _positives(bank)
    for seed in range(10):
        one, other = (maker.make(_sample(), np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one.triplet, other.triplet)
        np.testing.assert_array_equal(one.target, other.target)
    one, other = (maker.make(_sample(), np.random.default_rng(seed)) for seed in (1, 2))
    assert (one.triplet != other.triplet).any()


@pytest.mark.parametrize(("kind", "slowest"), [("paste", 6), ("texture", 0)])
def test_what_is_laid_over_moves_up_to_24_pixels_a_step_of_a_frame_240_high(bank, monkeypatch, kind, slowest):
    steps = []

    def spy(triplet, patch, opacity, centres):
        now, before, after = np.array(centres)
        np.testing.assert_allclose(now - before, after - now)
        steps.append(np.linalg.norm(after - now) * 240 / HEIGHT)
        assert 0 <= now[0] <= WIDTH
        assert 0 <= now[1] <= HEIGHT
        return composite(triplet, patch, opacity, centres)

    monkeypatch.setattr("fastaed.data.positives.composite", spy)
    maker = _positives(bank, kinds=(kind,))
    for seed in range(100):
        maker.make(_sample(), np.random.default_rng(seed))
    assert slowest <= min(steps) < slowest + 2
    assert 22 < max(steps) <= 24 + 1e-6


def test_patches_are_soft_at_the_edge_solid_inside_and_fit_the_frame(bank):
    sizes = set()
    for seed in range(50):
        patch, opacity = object_patch(bank, (HEIGHT, WIDTH), np.random.default_rng(seed))
        assert patch.shape == (*opacity.shape, 3)
        assert opacity.max() > 0.9
        assert opacity.min() == 0
        assert ((opacity > 0) & (opacity < 1)).any()
        assert max(opacity.shape) <= np.hypot(HEIGHT, WIDTH) / 2 + 2
        sizes.add(opacity.shape)
    assert len(sizes) > 30


def test_grey_footage_stays_grey_and_coloured_footage_gets_hues(bank):
    rng = np.random.default_rng(0)
    patch = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    grey = recoloured(patch, True, rng)
    assert (grey == grey[..., :1]).all()
    assert (recoloured(patch, False, rng) != recoloured(patch, False, rng)).any()
    maker = _positives(bank, kinds=("paste", "texture"))

    def grey_walk(gap):
        return np.repeat(_walk(gap)[..., :1], 3, axis=3)

    for seed in range(10):
        triplet = maker.make(_sample(grey_walk), np.random.default_rng(seed)).triplet
        assert (triplet == triplet[..., :1]).all()


def test_textures_are_varied():
    contrasts = [texture((20, 30), np.random.default_rng(i)).std() for i in range(30)]
    assert texture((20, 30), np.random.default_rng(0)).shape == (20, 30, 3)
    assert max(contrasts) > 3 * min(contrasts)


def test_without_objects_textures_take_their_place():
    empty = Bank([], np.zeros((0, 2), np.float32))
    positive = _positives(empty, kinds=("paste",)).make(_sample(), np.random.default_rng(0))
    assert positive.target.any()


def test_objects_are_cut_by_their_boxes(tmp_path):
    stores = []
    for name in ("a", "b"):
        frames = [np.full((32, 40, 3), 100 * (name == "b") + t, np.uint8) for t in range(5)]
        write_frames(tmp_path / f"{name}.zarr", frames, {"clip": name})
        stores.append(tmp_path / f"{name}.zarr")
    clips = Clips(stores)
    tables = [
        Detections(
            np.array([1, 3], np.int32),
            np.array([[2.5, 4, 12.5, 20], [-5, -5, 60, 60]], np.float32),
            np.ones(2, np.float32),
            np.zeros(2, np.int16),
            np.zeros((2, 0), np.float32),
            np.zeros((2, 0), np.float16),
        ),
        Detections(
            np.array([4], np.int32),
            np.array([[39.5, 10, 40, 12]], np.float32),
            np.ones(1, np.float32),
            np.zeros(1, np.int16),
            np.zeros((1, 0), np.float32),
            np.zeros((1, 0), np.float16),
        ),
    ]
    bank = cut_objects(clips, tables, np.random.default_rng(0))
    found = {(crop.shape[0], crop.shape[1], int(crop[0, 0, 0])) for crop in bank.crops}
    assert found == {(16, 11, 1), (32, 40, 3), (2, 1, 104)}
    assert bank.centres.shape == (3, 2)
    assert (
        cut_objects(clips, [t.take(np.zeros(0, np.int64)) for t in tables], np.random.default_rng(0)).crops
        == []
    )


def test_contact_sheet_shows_the_target_in_red(tmp_path):
    target = np.zeros((16, 16), np.float32)
    target[0, 0] = 1
    positive = Positive(np.zeros((3, 64, 64, 3), np.uint8), target, "paste")
    write_contact_sheet(tmp_path / "sheet.png", [positive] * 3, columns=2)
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape == (2 * 68, 2 * (3 * 64 + 4), 3)
    assert picture[3, 2 + 64 + 1].tolist() == [0, 0, 102]  # blue, green, red
    assert not picture[50, 80].any()
    write_contact_sheet(tmp_path / "none.png", [])
    assert (tmp_path / "none.png").exists()


def test_positives_of_real_footage(real_data):
    """Ped2: people walk, so speed finds what moves; the marked cells are few."""
    folder = real_data / "UCSDped2" / "Train" / "Train001"
    files = sorted(folder.glob("[0-9]*"))

    def triplet_at(gap):
        return np.stack([cv2.imread(str(files[t]))[..., ::-1] for t in (40, 40 - gap, 40 + gap)])

    height, width = triplet_at(3).shape[1:3]
    whole = np.array([[0, 0, width, height]], np.float32)
    patches = np.array(
        [[x, y, x + 24, y + 48] for y in range(0, height - 47, 24) for x in range(0, width - 23, 12)],
        np.float32,
    )
    assert not moving_boxes(triplet_at(9), whole)
    moving = moving_boxes(triplet_at(9), patches)
    assert 0 < len(moving) < len(patches) / 4


WALKER_OF_20 = Walker(
    [(np.full((20, 8, 3), 200 + moment, np.uint8), np.ones((20, 8), np.float32)) for moment in range(20)],
    np.array([[40.0 + moment, 60.0] for moment in range(20)]),
)
SOMEBODY = Walkers([WALKER_OF_20], np.full(HEIGHT, 20.0), 0.05, colourless=False)


@pytest.mark.parametrize("kind", ["fast", "glide", "stranger"])
def test_walkers_are_marked_where_they_are_and_others_take_the_place_of_nobody(bank, kind):
    maker = _positives(bank, kinds=(kind,))
    assert maker.make(_sample(), np.random.default_rng(0)) is None
    assert (
        _positives(bank, kinds=(kind, "texture")).make(_sample(), np.random.default_rng(0)).kind == "texture"
    )
    for seed in range(10):
        positive = maker.make(_sample(walkers=SOMEBODY), np.random.default_rng(seed))
        assert positive.kind == kind
        changed = (positive.triplet[0] != _walk(3)[0]).any(axis=2).astype(np.float32)
        assert (positive.target <= cells_of(changed)).all()
        assert positive.target.sum() >= 0.5 * cells_of(changed).sum()


def test_replays_are_laid_over_their_share_of_samples_with_nothing_to_learn_from_them(bank):
    maker = _positives(bank, share=0, replays=0.4)
    made = [maker.maybe(_sample(walkers=SOMEBODY), np.random.default_rng((3, i))) for i in range(300)]
    replays = [positive for positive in made if positive is not None]
    assert len(replays) / 300 == pytest.approx(0.4, abs=0.08)
    for replay in replays:
        assert replay.kind == "replay"
        assert not replay.target.any()
    assert np.mean([(replay.triplet != _walk(3)).any() for replay in replays]) > 0.9
    both = _positives(bank, share=1, kinds=("glide",), replays=1).maybe(
        _sample(walkers=SOMEBODY), np.random.default_rng(1)
    )
    assert both.kind == "glide"
    assert both.target.any()


def test_walkers_of_clips_are_found_in_their_order(tmp_path):
    stores = []
    for name, moving in (("a", False), ("b", True)):
        frames = np.repeat(_background()[None], 40, axis=0)
        for t in range(40 * moving):
            frames[t, 40:64, 10 + 2 * t : 18 + 2 * t] = 250
        write_frames(tmp_path / f"{name}.zarr", frames, {"clip": name})
        stores.append(tmp_path / f"{name}.zarr")
    nobody, somebody = walkers_of(Clips(stores), np.random.default_rng(0))
    assert nobody.people == []
    assert len(somebody.people) == 1

"""RBDC and TBDC against drawings, a literal twin that tries every threshold, and their own symmetries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaed.errors import DataError
from fastaed.metrics import region
from fastaed.metrics.region import (
    DetectedRegions,
    RegionMetrics,
    TrueRegions,
    map_thresholds,
    region_counts,
    region_counts_of_maps,
    region_curve,
    region_metrics,
    regions_of_maps,
    resampled_region_metrics,
)

HERE, THERE, NOWHERE = [0, 0, 4, 4], [6, 0, 10, 4], [0, 6, 4, 10]  # boxes that share nothing


def detected(*rows):
    """Rows (frame, box, score)."""
    return DetectedRegions(
        np.array([frame for frame, _, _ in rows], dtype=int),
        np.array([box for _, box, _ in rows], dtype=float).reshape(-1, 4),
        np.array([score for _, _, score in rows], dtype=float),
    )


def true(*rows):
    """Rows (frame, box, track)."""
    return TrueRegions(
        np.array([frame for frame, _, _ in rows], dtype=int),
        np.array([box for _, box, _ in rows], dtype=float).reshape(-1, 4),
        np.array([track for _, _, track in rows], dtype=int),
    )


def metrics(detections, truths, frames, **shares):
    return region_metrics(region_counts(detections, truths, frames, **shares))


# --- The literal twin ---------------------------------------------------------------------------------------


def iou(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0) * max(high, 0)
    area, other_area = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (area + other_area - shared)


def literal_point(kept, truths, frames, overlap, track_share):
    """(FPR, RBDR, TBDR) of what is kept: lists of (frame, box), one a clip."""
    wrong = found = regions = tracks_found = tracks = 0
    for boxes, truth in zip(kept, truths):
        rows = list(zip(truth.frame, truth.xyxy, truth.track_id))
        for frame, box in boxes:
            wrong += not any(other == frame and iou(box, region) >= overlap for other, region, _ in rows)
        for track in set(truth.track_id):
            own = [(frame, region) for frame, region, other in rows if other == track]
            hits = sum(
                any(other == frame and iou(box, region) >= overlap for other, box in boxes)
                for frame, region in own
            )
            found, regions = found + hits, regions + len(own)
            tracks_found, tracks = tracks_found + (hits / len(own) >= track_share), tracks + 1
    return wrong / sum(frames), found / regions, tracks_found / tracks


def literal_area(points):
    """Under straight lines through (x, y), from (0, 0), each the highest so far, on to x = 1."""
    area = x = y = 0.0
    for new_x, new_y in points:
        new_x, new_y = max(x, new_x), max(y, new_y)
        if new_x > 1:
            y_at_1 = y + (new_y - y) * (1 - x) / (new_x - x)
            return area + (1 - x) * (y + y_at_1) / 2
        area += (new_x - x) * (y + new_y) / 2
        x, y = new_x, new_y
    return area + (1 - x) * y


def literal_metrics(detections, truths, frames, overlap=0.1, track_share=0.1):
    points = [
        literal_point(
            [[(f, box) for f, box, score in zip(*clip) if score >= threshold] for clip in detections],
            truths,
            frames,
            overlap,
            track_share,
        )
        for threshold in sorted({score for clip in detections for score in clip.score}, reverse=True)
    ]
    return RegionMetrics(*(literal_area([(point[0], point[k]) for point in points]) for k in (1, 2)))


# Boxes on a coarse grid and few scores, so that touching, overlapping and ties are the rule.
boxes = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 5), st.integers(1, 5)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
clips = st.tuples(
    st.lists(st.tuples(st.integers(0, 3), boxes, st.integers(0, 4)), max_size=10).map(lambda r: detected(*r)),
    st.lists(st.tuples(st.integers(0, 3), boxes, st.integers(0, 2)), max_size=7).map(lambda r: true(*r)),
)
footage = st.lists(clips, min_size=1, max_size=3).filter(lambda cs: any(len(truth.frame) for _, truth in cs))
shares = st.sampled_from([0.1, 0.2, 0.3, 0.5, 1.0])


@given(footage, shares, shares)
def test_equals_the_literal_twin(footage, overlap, track_share):
    detections, truths = zip(*footage)
    frames = [4] * len(footage)
    found = metrics(detections, truths, frames, overlap=overlap, track_share=track_share)
    assert found == pytest.approx(
        literal_metrics(detections, truths, frames, overlap, track_share), abs=1e-12
    )


# --- Drawings -----------------------------------------------------------------------------------------------


def test_a_drawing_of_one_track():
    """Two frames, one track of a region in each; four detections at two right and two wrong places.

        frame 0                  frame 1
        +----+    +----+         +----+
        | A  |    | w  |         | B  |            A, B   true regions of one track
        | .9 |    | .8 |         | .7 |            w, v   places where nothing is
        +----+    +----+         +----+
        +----+
        | v  |                   RBDR
        | .6 |                    1   |       B _________      (0, 0) -> A (0, 1/2) -> w (1/2, 1/2)
        +----+                        |        |                      -> B (1/2, 1) -> v (1, 1)
                                  1/2 A________w
                                      |                        area 1/2 * 1/2 + 1/2 * 1 = 3/4
                                  0   +--------+--------+ FPR
                                      0       1/2       1

    The track is found with A, half of its regions: TBDC is 1. Had it to be found in every region, it would be
    with B only: 1/2.
    """
    found = detected((0, HERE, 0.9), (0, THERE, 0.8), (1, HERE, 0.7), (0, NOWHERE, 0.6))
    truth = true((0, HERE, 5), (1, HERE, 5))
    assert metrics([found], [truth], [2]) == (0.75, 1.0)
    assert metrics([found], [truth], [2], track_share=1.0) == (0.75, 0.5)
    curve = region_curve(region_counts([found], [truth], [2]))
    assert curve.false_positive_rate.tolist() == [0, 0.5, 0.5, 1]
    assert curve.region_rate.tolist() == [0.5, 0.5, 1, 1]
    assert curve.track_rate.tolist() == [1, 1, 1, 1]
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]


def test_a_drawing_of_ties_and_of_a_line_cut_at_one_false_positive_a_frame():
    """One frame, two tracks; A alone at .9, then B and two wrong places at .5 together.

    +----+    +----+
    | A  |    | B  |         RBDR
    | .9 |    | .5 |          1  |        _*         (0, 0) -> A (0, 1/2) -> B, w, v (2, 1)
    +----+    +----+             |    _.-'
    +----+    +----+             | .-'|              cut at FPR 1, half way up, at 3/4:
    | w  |    | v  |         1/2 A'   |              area 1 * (1/2 + 3/4) / 2 = 5/8
    | .5 |    | .5 |             |    |
    +----+    +----+          0  +----+----+ FPR
                                 0    1    2
    """
    far = [6, 6, 10, 10]
    found = detected((0, HERE, 0.9), (0, THERE, 0.5), (0, NOWHERE, 0.5), (0, far, 0.5))
    truth = true((0, HERE, 0), (0, THERE, 1))
    assert metrics([found], [truth], [1]) == (0.625, 0.625)
    # A second frame without anything halves the false positives: (1, 1), area (1/2 + 1) / 2.
    assert metrics([found], [truth], [2]) == (0.75, 0.75)
    # Four frames: the curve ends at (1/2, 1) and goes on flat, area 1/2 * 3/4 + 1/2 * 1.
    assert metrics([found], [truth], [4]) == (0.875, 0.875)


def test_a_drawing_of_the_least_overlap():
    """IoU of whole pixels of exactly 1/10 counts, less does not.

    x  0 1 2 3 4 5 6 7 8 9 10
       [ truth, 10 x 1   ]
       []                          shares 1 pixel of 10: IoU 1/10
                         [  ]      shares 1 pixel of 11: IoU 1/11
    """
    truth = true((0, [0, 0, 10, 1], 0))
    assert metrics([detected((0, [0, 0, 1, 1], 1))], [truth], [1]) == (1, 1)
    assert metrics([detected((0, [9, 0, 11, 1], 1))], [truth], [1]) == (0, 0)
    assert metrics([detected((0, [9, 0, 11, 1], 1))], [truth], [1], overlap=1 / 11) == (1, 1)


@pytest.mark.parametrize("length", [1, 3, 9, 10, 11, 20, 30, 70, 100, 110])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_a_track_is_found_from_exactly_its_share_of_regions(length, share):
    truth = true(*[(t, HERE, 0) for t in range(length)])
    enough = min(n for n in range(1, length + 1) if n / length >= share)
    for hits in (enough - 1, enough):
        found = detected(*[(t, HERE, 1.0) for t in range(hits)])
        tbdc = metrics([found], [truth], [length], track_share=share).tbdc
        assert tbdc == float(hits == enough)


# --- Symmetries ---------------------------------------------------------------------------------------------


@given(footage)
def test_perfect_detections_score_one_and_none_score_zero(footage):
    truths = [truth for _, truth in footage]
    frames = [4] * len(footage)
    perfect = [DetectedRegions(truth.frame, truth.xyxy, np.ones(len(truth.frame))) for truth in truths]
    assert metrics(perfect, truths, frames) == (1.0, 1.0)
    assert metrics([detected()] * len(truths), truths, frames) == (0.0, 0.0)


@given(footage, st.randoms(use_true_random=False))
def test_the_order_of_detections_regions_and_clips_does_not_matter(footage, random):
    def shuffled(clip):
        order = list(range(len(clip.frame)))
        random.shuffle(order)
        return type(clip)(*(values[order] for values in clip))

    detections, truths = zip(*footage)
    frames = [4 + index for index in range(len(footage))]
    order = list(range(len(footage)))
    random.shuffle(order)
    assert metrics(
        [shuffled(detections[k]) for k in order],
        [shuffled(truths[k]) for k in order],
        [frames[k] for k in order],
    ) == pytest.approx(metrics(detections, truths, frames), abs=1e-12)


@given(footage, st.data())
def test_a_duplicated_detection_never_raises_either(footage, data):
    detections, truths = (list(column) for column in zip(*footage))
    frames = [4] * len(footage)
    filled = [k for k, clip in enumerate(detections) if len(clip.frame)]
    if not filled:
        return
    before = metrics(detections, truths, frames)
    k = data.draw(st.sampled_from(filled))
    row = data.draw(st.integers(0, len(detections[k].frame) - 1))
    again = [*range(len(detections[k].frame)), row]
    detections[k] = DetectedRegions(*(values[again] for values in detections[k]))
    after = metrics(detections, truths, frames)
    assert after.rbdc <= before.rbdc + 1e-12
    assert after.tbdc <= before.tbdc + 1e-12


@given(footage)
def test_only_the_order_of_scores_matters_and_frames_without_anything_only_help(footage):
    detections, truths = zip(*footage)
    frames = [4] * len(footage)
    plain = metrics(detections, truths, frames)
    stretched = [clip._replace(score=np.exp(3 * clip.score) - 7) for clip in detections]
    assert metrics(stretched, truths, frames) == plain
    longer = metrics([*detections, detected()], [*truths, true()], [*frames, 9])
    assert longer.rbdc >= plain.rbdc - 1e-12
    assert longer.tbdc >= plain.tbdc - 1e-12


def test_without_a_true_region_nothing_is_defined():
    found = detected((0, HERE, 0.5))
    assert metrics([found], [true()], [3]) == (None, None)
    assert metrics([], [], []) == (None, None)
    counts = region_counts([found], [true()], [3])
    assert region_curve(counts) is None
    assert np.isnan(resampled_region_metrics(counts, np.array([[1], [2]]))).all()


def test_tracks_of_two_clips_with_one_number_are_two():
    truth, found = true((0, HERE, 0)), detected((0, HERE, 0.9))
    assert metrics([found, detected()], [truth, truth], [1, 1]) == (0.5, 0.5)


# --- Resamples ----------------------------------------------------------------------------------------------


def repeated(values, weights):
    return [value for value, times in zip(values, weights) for _ in range(times)]


@given(footage, st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_a_resample_is_the_metric_of_repeated_clips(footage, weights):
    detections, truths = zip(*footage)
    frames = [4 + index for index in range(len(footage))]
    weights = weights[: len(footage)]
    resampled = resampled_region_metrics(region_counts(detections, truths, frames), np.array([weights]))
    expected = metrics(*(repeated(values, weights) for values in (detections, truths, frames)))
    for (value,), literal in zip(resampled, expected):
        assert np.isnan(value) if literal is None else value == pytest.approx(literal, abs=1e-12)


def many_clips(rng, clips=12, frames=60, boxes_a_frame=10):
    """Detections, of which some lie near the truth and score higher; thousands of distinct scores."""
    detections, truths = [], []
    for _ in range(clips):
        start = rng.integers(0, frames // 2)
        when = np.arange(start, start + frames // 3)
        where = np.stack([when, when + 20, when + 30, when + 60], axis=1).astype(float)
        truths.append(TrueRegions(when, where, np.zeros(len(when), dtype=int)))
        frame = np.repeat(np.arange(frames), boxes_a_frame)
        corner = rng.random((len(frame), 2)) * 300
        xyxy = np.concatenate([corner, corner + 10 + 30 * rng.random((len(frame), 2))], axis=1)
        score = rng.random(len(frame))
        near = rng.random(len(when)) < rng.random()
        xyxy[when[near] * boxes_a_frame] = where[near] + rng.random((near.sum(), 4)) * 5
        score[when[near] * boxes_a_frame] += 0.7 * rng.random(near.sum())
        detections.append(DetectedRegions(frame, xyxy, score))
    return detections, truths, [frames] * clips


def test_resampled_curves_of_many_scores_keep_close_to_exact_ones(monkeypatch):
    rng = np.random.default_rng(0)
    detections, truths, frames = many_clips(rng)
    counts = region_counts(detections, truths, frames)
    assert len(counts.thresholds) > 5 * region.RESAMPLED_POINTS
    weights = rng.multinomial(len(frames), np.full(len(frames), 1 / len(frames)), 30)
    close = resampled_region_metrics(counts, weights)
    monkeypatch.setattr(region, "RESAMPLED_POINTS", len(counts.thresholds))
    exact = resampled_region_metrics(counts, weights)
    assert exact[0].std() > 0.01
    np.testing.assert_allclose(close, exact, atol=1e-3)
    for row, rbdc in zip(weights[:3], exact[0]):
        repeats = (repeated(values, row) for values in (detections, truths, frames))
        assert rbdc == pytest.approx(metrics(*repeats).rbdc, abs=1e-12)


# --- Maps ---------------------------------------------------------------------------------------------------


def test_regions_of_a_map_are_boxes_in_pixels():
    """A 3 x 4 map of a picture of 30 x 80: cells of 10 x 20 pixels; corners connect, frames do not.

    frame 0           frame 1
    # . . .           . . . #
    . # . #           . . . #
    . . . #           . . . .
    """
    maps = np.zeros((2, 3, 4))
    maps[0, [0, 1, 1, 2], [0, 1, 3, 3]] = 0.7
    maps[1, [0, 1], [3, 3]] = 0.8
    frame, xyxy = regions_of_maps(maps, 0.7, height=30, width=80)
    assert sorted((int(f), *map(int, box)) for f, box in zip(frame, xyxy)) == [
        (0, 0, 0, 40, 20),
        (0, 60, 10, 80, 30),
        (1, 60, 0, 80, 20),
    ]
    assert [len(part) for part in regions_of_maps(maps, 0.9, 30, 80)] == [0, 0]
    whole = regions_of_maps(maps, 0.0, 30, 80)[1]
    assert whole.tolist() == [[0, 0, 80, 30]] * 2


def flooded(cells):
    """Boxes of the 8-connected parts of a (H, W) mask, filled cell by cell."""
    left, found = {(int(r), int(c)) for r, c in np.argwhere(cells)}, []
    while left:
        part, wave = set(), {left.pop()}
        while wave:
            part |= wave
            wave = {(r + i, c + j) for r, c in wave for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= wave
        rows, columns = zip(*part)
        found.append([min(columns), min(rows), max(columns) + 1, max(rows) + 1])
    return found


def parts(stack):
    return [(frame, box) for frame, cells in enumerate(stack) for box in flooded(cells)]


small_maps = st.lists(st.lists(st.integers(0, 3), min_size=20, max_size=20), min_size=1, max_size=4).map(
    lambda frames: np.array(frames, dtype=np.float32).reshape(-1, 4, 5) / 4
)


@given(st.lists(st.tuples(small_maps, clips), min_size=1, max_size=2), shares)
def test_maps_equal_the_literal_twin(footage, overlap):
    maps = [stack for stack, _ in footage]
    frames = [len(stack) for stack in maps]
    truths = [
        TrueRegions(*(values[truth.frame < len(stack)] for values in truth)) for stack, (_, truth) in footage
    ]
    counts = region_counts_of_maps(maps, truths, [(12, 15)] * len(maps), overlap=overlap)
    if not sum(len(truth.frame) for truth in truths):
        assert region_metrics(counts) == (None, None)
        return
    points = []
    for threshold in counts.thresholds:
        kept = [[(frame, [3 * x for x in box]) for frame, box in parts(stack >= threshold)] for stack in maps]
        points.append(literal_point(kept, truths, frames, overlap, 0.1))
    curve = region_curve(counts)
    np.testing.assert_allclose(np.stack(curve[:3], axis=1), points)
    expected = [literal_area([(point[0], point[k]) for point in points]) for k in (1, 2)]
    assert region_metrics(counts) == pytest.approx(expected, abs=1e-12)


def test_a_drawing_of_a_find_that_is_lost_again():
    """The truth is the left top cell, but as the threshold falls everything becomes one region.

    map              >= .9     >= .8     >= .5     >= .1           RBDR of one frame
    .9 .1 .8 .1      # . . .   # . # .   # . # .   # # # #     1   A--------B--------C
    .1 .1 .1 .1      . . . .   . . . .   . . . .   # # # #         |
    .1 .1 .1 .1      . . . .   . . . .   . . . .   # # # #         |
    .1 .1 .1 .5      . . . .   . . . .   . . . #   # # # #     0   +--------D--------+ FPR
                     A (0, 1)  B (1, 1)  C (2, 1)  D (1, 0)        0        1        2

    The last threshold finds one region of 16 cells, of which the truth is less than a tenth. The find made
    before stays, also where three blank frames draw all of this together before FPR 1: RBDC is 1.
    """
    values = np.full((1, 4, 4), 0.1)
    values[0, [0, 0, 3], [0, 2, 3]] = 0.9, 0.8, 0.5
    truth = true((0, [0, 0, 10, 10], 0))
    thresholds = np.array([0.1, 0.5, 0.8, 0.9])
    counts = region_counts_of_maps([values], [truth], [(40, 40)], thresholds)
    curve = region_curve(counts)
    assert curve.false_positive_rate.tolist() == [0, 1, 2, 1]
    assert curve.region_rate.tolist() == [1, 1, 1, 0]
    assert region_metrics(counts) == (1, 1)
    longer = np.concatenate([values, np.zeros((3, 4, 4))])
    counts = region_counts_of_maps([longer], [truth], [(40, 40)], thresholds)
    assert region_curve(counts).false_positive_rate.tolist() == [0, 0.25, 0.5, 0.25]
    assert region_metrics(counts) == (1, 1)


def test_a_drawing_of_a_false_positive_that_is_lost_again():
    """Two wrong places grow into one while the truth, the right bottom cell, is found; four frames in all.

    map              >= .9       >= .5           RBDR
    .9 .5 .9 .1      # . # .     # # # .     1   |   B   *--------
    .1 .1 .1 .1      . . . .     . . . .         |       |             B counts as *, no less to the right
    .1 .1 .1 .1      . . . .     . . . .         |       |             than A: area 1/2
    .1 .1 .1 .5      . . . .     . . . #     0   +---+---A---+---+ FPR
                     A (1/2, 0)  B (1/4, 1)      0      1/2      1
    """
    maps = np.zeros((4, 4, 4))
    maps[0] = 0.1
    maps[0, [0, 0, 0, 3], [0, 1, 2, 3]] = 0.9, 0.5, 0.9, 0.5
    truth = true((0, [30, 30, 40, 40], 0))
    counts = region_counts_of_maps([maps], [truth], [(40, 40)], np.array([0.5, 0.9]))
    assert region_curve(counts).false_positive_rate.tolist() == [0.5, 0.25]
    assert region_metrics(counts) == (0.5, 0.5)
    everywhere = resampled_region_metrics(counts, np.array([[1], [3]]))
    np.testing.assert_array_equal(everywhere, np.full((2, 2), 0.5))


def test_thresholds_of_maps_occur_and_reach_from_the_highest_value_to_the_lowest():
    rng = np.random.default_rng(0)
    maps = [rng.random((30, 4, 4)).astype(np.float32), rng.random((20, 8, 8)).astype(np.float32)]
    thresholds = map_thresholds(maps)
    values = np.concatenate([stack.ravel() for stack in maps])
    assert len(thresholds) <= 50
    assert (np.diff(thresholds) < 0).all()
    assert np.isin(thresholds, values).all()
    assert (thresholds[0], thresholds[-1]) == (values.max(), values.min())
    highest = np.concatenate([stack.max(axis=(1, 2)) for stack in maps])
    firing = [(highest >= threshold).mean() for threshold in thresholds]
    assert max(np.diff([0, *firing])) < 0.07
    assert map_thresholds([np.zeros((5, 4, 4))]).tolist() == [0]


# --- Refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "truth", "message"),
    [
        (detected((0, HERE, np.nan)), true(), "detections of clip 0: 1 scores are NaN"),
        (detected((5, HERE, 1)), true(), "detections of clip 0: frame numbers from 5 to 5 in a clip of 5"),
        (detected(), true((-1, HERE, 0)), "true regions of clip 0: frame numbers from -1 to -1"),
        (detected((0, [3, 0, 3, 5], 1)), true(), r"box 0, \[3.0, 0.0, 3.0, 5.0\], is not x1 < x2"),
        (detected(), true((0, HERE, 0), (0, [0, 5, 3, 2], 0)), "true regions of clip 0: box 1"),
        (detected((0, [0, 0, np.inf, 1], 1)), true(), "box 0"),
        (detected((0, HERE, 1))._replace(score=np.ones(2)), true(), r"shapes \(1,\), \(1, 4\) and \(2,\)"),
    ],
)
def test_refuses_boxes_that_mean_nothing(found, truth, message):
    with pytest.raises(DataError, match=message):
        region_counts([found], [truth], [5])


def test_refuses_clips_that_do_not_match_and_maps_that_are_none():
    with pytest.raises(DataError, match="of 1 clips, true regions of 2"):
        region_counts([detected()], [true(), true()], [4, 4])
    with pytest.raises(DataError, match="must lie in"):
        region_counts([detected()], [true()], [4], track_share=1.5)
    with pytest.raises(DataError, match=r"maps of clip 0 have shape \(4, 4\)"):
        region_counts_of_maps([np.zeros((4, 4))], [true()], [(8, 8)])
    with pytest.raises(DataError, match="maps of clip 0: 1 values are NaN"):
        region_counts_of_maps([np.array([[[np.nan, 0]]])], [true()], [(8, 8)])
    with pytest.raises(DataError, match="true regions of clip 1: frame numbers from 2 to 2"):
        region_counts_of_maps([np.zeros((2, 1, 1))] * 2, [true(), true((2, HERE, 0))], [(8, 8)] * 2)

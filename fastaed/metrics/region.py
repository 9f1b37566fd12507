"""Region-based and track-based detection criteria: are the right places found, and at how many wrong ones?

B. Ramachandra and M. Jones, "Street Scene: A new dataset and evaluation protocol for video anomaly
detection" (WACV 2020). Keep the detections that score at least a threshold. A true region is found where a
detection of its frame overlaps it with IoU >= 0.1; a track is found where at least 0.1 of its regions are; a
detection is a false positive where it overlaps no true region of its frame that much. Then

    RBDR = regions found / regions        TBDR = tracks found / tracks        FPR = false positives / frames

over all clips and all frames, those without truth too. As the threshold falls these draw curves, and RBDC and
TBDC are the areas under RBDR and TBDR over FPR from 0 to 1 false positive a frame. How the curves are drawn:

- They start at (0, 0), where nothing is kept, and have one point for each distinct score: equal scores enter
  together, so their order does not matter.
- Points are joined by straight lines. A detection is a false positive or finds something, never both, so
  without ties the curve is a staircase; on ties the slope counts one half, as in an AUC.
- A line that crosses FPR 1 is cut there; a curve that ends before is continued flat.
- Neither rate falls on the way: each point takes the highest so far. Detections only add up and need none of
  this. The regions of an anomaly map do: as the threshold falls they grow into one another, which undoes
  false positives and finds alike. A point (x, y) then says that some threshold so far finds y, with no more
  than x false positives a frame.

Boxes are left, top, right, bottom, the last two exclusive, so an area is (x2 - x1)(y2 - y1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from fastaed.errors import DataError

RESAMPLED_POINTS = 1_000  # of a resampled curve, at most
_NEIGHBOURS = np.ones((3, 3), dtype=int)  # corners touch

Integers = NDArray[np.integer[Any]]
Reals = NDArray[np.floating[Any]] | Integers
Doubles = NDArray[np.float64]


class DetectedRegions(NamedTuple):
    """The N scored boxes of one clip, in any order.

    Attributes:
        frame: (N,) frame numbers from 0.
        xyxy: (N, 4) boxes, in the same pixels as the truth.
        score: (N,) anomaly scores of any range.
    """

    frame: Integers
    xyxy: Reals
    score: Reals


class TrueRegions(NamedTuple):
    """The M abnormal regions of one clip, in any order.

    Attributes:
        frame: (M,) frame numbers from 0.
        xyxy: (M, 4) boxes in pixels.
        track_id: (M,) equal where regions belong to one anomaly; the numbers mean nothing outside the clip.
    """

    frame: Integers
    xyxy: Reals
    track_id: Integers


class Changes(NamedTuple):
    """A count of each clip at each threshold, kept as its E changes while the threshold falls.

    Attributes:
        clip: (E,) number of the clip.
        step: (E,) number of the threshold that brings the change.
        amount: (E,) what it adds.
    """

    clip: NDArray[np.int64]
    step: NDArray[np.int64]
    amount: NDArray[np.int64]


@dataclass(frozen=True)
class RegionCounts:
    """All that RBDC and TBDC of C clips need, at K thresholds.

    Attributes:
        thresholds: (K,) falling, distinct.
        false_positives: detections that overlap no true region.
        regions_found: true regions that a detection overlaps.
        tracks_found: tracks with enough regions found.
        frames: (C,) frames of each clip.
        regions: (C,) true regions of each clip.
        tracks: (C,) tracks of each clip.
    """

    thresholds: Doubles
    false_positives: Changes
    regions_found: Changes
    tracks_found: Changes
    frames: NDArray[np.int64]
    regions: NDArray[np.int64]
    tracks: NDArray[np.int64]


class RegionCurve(NamedTuple):
    """Rates over all clips at each threshold, before any running maximum.

    Attributes:
        false_positive_rate: (K,) false positives a frame, not bounded by 1.
        region_rate: (K,) RBDR in [0, 1].
        track_rate: (K,) TBDR in [0, 1].
        threshold: (K,) falling.
    """

    false_positive_rate: Doubles
    region_rate: Doubles
    track_rate: Doubles
    threshold: Doubles


class RegionMetrics(NamedTuple):
    """The two areas.

    Attributes:
        rbdc: in [0, 1]; None where there is no true region.
        tbdc: in [0, 1]; None where there is no true region.
    """

    rbdc: float | None
    tbdc: float | None


@dataclass(frozen=True)
class _Truth:
    """The regions of all clips together, and the tracks that they make up.

    Attributes:
        clip: (M,) number of each region's clip.
        frame: (M,) frame number over all clips.
        xyxy: (M, 4) boxes.
        track: (M,) number of each region's track over all clips.
        clip_of_track: (L,) number of each track's clip.
    """

    clip: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: Doubles
    track: NDArray[np.int64]
    clip_of_track: NDArray[np.int64]

    def found_at(self, regions_found_at: NDArray[np.int64], track_share: float) -> NDArray[np.int64]:
        """(L,) the step at which each track has enough of its regions, from the (M,) steps of these."""
        regions = np.bincount(self.track)
        enough = np.floor(track_share * regions).astype(np.int64)
        enough += enough / regions < track_share  # as n / regions >= share itself would decide
        soonest_first = np.lexsort((regions_found_at, self.track))
        deciding = soonest_first[np.cumsum(regions) - regions + enough - 1]
        return np.asarray(regions_found_at[deciding], dtype=np.int64)


def region_counts(
    detections: Sequence[DetectedRegions],
    truths: Sequence[TrueRegions],
    frames: Sequence[int],
    overlap: float = 0.1,
    track_share: float = 0.1,
) -> RegionCounts:
    """What scored boxes find and what they raise falsely, at every distinct score.

    No threshold is tried: a region is found from the highest score among the detections that overlap it, a
    track of n regions from the k-th highest of its regions', k the least for which k / n >= `track_share`.

    Args:
        detections: of each clip.
        truths: of each clip, in the same order.
        frames: number of frames of each clip, those without detections or truth included.
        overlap: IoU in (0, 1] from which a detection finds a region, beta in the paper.
        track_share: share in (0, 1] of a track's regions from which it is found, alpha in the paper.

    Raises:
        DataError: the numbers of clips differ, a score is NaN, a box has no area or lies outside its clip, or
            a share is out of range.
    """
    _check_shares(overlap, track_share)
    _check_clips(len(detections), len(truths), len(frames))
    for clip, (found, length) in enumerate(zip(detections, frames)):
        _check_boxes(found.frame, found.xyxy, found.score, length, f"detections of clip {clip}")
        if np.isnan(found.score).any():
            raise DataError(f"detections of clip {clip}: {int(np.isnan(found.score).sum())} scores are NaN")
    truth = _pooled(truths, frames)
    clip_of, frame = _over_all_clips([found.frame for found in detections], frames)
    xyxy = _joined([found.xyxy for found in detections], 4)
    rising, rank = np.unique(_joined([found.score for found in detections]), return_inverse=True)
    steps, step = len(rising), len(rising) - 1 - rank
    which, region = _overlapping(frame, xyxy, truth.frame, truth.xyxy, overlap)
    wrong = np.ones(len(frame), dtype=bool)
    wrong[which] = False
    found_at = np.full(len(truth.frame), steps)  # beyond the last step: never
    np.minimum.at(found_at, region, step[which])
    return RegionCounts(
        thresholds=rising[::-1],
        false_positives=_first_time(step[wrong], clip_of[wrong], steps),
        regions_found=_first_time(found_at, truth.clip, steps),
        tracks_found=_first_time(truth.found_at(found_at, track_share), truth.clip_of_track, steps),
        frames=np.asarray(frames, dtype=np.int64),
        regions=np.bincount(truth.clip, minlength=len(frames)),
        tracks=np.bincount(truth.clip_of_track, minlength=len(frames)),
    )


def region_counts_of_maps(
    maps: Sequence[Reals],
    truths: Sequence[TrueRegions],
    sizes: Sequence[tuple[int, int]],
    thresholds: Reals | None = None,
    overlap: float = 0.1,
    track_share: float = 0.1,
) -> RegionCounts:
    """What anomaly maps find and what they raise falsely, each threshold taken by itself.

    At threshold t a frame's detections are the boxes of `regions_of_maps`. They grow as t falls, so that a
    region found may be lost again; what the area makes of that is said at the top of this module.

    Args:
        maps: (T, H, W) maps of each clip, at any resolution.
        truths: of each clip, in the same order.
        sizes: height and width of each clip's truth in pixels.
        thresholds: any, in any order; the default is `map_thresholds(maps)`.
        overlap: as for `region_counts`.
        track_share: as for `region_counts`.

    Raises:
        DataError: the numbers of clips differ, a map is not (T, H, W) or holds NaN, a true region has no area
            or lies outside its clip, or a share is out of range.
    """
    _check_shares(overlap, track_share)
    _check_clips(len(maps), len(truths), len(sizes))
    _check_maps(maps)
    falling = np.unique(map_thresholds(maps) if thresholds is None else thresholds)[::-1].astype(np.float64)
    frames = [len(stack) for stack in maps]
    everything = _pooled(truths, frames)
    counts = np.zeros((3, len(maps), len(falling)), dtype=np.int64)
    for clip, (stack, regions, size) in enumerate(zip(maps, truths, sizes)):
        truth = _pooled([regions], frames[clip : clip + 1])
        for step, threshold in enumerate(falling):
            counts[:, clip, step] = _counts_at(threshold, stack, size, truth, overlap, track_share)
    wrong, found, tracks_found = counts
    return RegionCounts(
        thresholds=falling,
        false_positives=_changes(wrong),
        regions_found=_changes(found),
        tracks_found=_changes(tracks_found),
        frames=np.asarray(frames, dtype=np.int64),
        regions=np.bincount(everything.clip, minlength=len(frames)),
        tracks=np.bincount(everything.clip_of_track, minlength=len(frames)),
    )


def map_thresholds(maps: Sequence[Reals], count: int = 50) -> Doubles:
    """At most `count` thresholds that resolve the curve of anomaly maps, distinct and falling.

    One half are even quantiles of the frames' highest values: down to the lowest of these the share of frames
    with any detection rises evenly from 0 to 1, which is where FPR does. The other half are even quantiles of
    all values, for what lies below. Each is a value that occurs.

    Args:
        maps: (T, H, W) maps of each clip.
        count: even number.

    Raises:
        DataError: a map is not (T, H, W) or holds NaN.
    """
    _check_maps(maps)
    if not maps:
        return np.zeros(0)
    even = np.linspace(0, 1, count // 2)
    highest = np.concatenate([stack.max(axis=(1, 2)) for stack in maps])
    values = np.concatenate([stack.ravel() for stack in maps])
    quantiles = [np.quantile(x, even, method="inverted_cdf") for x in (highest, values)]
    return np.unique(quantiles)[::-1].astype(np.float64)


def regions_of_maps(
    maps: Reals, threshold: float, height: int, width: int
) -> tuple[NDArray[np.int64], Doubles]:
    """Boxes of the connected parts of each frame's map at or above a threshold; corners connect.

    Args:
        maps: (T, H, W) maps.
        threshold: the least value that belongs to a region.
        height: of the picture that a map covers, pixels.
        width: likewise.

    Returns:
        (N,) frame numbers, rising, and (N, 4) boxes x1, y1, x2, y2 in pixels of the picture.
    """
    frames, rows, columns = maps.shape
    # A blank line below and beside each map keeps neighbours apart.
    inside = np.zeros((frames * (rows + 1), columns + 1), dtype=bool)
    inside.reshape(frames, rows + 1, columns + 1)[:, :rows, :columns] = maps >= threshold
    parts, count = label(inside, _NEIGHBOURS)
    # Boxes from runs along a row, which are far fewer than pixels.
    edges = np.flatnonzero(np.diff(inside.ravel().view(np.int8), prepend=0))
    start, stop = edges[::2], edges[1::2]
    part = parts.ravel()[start] - 1
    line, left = np.divmod(start, columns + 1)
    frame, top = np.divmod(line, rows + 1)
    x1, y1 = np.full(count, columns), np.full(count, rows)
    x2, y2 = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for corner, least in ((x1, left), (y1, top)):
        np.minimum.at(corner, part, least)
    for corner, most in ((x2, stop - line * (columns + 1)), (y2, top + 1)):
        np.maximum.at(corner, part, most)
    frame_of_part = np.zeros(count, dtype=np.int64)
    frame_of_part[part] = frame
    pixels = np.array([width / columns, height / rows] * 2)
    return frame_of_part, np.stack([x1, y1, x2, y2], axis=1) * pixels


def region_curve(counts: RegionCounts) -> RegionCurve | None:
    """The rates of all clips at every threshold; None where there is no true region."""
    if not counts.regions.any():
        return None
    found, tracks, wrong = (
        np.cumsum(np.bincount(changes.step, changes.amount, len(counts.thresholds)))
        for changes in (counts.regions_found, counts.tracks_found, counts.false_positives)
    )
    return RegionCurve(
        wrong / counts.frames.sum(),
        found / counts.regions.sum(),
        tracks / counts.tracks.sum(),
        counts.thresholds,
    )


def region_metrics(counts: RegionCounts) -> RegionMetrics:
    """RBDC and TBDC over all clips, from every threshold; None where there is no true region."""
    curve = region_curve(counts)
    if curve is None:
        return RegionMetrics(None, None)
    areas = [_area(curve.false_positive_rate, rate) for rate in (curve.region_rate, curve.track_rate)]
    return RegionMetrics(*(float(area) for area in areas))


def resampled_region_metrics(counts: RegionCounts, weights: Integers) -> tuple[Doubles, Doubles]:
    """RBDC and TBDC of resamples of the clips.

    With at most `RESAMPLED_POINTS` thresholds it is exact. Of more, to bound the work, that many are taken,
    spread evenly along the curves of all clips (in FPR up to 1, in all of FPR, in RBDR and in TBDR alike);
    straight lines between them cut the corners of the others.

    Args:
        counts: of C clips.
        weights: (R, C) how often each resample holds each clip.

    Returns:
        (R,) RBDC and (R,) TBDC, NaN for a resample without a true region.
    """
    steps, clips = _resampling_steps(counts), len(counts.frames)
    times = weights.astype(np.float64)
    wrong, found, tracks = (
        times @ _counts_by_clip(changes, clips, steps)
        for changes in (counts.false_positives, counts.regions_found, counts.tracks_found)
    )
    frames, regions, all_tracks = (times @ total for total in (counts.frames, counts.regions, counts.tracks))
    false_positive_rate = wrong / np.maximum(frames, 1)[:, None]
    rbdc, tbdc = (
        np.where(total > 0, _area(false_positive_rate, count / np.maximum(total, 1)[:, None]), np.nan)
        for count, total in ((found, regions), (tracks, all_tracks))
    )
    return rbdc, tbdc


def _area(false_positive_rate: Doubles, rate: Doubles) -> Doubles:
    """(...) area under (..., K) rates over FPR in [0, 1], the curve drawn as the top of this module says."""
    origin = np.zeros((*rate.shape[:-1], 1))
    x = np.maximum.accumulate(np.concatenate([origin, false_positive_rate], axis=-1), axis=-1)
    y = np.maximum.accumulate(np.concatenate([origin, rate], axis=-1), axis=-1)
    run, rise = np.diff(x), np.diff(y)
    width = np.diff(np.minimum(x, 1))  # what of a line lies before FPR 1
    share = np.divide(width, run, out=np.zeros_like(run), where=run > 0)
    flat = (1 - np.minimum(x[..., -1], 1)) * y[..., -1]
    return np.asarray((width * (y[..., :-1] + share * rise / 2)).sum(axis=-1) + flat, dtype=np.float64)


def _resampling_steps(counts: RegionCounts) -> NDArray[np.int64]:
    """Numbers of at most `RESAMPLED_POINTS` thresholds, rising, the last among them."""
    every = np.arange(len(counts.thresholds))
    curve = region_curve(counts)
    if len(every) <= RESAMPLED_POINTS or curve is None:
        return every[-RESAMPLED_POINTS:]
    rate = curve.false_positive_rate
    way = np.minimum(rate, 1) + rate / (rate.max() or 1) + curve.region_rate + curve.track_rate
    way = np.maximum.accumulate(way)
    even = np.linspace(way[0], way[-1], RESAMPLED_POINTS - 1)
    return np.unique(np.append(np.searchsorted(way, even), every[-1]))


def _counts_by_clip(changes: Changes, clips: int, steps: NDArray[np.int64]) -> Doubles:
    """(C, S) the count of each clip at the thresholds of these steps."""
    place = changes.clip * len(steps) + np.searchsorted(steps, changes.step)
    added = np.bincount(place, changes.amount, clips * len(steps))
    return np.cumsum(added.reshape(clips, len(steps)), axis=1)


def _counts_at(
    threshold: float,
    maps: Reals,
    size: tuple[int, int],
    truth: _Truth,
    overlap: float,
    track_share: float,
) -> tuple[int, int, int]:
    """False positives, regions found and tracks found of one clip's maps at one threshold."""
    frame, xyxy = regions_of_maps(maps, threshold, *size)
    which, region = _overlapping(frame, xyxy, truth.frame, truth.xyxy, overlap)
    missed = np.ones(len(truth.frame), dtype=np.int64)
    missed[region] = 0
    tracks_missed = truth.found_at(missed, track_share)
    return len(frame) - len(np.unique(which)), int((missed == 0).sum()), int((tracks_missed == 0).sum())


def _overlapping(
    frame: NDArray[np.int64],
    xyxy: Doubles,
    true_frame: NDArray[np.int64],
    true_xyxy: Doubles,
    overlap: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of a detection and a true region of its frame with IoU >= `overlap`, as two lists of numbers.

    The quotient of two areas is rounded once, so that of whole pixels even an IoU of exactly 1/10 counts.
    """
    order = np.argsort(true_frame, kind="stable")
    first, last = (np.searchsorted(true_frame[order], frame, side) for side in ("left", "right"))
    rivals = last - first
    one = np.repeat(np.arange(len(frame)), rivals)
    turn = np.arange(len(one)) - np.repeat(np.cumsum(rivals) - rivals, rivals)
    other = order[np.repeat(first, rivals) + turn]
    low = np.maximum(xyxy[one, :2], true_xyxy[other, :2])
    high = np.minimum(xyxy[one, 2:], true_xyxy[other, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    union = np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1)[one]
    union += np.prod(true_xyxy[:, 2:] - true_xyxy[:, :2], axis=1)[other] - shared
    close = shared / union >= overlap
    return one[close], other[close]


def _pooled(truths: Sequence[TrueRegions], frames: Sequence[int]) -> _Truth:
    for clip, (truth, length) in enumerate(zip(truths, frames)):
        _check_boxes(truth.frame, truth.xyxy, truth.track_id, length, f"true regions of clip {clip}")
    clip_of, frame = _over_all_clips([truth.frame for truth in truths], frames)
    names = np.stack([clip_of, _joined([truth.track_id for truth in truths]).astype(np.int64)], axis=1)
    tracks, track = np.unique(names, axis=0, return_inverse=True)
    return _Truth(clip_of, frame, _joined([truth.xyxy for truth in truths], 4), track, tracks[:, 0])


def _over_all_clips(
    frames_of_boxes: Sequence[Integers], frames: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of all boxes, the number of the clip and of the frame when the clips are laid end to end."""
    clip = np.repeat(np.arange(len(frames)), [len(boxes) for boxes in frames_of_boxes])
    before = np.cumsum(frames, dtype=np.int64) - np.asarray(frames, dtype=np.int64)
    return clip, before[clip] + _joined(frames_of_boxes).astype(np.int64)


def _joined(arrays: Sequence[Reals], *columns: int) -> Doubles:
    return np.concatenate([np.zeros((0, *columns)), *arrays])


def _first_time(at: NDArray[np.int64], clip: NDArray[np.int64], steps: int) -> Changes:
    """One more from each step on; from none where that is beyond the last."""
    ever = at < steps
    return Changes(clip[ever], at[ever], np.ones(int(ever.sum()), dtype=np.int64))


def _changes(counts: NDArray[np.int64]) -> Changes:
    """(C, K) counts as what changes from threshold to threshold."""
    added = np.diff(counts, axis=1, prepend=0)
    clip, step = np.nonzero(added)
    return Changes(clip, step, added[clip, step])


def _check_shares(overlap: float, track_share: float) -> None:
    if not (0 < overlap <= 1 and 0 < track_share <= 1):
        raise DataError(f"overlap {overlap} and track share {track_share} must lie in (0, 1]")


def _check_clips(found: int, truths: int, clips: int) -> None:
    if not found == truths == clips:
        raise DataError(
            f"detections or maps of {found} clips, true regions of {truths} and frame counts or sizes of "
            f"{clips} do not match; give one of each a clip"
        )


def _check_boxes(frame: Integers, xyxy: Reals, beside: Reals, frames: int, where: str) -> None:
    count = len(frame)
    if frame.shape != (count,) or xyxy.shape != (count, 4) or beside.shape != (count,):
        raise DataError(
            f"{where}: arrays of shapes {frame.shape}, {xyxy.shape} and {beside.shape} "
            "are not (N,), (N, 4) and (N,)"
        )
    if count and not 0 <= frame.min() <= frame.max() < frames:
        raise DataError(
            f"{where}: frame numbers from {frame.min()} to {frame.max()} in a clip of {frames}; count from 0"
        )
    sound = np.isfinite(xyxy).all(axis=1) & (xyxy[:, :2] < xyxy[:, 2:]).all(axis=1)
    if not sound.all():
        first = int(np.argmin(sound))
        raise DataError(
            f"{where}: box {first}, {xyxy[first].tolist()}, is not x1 < x2 and y1 < y2; mend or drop it"
        )


def _check_maps(maps: Sequence[Reals]) -> None:
    for clip, stack in enumerate(maps):
        if stack.ndim != 3 or 0 in stack.shape:
            raise DataError(f"maps of clip {clip} have shape {stack.shape}, not (T, H, W)")
        if np.isnan(stack).any():
            raise DataError(f"maps of clip {clip}: {int(np.isnan(stack).sum())} values are NaN")

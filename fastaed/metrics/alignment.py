"""Signs that scores and labels were not made for one another: shifted in time, tied, or constant.

Nothing here is corrected. A best shift other than 0 says that a reader, a smoothing filter or a label file is
some frames off.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastaed.errors import DataError
from fastaed.metrics.auc import Labels, Scores, auc, check_clips, micro_auc

LEAST_GAIN = 0.002  # perfect scores one frame late lose .006 to .012 on the public benchmarks
LEAST_CLIPS = 7  # that all of fewer clips gain happens by chance in more than 1 % of cases
MOST_WORSE = (
    0.1  # an offset costs hardly any clip; under meaningless scores 3 to 5 clips of 10 lose by a shift
)
MANY_TIES = 0.1  # share of tied frames above which their order, which is unknown, weighs on an AUC

Number = TypeVar("Number", bound=np.generic)


class Alignment(NamedTuple):
    """The shift at which scores fit the labels best.

    Attributes:
        shift: in frames; above 0 the scores come late: score t + shift belongs to label t.
        auc: micro AUC at that shift.
        unshifted: micro AUC of the same labels at shift 0.
        clips_better: number of clips whose own AUC is higher at that shift than at 0.
        clips_worse: number of clips whose own AUC is lower.
    """

    shift: int
    auc: float
    unshifted: float
    clips_better: int
    clips_worse: int

    @property
    def gain(self) -> float:
        """Micro AUC gained by the shift, 0 or more."""
        return self.auc - self.unshifted

    @property
    def suspicious(self) -> bool:
        """Whether the gain tells of an offset and not of chance, of which the best of many shifts profits.

        An offset concerns all clips alike: beside a gain above `LEAST_GAIN` the shift has to change at least
        `LEAST_CLIPS` clips, and no more than the share `MOST_WORSE` of them for the worse.
        """
        changed = self.clips_better + self.clips_worse
        return self.gain > LEAST_GAIN and changed >= LEAST_CLIPS and self.clips_worse <= MOST_WORSE * changed


def best_shift(scores: Sequence[Scores], labels: Sequence[Labels], most_frames: int) -> Alignment | None:
    """Slide the scores against the labels inside each clip; the shift of the highest micro AUC.

    Every shift is judged on the same labels, those at least `most_frames` away from both ends of their clip,
    so that nothing but the shift differs. Of equally good shifts the one nearest to 0 is taken.

    Args:
        scores: one (T,) array a clip, best not smoothed: a filter hides an offset.
        labels: one (T,) array a clip, in the same order.
        most_frames: largest shift tried, in either direction.

    Returns:
        The best shift; None where the labels that are left lack one of the classes.

    Raises:
        DataError: as `micro_auc`, or `most_frames` is negative.
    """
    check_clips(scores, labels)
    if most_frames < 0:
        raise DataError(f"scores are slid by 0 or more frames, not {most_frames}")
    inner = [_inner(clip, 0, most_frames) for clip in labels]
    slid = {
        shift: [_inner(clip, shift, most_frames) for clip in scores]
        for shift in sorted(range(-most_frames, most_frames + 1), key=abs)
    }
    aucs = {shift: value for shift in slid if (value := micro_auc(slid[shift], inner)) is not None}
    if not aucs:
        return None
    best = max(aucs, key=lambda shift: aucs[shift])
    gains = _own_gains(slid[best], slid[0], inner)
    return Alignment(
        best, aucs[best], aucs[0], sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    )


def tied_share(scores: Scores) -> float | None:
    """Share of the (T,) scores that occur more than once; None where there are none."""
    if not len(scores):
        return None
    _, counts = np.unique(scores, return_counts=True)
    return float(counts[counts > 1].sum() / len(scores))


def is_constant(scores: Scores) -> bool:
    """Whether all (T,) scores are one and the same."""
    return bool((scores == scores[:1]).all())


def _inner(series: NDArray[Number], shift: int, most_frames: int) -> NDArray[Number]:
    """Without `most_frames` at either end, `shift` frames later; empty where the clip is too short."""
    return series[most_frames + shift : max(most_frames, len(series) - most_frames) + shift]


def _own_gains(after: Sequence[Scores], before: Sequence[Scores], labels: Sequence[Labels]) -> list[float]:
    """What each clip's own AUC gains, for the clips that have one."""
    pairs = [(auc(new, truth), auc(old, truth)) for new, old, truth in zip(after, before, labels)]
    return [new - old for new, old in pairs if new is not None and old is not None]

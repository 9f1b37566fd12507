"""How others count: conventions found in papers, for comparison only. None of them is ours.

Each changes a number without a better model. They are written here so that a reader can relate our tables to
published ones, and see what a constant score, which knows nothing, gets under each of them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from fastaed.metrics.auc import Labels, Scores, check_clips, macro_auc, micro_auc
from fastaed.metrics.smoothing import REACH, centred

MicroMacro = tuple[float | None, float | None]


def under_conventions(
    scores: Sequence[Scores], labels: Sequence[Labels], sigma_frames: float
) -> dict[str, MicroMacro]:
    """Micro and macro AUC under one convention after the other, for a block marked as such.

    The row to compare with is the one of centred smoothing with the same sigma: each convention replaces one
    step of it, and the last row two.

    Args:
        scores: one (T,) array a clip, not smoothed.
        labels: one (T,) array a clip, in the same order.
        sigma_frames: standard deviation of the Gaussian in frames.

    Returns:
        Name of the convention -> (micro AUC, macro AUC); None where it does not exist even so.

    Raises:
        DataError: as `micro_auc`, or a score is infinite.
    """
    check_clips(scores, labels)
    smoothed = [centred(clip, sigma_frames) for clip in scores]
    padded = [zero_padded_gaussian(clip, sigma_frames) for clip in scores]
    micro = micro_auc(smoothed, labels)
    return {
        "one-class clips count 1": (micro, macro_auc_one_class_as_one(smoothed, labels)),
        "one 0 and one 1 padded": (micro, macro_auc_padded(smoothed, labels)),
        "per-clip min-max": _aucs([min_max(clip) for clip in smoothed], labels),
        "zero-padded Gaussian": _aucs(padded, labels),
        "zero-padded Gaussian, per-clip min-max": _aucs([min_max(clip) for clip in padded], labels),
    }


def macro_auc_one_class_as_one(scores: Sequence[Scores], labels: Sequence[Labels]) -> float | None:
    """Macro AUC in which a clip of one class, whose AUC does not exist, counts as a perfect 1 (NaN -> 1).

    It raises every score by the same rule, most those that are low: a constant gets .667 on UCSD Ped2, where
    4 of 12 clips are wholly abnormal, instead of .5. None only where there is no clip.

    Args:
        scores: one (T,) array a clip.
        labels: one (T,) array a clip, in the same order.
    """
    own = macro_auc(scores, labels)
    if not scores:
        return None
    return ((own.value or 0.0) * own.clips + len(scores) - own.clips) / len(scores)


def macro_auc_padded(scores: Sequence[Scores], labels: Sequence[Labels]) -> float | None:
    """Macro AUC after a normal frame of score 0 and an abnormal one of score 1 are added to every clip.

    Every AUC then exists, with two frames in it that the scorer is given right for nothing (if its scores lie
    in [0, 1]): a clip of one class gets up to 1, and a short event gains most. The number also depends on the
    level of the scores: on UCSD Ped2 a constant 1 gets .683, a constant 0 gets .504.

    Args:
        scores: one (T,) array a clip.
        labels: one (T,) array a clip, in the same order.
    """
    check_clips(scores, labels)
    ends = np.array([0, 1])
    return macro_auc(
        [np.concatenate([ends, clip]) for clip in scores], [np.concatenate([ends, clip]) for clip in labels]
    ).value


def min_max(scores: Scores) -> NDArray[np.float64]:
    """One clip's scores stretched to [0, 1]; where they are all equal, zeros.

    Every clip then has a frame of score 1, also one in which nothing happens, and what is most anomalous in a
    dull clip ranks with what is most anomalous at all. It needs the whole clip, so no live camera can do it,
    and it hides from micro AUC that a scorer is on another level in each clip. Macro AUC does not see it.

    Args:
        scores: (T,) anomaly scores of one clip.
    """
    rise = scores.astype(np.float64) - scores.min(initial=np.inf)
    return np.asarray(rise / (rise.max(initial=0.0) or 1.0))


def zero_padded_gaussian(scores: Scores, sigma_frames: float) -> NDArray[np.float64]:
    """Gaussian filter that takes the frames outside the clip for frames of score 0.

    It pulls the scores down at both ends of every clip, where there are fewer events: a constant score
    becomes a hill over the middle.

    Args:
        scores: (T,) anomaly scores of one clip, in time order.
        sigma_frames: sigma in frames.
    """
    filtered = gaussian_filter1d(scores.astype(np.float64), sigma_frames, mode="constant", truncate=REACH)
    return np.asarray(filtered, dtype=np.float64)


def off_centre_gaussian(scores: Scores, sigma_frames: float, taps: int) -> NDArray[np.float64]:
    """As `zero_padded_gaussian`, with an odd number of weights of which the largest lies on frame t - 1.

    y(t) = sum_k g(k + 1) x(t + k) / sum_k g(k + 1) over |k| <= (taps - 1) / 2, with g as in `centred`, as
    published with 301 weights and sigma 21, or with 899 and sigma 282. All it returns is one frame late.

    Args:
        scores: (T,) anomaly scores of one clip, in time order; at least one.
        sigma_frames: sigma in frames.
        taps: number of weights, odd.
    """
    reach = taps // 2
    weights = np.exp(-0.5 * ((np.arange(-reach, reach + 1) + 1) / sigma_frames) ** 2)
    return np.correlate(np.pad(scores.astype(np.float64), reach), weights / weights.sum(), "valid")


def _aucs(scores: Sequence[Scores], labels: Sequence[Labels]) -> MicroMacro:
    return micro_auc(scores, labels), macro_auc(scores, labels).value

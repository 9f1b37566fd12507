"""What the numbers of an evaluation depend on, and what makes them doubtful."""

import hashlib
import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastaed.config import EvaluateSettings
from fastaed.data.scores import ModelScores
from fastaed.evaluation.scorers import Row, Series, main_scale
from fastaed.evaluation.truth import Footage, Truth
from fastaed.files import version_of
from fastaed.metrics.alignment import MANY_TIES, best_shift, is_constant, tied_share
from fastaed.metrics.smoothing import REACH

_PACKAGES = ("fastaed", "numpy", "scipy", "pandas")


def protocol(dataset: str, truth: Truth, footage: Footage, settings: EvaluateSettings) -> Row:
    """All that the numbers depend on but the scores themselves, as JSON values."""
    reach = math.ceil(REACH * settings.sigma_frames)
    return {
        "dataset": dataset,
        "label_version": truth.version,
        "labels_sha256": truth.digest,
        "clips": len(truth.clips),
        "frames": sum(truth.frames.values()),
        "abnormal_frames": sum(int(labels.sum()) for labels in truth.labels),
        "frames_per_second": footage.rate,
        "smoothing": (
            f"Gaussian, sigma {settings.sigma_frames:g} frames; centred {2 * reach + 1} weights, causal "
            f"{reach + 1}; renormalised at the ends, inside one clip"
        ),
        "settings": settings.model_dump(mode="json"),
        "versions": {"python": platform.python_version(), **{name: version_of(name) for name in _PACKAGES}},
    }


def fingerprint(facts: Mapping[str, Any]) -> str:
    """A short name for a protocol: numbers under different ones are not comparable."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def flat(facts: Mapping[str, Any]) -> dict[str, str]:
    """A protocol as names and texts; what lies in a section is named after it too."""
    texts: dict[str, str] = {}
    for name, value in facts.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, one in inner:
            title = f"{name} {part}".strip().replace("_", " ")
            texts[title] = "not given" if one is None else str(one)
    return texts


def warnings(models: Mapping[str, ModelScores], truth: Truth, settings: EvaluateSettings) -> Iterator[str]:
    """Sentences about what a reader of the numbers should know; nothing is corrected."""
    one_class = [clip for clip, labels in zip(truth.clips, truth.labels) if len(np.unique(labels)) < 2]
    if one_class:
        yield (
            f"macro AUC leaves out {len(one_class)} of {len(truth.clips)} clips, "
            f"wholly normal or wholly abnormal: {_some(one_class)}"
        )
    for name, model in models.items():
        scale = main_scale(model)
        yield from _warnings_of(name, [model[clip][scale] for clip in truth.clips], truth, settings)


def _warnings_of(name: str, scores: Series, truth: Truth, settings: EvaluateSettings) -> Iterator[str]:
    pooled = np.concatenate(scores)
    if is_constant(pooled):
        yield f"{name} gives all {len(pooled)} frames the same score"
        return
    constant = [clip for clip, values in zip(truth.clips, scores) if is_constant(values)]
    if constant:
        yield f"{name} gives all frames of a clip the same score in {_some(constant)}"
    tied = tied_share(pooled)
    if tied is not None and tied > MANY_TIES:
        yield f"{name} gives {tied:.0%} of the frames a score that others have too: their order is left open"
    alignment = best_shift(scores, truth.labels, settings.most_shift_frames)
    if alignment is not None and alignment.suspicious:
        late = "late" if alignment.shift > 0 else "early"
        yield (
            f"scores of {name} seem {abs(alignment.shift)} frames {late}: shifted they reach micro AUC "
            f"{alignment.auc:.3f} instead of {alignment.unshifted:.3f}; they or the labels may be misaligned"
        )


def _some(clips: Sequence[str]) -> str:
    return f"{', '.join(clips[:5])}{f' and {len(clips) - 5} more' if len(clips) > 5 else ''}"

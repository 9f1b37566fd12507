"""How results look, on the page of an evaluation as in a report: colours, words, maps over frames."""

from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastaed.evaluation.scorers import MEAN

# Okabe and Ito's colours, told apart with any colour vision.
COLOURS = {
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "ink": "#333333",
    "pale": "#999999",
}
SERIES_COLOURS = ("vermillion", "green", "purple", "orange", "sky")  # beside what is shown in blue
MAP_COLOURS, MAP_OPACITY = "inferno", 0.75
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["pale"],
    "axes.labelcolor": COLOURS["ink"],
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
}
DASH = "–"


def percent(share: float | None, undefined: str = DASH) -> str:
    """A share in percent with one decimal, or the sign for what does not exist (None or NaN)."""
    return undefined if share is None or pd.isna(share) else f"{100 * share:.1f}"


def auc_or_class(auc: float | None, labels: NDArray[np.uint8]) -> str:
    """What is said beside a clip's name: its AUC, or where it has none the one class of its frames."""
    if auc is not None:
        return f"AUC {percent(auc)}"
    return "all abnormal" if labels.any() else "all normal"


def main_scales(table: pd.DataFrame) -> dict[str, str]:
    """The scale at which each model of a table is shown: the mean of all, or its first where it has no mean.

    Args:
        table: rows with `model` and `scale`.
    """
    return {
        str(model): MEAN if MEAN in set(scales) else scales.iloc[0]
        for model, scales in table.groupby("model", sort=False)["scale"]
    }


def at_main_scale(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model's main scale."""
    return table[table["scale"] == table["model"].map(main_scales(table))]


def map_over(image: NDArray[np.uint8], levels: NDArray[np.float32], highest: float) -> NDArray[np.uint8]:
    """The frame in grey, the anomaly map over it in colour, opaque where it is high.

    Args:
        image: (H, W, 3) RGB.
        levels: (h, w) anomaly map in [0, 1] that covers the frame.
        highest: the map's value that gets the last colour, above 0.

    Returns:
        (H, W, 3) RGB.
    """
    size = image.shape[1], image.shape[0]
    strength = np.clip(cv2.resize(levels, size, interpolation=cv2.INTER_LINEAR) / highest, 0, 1)
    opacity = MAP_OPACITY * strength[..., None]
    colours = 255 * mpl.colormaps[MAP_COLOURS](strength)[..., :3]
    picture: NDArray[np.float64] = (1 - opacity) * grey(image) + opacity * colours
    return np.round(picture).astype(np.uint8)


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB without colour, in the same shape."""
    bright = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.repeat(bright[..., None], 3, axis=2)

"""What page and report share: words, the scale shown, the map over the frame."""

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps

from fastaed.evaluation.look import (
    COLOURS,
    MAP_COLOURS,
    MAP_OPACITY,
    SERIES_COLOURS,
    at_main_scale,
    auc_or_class,
    grey,
    main_scales,
    map_over,
    percent,
)


@pytest.mark.parametrize(
    ("share", "text"), [(0.89284, "89.3"), (1.0, "100.0"), (0, "0.0"), (None, "?"), (float("nan"), "?")]
)
def test_percent(share, text):
    assert percent(share, "?") == text


def test_a_clip_without_an_auc_is_of_one_class():
    assert auc_or_class(0.5, np.array([0, 1], np.uint8)) == "AUC 50.0"
    assert auc_or_class(None, np.zeros(2, np.uint8)) == "all normal"
    assert auc_or_class(None, np.ones(2, np.uint8)) == "all abnormal"


def test_each_model_is_shown_at_the_mean_of_its_scales_or_else_at_its_first():
    table = pd.DataFrame(
        [("a", "1x1", 1), ("a", "mean", 2), ("b", "theirs", 3), ("b", "theirs", 4), ("b", "other", 5)],
        columns=["model", "scale", "value"],
    )
    assert main_scales(table) == {"a": "mean", "b": "theirs"}
    assert at_main_scale(table)["value"].tolist() == [2, 3, 4]
    assert at_main_scale(table.iloc[:0]).empty


def test_series_are_told_apart():
    assert "blue" not in SERIES_COLOURS
    assert len({COLOURS[name] for name in ("blue", *SERIES_COLOURS)}) == 6


def literal_map_over(image, levels, highest):
    """A pixel at a time; the map is as large as the image."""
    painted = np.zeros(image.shape)
    for y, x in np.ndindex(*levels.shape):
        strength = min(float(levels[y, x]) / highest, 1.0)
        bright = grey(image)[y, x]
        colour = 255 * np.array(colormaps[MAP_COLOURS](strength)[:3])
        painted[y, x] = bright + MAP_OPACITY * strength * (colour - bright)
    return painted


def test_a_map_lies_over_the_grey_frame():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    levels = rng.integers(0, 9, (9, 8)).astype(np.float32) / 8
    found = map_over(image, levels, 0.75)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, literal_map_over(image, levels, 0.75), atol=0.51)


def test_a_small_map_covers_the_whole_frame():
    image = np.full((90, 160, 3), 128, np.uint8)
    levels = np.zeros((4, 4), np.float32)
    levels[3, 0] = 0.5
    found = map_over(image, levels, 0.5).astype(int)
    assert abs(found[80, 10] - 255 * np.array(colormaps[MAP_COLOURS](1.0)[:3])).max() < 0.3 * 255
    assert (found[:45] == 128).all()
    assert (found[:, 80:] == 128).all()


def test_grey_keeps_brightness_and_shape():
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    found = grey(image)
    assert found.shape == image.shape
    assert (found == found[..., :1]).all()
    assert (found[..., 0] == cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).all()

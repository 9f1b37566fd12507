"""The camera of the generated footage: where a point of the ground lies in the picture, and its sensor.

The world is measured in metres. A pinhole camera whose picture plane stands upright sees the ground point
(x, depth) at column width / 2 + scale * x and row horizon + camera height * scale, where
scale = focal / depth is the number of pixels of a metre there.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastaed.config import DemoSettings

FRAMES_PER_SECOND = 25
NOISE = 2.5  # standard deviation of the sensor's noise, grey levels

Picture = NDArray[np.uint8]  # (H, W, 3) RGB; of a whole clip (T, H, W, 3)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; focal length and horizon in pixels, its height over the ground in metres."""

    width: int
    height: int
    focal: float
    horizon: float
    above_ground: float = 6.0

    def scale(self, depth: float) -> float:
        """Pixels of a metre at this distance."""
        return self.focal / depth

    def foot(self, x: float, depth: float) -> tuple[float, float]:
        """Column and row of a point of the ground."""
        scale = self.scale(depth)
        return self.width / 2 + scale * x, self.horizon + self.above_ground * scale

    def edge(self, depth: float) -> float:
        """Metres from the middle of the picture to its side at this distance."""
        return self.width / 2 / self.scale(depth)


def clip_camera(settings: DemoSettings) -> Camera:
    """The camera of all clips: the picture shows the ground from about ten metres away, and some wall."""
    return Camera(settings.width, settings.height, 2.13 * settings.height, -0.25 * settings.height)


class Sensor:
    """Light that changes slowly, and noise that differs in each frame.

    The noise is cut at a random place out of one large sheet, which costs less than drawing it anew.
    """

    def __init__(self, camera: Camera, rng: np.random.Generator) -> None:
        self._size = camera.height, camera.width
        sheet = rng.standard_normal((camera.height + 64, camera.width + 64, 3), dtype=np.float32)
        self._sheet = np.float32(NOISE) * sheet
        self._period = rng.uniform(8, 20) * FRAMES_PER_SECOND
        self._start = rng.uniform(0, 2 * math.pi)

    def expose(self, picture: Picture, frame: int, rng: np.random.Generator) -> Picture:
        """What the sensor makes of a painted picture (H, W, 3); `frame` tells how bright the light is."""
        gain = np.float32(1 + 0.06 * math.sin(2 * math.pi * frame / self._period + self._start))
        (height, width), (down, right) = self._size, rng.integers(0, 65, 2)
        noise = self._sheet[down : down + height, right : right + width]
        exposed: Picture = np.clip(picture * gain + noise + np.float32(0.5), 0, 255).astype(np.uint8)
        return exposed

"""The camera: what is farther away lies higher in the picture and is smaller."""

from fastaed.config import DemoSettings
from fastaed.walkway.camera import clip_camera


def test_steps_farther_up_are_fewer_pixels() -> None:
    camera = clip_camera(DemoSettings())
    near, far = camera.foot(1.0, 12.6), camera.foot(1.0, 17.4)
    assert far[1] < near[1]
    assert far[0] - camera.width / 2 < 0.75 * (near[0] - camera.width / 2)

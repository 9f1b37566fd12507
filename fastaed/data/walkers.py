"""Walkers: people of a training clip, cut along their silhouettes and laid over its frames once more.

As they walked (`replay`) they are as normal as before, so that a seam alone is no sign of an anomaly. Other
ways are anomalies: faster than people walk there (`fast`), with a body that stays stiff on its way, as of
somebody who rides or skates (`glide`), or with something foreign carried, pushed or ridden (`stranger`). All
of them stay on ways that people take in the clip, in its perspective, and move smoothly.

Frames are uint8 RGB, places in pixels; a triplet is (3, H, W, 3), frames t, t-3, t+3. Every choice comes from
the generator that is handed in.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fastaed.data.clips import GAP_FRAMES
from fastaed.data.movers import Look, Opacity, find_scene, lay_over, stack_looks
from fastaed.data.store import Frames

Performance = Literal["replay", "fast", "glide", "stranger"]

LEAST_FRAMES = 2 * GAP_FRAMES + 2  # of a walk, so that it has a moment with both neighbours
_MOST_WALKERS = 60  # kept of a clip, the longest walks
_MOST_MOMENTS = 40  # kept of a walk
_PACES = {"fast": (1.4, 6.0), "glide": (1.3, 4.0), "stranger": (0.3, 4.0)}  # times the clip's usual pace
_ASTRAY = 0.3  # heights of a person to the side of the walker's own way, standard deviation
_ALONE = 0.25  # share of foreign things that nobody is with
_SIZES = (0.8, 2.2)  # of foreign things; 1: parts of a person
_LEAST_UNCOVERED = 0.1  # squares of a person's height that must show of a thing behind somebody
_MOST_TRIES = 5  # at a thing that shows
_FINE = 4  # times as many pixels, on a side, when drawing


@dataclass(frozen=True)
class Walker:
    """Somebody who walks alone.

    Attributes:
        looks: (h, w, 3) cut-out and its opacity (h, w) in [0, 1], a moment each; the feet are in the middle
            of the last row.
        feet: (n, 2) x and y at each moment.
    """

    looks: list[Look]
    feet: NDArray[np.float64]

    @property
    def ahead(self) -> NDArray[np.float64]:
        """(2,) direction of the walk, of length 1."""
        way = self.feet[-1] - self.feet[0]
        return np.asarray(way / np.hypot(*way))


@dataclass(frozen=True)
class Walkers:
    """Those of one clip.

    Attributes:
        people: who walk alone there, perhaps nobody.
        heights: (H,) of a person whose feet are in that row, pixels.
        pace: heights of a person that people walk in a frame.
        colourless: the footage is grey.
    """

    people: list[Walker]
    heights: NDArray[np.float64]
    pace: float
    colourless: bool

    def height_at(self, y: float) -> float:
        """Of a person whose feet are in row y, which may lie outside the picture."""
        return float(self.heights[int(np.clip(y, 0, len(self.heights) - 1))])


def find_walkers(frames: Frames, colourless: bool) -> Walkers:
    """People who walk alone in successive frames of a still camera.

    Args:
        frames: (T, H, W, 3).
        colourless: they are grey.
    """
    scene = find_scene(frames, LEAST_FRAMES)
    longest = sorted(scene.walks, key=len, reverse=True)[:_MOST_WALKERS]
    people = [
        Walker(
            [scene.cut_out(frames, walk, moment) for moment in range(min(len(walk), _MOST_MOMENTS))],
            walk.feet[:_MOST_MOMENTS],
        )
        for walk in longest
    ]
    heights = np.array([scene.person_height(y) for y in range(frames.shape[1])])
    return Walkers(people, heights, scene.pace, colourless)


def perform(
    what: Performance, triplet: Frames, walkers: Walkers, rng: np.random.Generator
) -> tuple[Frames, Opacity]:
    """Lay somebody over a triplet.

    Args:
        what: that person does.
        triplet: left as it is.
        walkers: of its clip, at least one.
        rng: decides who, where and how.

    Returns:
        The new triplet, and the opacity of what was laid over frame t, (H, W).
    """
    walker = walkers.people[int(rng.integers(len(walkers.people)))]
    moment = int(rng.integers(GAP_FRAMES, len(walker.looks) - GAP_FRAMES))
    feet, looks = _MAKERS[what](walker, moment, walkers, rng)
    laid = triplet.copy()
    visible = np.zeros(triplet.shape[1:3], np.float32)
    own_height = walkers.height_at(walker.feet[moment, 1])
    for number, (foot, (look, opacity)) in enumerate(zip(feet, looks)):
        scale = walkers.height_at(foot[1]) / own_height
        seen = lay_over(laid[number], look, opacity, (float(foot[0]), float(foot[1])), scale)
        visible = seen if number == 0 else visible
    return laid, visible


Act = tuple[NDArray[np.float64], Sequence[Look]]  # feet (3, 2) and looks in frames t, t-3, t+3


def _replay(walker: Walker, moment: int, walkers: Walkers, rng: np.random.Generator) -> Act:
    """The walk as it was, some way ahead or back and a little to the side."""
    moments = [moment, moment - GAP_FRAMES, moment + GAP_FRAMES]
    shift = _place(walker, moment, walkers, rng) - walker.feet[moment]
    return walker.feet[moments] + shift, [walker.looks[number] for number in moments]


def _fast(walker: Walker, moment: int, walkers: Walkers, rng: np.random.Generator) -> Act:
    """The legs move as they did, or up to twice as fast; the way is longer."""
    reach = min(moment, len(walker.looks) - 1 - moment, 2 * GAP_FRAMES)
    gap = int(rng.integers(GAP_FRAMES, reach + 1))
    looks = [walker.looks[number] for number in (moment, moment - gap, moment + gap)]
    return _smooth_way("fast", walker, moment, walkers, rng), looks


def _glide(walker: Walker, moment: int, walkers: Walkers, rng: np.random.Generator) -> Act:
    """One pose all along."""
    return _smooth_way("glide", walker, moment, walkers, rng), [walker.looks[moment]] * 3


def _stranger(walker: Walker, moment: int, walkers: Walkers, rng: np.random.Generator) -> Act:
    """One pose, or nobody, with a thing made of a few shapes."""
    look, opacity = walker.looks[moment]
    if rng.random() < _ALONE:
        opacity = np.zeros_like(opacity)
    height, behind = walkers.height_at(walker.feet[moment, 1]), bool(rng.random() < 0.5)
    for _ in range(_MOST_TRIES):
        thing = _thing(height, walkers.colourless, rng)
        person = look, opacity
        together = stack_looks(thing, person) if behind else stack_looks(person, thing)
        if not behind or together[1].sum() - opacity.sum() >= _LEAST_UNCOVERED * height**2:
            break
    return _smooth_way("stranger", walker, moment, walkers, rng), [together] * 3


_MAKERS: dict[Performance, Callable[[Walker, int, Walkers, np.random.Generator], Act]] = {
    "replay": _replay,
    "fast": _fast,
    "glide": _glide,
    "stranger": _stranger,
}


def _place(walker: Walker, moment: int, walkers: Walkers, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2,) feet in frame t: on the straight line of the walk, ahead or back, or somewhat beside it."""
    foot, ahead = walker.feet[moment], walker.ahead
    height = walkers.height_at(foot[1])
    along = rng.normal(0, 2 * height)
    place = foot + along * ahead + rng.normal(0, _ASTRAY * height) * np.array([-ahead[1], ahead[0]])
    place[1] = np.clip(place[1], 0.3 * height, len(walkers.heights) + 0.3 * height)
    return np.asarray(place)


def _smooth_way(
    what: str, walker: Walker, moment: int, walkers: Walkers, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(3, 2) feet in frames t, t-3, t+3 at an even pace along the walker's way, either way round."""
    place = _place(walker, moment, walkers, rng)
    pace = math.exp(rng.uniform(*np.log(_PACES[what])))
    step = GAP_FRAMES * pace * walkers.pace * walkers.height_at(place[1]) * walker.ahead
    return place + np.array([[0.0], [-1.0], [1.0]]) * step


def _thing(height: float, colourless: bool, rng: np.random.Generator) -> Look:
    """One to four plain shapes, filled or in outline, from the size of a bag to that of a cart.

    Args:
        height: of a person, pixels.
        colourless: paint grey.
        rng: decides everything.

    Returns:
        As of a walker: (h, w, 3) and its opacity, to stand on the middle of the last row.
    """
    side = 2 * math.ceil(1.2 * height) + 1
    size = math.exp(rng.uniform(*np.log(_SIZES)))
    canvas = np.zeros((side * _FINE, side * _FINE, 4), np.uint8)
    middle = np.array([rng.normal(0.5, 0.08), rng.uniform(0.55, 0.85)]) * side
    for _ in range(int(rng.integers(1, 5))):
        paint = np.repeat(rng.uniform(0, 255), 3) if colourless else rng.uniform(0, 255, 3)
        colour = (*paint.tolist(), 255)
        centre = np.clip(middle + rng.normal(0, 0.2 * size, 2) * height, 0, side - 1) * _FINE
        reach = rng.uniform(0.08, 0.35, 2) * size * height * _FINE
        width = max(1, round(rng.uniform(0.02, 0.1) * height * _FINE))
        at = (int(centre[0]), int(centre[1]))
        kind = rng.integers(3)
        if kind == 0:
            axes = (max(1, int(reach[0])), max(1, int(reach[1])))
            filled = -1 if rng.random() < 0.4 else width
            cv2.ellipse(canvas, at, axes, rng.uniform(0, 180), 0, 360, colour, filled, cv2.LINE_AA)
        elif kind == 1:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            corners = centre + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], colour, cv2.LINE_AA)
        else:
            turn = rng.uniform(0, 2 * np.pi)
            away = 1.5 * reach.max() * np.array([np.cos(turn), np.sin(turn)])
            end = (int(centre[0] + away[0]), int(centre[1] + away[1]))
            cv2.line(canvas, at, end, colour, width, cv2.LINE_AA)
    small = cv2.resize(canvas.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    opacity = np.asarray(small[..., 3] / 255, np.float32)
    look = np.clip(small[..., :3] / np.maximum(opacity, 1e-3)[..., None], 0, 255).astype(np.uint8)
    return look, opacity

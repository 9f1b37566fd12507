"""Trial: validation clips into which anomalies of known place, time and kind are put, at several strengths.

From the frame store of a validation clip to the store of a trial clip, its labels (frame, label, kind; the
kind tells the strength too, `fast-4`) and tracks (track_id, frame, x1, y1, x2, y2 in pixels of the store).
Teachers and student are judged on trial clips by the same path as on test clips, and whatever there is to
choose is chosen there. The kinds, one event at a time, each after as many normal frames as it lasts or more:

- `object`: a bicycle or a cart, drawn, at walking pace; strength: size, 1 as it would be beside people there
- `texture`: a blob with a surface of rings, cells or clouds, at walking pace; strength: contrast
- `fast`: somebody of the same clip once more, along a usual route; strength: times the usual pace
- `skip`: frames are left out, so that everybody is faster; strength: frames from one to the next
- `ride`: somebody of the same clip, in one pose, behind a drawn bicycle, along a usual route, either way
  round; strength: times the usual pace
- `glide`: the same without the bicycle, as of somebody who skates
- `reverse`: a stretch runs back, then on again; left out by default, since from afar somebody who walks
  backwards is hardly told from somebody who walks the other way, be it by a person or from three frames

`ride` and `glide` are harder, and left out by default: use them where the others are all told.

In the normal stretches between them somebody of the clip walks as usual once more, cut out and laid over as
the fast are (`passers_by`). So who looks for the seams of cut-outs instead of anomalies gains nothing.

Of the student's own training positives (`data.positives`, `data.walkers`), three kinds are kin: `skip` to
their `speed`, as leaving out frames is all there is to it, and `fast` and `glide` to theirs, since both cut
walkers along their silhouettes (`data.movers`), here from other clips. So look at kinds by themselves
(`evaluate/kinds.csv`). Objects and surfaces are drawn by others than theirs, and changing how positives are
made changes nothing here. No detector takes part, so detectors can be compared.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fastaed.config import TrialSettings, TrialStrengths
from fastaed.data.labels import read_frame_labels
from fastaed.data.movers import Look, Opacity, Scene, Walk, find_scene, lay_over, stack_looks
from fastaed.data.store import Frames, FrameStore, write_frames
from fastaed.data.tracks import read_tracks
from fastaed.errors import OutputError
from fastaed.files import input_digests, replacing, write_manifest
from fastaed.progress import progress, say
from fastaed.walkway.figures import figure_shapes
from fastaed.walkway.people import Pose, random_person
from fastaed.walkway.shapes import Figure, random_colour
from fastaed.walkway.vehicles import Bicycle, Cart, riderless_shapes

SHORTEST, LONGEST = 15, 45  # frames of an event
_SHARE = 6  # an event is no longer than this part of the clip, so that there are several
_TAIL = 6  # normal frames at the end, at least
_PASSING = (0.8, 1.2)  # times the usual pace
_STRIDE = 3  # turns, about, that a clip starts later than the one before
_PERSON_METRES = 1.7
_COLOURLESS_LEVELS = 2.0  # mean difference between channels below which footage is grey
_FINE = 4  # pixels across a pixel while drawing
_SURFACE = 96  # pixels across a surface before it is scaled to its place
_SHEET_EVENTS = 60

Route = tuple[NDArray[np.float64], NDArray[np.float64]]  # feet (n, 2), heights of a person there (n,)
Line = tuple[NDArray[np.float64], NDArray[np.float64]]  # a point (2,) and the direction (2,), of length 1


@dataclass(frozen=True)
class Sprite:
    """Something to lay over successive frames.

    Attributes:
        looks: (h, w, 3) uint8 and opacity (h, w) in [0, 1] for each frame; it stands on the middle of its
            last row.
        feet: (n, 2) x and y in the picture, pixels.
        scales: (n,) pixels of the picture for one of the look.
    """

    looks: Sequence[Look]
    feet: NDArray[np.float64]
    scales: NDArray[np.float64]


@dataclass(frozen=True)
class Event:
    """One anomaly.

    Attributes:
        kind: with its strength, as the labels name it.
        start: first frame of the trial clip.
        stop: the frame after the last.
        sprite: what is laid over the frames; None where frames were reordered.
    """

    kind: str
    start: int
    stop: int
    sprite: Sprite | None


@dataclass(frozen=True)
class TrialClip:
    """A finished clip and the truth about it.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        kinds: of the anomaly in each frame, empty where normal.
        tracks: rows (track, frame, x1, y1, x2, y2) in pixels, right and bottom exclusive.
    """

    frames: Frames
    kinds: list[str]
    tracks: list[tuple[int, ...]]


def run(
    store: Path, number: int, out: Path, manifest: Path, labels: Path, tracks: Path, settings: TrialSettings
) -> None:
    """Make one trial clip.

    Args:
        store: frame store of a validation clip.
        number: of the trial clip among all, from 0: it decides the draw, and which kinds come first.
        out: frame store to write; its stem is the clip's name.
        manifest: the JSON beside it, written last.
        labels: its labels to write (.csv).
        tracks: its tracks to write (.csv).
        settings: of this step.

    Raises:
        StoreError: the store is missing or damaged.
        OutputError: something cannot be written.
    """
    source = FrameStore(store)
    rng = np.random.default_rng((settings.seed, number))
    start = int(rng.integers(max(0, len(source) - settings.most_frames) + 1))
    clip = make(source.read(start, min(start + settings.most_frames, len(source))), number, settings, rng)
    if not any(clip.kinds):
        say(f"{out.stem}: no event fits into the {len(source)} frames of {store}; all of it stays normal")
    facts = {
        "clip": out.stem,
        "source_height": source.height,
        "source_width": source.width,
        "rate": source.attributes.get("rate"),
        "made_from": {"clip": store.stem, "fingerprint": source.fingerprint()},
    }
    length = write_frames(out, progress(clip.frames, f"trial {out.stem}", len(clip.frames)), facts)
    _write_rows(labels, "frame,label,kind", [(i, int(bool(kind)), kind) for i, kind in enumerate(clip.kinds)])
    _write_rows(tracks, "track_id,frame,x1,y1,x2,y2", clip.tracks)
    write_manifest(
        manifest,
        "trial",
        settings.model_dump(mode="json"),
        out,
        {out.stem: length},
        inputs=input_digests([store]),
        **facts,
    )


def _write_rows(path: Path, columns: str, rows: Sequence[tuple[int | str, ...]]) -> None:
    lines = [columns, *(",".join(map(str, row)) for row in rows)]
    with replacing(path) as part:
        part.write_text("\n".join(lines) + "\n")


def make(frames: Frames, number: int, settings: TrialSettings, rng: np.random.Generator) -> TrialClip:
    """Frames with events, and the truth about them.

    Args:
        frames: (T, H, W, 3) uint8 RGB, normal throughout, of a camera that does not move; left as they are.
        number: of the trial clip.
        settings: strengths of each kind.
        rng: decides everything else.
    """
    scene = find_scene(frames, SHORTEST)
    script = Script(frames, scene, rng)
    script.write(turns(settings.strengths, number))
    made = frames[script.order]
    kinds = [""] * len(made)
    tracks: list[tuple[int, ...]] = []
    if settings.passers_by:
        for start, stop in script.normal_stretches():
            _pass_by(made[start:stop], frames, scene, rng)
    for event in script.events:
        during = slice(event.start, event.stop)
        kinds[during] = [event.kind] * (event.stop - event.start)
        boxes = _laid(made[during], event.sprite) if event.sprite else _moving(scene, script.order[during])
        first = 1 + max((row[0] for row in tracks), default=-1)
        track = {thing: first + more for more, thing in enumerate(dict.fromkeys(box[0] for box in boxes))}
        tracks += [(track[thing], event.start + moment, *box) for thing, moment, *box in boxes]
    return TrialClip(made, kinds, tracks)


def turns(strengths: TrialStrengths, number: int) -> list[tuple[str, float]]:
    """Kinds and strengths in the order in which trial clip `number` takes them.

    Kinds take turns, and strengths within a kind. Each clip starts a few turns later than the one before, by
    a stride without a common divisor with the number of turns, so that each turn comes first in some clip.
    """
    kinds = {kind: values for kind, values in strengths.model_dump().items() if values}
    rounds = range(max(map(len, kinds.values())))
    unlike = dict.fromkeys(
        (kind, values[(turn + place) % len(values)])
        for turn in rounds
        for place, (kind, values) in enumerate(kinds.items())
    )
    pairs = list(unlike)
    stride = next(step for step in count(_STRIDE) if math.gcd(step, len(pairs)) == 1)
    first = number * stride % len(pairs)
    return pairs[first:] + pairs[:first]


# --- The script --------------------------------------------------------------------------------------------


class Script:
    """Which frames of the original follow one another, and when what happens; written from start to end.

    Args:
        frames: (T, H, W, 3) uint8 RGB of the original.
        scene: what is in them.
        rng: decides everything.

    Attributes:
        order: numbers of the frames of the original, in the order of the trial clip.
        events: in time order.
    """

    def __init__(self, frames: Frames, scene: Scene, rng: np.random.Generator) -> None:
        self.order: list[int] = []
        self.events: list[Event] = []
        self._frames, self._scene, self._rng = frames, scene, rng
        self._next = 0  # frame of the original

    def write(self, waiting: list[tuple[str, float]]) -> None:
        """Events one after another until none fits; one that has no room now is the first to be tried again.

        Args:
            waiting: kinds and strengths; those that were taken go to its end.
        """
        longest = int(np.clip(len(self._frames) // _SHARE, SHORTEST, LONGEST))
        length = int(self._rng.integers(SHORTEST, longest + 1))
        while (taken := next((pair for pair in waiting if self._add(*pair, length)), None)) is not None:
            waiting.remove(taken)
            waiting.append(taken)
            length = int(self._rng.integers(SHORTEST, longest + 1))
        self.order += range(self._next, len(self._frames))

    def normal_stretches(self) -> list[tuple[int, int]]:
        """First frame, and that after the last, of what lies before, between and behind the events."""
        edges = [0, *(edge for event in self.events for edge in (event.start, event.stop)), len(self.order)]
        return list(zip(edges[::2], edges[1::2]))

    def _add(self, kind: str, strength: float, length: int) -> bool:
        """Normal frames and then an event, both `length` long if there is room; False: no room for it."""
        step = int(strength) if kind == "skip" else 1
        if kind == "skip":  # it uses up more of the footage, so it is shorter
            length = max(SHORTEST, length // 2)
        length = min(length, (len(self._frames) - _TAIL - self._next) // (step + 1))
        if length < SHORTEST:
            return False
        start = self._next + length + (kind == "reverse")
        sprite = None
        if kind == "reverse":
            during = range(start - 2, start - 2 - length, -1)
        elif kind == "skip":
            during = range(start + step - 1, start + step * length, step)
        else:
            sprite = _MAKERS[kind](self._frames, self._scene, strength, length, self._rng)
            during = range(start, start + (len(sprite.feet) if sprite else 0))
        if not during or (sprite is None and not np.isin(during, self._scene.moving.frame).all()):
            return False
        self.order += range(self._next, start)
        first = len(self.order)
        name = kind if kind == "reverse" else f"{kind}-{strength:g}"
        self.events.append(Event(name, first, first + len(during), sprite))
        self.order += during
        self._next = during[-1] + 1
        if kind == "reverse":
            self.order += range(self._next, start)
            self._next = start
        return True


# --- What is laid over frames ------------------------------------------------------------------------------


def _object(
    frames: Frames, scene: Scene, strength: float, length: int, rng: np.random.Generator
) -> Sprite | None:
    """A bicycle or a cart that goes along with everybody."""
    route = _route(scene, _usual(scene, rng), scene.pace * rng.uniform(0.8, 1.3), length, rng)
    if route is None:
        return None
    feet, heights = _swaying(route, rng)
    person, paint = random_person(rng), random_colour(rng, (0.1, 0.9), (0.1, 0.95))
    look = Bicycle(person, paint) if rng.random() < 0.5 else Cart(person, paint)
    heading = 0.0 if feet[-1, 0] >= feet[0, 0] else math.pi
    metre = strength * float(heights.mean()) / _PERSON_METRES
    ridden = np.arange(len(feet)) * float(np.hypot(*(feet[1] - feet[0]))) / metre
    looks = [
        _drawn(figure_shapes(look, Pose(heading, 2 * math.pi * float(way) / 4, 0)), metre) for way in ridden
    ]
    if _is_grey(scene.background):
        looks = [(_grey(look), opacity) for look, opacity in looks]
    return Sprite(looks, feet, heights / heights.mean())


def _drawn(figure: Figure, metre: float) -> Look:
    """Polygons as a picture of `metre` pixels a metre; their origin is in the middle of the last row."""
    corners = np.concatenate([polygon for polygon, _ in figure])
    half, tall = float(np.abs(corners[:, 0]).max()), float(corners[:, 1].max())
    width, height = 2 * math.ceil(half * metre) + 3, math.ceil(tall * metre) + 3
    canvas = np.zeros((height * _FINE, width * _FINE, 4), np.uint8)
    for polygon, colour in figure:
        place = polygon * (metre, -metre) + (width / 2, height - 1)
        cv2.fillPoly(canvas, [np.rint(place * _FINE).astype(np.int32)], (*colour, 255))
    fine = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), 0.5 * _FINE)  # no lens is sharper
    small = np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA))
    opacity = small[..., 3] / 255
    look = np.clip(small[..., :3] / np.maximum(opacity, 1e-3)[..., None], 0, 255)
    return look.astype(np.uint8), opacity.astype(np.float32)


def _texture(
    frames: Frames, scene: Scene, strength: float, length: int, rng: np.random.Generator
) -> Sprite | None:
    """A blob, as tall as a person or up to 1.6 times that, whose surface nothing there has."""
    route = _route(scene, _usual(scene, rng), scene.pace * rng.uniform(0.8, 1.3), length, rng)
    if route is None:
        return None
    feet, heights = _swaying(route, rng)
    tint = np.ones(3) if _is_grey(scene.background) else rng.uniform(-1, 1, 3)
    x, y = (int(value) for value in feet[len(feet) // 2])
    tall = int(heights[len(feet) // 2])
    under = scene.background[max(0, y - tall) : y + 1, max(0, x - tall // 2) : x + tall // 2 + 1]
    wave = _surface(rng)[..., None] * tint / np.abs(tint).max()
    values = under.mean(axis=(0, 1)) + 127 * strength * wave
    look, opacity = np.clip(values, 0, 255).astype(np.uint8), _blob(rng)
    width = max(8, round(_SURFACE * rng.uniform(0.5, 1.2)))
    size = (width, _SURFACE)
    whole = np.asarray(cv2.resize(look, size), np.uint8), np.asarray(cv2.resize(opacity, size), np.float32)
    return Sprite([whole] * len(feet), feet, rng.uniform(1, 1.6) * heights / _SURFACE)


def _surface(rng: np.random.Generator) -> NDArray[np.float64]:
    """(96, 96) in [-1, 1]: rings, cells or clouds."""
    place = np.mgrid[:_SURFACE, :_SURFACE] / _SURFACE
    kind = rng.integers(3)
    if kind == 0:
        away = np.hypot(*(place - rng.uniform(0.2, 0.8, (2, 1, 1))))
        return np.asarray(np.sin(2 * np.pi * away * rng.uniform(4, 9)))
    if kind == 1:
        seeds = rng.random((int(rng.integers(12, 40)), 2))
        nearest = np.argmin([np.hypot(*(place - seed[:, None, None])) for seed in seeds], axis=0)
        return np.asarray(rng.uniform(-1, 1, len(seeds))[nearest])
    clouds = np.zeros((_SURFACE, _SURFACE))
    for octave in range(2, 6):
        grid = rng.standard_normal((2**octave, 2**octave)) / 2 ** (octave / 2)
        clouds += np.asarray(cv2.resize(grid, (_SURFACE, _SURFACE), interpolation=cv2.INTER_CUBIC))
    return np.asarray(clouds / np.abs(clouds).max())


def _blob(rng: np.random.Generator) -> Opacity:
    """(96, 96) opacity of a rounded shape that reaches down to the last row."""
    y, x = (np.mgrid[:_SURFACE, :_SURFACE] + 0.5) / _SURFACE * 2 - 1
    angle = np.arctan2(y, x)
    waves = [rng.uniform(-0.12, 0.12) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)]
    edge = np.minimum(0.8 + np.sum(waves, axis=0), 1)
    return np.asarray(np.clip((edge - np.hypot(x, y)) * 12, 0, 1), np.float32)


def _fast(
    frames: Frames, scene: Scene, strength: float, length: int, rng: np.random.Generator
) -> Sprite | None:
    """Somebody of the clip on a usual route: legs move as they did, the way is `strength` times as long."""
    if not scene.walks:
        return None
    walk = scene.walks[int(rng.integers(len(scene.walks)))]
    return _walking(frames, scene, walk, strength, length, rng)


def _walking(
    frames: Frames, scene: Scene, walk: Walk, pace: float, length: int, rng: np.random.Generator
) -> Sprite | None:
    """Who walked there along the same line at `pace` times the usual pace, for as long as the walk goes."""
    route = _route(scene, _line(walk), scene.pace * pace, min(length, len(walk)), rng)
    if route is None:
        return None
    feet, heights = route
    first = int(rng.integers(len(walk) - len(feet) + 1))
    looks = [scene.cut_out(frames, walk, first + moment) for moment in range(len(feet))]
    return Sprite(looks, feet, heights / scene.person_height(float(walk.feet[:, 1].mean())))


def _glide(
    frames: Frames, scene: Scene, strength: float, length: int, rng: np.random.Generator
) -> Sprite | None:
    """Somebody of the clip, in one pose, on a usual route, either way round."""
    posed = _posed(frames, scene, strength, length, rng)
    if posed is None:
        return None
    look, height, (feet, heights) = posed
    return Sprite([look] * len(feet), feet, heights / height)


def _ride(
    frames: Frames, scene: Scene, strength: float, length: int, rng: np.random.Generator
) -> Sprite | None:
    """The same behind a bicycle as large as it would be beside that person."""
    posed = _posed(frames, scene, strength, length, rng)
    if posed is None:
        return None
    look, height, (feet, heights) = posed
    heading = 0.0 if feet[-1, 0] >= feet[0, 0] else math.pi
    shapes = riderless_shapes(random_colour(rng, (0.1, 0.9), (0.1, 0.95)), Pose(heading, 0, 0))
    bicycle, opacity = _drawn(shapes, height / _PERSON_METRES)
    if _is_grey(scene.background):
        bicycle = _grey(bicycle)
    rider = stack_looks(look, (bicycle, opacity))
    return Sprite([rider] * len(feet), feet, heights / height)


def _posed(
    frames: Frames, scene: Scene, strength: float, length: int, rng: np.random.Generator
) -> tuple[Look, float, Route] | None:
    """Somebody of the clip in one pose, the height of a person where it walked, and a usual route."""
    if not scene.walks:
        return None
    walk = scene.walks[int(rng.integers(len(scene.walks)))]
    point, ahead = _line(walk)
    route = _route(scene, (point, float(rng.choice([-1, 1])) * ahead), scene.pace * strength, length, rng)
    if route is None:
        return None
    look = scene.cut_out(frames, walk, int(rng.integers(len(walk))))
    return look, scene.person_height(float(walk.feet[:, 1].mean())), route


_MAKERS = {"object": _object, "texture": _texture, "fast": _fast, "ride": _ride, "glide": _glide}


def _is_grey(frame: Frames) -> bool:
    return bool(np.ptp(frame, axis=2).mean() < _COLOURLESS_LEVELS)


def _grey(look: Frames) -> Frames:
    return np.repeat(look.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)


# --- Routes ------------------------------------------------------------------------------------------------


def _usual(scene: Scene, rng: np.random.Generator) -> Line:
    """A place where somebody walked, and which way; where nobody does, across the middle."""
    if not scene.walks:
        height, width = scene.background.shape[:2]
        return np.array([width / 2, 0.7 * height]), np.array([rng.choice([-1.0, 1.0]), 0.0])
    return _line(scene.walks[int(rng.integers(len(scene.walks)))])


def _line(walk: Walk) -> Line:
    return walk.feet.mean(axis=0), np.asarray(walk.velocity / np.hypot(*walk.velocity))


def _route(
    scene: Scene,
    line: Line,
    pace: float,
    length: int,
    rng: np.random.Generator,
) -> Route | None:
    """Feet along a straight line inside the picture, and heights of a person there; None: the line is short.

    Args:
        scene: tells heights.
        line: a point of it, and its direction (of length 1).
        pace: heights of a person a frame.
        length: frames wanted; fewer where the line ends before.
        rng: decides where on the line.
    """
    point, ahead = line
    height, width = scene.background.shape[:2]
    low, high = np.array([0.04 * width, 0.15 * height]), np.array([0.96 * width, height - 2.0])
    point = np.clip(point, low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([low - point, high - point]) / ahead
    ends = np.where(ahead == 0, [[-np.inf], [np.inf]], ends)
    first, last = float(ends.min(axis=0).max()), float(ends.max(axis=0).min())
    step = pace * scene.person_height(float(point[1]))
    length = min(length, int((last - first) / step) + 1)
    if length < SHORTEST:
        return None
    way = rng.uniform(first, last - step * (length - 1)) + step * np.arange(length)
    feet = point + way[:, None] * ahead
    return feet, np.array([scene.person_height(float(y)) for y in feet[:, 1]])


def _swaying(route: Route, rng: np.random.Generator) -> Route:
    """The route with a slow sway up and down, a tenth of a person's height."""
    feet, heights = route
    phase = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi * rng.uniform(0.5, 1.5), len(feet))
    return feet + np.stack([np.zeros(len(feet)), 0.1 * heights * np.sin(phase)], axis=1), heights


# --- Frames and boxes --------------------------------------------------------------------------------------


def _pass_by(stretch: Frames, frames: Frames, scene: Scene, rng: np.random.Generator) -> None:
    """Let somebody of `frames` walk through all of the stretch, in place, if anybody walks for so long.

    Who came or went on the way would appear out of nothing, or vanish, which is no usual thing.
    """
    for number in rng.permutation(len(scene.walks)).tolist():
        sprite = _walking(frames, scene, scene.walks[number], rng.uniform(*_PASSING), len(stretch), rng)
        if sprite is not None and len(sprite.feet) == len(stretch):
            _laid(stretch, sprite)
            return


def _laid(frames: Frames, sprite: Sprite) -> list[tuple[int, ...]]:
    """Lay the sprite over the frames, in place, and return (0, moment, x1, y1, x2, y2) where it is seen."""
    boxes: list[tuple[int, ...]] = []
    for moment, (look, opacity) in enumerate(sprite.looks):
        x, y = sprite.feet[moment].tolist()
        seen = lay_over(frames[moment], look, opacity, (x, y), float(sprite.scales[moment])) > 0
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        if not len(rows):
            continue
        boxes.append((0, moment, int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    return boxes


def _moving(scene: Scene, order: Sequence[int]) -> list[tuple[int, ...]]:
    """(number of what moves, moment, x1, y1, x2, y2) in frames of the original."""
    return [
        (int(scene.moving.track_id[row]), moment, *(int(side) for side in scene.moving.xyxy[row]))
        for moment, frame in enumerate(order)
        for row in np.flatnonzero(scene.moving.frame == frame)
    ]


# --- Contact sheet -----------------------------------------------------------------------------------------


def draw_contact_sheet(
    stores: Sequence[Path], labels: Sequence[Path], tracks: Sequence[Path], out: Path
) -> None:
    """A picture of the events: a row each, five moments from its first to its last frame, boxes around it.

    Args:
        stores: frame stores of trial clips.
        labels: of the same clips, in the same order.
        tracks: likewise.
        out: PNG to write.

    Raises:
        OutputError: the picture is too large.
    """
    rows = [row for files in zip(stores, labels, tracks) for row in _event_rows(*files)]
    shown = rows[:: -(-len(rows) // _SHEET_EVENTS)] if rows else []
    done, png = cv2.imencode(".png", np.concatenate(shown or [np.zeros((32, 96, 3), np.uint8)])[..., ::-1])
    if not done:
        raise OutputError(f"cannot draw {out}: the picture is too large; decode to a smaller size")
    with replacing(out) as part:
        part.write_bytes(png.tobytes())


def _event_rows(store: Path, labels: Path, tracks: Path) -> Iterator[Frames]:
    frames = FrameStore(store)
    kinds = np.array(read_frame_labels("folder", labels).kinds)
    truth = read_tracks(tracks, len(frames), frames.height, frames.width)
    edges = [0, *(np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist(), len(kinds)]
    for start, stop in pairwise(edges):
        if not kinds[start]:
            continue
        moments = np.linspace(start, stop - 1, 5).astype(int)
        pictures = frames.gather(moments)
        boxes = truth.xyxy[(truth.frame >= start) & (truth.frame < stop)]
        top, bottom = (
            np.clip([boxes[:, 1].min() - 40, boxes[:, 3].max() + 20], 0, frames.height).astype(int).tolist()
        )
        for moment, picture in zip(moments, pictures):
            for x1, y1, x2, y2 in truth.xyxy[truth.frame == moment].astype(int).tolist():
                cv2.rectangle(picture, (x1 - 1, y1 - 1), (x2, y2), (255, 40, 40))
        title = f"{store.stem}, frames {start}-{stop - 1}: {kinds[start]}"
        row = np.ascontiguousarray(np.concatenate(pictures[:, top:bottom], axis=1))
        yield np.asarray(
            cv2.putText(row, title, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0)), np.uint8
        )

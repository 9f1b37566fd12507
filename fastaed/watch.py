"""watch: scores of footage by a trained student, straight from the file, however long it is.

From videos or folders of frames and a student (weights, or what export wrote) to a table, a row a frame as it
is decided; if wanted a picture of the scores over time, and a video with the map over the frames. The network
and writing run at the same time, in a thread each, reading too where that is no loss; what is held does not
grow with the footage. What is decided is kept until the table is whole, so that nothing is lost with a run.
"""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TextIO, TypeVar

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from fastaed.data.scores import SCORE_COLUMNS, scores_of_maps
from fastaed.data.store import Frames, Maps, check_maps
from fastaed.data.stream import batched, inputs_of_chunks, streamed_inputs, uploaded
from fastaed.errors import ConfigError, OutputError
from fastaed.evaluation.look import COLOURS, STYLE, map_over
from fastaed.export import Inputs, Network
from fastaed.files import DoneClips, replacing
from fastaed.metrics.smoothing import REACH, causal
from fastaed.progress import progress, say

COLUMNS = ("clip", "frame", "time", *SCORE_COLUMNS, "smoothed")
_CODEC = "mp4v"  # in every build of OpenCV
_USUAL_RATE = 25.0  # frames a second of an overlay whose source does not say
_AHEAD = 2  # batches that wait before and behind the network
_BAR = (213, 94, 0)  # vermillion
_MOST_SPANS = 2048  # in a picture of scores, whatever its length
Item = TypeVar("Item")


@dataclass(frozen=True)
class Source:
    """Footage to look at.

    Attributes:
        name: of the clip, in the table.
        frames: (H, W, 3) uint8 RGB in the size that the network takes, to be consumed once.
        rate: frames a second, None where unknown.
        promised: about how many frames there are, None where unknown.
        chunks: the frames where a card decoded them, (N, 3, H, W) uint8 on the network's card; then `frames`
            is empty.
    """

    name: str
    frames: Iterator[Frames]
    rate: float | None
    promised: int | None
    chunks: Iterator[Tensor] | None = None


@dataclass(frozen=True)
class Scored:
    """What the network says of B successive frames.

    Attributes:
        first: number of the first.
        frames: the B frames, (H, W, 3) uint8 RGB, where they are to be shown or lie on the host anyway; else
            none.
        maps: their pyramids; None of frames whose scores were kept.
        scores: (B, 4) the columns `SCORE_COLUMNS`.
        smoothed: (B,) their mean under the causal filter.
    """

    first: int
    frames: list[Frames]
    maps: Maps | None
    scores: NDArray[np.float64]
    smoothed: NDArray[np.float64]


class Kept:
    """Scores of a source as they are decided: a line a frame, its number and them, in a file.

    What a killed process or a power cut left of a last line is cut off.

    Args:
        path: the file, which may be there already.

    Attributes:
        scores: (N, 4) of the first frames, from before an interruption.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a+", encoding="ascii", errors="replace")
        self._stream.seek(0)
        rows: list[list[float]] = []
        whole = 0
        for line in self._stream:
            if (row := _kept_row(line, len(rows))) is None:
                break
            rows.append(row)
            whole += len(line)
        self._stream.truncate(whole)
        self.scores = np.array(rows, np.float64).reshape(-1, len(SCORE_COLUMNS))

    def add(self, part: Scored) -> None:
        """Put the next frames' scores into the file."""
        rows = enumerate(part.scores.tolist(), part.first)
        self._stream.writelines(f"{frame} {' '.join(map(repr, scores))}\n" for frame, scores in rows)
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _kept_row(line: str, frame: int) -> list[float] | None:
    """Scores of a line, if it is whole and of this frame."""
    number, *scores = line.split()[: 2 + len(SCORE_COLUMNS)] or [""]
    if number != str(frame) or not line.endswith("\n") or len(scores) != len(SCORE_COLUMNS):
        return None
    try:
        return [float(score) for score in scores]
    except ValueError:
        return None


def run(
    network: Network,
    paths: Sequence[Path],
    open_source: Callable[[Path], Source],
    out: Path | None,
    curve: Path | None,
    overlay: Path | None,
    batch_size: int,
    keep: Mapping[str, Any] | None = None,
) -> None:
    """Score footage, one source after the other.

    An interrupted run goes on after its last frame if there is a table to write and no overlay, whose maps
    are not kept.

    Args:
        network: the student.
        paths: of the sources.
        open_source: opens one of them.
        out: table to write (.csv); None for standard output.
        curve: picture to write (.png).
        overlay: video to write (.mp4), of a single source.
        batch_size: frames that the network sees at once.
        keep: what scores depend on, beside the footage; None: nothing is kept of an interrupted run.

    Raises:
        ConfigError: an overlay of several sources is asked for, or two have one name.
        DataError: a source cannot be read to its end, or the network's maps are no numbers.
        OutputError: a result cannot be written.
    """
    if overlay and len(paths) > 1:
        raise ConfigError(f"--overlay shows one video, {len(paths)} were given; score them one by one")
    _check_names(paths)
    sigma_frames = float(network.facts["smoothing"]["sigma_frames"])
    done = None if out is None or overlay or keep is None else DoneClips(out, **keep)
    curves: dict[str, Curve] = {}
    with ExitStack() as results:
        table = csv.writer(results.enter_context(_text(out)), lineterminator="\n")
        table.writerow(COLUMNS)
        for path in paths:
            source = open_source(path)
            kept = Kept(done.of_footage(".scores", path)) if done else None
            if kept:
                results.callback(kept.close)
            film = results.enter_context(_film(overlay, source.rate)) if overlay else None
            curves[source.name] = Curve(source.rate)
            known = kept.scores if kept else None
            for part in ahead(scored(network, source, batch_size, sigma_frames, film is not None, known)):
                if kept and part.maps:
                    kept.add(part)
                table.writerows(rows(source, part))
                curves[source.name].add(part.scores[:, -1], part.smoothed)
                if film and part.maps:
                    _draw_frames(film, part.frames, part.maps, part.smoothed)
        if curve:
            results.enter_context(mpl.rc_context(STYLE))
            with replacing(curve) as picture:
                _drawn(curves).savefig(picture, format="png", dpi=150)
    if done:
        done.remove()


def _check_names(paths: Sequence[Path]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path.stem in seen:
            raise ConfigError(f"two videos are called {path.stem}, the second is {path}; rename one")
        seen.add(path.stem)


def scored(
    network: Network,
    source: Source,
    batch_size: int,
    sigma_frames: float,
    shown: bool = False,
    known: NDArray[np.float64] | None = None,
) -> Iterator[Scored]:
    """What the network says of a source, batch by batch.

    Args:
        network: the student.
        source: footage, read in a thread of its own if it comes from a camera, which does not wait, or if the
            network is on a card. On a CPU a network fills all cores, and takes a tenth longer while others
            read (EXPERIMENTS.md).
        batch_size: frames at once.
        sigma_frames: of the causal filter, in frames.
        shown: whether the frames are wanted, too.
        known: (N, 4) scores of the first frames, which the network is not asked for again; they come first.

    Raises:
        DataError: a frame cannot be read, or a map is no number.
    """
    what = f"score {source.name}"
    frames = progress(source.frames, what, source.promised)
    chunks = None
    if source.chunks is not None:
        chunks = progress(source.chunks, what, source.promised, count=len)
    smoother = Smoother(sigma_frames)
    first = 0
    if known is not None and len(known):
        say(f"{what}: {len(known)} frames were done before the interruption")
        yield Scored(0, [], None, known, smoother.add(known[:, -1]))
        first = len(known)
    read = _after(first, network_inputs(network, frames, chunks, batch_size))
    for seen, inputs in ahead(read) if network.card or source.promised is None else read:
        maps = network.score(inputs)
        for level in maps:
            check_maps(level, f"the student's maps of {source.name}")
        scores = scores_of_maps(maps)
        yield Scored(first, _on_host(seen, shown), maps, scores, smoother.add(scores[:, -1]))
        first += len(seen)


def network_inputs(
    network: Network, frames: Iterator[Frames], chunks: Iterator[Tensor] | None, batch_size: int
) -> Iterator[tuple[list[Frames] | Tensor, Inputs]]:
    """Frames and student inputs, on the network's card if it has one, where each frame comes once.

    Args:
        network: the student.
        frames: as of `Source`.
        chunks: likewise.
        batch_size: frames at once; of chunks, as many as they hold.
    """
    if chunks is None and network.card:
        chunks = uploaded(frames, batch_size, network.card)
    if chunks is not None:
        return inputs_of_chunks(chunks)
    return batched(streamed_inputs(frames), batch_size)


def _after(
    count: int, batches: Iterable[tuple[list[Frames] | Tensor, Inputs]]
) -> Iterator[tuple[list[Frames] | Tensor, Inputs]]:
    """The batches without their first `count` frames."""
    for seen, inputs in batches:
        left_out, count = min(count, len(seen)), max(0, count - len(seen))
        if left_out < len(seen):
            yield seen[left_out:], inputs[left_out:]


def _on_host(frames: list[Frames] | Tensor, wanted: bool) -> list[Frames]:
    if isinstance(frames, list):
        return frames
    return list(frames.permute(0, 2, 3, 1).contiguous().cpu().numpy()) if wanted else []


class Smoother:
    """The causal filter of scores that come in parts; it holds no more of them than it reaches back.

    Args:
        sigma_frames: of the filter.
    """

    def __init__(self, sigma_frames: float) -> None:
        self._sigma_frames = sigma_frames
        self._reach = int(np.ceil(REACH * sigma_frames))
        self._past = np.empty(0)

    def add(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B,) the next frames' scores, smoothed."""
        self._past = np.concatenate([self._past[-self._reach :], scores])
        return causal(self._past, self._sigma_frames)[-len(scores) :]


def ahead(items: Iterable[Item], depth: int = _AHEAD) -> Iterator[Item]:
    """The items, made by a thread up to `depth` of them ahead; its error is raised here."""
    made: Queue[tuple[bool, Item | BaseException | None]] = Queue(depth)
    given_up = Event()

    def put(message: tuple[bool, Item | BaseException | None]) -> bool:
        while not given_up.is_set():
            try:
                made.put(message, timeout=0.1)
            except Full:
                continue
            return True
        return False

    def make() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                if not put((True, item)):
                    return
        except BaseException as error:  # raised again where the items are used
            end = error
        put((False, end))

    worker = Thread(target=make, daemon=True)
    worker.start()
    try:
        while True:
            more, item = made.get()
            if not more:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]  # an item, as `more` says
    finally:
        given_up.set()
        worker.join()


class Curve:
    """Lowest and highest scores over equal spans of time; spans double when there are too many.

    Args:
        rate: frames a second, None where unknown.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self.span_frames = 1
        self._bounds = np.empty((0, 3))  # lowest and highest raw, highest smoothed
        self._waiting = np.empty((0, 2))  # raw, smoothed

    def add(self, raw: NDArray[np.float64], smoothed: NDArray[np.float64]) -> None:
        """Take in the next frames' scores, (B,) each."""
        self._waiting = np.concatenate([self._waiting, np.stack([raw, smoothed], axis=1)])
        while len(self._waiting) >= self.span_frames:
            count = min(len(self._waiting) // self.span_frames, _MOST_SPANS - len(self._bounds))
            spans, self._waiting = np.split(self._waiting, [count * self.span_frames])
            self._bounds = np.concatenate([self._bounds, _bounds(spans.reshape(count, -1, 2))])
            if len(self._bounds) == _MOST_SPANS:
                pairs = self._bounds.reshape(-1, 2, 3)
                self._bounds = np.stack(
                    [pairs[..., 0].min(axis=1), pairs[..., 1].max(axis=1), pairs[..., 2].max(axis=1)], axis=1
                )
                self.span_frames *= 2

    def bounds(self) -> NDArray[np.float64]:
        """(N, 3) lowest and highest raw, highest smoothed score of each span; the last may be shorter."""
        if not len(self._waiting):
            return self._bounds
        return np.concatenate([self._bounds, _bounds(self._waiting[None])])


def _bounds(spans: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, frames, 2) raw and smoothed scores to (N, 3)."""
    raw, smoothed = spans[..., 0], spans[..., 1]
    return np.stack([raw.min(axis=1), raw.max(axis=1), smoothed.max(axis=1)], axis=1)


def rows(source: Source, part: Scored) -> Iterator[list[str]]:
    """The table's rows of some frames, as `COLUMNS` names them."""
    for place, (scores, smoothed) in enumerate(zip(part.scores, part.smoothed)):
        frame = part.first + place
        time = "" if source.rate is None else f"{frame / source.rate:.3f}"
        yield [source.name, str(frame), time, *(f"{score:.7g}" for score in (*scores, smoothed))]


@contextmanager
def _text(path: Path | None) -> Iterator[TextIO]:
    """A file that takes its place when whole, or standard output."""
    if path is None:
        yield sys.stdout
        return
    with replacing(path) as part, part.open("w", newline="") as stream:
        yield stream


class _Film:
    """A video opened at its first frame."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, picture: Frames) -> None:
        """Append (H, W, 3) uint8 RGB."""
        if self._writer is None:
            size = picture.shape[1], picture.shape[0]
            code = cv2.VideoWriter.fourcc(*_CODEC)
            self._writer = cv2.VideoWriter(str(self._path), code, self._rate, size)
            if not self._writer.isOpened():
                raise OutputError(f"cannot write a video to {self._path.parent}; choose another place")
        self._writer.write(picture[..., ::-1])

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def _film(path: Path, rate: float | None) -> Iterator[_Film]:
    with replacing(path) as part:
        draft = part.with_suffix(".mp4")  # OpenCV takes the container from the suffix
        film = _Film(draft, rate or _USUAL_RATE)
        try:
            yield film
            film.close()
            draft.replace(part)
        finally:
            film.close()
            draft.unlink(missing_ok=True)


def _draw_frames(film: _Film, frames: list[Frames], maps: Maps, smoothed: NDArray[np.float64]) -> None:
    """The frames, the 16x16 map over them, and a bar along the lower edge as long as the smoothed score."""
    for frame, levels, score in zip(frames, maps.sixteen, smoothed):
        picture = map_over(frame, levels, 1.0)
        height, width = picture.shape[:2]
        picture[height - max(2, height // 60) :, : round(float(score) * width)] = _BAR
        film.write(picture)


def _drawn(curves: dict[str, Curve]) -> Figure:
    figure = Figure(figsize=(10, 1 + 2 * len(curves)), layout="constrained")
    for axes, (name, curve) in zip(np.ravel(figure.subplots(len(curves), squeeze=False)), curves.items()):
        _draw_curve(axes, name, curve)
    return figure


def _draw_curve(axes: Axes, name: str, curve: Curve) -> None:
    lowest, highest, smoothed = curve.bounds().T
    at = np.arange(len(lowest)) * curve.span_frames / (curve.rate or 1.0)
    axes.fill_between(at, lowest, highest, color=COLOURS["sky"], alpha=0.4, linewidth=0, label="each frame")
    axes.plot(at, smoothed, color=COLOURS["blue"], label="smoothed, causal")
    axes.set(
        title=name,
        ylabel="anomaly score",
        xlabel="frame" if curve.rate is None else "seconds",
        xlim=(0, max(float(at[-1]), 1e-9)),
        ylim=(0, None),
    )
    axes.legend(loc="upper right", frameon=False)

"""Anybody's results as files: scores of frames, scored boxes and anomaly maps, matched to the labels' clips.

Formats are told apart by suffix. What a file does not say (which clip, which frame) is taken from its name
and order, as the readers' docstrings state; nothing is filled in, cut off or repaired.
"""

import csv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fastaed.data.benchmarks import natural_key
from fastaed.data.labels import load_array, load_arrays
from fastaed.data.store import map_readers
from fastaed.errors import DataError, MissingDataError

SCORE = "score"  # name of the scores of a file that gives them none
SCORE_SUFFIXES = (".csv", ".npy", ".npz", ".parquet")
BOX_SUFFIXES = (".csv", ".parquet")
MAP_SUFFIXES = (".npy", ".zarr")
NOT_SCORES = ("clip", "frame", "time")
CORNERS = ("x1", "y1", "x2", "y2")

Columns = dict[str, NDArray[np.float64]]  # name -> (T,)
Content = TypeVar("Content")


class ScoredBoxes(NamedTuple):
    """The N scored boxes of one clip, ordered by frame.

    Attributes:
        frame: (N,) int64 frame numbers from 0.
        xyxy: (N, 4) float64 left, top, right, bottom in pixels; right, bottom exclusive.
        score: (N,) float64 anomaly scores, higher is more anomalous.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    score: NDArray[np.float64]


class MapFiles(Mapping[str, NDArray[np.float32]]):
    """Clip -> its (T, H, W) anomaly maps, read anew whenever asked for: all together fill any memory."""

    def __init__(self, parts: Mapping[str, "_Part[Callable[[], NDArray[Any]]]"], frames: Mapping[str, int]):
        self._parts = parts
        self._frames = frames

    def __getitem__(self, clip: str) -> NDArray[np.float32]:
        part = self._parts[clip]
        maps = part.content()
        if maps.ndim != 3 or maps.dtype.kind not in "biuf":
            raise DataError(f"{part.where} holds {maps.dtype} of shape {maps.shape}, not maps (T, H, W)")
        _check_length(len(maps), self._frames[clip], "maps", part.where)
        wrong = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
        if wrong.size:
            raise DataError(
                f"{part.where}: the map of frame {wrong[0]} is not finite ({wrong.size} of {len(maps)} "
                "frames); mend what wrote it"
            )
        return maps.astype(np.float32, copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def read_score_set(
    name: str, paths: Sequence[Path], clips: Mapping[str, int] | None = None
) -> dict[str, Columns]:
    """One model's scores of frames: clip -> column -> (T,), in the order of `clips`.

    Files are read by the first of these rules that fits:

    1. A table (.csv, .parquet) with the columns `clip` and `frame`; any other column but `time` is a score.
    2. An .npz with a (T,) array for each clip, under the clip's name.
    3. A file for each clip, with the clip's name: .npy (T,); a table with scores as columns and, where rows
       are not in the frames' order, `frame`; a .csv of one column may go without a header.
    4. One file of rule 3 with another name than a clip's: all frames of all clips, in the clips' natural
       order.

    Frames count from 0. Scores without a name of their own are called `score`. A clip's name fits if it is
    the same, or the same whole number (`1` for `01`).

    Args:
        name: what the model is called, for messages.
        paths: files, or folders of files (what else a folder holds is not looked at).
        clips: clip -> number of its frames, as the labels have them; None believes the files.

    Raises:
        MissingDataError: a file is not there, or a folder holds none.
        DataError: a file is damaged or none of these; or clips, frames or columns are missing, twice there or
            unknown; or a score is NaN or infinite.
    """
    what = f"scores of {name}"
    parts = [part for file in _files(paths, SCORE_SUFFIXES, what) for part in _score_parts(file)]
    if clips is not None and len(parts) == 1 and _is_of_all_clips(parts[0], clips):
        parts = _split(parts[0], clips, what)
    by_clip = _by_clip(parts, clips, what)
    for clip, part in by_clip.items():
        if clips is not None:
            _check_length(_length(part.content), clips[clip], "scores", f"{what}, {part.where}")
        _check_finite(part.content, part.where)
    _check_same_columns(list(by_clip.values()), what)
    return {clip: part.content for clip, part in by_clip.items()}


def read_detection_files(paths: Sequence[Path], clips: Mapping[str, int]) -> dict[str, ScoredBoxes]:
    """Scored boxes of every clip, in the order of `clips`; a frame may have none.

    Args:
        paths: tables (.csv, .parquet) or folders of tables, with the columns frame, x1, y1, x2, y2 and score:
            one a clip, named after it, or any number with a column `clip`. Other columns are not looked at.
            Where a table has a column `clip`, clips may be missing: nothing was found in them.
        clips: clip -> number of its frames, as the labels have them.

    Raises:
        MissingDataError: a file is not there, or a folder holds none.
        DataError: a file is damaged or no such table, a clip is missing, unknown or twice there, or a box has
            no area, no finite score or no frame in its clip.
    """
    tables = [_read_table(file) for file in _files(paths, BOX_SUFFIXES, "detections")]
    for table in tables:
        table.require(("frame", *CORNERS, SCORE))
    whole = any("clip" in table.rows for table in tables)
    parts = _by_clip([part for table in tables for part in table.by_clip()], clips, "detections", not whole)
    found = {clip: _boxes(part.content, clips[clip]) for clip, part in parts.items()}
    nothing = ScoredBoxes(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))
    return {clip: found.get(clip, nothing) for clip in clips}


def read_map_files(paths: Sequence[Path], clips: Mapping[str, int]) -> MapFiles:
    """Anomaly maps of every clip, each read and checked when asked for.

    Args:
        paths: .npy files (T, H, W) named after their clips; .zarr stores, as `store.map_readers` takes them;
            or folders of either. Values of any range: only their order counts.
        clips: clip -> number of its frames, as the labels have them.

    Raises:
        MissingDataError: a file is not there, or a folder holds none.
        StoreError: a Zarr store is damaged.
        DataError: a clip is missing, unknown or twice there; and when maps are asked for: they are damaged,
            not (T, H, W), of another length, NaN or infinite.
    """
    parts = [part for file in _files(paths, MAP_SUFFIXES, "maps") for part in _map_parts(file)]
    return MapFiles(_by_clip(parts, clips, "maps"), clips)


# --- Files and the clips they are of -----------------------------------------------------------------------


class _Part(NamedTuple, Generic[Content]):
    """What there is for one clip.

    Attributes:
        name: the clip's name as the file has it.
        content: what was read.
        where: its place, for messages.
        stated: the file itself names the clip; if not, `name` is the file's own.
    """

    name: str
    content: Content
    where: str
    stated: bool = True


def _files(paths: Sequence[Path], suffixes: Sequence[str], what: str) -> list[Path]:
    """The files, and for each folder those in it that can be read, in natural order."""
    known = ", ".join(suffixes)
    if not paths:
        raise MissingDataError(f"{what}: no file is named; give {known} files or a folder of them")
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise MissingDataError(f"{what}: {path} does not exist; name the file or folder that holds them")
        if path.suffix.lower() in suffixes:
            files.append(path)
        elif path.is_dir():
            files += (inside := _files_in(path, suffixes))
            if not inside:
                raise MissingDataError(f"{what}: folder {path} holds no {known} file; name the one that does")
        else:
            raise DataError(f"{what}: {path} is none of {known}; save them in one of these formats")
    return files


def _files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    inside = [file for file in folder.iterdir() if file.suffix.lower() in suffixes and file.name[0] != "."]
    return sorted(inside, key=lambda file: natural_key(file.name))


def _by_clip(
    parts: Sequence[_Part[Content]], clips: Collection[str] | None, what: str, complete: bool = True
) -> dict[str, _Part[Content]]:
    """Each clip's part, in the order of `clips`; with `complete`, of each of them."""
    found: dict[str, _Part[Content]] = {}
    for part in parts:
        clip = part.name if clips is None else _clip_called(part.name, clips)
        if clip is None:
            raise DataError(
                f"{what}: {part.where} is of clip '{part.name}', which the labels do not have; "
                f"use their names ({', '.join(list(clips or ())[:3])} ...) or leave it out"
            )
        if clip in found:
            raise DataError(
                f"{what}: clip {clip} is there twice, {found[clip].where} and {part.where}; leave out one"
            )
        found[clip] = part
    if clips is None:
        return found
    missing = [clip for clip in clips if clip not in found]
    if missing and complete:
        names = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        are_missing = f"clips {names} are missing" if len(missing) > 1 else f"clip {names} is missing"
        raise DataError(
            f"{what}: {are_missing}, only {len(found)} of {len(clips)} clips are there; add what is missing"
        )
    return {clip: found[clip] for clip in clips if clip in found}


def _clip_called(name: str, clips: Collection[str]) -> str | None:
    if name in clips or not name.isdecimal():
        return name if name in clips else None
    same = [clip for clip in clips if clip.isdecimal() and int(clip) == int(name)]
    if len(same) > 1:
        raise DataError(f"'{name}' may be clip {' or '.join(same)}; use the labels' own names")
    return same[0] if same else None


def _check_length(count: int, expected: int, of: str, where: str) -> None:
    if count != expected:
        raise DataError(
            f"{where}: {of} of {count} frames but labels of {expected}; one of them belongs to other footage"
        )


# --- Scores ------------------------------------------------------------------------------------------------


def _score_parts(file: Path) -> Iterator[_Part[Columns]]:
    suffix = file.suffix.lower()
    if suffix == ".npy":
        yield _Part(file.stem, {SCORE: _series(load_array(file), str(file))}, str(file), stated=False)
    elif suffix == ".npz":
        for name, values in load_arrays(file).items():
            where = f"{file}, array {name}"
            yield _Part(name, {SCORE: _series(values, where)}, where)
    else:
        table = _read_table(file)
        if "clip" in table.rows:
            table.require(("frame",))
        for name, part, where, stated in table.by_clip():
            yield _Part(name, _score_columns(part, where), where, stated)


def _series(values: NDArray[Any], where: str) -> NDArray[np.float64]:
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise DataError(f"{where} holds {values.dtype} of shape {values.shape}, not one number a frame (T,)")
    return values.astype(np.float64)


def _score_columns(table: "_Table", where: str) -> Columns:
    names = [str(name) for name in table.rows.columns if name not in NOT_SCORES]
    if not names:
        raise DataError(f"{where} has no column of scores; add one called '{SCORE}'")
    columns = {name: table.numbers(name) for name in names}
    if "frame" not in table.rows:
        return columns
    order = _frame_order(table.numbers("frame"), where)
    return {name: values[order] for name, values in columns.items()}


def _frame_order(frames: NDArray[np.float64], where: str) -> NDArray[np.int64]:
    """The rows of frame 0, 1, 2 ..."""
    order = np.argsort(frames, kind="stable")
    wrong = np.flatnonzero(frames[order] != np.arange(len(frames)))
    if wrong.size:
        place, found = int(wrong[0]), frames[order][wrong[0]]
        trouble = f"frame {place} is missing (the next is {found:g})"
        if place > 0 and found == place - 1:
            trouble = f"frame {place - 1} is there twice"
        raise DataError(f"{where}: {trouble}; frames count from 0 and each has one row")
    return order


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def _is_of_all_clips(part: _Part[Columns], clips: Collection[str]) -> bool:
    return not part.stated and _clip_called(part.name, clips) is None


def _split(part: _Part[Columns], clips: Mapping[str, int], what: str) -> list[_Part[Columns]]:
    """Scores of all clips one after the other, cut where the labels' clips end."""
    frames = sum(clips.values())
    if _length(part.content) != frames:
        raise DataError(
            f"{what}: {part.where} is named after no clip and holds {_length(part.content)} scores, but all "
            f"{len(clips)} clips together have {frames} frames; name it after its clip, or give all frames"
        )
    ordered = sorted(clips, key=natural_key)
    stops = np.cumsum([clips[clip] for clip in ordered])
    return [
        _Part(
            clip,
            {column: values[stop - clips[clip] : stop] for column, values in part.content.items()},
            f"{part.where}, clip {clip}",
        )
        for clip, stop in zip(ordered, stops)
    ]


def _check_finite(columns: Columns, where: str) -> None:
    for column, values in columns.items():
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            raise DataError(
                f"{where}: {column} of frame {wrong[0]} is {values[wrong[0]]} ({wrong.size} of {len(values)} "
                "frames have no finite score); mend what wrote it"
            )


def _check_same_columns(parts: Sequence[_Part[Columns]], what: str) -> None:
    for part in parts[1:]:
        if set(part.content) != set(parts[0].content):
            raise DataError(
                f"{what}: {part.where} has the columns {', '.join(part.content)} but {parts[0].where} "
                f"{', '.join(parts[0].content)}; give every clip the same"
            )


# --- Detections and maps -----------------------------------------------------------------------------------


def _boxes(table: "_Table", frames: int) -> ScoredBoxes:
    frame, score = table.numbers("frame"), table.numbers(SCORE)
    xyxy = np.stack([table.numbers(corner) for corner in CORNERS], axis=1)
    unknown = np.isin(frame, np.arange(frames), invert=True)
    table.refuse(unknown, f"the labels have frames 0 to {frames - 1} of this clip")
    table.refuse(~np.isfinite(score), f"the {SCORE} is not finite")
    has_area = np.isfinite(xyxy).all(axis=1) & (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
    table.refuse(~has_area, "the box has no area")
    order = np.argsort(frame, kind="stable")
    return ScoredBoxes(frame[order].astype(np.int64), xyxy[order], score[order])


def _map_parts(file: Path) -> Iterator[_Part[Callable[[], NDArray[Any]]]]:
    if file.suffix.lower() == ".npy":
        yield _Part(file.stem, partial(load_array, file), str(file))
    else:
        for name, read in map_readers(file).items():
            yield _Part(name, read, f"{file}, clip {name}")


# --- Tables ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """A table as it stands in a file.

    Attributes:
        path: the file.
        rows: its columns, not yet numbers where the file is text; indexed by line of the file, or by row from
            1 of a parquet table.
    """

    path: Path
    rows: pd.DataFrame

    def require(self, columns: Sequence[str]) -> None:
        absent = [column for column in columns if column not in self.rows]
        if absent:
            there = ", ".join(map(str, self.rows.columns))
            raise DataError(f"{self.path} has no column {', '.join(absent)}, only {there}; add it")

    def by_clip(self) -> Iterator[_Part["_Table"]]:
        """Its rows of each clip; without a column `clip`, all as one clip named like the file."""
        if "clip" not in self.rows:
            yield _Part(self.path.stem, self, str(self.path), stated=False)
            return
        for clip, rows in self.rows.groupby("clip", sort=False, dropna=False):
            yield _Part(str(clip), _Table(self.path, rows), f"{self.path}, clip {clip}")

    def numbers(self, column: str) -> NDArray[np.float64]:
        values = self.rows[column]
        if pd.api.types.is_numeric_dtype(values):
            return values.to_numpy(np.float64, na_value=np.nan)
        try:
            return np.array([float(value) for value in values], np.float64)
        except (TypeError, ValueError):
            self.refuse([not _is_number(value) for value in values], f"{column} is no number")
            raise

    def refuse(self, wrong: ArrayLike, why: str) -> None:
        """Raise a DataError that names the first of the rows that are `wrong`, (N,) bool, if there is one."""
        if np.any(wrong):
            line = "row" if self.path.suffix.lower() == ".parquet" else "line"
            first = int(np.argmax(wrong))
            told = ", ".join(map(str, self.rows.iloc[first]))
            raise DataError(
                f"{self.path}, {line} {self.rows.index[first]} ({told}): {why}; mend it or leave it out"
            )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _read_table(path: Path) -> _Table:
    rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    names = [str(name) for name in rows.columns]
    if "" in names or len(set(names)) < len(names):
        raise DataError(
            f"{path}: columns {names} do not each have a name of their own; name them, write no row numbers"
        )
    return _Table(path, rows)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a parquet table ({error}); delete it and write it again"
        ) from error
    if any(name is not None for name in rows.index.names):  # a column that pandas kept as its index
        rows = rows.reset_index()
    return rows.set_axis(pd.RangeIndex(1, len(rows) + 1), axis="index")


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            first = next((row for row in reader if row), None)
            if first is None:
                raise DataError(f"{path} is empty; write it again")
            header, cells = _header(first, path)
            lines = [reader.line_num] if cells else []
            for row in filter(None, reader):
                if len(row) != len(header):
                    where = f"{path}, line {reader.line_num}"
                    raise DataError(f"{where}: {len(row)} values under {len(header)} columns; mend it")
                lines.append(reader.line_num)
                cells += row  # one flat list: a list a row would take ten times as long
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); write it again") from error
    rows = np.array(cells, dtype=object).reshape(len(lines), len(header))
    return pd.DataFrame(rows, columns=header, index=lines, dtype=object)


def _header(first: Sequence[str], path: Path) -> tuple[list[str], list[str]]:
    """Names of the columns, and the first line's values where it is none of names."""
    if not all(map(_is_number, first)):
        return [name.strip() for name in first], []
    if len(first) > 1:
        raise DataError(f"{path}: the first line names no columns; write one that does above the numbers")
    return [SCORE], list(first)

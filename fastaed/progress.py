"""Progress that suits its reader: a bar on a terminal, a plain line now and then in a log file."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from threading import Event
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 15.0
_silent = Event()


def silence() -> None:
    """Say nothing from now on: of several processes that do one thing, one speaks."""
    _silent.set()


def say(message: str) -> None:
    """One line to standard error, where logs are kept."""
    if not _silent.is_set():
        tqdm.write(message, file=sys.stderr)


def _one(_: object) -> int:
    return 1


def progress(
    items: Iterable[Item],
    what: str,
    total: int | None = None,
    unit: str = "frames",
    count: Callable[[Item], int] = _one,
) -> Iterator[Item]:
    """Pass `items` on, showing how far it has come and how fast.

    Args:
        items: anything to iterate over.
        what: two or three words at the start of the line, e.g. `decode 01`.
        total: number of units, where `len(items)` does not tell.
        unit: what is counted.
        count: units in an item.
    """
    if total is None:
        total = getattr(items, "__len__", lambda: None)()
    if sys.stderr.isatty() and not _silent.is_set():
        with tqdm(desc=what, total=total, unit=f" {unit}", leave=False) as bar:
            for item in items:
                yield item
                bar.update(count(item))
    else:
        yield from _lines(items, what, total, unit, count)


def _lines(
    items: Iterable[Item], what: str, total: int | None, unit: str, count: Callable[[Item], int]
) -> Iterator[Item]:
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += count(item)
        now = time.monotonic()
        if now - last > _SECONDS_BETWEEN_LINES:
            last = now
            say(f"{what}: {done}{f'/{total}' if total else ''} {unit}, {done / (now - start):.1f} {unit}/s")
    say(f"{what}: {done} {unit} in {time.monotonic() - start:.1f} s")

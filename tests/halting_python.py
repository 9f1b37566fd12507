"""Stands in for `python` in a job: `python -m fastaed ...` stops itself (SIGSTOP) in the middle, once.

FASTAED_TEST_MOMENT is how the description of a loop with progress begins. The process stops at the second
item of such a loop, having written its number to the file FASTAED_TEST_HALTED, if that is not there yet.
"""

import os
import runpy
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fastaed.progress

shown = fastaed.progress.progress


def halting(items: Iterable[Any], what: str, *arguments: Any, **options: Any) -> Iterator[Any]:
    for number, item in enumerate(shown(items, what, *arguments, **options)):
        if number == 1 and what.startswith(os.environ["FASTAED_TEST_MOMENT"]):
            halt()
        yield item


def halt() -> None:
    try:
        with Path(os.environ["FASTAED_TEST_HALTED"]).open("x") as halted:
            halted.write(str(os.getpid()))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGSTOP)


fastaed.progress.progress = halting
sys.argv = sys.argv[2:]  # as `python -m fastaed` would have it
runpy.run_module("fastaed", run_name="__main__", alter_sys=True)

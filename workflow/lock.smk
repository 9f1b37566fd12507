# Snakemake's lock outlives a run that was killed. The kernel's does not: it says whether another run is at work in this
# folder, so that locks which a killed one left are cleared away, and those of a living one are not.
import fcntl
import os
import re
import socket
import sys
from pathlib import Path

from snakemake.logging import logger


def take_part():
    """Join the runs at work in this folder; what is returned says so until this process ends."""
    # Of each run a line: its host, its process, where its jobs are.
    file = Path(".snakemake/at_work")
    file.parent.mkdir(exist_ok=True)
    mine = file.open("a+")
    try:
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        meet(runs(mine))
    else:
        clear_away_after(runs(mine), mine)
    fcntl.flock(mine, fcntl.LOCK_SH)
    where = "here" if workflow.resource_settings.nodes is None else "cluster"
    print(socket.gethostname(), os.getpid(), where, file=mine, flush=True)
    return mine


def runs(file):
    file.seek(0)
    return [tuple(line.split()) for line in file]


def meet(others):
    """Both may go on if they make different files; whether they do is for Snakemake's own lock."""
    named = " or ".join(f"process {number} on {host}" for host, number, _ in others)
    if "--unlock" in sys.argv:
        raise WorkflowError(
            f"Another run is still at work in this folder ({named}), so nothing is unlocked: wait for its end, "
            "or stop it with kill -INT and the number of its process"
        )
    logger.warning(
        f"Another run is at work in this folder ({named}). If both are to make the same files, this one stops "
        "here: wait for the other's end."
    )


def clear_away_after(others, file):
    """Whose locks lie there is no longer at work; its jobs may be, if they were on other machines."""
    left = list(Path(".snakemake/locks").glob("*.lock"))
    if left and {run[::2] for run in others} != {(socket.gethostname(), "here")}:
        return
    for lock in left:
        lock.unlink()
    if left:
        logger.warning("The last run in this folder was killed; this one goes on.")
    file.truncate(0)


def check_writable():
    """Snakemake would find out job by job, with a traceback."""
    asked = [
        Path(*Path(word).parts[:2]) for word in sys.argv if word.startswith("results/")
    ]
    for folder in map(Path, ("results", "logs", "benchmarks", *asked)):
        if folder.is_dir() and not os.access(folder, os.W_OK):
            raise WorkflowError(
                f"{folder.resolve()} cannot be written: it is read-only, or not yours; mend that, or run in "
                "another folder (--directory)"
            )


# Of what Snakemake can be asked, all that makes no files.
looks_only = re.compile(
    "--(dry-?run|lint|list.*|.*summary|report|dag|rulegraph|filegraph)|-[a-zA-Z]*n[a-zA-Z]*"
)
if workflow.is_main_process and not any(map(looks_only.fullmatch, sys.argv)):
    try:
        check_writable()
        at_work = take_part()
    except OSError as error:
        raise WorkflowError(
            f"{Path.cwd()} cannot be written ({error.strerror}); mend that, or run in another folder (--directory)"
        )

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
    file = Path(".snakemake/at_work")  # a line for each run: its host and process
    file.parent.mkdir(exist_ok=True)
    mine = file.open("a+")
    try:
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        meet(runs(mine))
    else:
        clear_away_after(runs(mine))
        mine.truncate(0)
    fcntl.flock(mine, fcntl.LOCK_SH)
    print(socket.gethostname(), os.getpid(), file=mine, flush=True)
    return mine


def runs(file):
    file.seek(0)
    return [tuple(line.split()) for line in file]


def meet(others):
    """Both may go on if they make different files; whether they do is for Snakemake's own lock."""
    where = " or ".join(f"process {number} on {host}" for host, number in others)
    if "--unlock" in sys.argv:
        raise WorkflowError(
            f"Another run is still at work in this folder ({where}), so nothing is unlocked: wait for its end, "
            "or stop it with kill -INT and the number of its process"
        )
    logger.warning(
        f"Another run is at work in this folder ({where}). If both are to make the same files, this one stops "
        "here: wait for the other's end."
    )


def clear_away_after(others):
    """Whose locks lie there is no longer at work; of a run on another host this one cannot be sure."""
    left = list(Path(".snakemake/locks").glob("*.lock"))
    if left and {host for host, _ in others} <= {socket.gethostname()}:
        for lock in left:
            lock.unlink()
        logger.warning("The last run in this folder was killed; this one goes on.")


def check_writable():
    """Snakemake would find out job by job, with a traceback."""
    asked = [Path(word).parts[:2] for word in sys.argv if word.startswith("results/")]
    for folder in ("results", "logs", "benchmarks", *(Path(*parts) for parts in asked)):
        if Path(folder).is_dir() and not os.access(folder, os.W_OK):
            raise WorkflowError(
                f"{Path(folder).resolve()} cannot be written: it is read-only, or not yours; mend that, or run in "
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

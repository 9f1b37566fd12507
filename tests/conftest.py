"""What several test files need: where real footage lies, and small footage made on the spot."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from workflow_runs import CAMERA, LIMITS, TARGETS, make_camera, run, snakemake, snakemake_in

from fastaed.walkway.media import write_video

torch.set_num_threads(1)  # the same rounding in every test, whatever the machine


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real footage (UCSDped2/, avenue/, labels/), or skip."""
    folder = os.environ.get("FASTAED_TEST_DATA")
    if not folder:
        pytest.skip("FASTAED_TEST_DATA does not name a folder with real footage")
    return Path(folder)


@pytest.fixture(scope="session")
def walkers() -> Callable[..., list[NDArray[np.uint8]]]:
    """(frames, seed, height, width) -> a clip of bright squares that walk over a still background."""

    def make(frames: int, seed: int, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
        rng = np.random.default_rng(seed)
        background = rng.integers(40, 120, (height, width, 3)).astype(np.uint8)
        starts, speeds = rng.integers(0, width, 3), rng.integers(1, 4, 3)
        clip = []
        for t in range(frames):
            frame = background.copy()
            for top, start, speed in zip((4, 18, 32), starts, speeds):
                left = int(start + speed * t) % (width - 8)
                frame[top : top + 12, left : left + 8] = 230
            clip.append(frame)
        return clip

    return make


@pytest.fixture(scope="session")
def filmed(
    tmp_path_factory: pytest.TempPathFactory, walkers: Callable[..., list[NDArray[np.uint8]]]
) -> Callable[[int, int], Path]:
    """(frames, rate) -> street.mp4, 128x96, of such squares."""

    def make(frames: int, rate: int) -> Path:
        path = tmp_path_factory.mktemp("video") / "street.mp4"
        write_video(path, np.stack(walkers(frames, seed=0, height=96, width=128)), "mp4v", rate)
        return path

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole tiny workflow has run; tests that change anything work on a copy."""
    folder = tmp_path_factory.mktemp("workflow")
    run(snakemake(folder, *TARGETS))
    return folder


@pytest.fixture(scope="session")
def camera(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for footage that the workflow did not make, with one teacher: data set `cam`."""
    folder = tmp_path_factory.mktemp("camera")
    make_camera(finished / "data/demo", folder)
    run([*snakemake_in(folder), *LIMITS, *CAMERA])
    return folder

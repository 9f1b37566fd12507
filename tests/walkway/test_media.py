"""Files that cannot be written leave nothing behind."""

from pathlib import Path

import numpy as np
import pytest

from fastaed.errors import OutputError
from fastaed.walkway.media import write_video


def test_a_video_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"01\.mp4"):
        write_video(tmp_path / "01.mp4", np.zeros((2, 64, 64, 3), np.uint8), "?!?!", 25)
    assert list(tmp_path.iterdir()) == []

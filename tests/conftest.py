"""What several test files need: where real footage lies, and small footage made on the spot."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real footage (UCSDped2/, avenue/, labels/), or skip."""
    folder = os.environ.get("FASTAED_TEST_DATA")
    if not folder:
        pytest.skip("FASTAED_TEST_DATA does not name a folder with real footage")
    return Path(folder)

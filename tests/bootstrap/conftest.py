"""A script in a world of its own, one for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bootstrap.script import Script


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)

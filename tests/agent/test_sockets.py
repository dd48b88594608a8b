"""Unix sockets for root alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from drover.agent import sockets


@pytest.fixture(autouse=True)
def mask() -> Iterator[int]:
    before = os.umask(0o002)
    yield 0o002
    os.umask(before)


def test_nobody_else_may_connect(tmp_path: Path) -> None:
    with sockets.bound(str(tmp_path / "door")):
        assert stat.S_IMODE((tmp_path / "door").stat().st_mode) == 0o600


def test_a_name_that_is_taken_changes_nothing_of_the_process(tmp_path: Path, mask: int) -> None:
    held = len(os.listdir("/proc/self/fd"))
    (tmp_path / "door").touch()
    with pytest.raises(OSError, match="in use"):
        sockets.bound(str(tmp_path / "door"))
    (tmp_path / "file").touch()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
    assert len(os.listdir("/proc/self/fd")) == held

"""Logs that others write by appending, held to a size: the oldest part gives its disk space back.

A guest writes its serial log as it likes, and a full disk would stop the whole node. A hole is punched where the oldest
bytes were, so that offsets stay what they are for the writer and for readers, who begin behind the hole. On a file
system without holes the file is emptied instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

MOST_BYTES = 16 * 1024 * 1024
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
_libc = ctypes.CDLL(None, use_errno=True)


def bound(path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Keep about the last ``most_bytes`` of a log. Harmless when there is none."""
    with contextlib.suppress(OSError), path.open("r+b") as file:
        over = os.fstat(file.fileno()).st_size - most_bytes
        if over <= first(path):
            return
        length = ctypes.c_int64(over)
        mode = _KEEP_SIZE | _PUNCH_HOLE
        if _libc.fallocate(file.fileno(), mode, ctypes.c_int64(0), length):
            file.truncate(0)


def first(path: Path) -> int:
    """Where what is left of a log begins; zero when there is none."""
    try:
        with path.open("rb") as file:
            return os.lseek(file.fileno(), 0, os.SEEK_DATA)
    except OSError:
        return 0

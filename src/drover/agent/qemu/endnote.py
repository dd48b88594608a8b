"""Why a guest ended, from the file in which QEMU notes all that it says on its second monitor.

An event is told once, and the agent may be away. QEMU writes the file itself (``logfile`` of the monitor's chardev), so
a note is there before anybody can ask for the state that it explains. A guest could make QEMU talk for ever: the file
is emptied when it grows too long, unless the end is in it. Not promised: a note that the host could not write.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

MOST_BYTES = 256 * 1024
_WORDS = (b'"SHUTDOWN"', b'"GUEST_PANICKED"')
PANIC = "guest-panic"


def read(path: Path) -> str:
    """The first end that is noted: QEMU's reason, or empty."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return ""
    for line in lines:
        if any(word in line for word in _WORDS) and (reason := _reason(line)):
            return reason
    return ""


def _reason(line: bytes) -> str:
    try:
        said = json.loads(line)
    except ValueError:
        return ""  # torn by a full disk
    event = said.get("event") if isinstance(said, dict) else None
    if event == "GUEST_PANICKED":
        return PANIC
    return str((said.get("data") or {}).get("reason", "")) if event == "SHUTDOWN" else ""


def bound(path: Path) -> None:
    """Empty a file that is too long. QEMU appends, so it goes on at the start."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > MOST_BYTES and not read(path):
            os.truncate(path, 0)

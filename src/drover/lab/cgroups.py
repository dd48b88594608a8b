"""The control groups of a lab's nodes. Their agents make them (``agent.cgroups``); what a node leaves that had its plug
pulled is removed here, when none of its processes lives.

Found by name, wherever: they are below the group of whoever started the node, which may have been any shell.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_MOUNTS = Path("/sys/fs/cgroup")
_LIMIT_S = 2.0  # the kernel takes a moment to let a dead process go
_POLL_S = 0.05


def of_node(lab: str, node: str) -> str:
    """The name of a node's group."""
    return f"{_of_lab(lab)}{node}"


def _of_lab(lab: str) -> str:
    return f"drover-{lab}-"


def sweep(lab: str) -> list[Path]:
    """Remove the groups of all nodes. Those that cannot be removed."""
    return remove(_of_lab(lab))


def remove(prefix: str) -> list[Path]:
    """Remove groups whose names begin so, with what is below. Those that cannot be removed."""
    limit_s = time.monotonic() + _LIMIT_S
    left = _found(prefix)
    while left:
        for group in left:
            for directory, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        left = [group for group in left if group.exists()]
        if left and time.monotonic() > limit_s:
            return left
        if left:
            time.sleep(_POLL_S)
    return []


def _found(prefix: str) -> list[Path]:
    found = []
    for directory, names, _ in os.walk(_MOUNTS):
        found += [Path(directory, name) for name in names if name.startswith(prefix)]
        names[:] = [name for name in names if not name.startswith(prefix)]
    return found

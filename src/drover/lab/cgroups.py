"""The control groups of a lab's nodes. Their agents make them (``agent.cgroups``); what a node leaves that had its plug
pulled is removed here, when none of its processes lives.

Found by name, wherever: they are below the group of whoever started the node, which may have been any shell. Labs that
were killed and whose home was removed by hand have nobody who sweeps them, so every lab does that at its own beginning
and end. Not promised: that no empty group of a living lab is taken, if it lives where we do not see its processes
(another container); the kernel keeps groups with processes, and an agent makes the group of its VMs again.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path

from drover.lab.topology import NODE_PREFIX

_MOUNTS = Path("/sys/fs/cgroup")
_LIMIT_S = 2.0  # the kernel takes a moment to let a dead process go
_POLL_S = 0.05
_OF_ANY_LAB = re.compile(rf"drover-([0-9a-f]{{6}})-{NODE_PREFIX}\d+")


def of_node(lab: str, node: str) -> str:
    """The name of a node's group."""
    return f"{_of_lab(lab)}{node}"


def _of_lab(lab: str) -> str:
    return f"drover-{lab}-"


def sweep(lab: str) -> list[Path]:
    """Remove the groups of all nodes. Those that cannot be removed."""
    return remove(_of_lab(lab))


def sweep_dead(living: Callable[[], Collection[str]]) -> None:
    """Remove the groups of all labs without a living process. ``living`` is asked after the groups were looked for: a
    lab that begins meanwhile has processes before it has groups."""
    found = _found(_OF_ANY_LAB.fullmatch)
    labs = living() if found else ()
    for group in found:
        name = _OF_ANY_LAB.fullmatch(group.name)
        if name and name[1] not in labs:
            _remove(group)


def remove(prefix: str) -> list[Path]:
    """Remove groups whose names begin so, with what is below. Those that cannot be removed."""
    limit_s = time.monotonic() + _LIMIT_S
    left = _found(lambda name: name.startswith(prefix))
    while left:
        for group in left:
            _remove(group)
        left = [group for group in left if group.exists()]
        if left and time.monotonic() > limit_s:
            return left
        if left:
            time.sleep(_POLL_S)
    return []


def _remove(group: Path) -> None:
    """With what is below; the kernel keeps what has processes."""
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def _found(wanted: Callable[[str], object]) -> list[Path]:
    found = []
    for directory, names, _ in os.walk(_MOUNTS):
        found += [Path(directory, name) for name in names if wanted(name)]
        names[:] = [name for name in names if not wanted(name)]
    return found

"""What QEMU's refusals mean, by kind.

QEMU gives one error class (GenericError) and one exit code (1) for nearly everything, so a lock
that somebody else holds, or a disk that is not there, can be told from other failures by its words
alone. This is the only place that reads them.
"""

from __future__ import annotations

from drover.agent.ports import DiskUnavailable, HypervisorError, ImageLocked

_LOCK_WORDS = ('Failed to get "write" lock', 'Failed to get shared "write" lock')
_DISK_WORDS = ("Could not open '", "Image is not in ")
_TAIL_BYTES = 4096


def refused(words: str) -> HypervisorError:
    """The error to raise for QEMU's own ``words``."""
    kind = HypervisorError
    if any(lock in words for lock in _LOCK_WORDS):
        kind = ImageLocked
    elif any(disk in words for disk in _DISK_WORDS):
        kind = DiskUnavailable
    return kind(words.strip())


def tail(log: bytes) -> str:
    """The end of QEMU's log, as text."""
    return log[-_TAIL_BYTES:].decode(errors="replace").strip()

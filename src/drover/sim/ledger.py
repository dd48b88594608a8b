"""Who writes: the simulated disks' locks, and the ledger of running copies that proves the third
sentence.

``WriterLedger`` is told at each moment when a copy begins and ends to run. Two running copies of
one VM are recorded as a violation, with both names; the model goes on as the real world would, and
the world's checker reads ``violations``. ``ImageLocks`` behaves as QEMU's locks do: one writer per
path, released at the end of the process or of a migration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drover.agent.ports import Disk, ImageLocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass
class WriterLedger:
    """``on_run`` is called with copy and VM each time a copy begins to run, after it was
    recorded.
    """

    on_run: Callable[[str, str], None] = lambda copy, vm: None
    running: dict[str, list[str]] = field(default_factory=dict)  # vm -> copies, in order of start
    history: list[tuple[str, str]] = field(default_factory=list)  # (vm, copy) at each start
    violations: list[str] = field(default_factory=list)

    def run(self, vm: str, copy: str) -> None:
        copies = self.running.setdefault(vm, [])
        if copies:
            self.violations.append(f"{vm} runs as {copy} while it runs as {', '.join(copies)}")
        copies.append(copy)
        self.history.append((vm, copy))
        self.on_run(copy, vm)

    def stop(self, vm: str, copy: str) -> None:
        """Idempotent."""
        copies = self.running.get(vm, [])
        if copy in copies:
            copies.remove(copy)


@dataclass
class ImageLocks:
    """Path -> copy that may write it."""

    holders: dict[str, str] = field(default_factory=dict)

    def take(self, copy: str, disks: Iterable[Disk]) -> None:
        """All or none. Raises ImageLocked."""
        paths = [disk.path for disk in disks if not disk.read_only]
        for path in paths:
            if self.holders.get(path, copy) != copy:
                raise ImageLocked(f'Failed to get "write" lock of {path}')
        self.holders.update(dict.fromkeys(paths, copy))

    def release(self, copy: str) -> None:
        self.holders = {path: holder for path, holder in self.holders.items() if holder != copy}

"""The steps of a copy: what ``decide`` may answer and ``acts`` carries out. Also the ends that are no VM's business."""

from __future__ import annotations

from dataclasses import dataclass

# How a copy may end that is no reason of a release.
MIGRATED = "Migrated"
MOVE_FAILED = "MigrationFailed"
LEASE_LOST = "LeaseLost"
HANDED_BACK = "HandedBack"
NO_REASONS = (MIGRATED, MOVE_FAILED, LEASE_LOST, HANDED_BACK)


@dataclass(frozen=True)
class Step:
    """One act. Each is repeatable: after a crash the same view gives the same step again."""


@dataclass(frozen=True)
class Wait(Step):
    """Until something changes, or ``after_s`` has passed."""

    after_s: float | None = None


@dataclass(frozen=True)
class Launch(Step):
    """Start QEMU stopped, after a fresh read of the lease."""


@dataclass(frozen=True)
class LaunchIncoming(Step):
    """Open the listener, publish it, start QEMU waiting."""


@dataclass(frozen=True)
class ListenAgain(Step):
    """Our agent was away and its listener is closed: open it again, or give the copy up."""


@dataclass(frozen=True)
class TryDisk(Step):
    """A disk failed and the guest stands still: let it repeat what failed."""


@dataclass(frozen=True)
class AskLease(Step):
    """A guest stands still and waits for the lease: read it, since its event may be late or lost."""


@dataclass(frozen=True)
class Resume(Step):
    """Let the guest run: after a start, an arrival, or a lease that provably never left us."""


@dataclass(frozen=True)
class TakeBack(Step):
    """Settle who runs by a compare-and-swap to ourselves; resume only when it is acknowledged."""


@dataclass(frozen=True)
class StartCopy(Step):
    """Send the guest's memory to the target."""


@dataclass(frozen=True)
class AllowDowntime(Step):
    """The copy does not come to its end: let the guest's pause be longer."""

    limit_ms: int


@dataclass(frozen=True)
class CancelCopy(Step):
    reason: str


@dataclass(frozen=True)
class HandOver(Step):
    """The point of no return: give the lease to the target, by compare-and-swap."""


@dataclass(frozen=True)
class HandBack(Step):
    """Our incoming copy is reaped and never ran: give the lease back to the source."""


@dataclass(frozen=True)
class Powerdown(Step):
    """Press the guest's power button; the grace period starts with the first press."""


@dataclass(frozen=True)
class Kill(Step):
    """SIGKILL and reap. ``ended`` is remembered first, unless empty."""

    ended: str


@dataclass(frozen=True)
class Release(Step):
    reason: str


@dataclass(frozen=True)
class FinishPod(Step):
    """Report the Pod as ended."""

    reason: str


@dataclass(frozen=True)
class DropPod(Step):
    """Confirm the deletion of the Pod."""


@dataclass(frozen=True)
class Done(Step):
    """Nothing is left of this copy: forget it."""

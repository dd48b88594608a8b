"""What a migration does next: ``decide(view) -> intents``. Pure; all branches of the story are here."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.kinds.vm import VmPhase
from drover.api.names import VmmPhase
from drover.controllers.migration.slots import Slot, Wait
from drover.controllers.migration.view import MigrationView

# A target that is not scheduled or not listening for so long is given up (seconds).
TARGET_LIMIT_S = 300.0
# A VM that does not become Migrating for so long is given up.
READY_LIMIT_S = 300.0

_QUEUES = {
    Wait.SOURCE: 'Waiting for source node "{source}", which is silent.',
    Wait.CLUSTER: "Waiting for a free migration slot: the cluster live migration limit is reached.",
    Wait.OUTBOUND: 'Waiting for a free outbound migration slot on source node "{source}".',
    Wait.INBOUND: 'Waiting for a free inbound migration slot on target node "{target}".',
    Wait.SYNC: 'Target prepared; waiting for a free sync slot on source node "{source}".',
}
STOPPED = "VirtualMachine is stopped"
NO_TARGET_IN_TIME = "No available nodes were found to place the target VM within the timeout period"


class Reason:
    """``vmm.status.reason``; the vmop controller reads these."""

    QUEUED = "Queued"
    QUOTA_EXCEEDED = "QuotaExceeded"
    UNSCHEDULABLE = "TargetUnschedulable"
    WAITING_FOR_INBOUND = "WaitingForInboundSlot"
    WAITING_FOR_SYNC = "WaitingForSyncSlot"
    TARGET_FAILED = "TargetFailed"
    TARGET_DISK_ERROR = "TargetDiskError"
    PREPARE_TIMEOUT = "TargetPrepareTimeout"
    VM_STOPPED = "VirtualMachineStopped"
    NOT_CONVERGING = "NotConverging"
    ABORTED = "Aborted"
    FAILED = "Failed"


@dataclass(frozen=True)
class Intent:
    """One act of the controller."""


@dataclass(frozen=True)
class AddFinalizer(Intent):
    pass


@dataclass(frozen=True)
class DropFinalizer(Intent):
    pass


@dataclass(frozen=True)
class CreateTarget(Intent):
    """Create the target Pod and record it with phase Scheduling."""


@dataclass(frozen=True)
class SetPhase(Intent):
    phase: str
    reason: str = ""
    message: str = ""
    target_node: str = ""


@dataclass(frozen=True)
class DeleteTarget(Intent):
    """The target Pod is not needed: its agent ends the incoming QEMU."""


@dataclass(frozen=True)
class LookAgain(Intent):
    after_s: float


def slot_of(intents: list[Intent]) -> Slot | None:
    """The slot that is taken by carrying these out."""
    for intent in intents:
        if isinstance(intent, CreateTarget):
            return Slot.ADMISSION
        if isinstance(intent, SetPhase) and intent.phase == VmmPhase.READY:
            return Slot.TRANSFER
    return None


def decide(view: MigrationView) -> list[Intent]:
    """The next acts, in order. Empty: wait for a change."""
    if view.final:
        return _after_the_end(view)
    if not view.has_finalizer:
        return [DropFinalizer()] if view.deleting else [AddFinalizer()]
    if view.phase == VmmPhase.COPYING:
        return _copying(view)
    over = _over_before_copying(view)
    if over is not None:
        return [over]
    match view.phase:
        case VmmPhase.PENDING:
            return _pending(view)
        case VmmPhase.SCHEDULING:
            return _scheduling(view)
        case VmmPhase.PREPARING:
            return _preparing(view)
        case _:
            return _ready(view)


def _over_before_copying(view: MigrationView) -> SetPhase | None:
    """Before copying nothing of the guest has moved: ending is only a word."""
    if view.deleting:
        return SetPhase(VmmPhase.ABORTED, Reason.ABORTED, "Migration aborted")
    if view.lease_holder is not None and view.lease_holder != view.source_uid:
        return SetPhase(VmmPhase.FAILED, Reason.VM_STOPPED, STOPPED)
    if view.phase == VmmPhase.PENDING:
        return None
    if view.target is None or view.target.ended or view.target.deleting:
        return _target_failed(view, view.target_reason or "the target Pod is gone")
    if view.target_said == "Failed":
        return _target_failed(view, view.target_reason)
    return None


def _target_failed(view: MigrationView, why: str) -> SetPhase:
    reason = Reason.TARGET_DISK_ERROR if view.target_lacks_disk else Reason.TARGET_FAILED
    return SetPhase(VmmPhase.FAILED, reason, why)


def _pending(view: MigrationView) -> list[Intent]:
    return [CreateTarget()] if view.wait is None else _queued(view, view.wait)


_WAITING = {
    Wait.SOURCE: Reason.QUEUED,
    Wait.CLUSTER: Reason.QUEUED,
    Wait.OUTBOUND: Reason.QUEUED,
    Wait.INBOUND: Reason.WAITING_FOR_INBOUND,
    Wait.SYNC: Reason.WAITING_FOR_SYNC,
}

WAITING = (Reason.WAITING_FOR_INBOUND, Reason.WAITING_FOR_SYNC)


def _queued(view: MigrationView, wait: Wait) -> list[Intent]:
    """Say it once. Whoever frees a slot wakes those who wait, so nothing is looked at again by time."""
    message = _QUEUES[wait].format(source=view.source_node, target=view.target_node)
    if view.message == message:
        return []
    return [SetPhase(view.phase, _WAITING[wait], message)]


def _scheduling(view: MigrationView) -> list[Intent]:
    target = view.target
    assert target is not None
    if target.node:
        return [SetPhase(VmmPhase.PREPARING, target_node=target.node)]
    if not target.unschedulable:
        return [LookAgain(TARGET_LIMIT_S - view.in_phase_s)] if not _overdue(view) else _too_late()
    if view.reason != Reason.UNSCHEDULABLE or view.message != target.unschedulable:
        return [SetPhase(VmmPhase.SCHEDULING, Reason.UNSCHEDULABLE, target.unschedulable)]
    if _overdue(view):
        message = f"{NO_TARGET_IN_TIME}: {target.unschedulable}"
        return [SetPhase(VmmPhase.FAILED, Reason.UNSCHEDULABLE, message)]
    return [LookAgain(TARGET_LIMIT_S - view.in_phase_s)]


def _overdue(view: MigrationView) -> bool:
    return view.in_phase_s >= TARGET_LIMIT_S


def _too_late() -> list[Intent]:
    message = "Timed out preparing the migration target."
    return [SetPhase(VmmPhase.FAILED, Reason.PREPARE_TIMEOUT, message)]


def _preparing(view: MigrationView) -> list[Intent]:
    if view.target_said == "Listening":
        return [SetPhase(VmmPhase.READY)] if view.wait is None else _queued(view, view.wait)
    return _too_late() if _overdue(view) else [LookAgain(TARGET_LIMIT_S - view.in_phase_s)]


def _ready(view: MigrationView) -> list[Intent]:
    if view.vm_phase == VmPhase.MIGRATING:
        return [SetPhase(VmmPhase.COPYING)]
    if view.in_phase_s >= READY_LIMIT_S:
        message = "Timed out waiting for the VirtualMachine to become ready to migrate."
        return [SetPhase(VmmPhase.FAILED, Reason.PREPARE_TIMEOUT, message)]
    return [LookAgain(READY_LIMIT_S - view.in_phase_s)]


def _copying(view: MigrationView) -> list[Intent]:
    """The lease tells how it went; the agents' words only say when to believe that it is over."""
    holder = view.lease_holder
    if holder is None:
        return [LookAgain(5.0)]  # absent is not released: nothing follows from it
    if holder == view.target_uid:
        ran = view.target_said == "Running"
        return [SetPhase(VmmPhase.SUCCEEDED)] if ran else [LookAgain(5.0)]
    if holder == view.source_uid:
        if view.source_said == "Failed":
            return [_failure(view)]
        return [LookAgain(5.0)]
    if view.handed_over and view.target_said == "Running":
        return [SetPhase(VmmPhase.SUCCEEDED)]  # it moved, and ended there since
    return [SetPhase(VmmPhase.FAILED, Reason.VM_STOPPED, STOPPED)]


_GIVEN_UP = {
    "NoProgress": "Live migration stuck for {seconds} seconds and has been aborted",
    "TooLong": "Live migration is not completed after {seconds} seconds and has been aborted",
}
_NO_KIND = "MigrationFailed"  # says no more than what an operation says anyway
_SILENT = "QEMU on the source did not answer while it was copying, and the copy was cancelled; a busy host does that"


def _limit_s(view: MigrationView) -> int:
    """The limit that the source's agent has applied."""
    if view.source_reason == "NoProgress":
        return view.limits.progress_s
    return int(view.limits.completion_s_per_gib * max(1.0, view.memory_bytes / 2**30))


def _failure(view: MigrationView) -> SetPhase:
    if view.source_reason in ("Aborted", "PodDeleted"):
        return SetPhase(
            VmmPhase.ABORTED, Reason.ABORTED, view.source_message or "Migration aborted"
        )
    if view.source_reason in _GIVEN_UP:
        message = _GIVEN_UP[view.source_reason].format(seconds=_limit_s(view))
        return SetPhase(VmmPhase.FAILED, Reason.NOT_CONVERGING, message)
    reason = Reason.TARGET_FAILED if view.target_said == "Failed" else Reason.FAILED
    if view.source_reason == "MonitorSilent":
        return SetPhase(VmmPhase.FAILED, reason, _SILENT)
    kind = "" if view.source_reason == _NO_KIND and view.source_message else view.source_reason
    said = ": ".join(word for word in (kind, view.source_message) if word)
    return SetPhase(VmmPhase.FAILED, reason, said)


def _after_the_end(view: MigrationView) -> list[Intent]:
    alive = view.target is not None and not view.target.ended and not view.target.deleting
    intents: list[Intent] = []
    if view.phase != VmmPhase.SUCCEEDED and alive and view.lease_holder != view.target_uid:
        intents.append(DeleteTarget())
    elif view.deleting and view.has_finalizer:
        settled = view.phase == VmmPhase.SUCCEEDED or view.target is None or view.target.ended
        if settled:
            intents.append(DropFinalizer())
    return intents

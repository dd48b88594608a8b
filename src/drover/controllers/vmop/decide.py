"""What an operation does next: ``decide(view) -> intents``. Pure; all branches of the story are here."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.kinds.vm import VmPhase
from drover.api.kinds.vmop import VmopPhase, VmopReason, VmopType
from drover.api.names import VmmPhase
from drover.controllers.vmop import progress, rules
from drover.controllers.vmop.view import Other, VmmView, VmopView, VmView

QUEUED = (
    "The VirtualMachineOperation for migrating the virtual machine has been queued. "
    "Waiting for the queue to be processed and for this operation to be executed."
)
NOT_CONVERGING = "Migration is not converging: data remaining is not decreasing at maximum throttle"
BLOCKED = "VMOP cannot be executed now. Previously created operation should finish first."
POWER_REASON = {
    VmopType.START: VmopReason.START_IN_PROGRESS,
    VmopType.STOP: VmopReason.STOP_IN_PROGRESS,
    VmopType.RESTART: VmopReason.RESTART_IN_PROGRESS,
}


@dataclass(frozen=True)
class Intent:
    """One act of the controller."""


@dataclass(frozen=True)
class Accept(Intent):
    """First sight: finalizer and label."""


@dataclass(frozen=True)
class SetStatus(Intent):
    phase: VmopPhase
    reason: VmopReason
    message: str
    percent: int = 0
    done: bool = False  # the condition Completed
    signalled: bool = False


@dataclass(frozen=True)
class SendSignal(Intent):
    """Write the request annotation on the VM."""


@dataclass(frozen=True)
class CreateMigration(Intent):
    auto_converge: bool


@dataclass(frozen=True)
class DeleteMigration(Intent):
    """Abort: the vmm goes when its outcome stands."""


@dataclass(frozen=True)
class DropFinalizer(Intent):
    pass


def decide(view: VmopView) -> list[Intent]:
    """The next acts, in order. Empty: wait for a change."""
    if view.deleting:
        return _deleting(view)
    if view.finished:
        return _finished(view)
    if view.vm is None or view.vm.deleting:
        return _vm_goes(view)
    if view.superseded_by is not None:
        return _superseded(view)
    if view.phase is None:
        return [Accept(), SetStatus(VmopPhase.PENDING, *_pending_words(view))]
    if view.is_migration:
        return _migration(view, view.vm)
    return _power(view, view.vm)


def _pending_words(view: VmopView) -> tuple[VmopReason, str]:
    if view.is_migration:
        return VmopReason.MIGRATION_PENDING, QUEUED
    return POWER_REASON[view.type], "Waiting for the operation to begin."


def _failed(reason: VmopReason, message: str) -> SetStatus:
    return SetStatus(VmopPhase.FAILED, reason, message, done=True)


def _deleting(view: VmopView) -> list[Intent]:
    if not view.has_finalizer:
        return []
    intents: list[Intent] = []
    if not view.finished and view.phase is not VmopPhase.TERMINATING:
        words = "The operation is being deleted."
        reason = VmopReason.ABORTED if view.is_migration else POWER_REASON[view.type]
        intents.append(SetStatus(VmopPhase.TERMINATING, reason, words, view.progress_percent))
    if view.vmm is not None:
        if not view.vmm.deleting:
            intents.append(DeleteMigration())
        return intents
    still = (
        view.vm is not None and view.vm.phase == VmPhase.MIGRATING and not view.foreign_migration
    )
    return intents if still and view.is_migration else [*intents, DropFinalizer()]


def _vm_goes(view: VmopView) -> list[Intent]:
    """Nothing is done to a VM that is deleted; a migration is aborted first, unless it is past its point."""
    if view.vmm is not None and view.vmm.phase not in VmmPhase.FINAL:
        return [] if view.vmm.deleting else [DeleteMigration()]
    return [_failed(VmopReason.VM_NOT_FOUND, "VirtualMachine not found")]


def _finished(view: VmopView) -> list[Intent]:
    """A finished migration needs no cleaning up: deleting it aborts nothing."""
    if view.vmm is not None and view.phase is VmopPhase.SUPERSEDED and not view.vmm.deleting:
        return [DeleteMigration()]
    return []


def _superseded(view: VmopView) -> list[Intent]:
    new = view.superseded_by
    assert new is not None
    message = f"Superseded by {new.name} with type {new.type}"
    done = SetStatus(
        VmopPhase.SUPERSEDED, VmopReason.SUPERSEDED, message, view.progress_percent, done=True
    )
    if view.vmm is not None and view.vmm.phase not in VmmPhase.FINAL:
        return [] if view.vmm.deleting else [DeleteMigration()]
    return [done]


def _not_applicable(view: VmopView, vm: VmView) -> SetStatus | None:
    if vm.run_policy not in rules.RUN_POLICIES[view.type]:
        message = f"Operation type {view.type} is not applicable for VirtualMachine with runPolicy {vm.run_policy}"
        return _failed(VmopReason.NOT_APPLICABLE_FOR_RUN_POLICY, message)
    if not rules.phase_fits(view.type, bool(view.force), vm.phase):
        message = (
            f"Operation type {view.type} is not applicable for VirtualMachine in phase {vm.phase}"
        )
        return _failed(VmopReason.NOT_APPLICABLE_FOR_PHASE, message)
    return None


def _power(view: VmopView, vm: VmView) -> list[Intent]:
    if not view.signal:
        if view.older:
            return (
                [] if _will_yield(view) else [_failed(VmopReason.NOT_READY_TO_BE_EXECUTED, BLOCKED)]
            )
        refused = _not_applicable(view, vm)
        return [refused] if refused is not None else [SendSignal()]
    if view.signal not in (*vm.requests, *vm.handled):
        return [SendSignal()]  # noted, and did not reach the VM
    reason = POWER_REASON[view.type]
    if view.signal not in vm.handled or not _power_done(view, vm):
        if view.phase is VmopPhase.IN_PROGRESS:
            return []
        waiting = "Waiting for the operation to complete."
        return [SetStatus(VmopPhase.IN_PROGRESS, reason, waiting, 50, signalled=True)]
    words = f"VirtualMachineOperation {view.type} is completed"
    completed = VmopReason.OPERATION_COMPLETED
    return [SetStatus(VmopPhase.COMPLETED, completed, words, 100, done=True, signalled=True)]


def _will_yield(view: VmopView) -> bool:
    """Every older operation is about to be superseded by this one."""
    me = view_as_other(view)
    return all(rules.supersedes(me, old) for old in view.older)


def view_as_other(view: VmopView) -> Other:
    return Other(view.name, view.type, bool(view.force))


def _power_done(view: VmopView, vm: VmView) -> bool:
    match view.type:
        case VmopType.START:
            return vm.phase == VmPhase.RUNNING
        case VmopType.STOP:
            return vm.phase == VmPhase.STOPPED
        case _:
            anew = vm.holder not in ("", view.signalled_pod)
            return vm.phase == VmPhase.RUNNING and anew and not vm.restarting


def _migration(view: VmopView, vm: VmView) -> list[Intent]:
    if view.vmm is not None:
        return _follow(view, view.vmm, vm)
    if view.phase is VmopPhase.IN_PROGRESS:
        return [
            _failed(VmopReason.OPERATION_FAILED, "Migration failed: the migration object is gone")
        ]
    if view.older:
        return [_failed(VmopReason.NOT_READY_TO_BE_EXECUTED, BLOCKED)]
    refused = _not_applicable(view, vm)
    if refused is not None:
        return [refused]
    converge = rules.auto_converge(vm.live_migration_policy, view.force)
    if converge is None:
        force = str(bool(view.force)).lower()
        message = (
            f"Operation is invalid: force={force} is not applicable for "
            f"VM liveMigrationPolicy {vm.live_migration_policy}"
        )
        return [_failed(VmopReason.NOT_APPLICABLE_FOR_LIVE_MIGRATION_POLICY, message)]
    if view.foreign_migration:
        words = "Other Migrations are in progress"
        return [_failed(VmopReason.OTHER_MIGRATION_IN_PROGRESS, words)]
    if not vm.holder_pod:
        return []  # Running by its phase, but its Pod is not seen: look again when it is
    return [CreateMigration(converge)]


def _follow(view: VmopView, vmm: VmmView, vm: VmView) -> list[Intent]:
    """The vmm's phase in the words of the operation. Progress never decreases."""
    if vmm.phase == VmmPhase.SUCCEEDED:
        seen = vm.phase != VmPhase.MIGRATING and vm.node == vmm.target_node
        if not seen and vm.phase in (VmPhase.MIGRATING, VmPhase.RUNNING):
            return _status(view, VmopPhase.IN_PROGRESS, VmopReason.TARGET_RESUMED, _RESUMED, 92)
        words = "Migration completed"
        return [
            SetStatus(
                VmopPhase.COMPLETED, VmopReason.COMPLETED, words, 100, done=True, signalled=True
            )
        ]
    if vmm.phase in (VmmPhase.FAILED, VmmPhase.ABORTED):
        if vm.phase == VmPhase.MIGRATING:
            return []
        return [_failure(view, vmm)]
    return _status(view, *_words(vmm))


_RESUMED = "The virtual machine has resumed on the target"


def _status(
    view: VmopView, phase: VmopPhase, reason: VmopReason, message: str, percent: int
) -> list[Intent]:
    return [SetStatus(phase, reason, message, max(percent, view.progress_percent), signalled=True)]


def _words(vmm: VmmView) -> tuple[VmopPhase, VmopReason, str, int]:
    pending, going = VmopPhase.PENDING, VmopPhase.IN_PROGRESS
    match vmm.phase:
        case VmmPhase.PENDING:
            return pending, VmopReason.MIGRATION_PENDING, vmm.message or QUEUED, 0
        case VmmPhase.SCHEDULING if vmm.reason == "TargetUnschedulable":
            message = f'Target pod "{vmm.target_pod}" is unschedulable: {vmm.message}'
            return going, VmopReason.TARGET_UNSCHEDULABLE, message, 2
        case VmmPhase.SCHEDULING:
            return going, VmopReason.TARGET_SCHEDULING, "Scheduling the migration target", 2
        case VmmPhase.PREPARING if vmm.reason == "WaitingForInboundSlot":
            return pending, VmopReason.MIGRATION_PENDING, vmm.message, 0
        case VmmPhase.PREPARING if vmm.reason == "WaitingForSyncSlot":
            return pending, VmopReason.WAITING_FOR_SYNC_SLOT, vmm.message, 4
        case VmmPhase.PREPARING:
            return going, VmopReason.TARGET_PREPARING, "Preparing the migration target", 3
        case VmmPhase.READY:
            return going, VmopReason.TARGET_PREPARING, "Preparing the migration target", 4
    if vmm.target_said == "Running":
        return going, VmopReason.TARGET_RESUMED, _RESUMED, 92
    if vmm.source_said in ("HandedOver", "Done"):
        message = "The virtual machine has been suspended on the source"
        return going, VmopReason.SOURCE_SUSPENDED, message, 91
    reason, words = VmopReason.SYNCING, "Source and target are being synchronized"
    if progress.not_converging(vmm):
        reason, words = VmopReason.NOT_CONVERGING, NOT_CONVERGING
    return going, reason, f"{words}: {progress.details(vmm)}", progress.copying_percent(vmm)


_FAILURES: dict[str, tuple[VmopReason, str]] = {
    "TargetUnschedulable": (
        VmopReason.TARGET_UNSCHEDULABLE,
        "Migration failed: target pod is unschedulable",
    ),
    "NotConverging": (VmopReason.NOT_CONVERGING, "Migration did not converge"),
    "TargetPrepareTimeout": (VmopReason.OPERATION_FAILED, "Migration failed"),
    "Aborted": (VmopReason.ABORTED, "Migration aborted"),
}


def _failure(view: VmopView, vmm: VmmView) -> SetStatus:
    reason, words = _FAILURES.get(vmm.reason, (VmopReason.FAILED, "Migration failed"))
    message = f"{words}: {vmm.message}" if vmm.message and vmm.message != words else words
    return SetStatus(
        VmopPhase.FAILED, reason, message, view.progress_percent, done=True, signalled=True
    )

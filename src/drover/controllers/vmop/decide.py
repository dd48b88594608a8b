"""What an operation does next: ``decide(view) -> intents``. Pure; all branches of the story are here.

The order of reading: an operation that goes, one that is over, a VM that goes, a newer operation that takes this one's
place; then by its type. ``following`` has the words while a migration goes on.
"""

from __future__ import annotations

from drover.api.kinds.vm import VmPhase
from drover.api.kinds.vmop import VmopPhase, VmopReason, VmopType
from drover.api.names import VmmPhase
from drover.controllers.vmop import rules
from drover.controllers.vmop.following import QUEUED, follow
from drover.controllers.vmop.intents import (
    Accept,
    CreateMigration,
    DeleteMigration,
    DropFinalizer,
    Intent,
    SendSignal,
    SetStatus,
    WithdrawSignal,
)
from drover.controllers.vmop.view import Other, VmopView, VmView

BLOCKED = "VMOP cannot be executed now. Previously created operation should finish first."
NOT_MIGRATABLE = "VirtualMachine is not migratable, cannot be processed."
OFF_AGAIN = "The VirtualMachine was off again before it was seen running"
POWER_REASON = {
    VmopType.START: VmopReason.START_IN_PROGRESS,
    VmopType.STOP: VmopReason.STOP_IN_PROGRESS,
    VmopType.RESTART: VmopReason.RESTART_IN_PROGRESS,
}


def decide(view: VmopView) -> list[Intent]:
    """The next acts, in order. Empty: wait for a change."""
    if view.deleting:
        return _deleting(view)
    if view.finished:
        return _finished(view)
    if view.vm is None or view.vm.deleting:
        return _vm_goes(view)
    if view.superseded_by is not None:
        return _superseded(view, view.vm)
    if view.phase is None:
        return [
            Accept(),
            *_at_once(view, view.vm),
            SetStatus(VmopPhase.PENDING, *_pending_words(view)),
        ]
    if view.is_migration:
        return _migration(view, view.vm)
    return _power(view, view.vm)


def _at_once(view: VmopView, vm: VmView) -> list[Intent]:
    """A migration that may begin does, before its operation says so: that is a round trip less for who waits."""
    if not view.is_migration or view.vmm is not None:
        return []
    return [intent for intent in _migration(view, vm) if isinstance(intent, CreateMigration)]


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


def _superseded(view: VmopView, vm: VmView) -> list[Intent]:
    """A migration is aborted first; past its point of no return it comes to its end."""
    new, vmm = view.superseded_by, view.vmm
    assert new is not None
    if vmm is not None and vmm.phase not in VmmPhase.FINAL:
        return [] if vmm.deleting else [DeleteMigration()]
    message = f"Superseded by {new.name} with type {new.type}"
    if vmm is not None and vmm.phase == VmmPhase.SUCCEEDED:
        message = f"{message}; the virtual machine has moved to {vmm.target_node}"
    done = SetStatus(
        VmopPhase.SUPERSEDED, VmopReason.SUPERSEDED, message, view.progress_percent, done=True
    )
    pending = bool(view.signal) and view.signal in vm.requests and view.signal not in vm.handled
    return [WithdrawSignal(), done] if pending else [done]


def _wrong_run_policy(view: VmopView, vm: VmView) -> SetStatus | None:
    if rules.run_policy_fits(view.type, vm.run_policy):
        return None
    message = f"Operation type {view.type} is not applicable for VirtualMachine with runPolicy {vm.run_policy}"
    return _failed(VmopReason.NOT_APPLICABLE_FOR_RUN_POLICY, message)


def _wrong_phase(view: VmopView, vm: VmView) -> SetStatus | None:
    if not rules.phase_fits(view.type, bool(view.force), vm.phase):
        message = (
            f"Operation type {view.type} is not applicable for VirtualMachine in phase {vm.phase}"
        )
        return _failed(VmopReason.NOT_APPLICABLE_FOR_PHASE, message)
    return None


def _power(view: VmopView, vm: VmView) -> list[Intent]:
    if not view.signal:
        return _signal(view, vm)
    if view.signal not in (*vm.requests, *vm.handled):
        return [SendSignal()]  # noted, and did not reach the VM
    reason = POWER_REASON[view.type]
    if view.signal not in vm.handled or not _power_done(view, vm):
        if view.signal in vm.handled and _off_again(view, vm):
            why = f": {vm.last_reason}" if vm.last_reason else ""
            return [_failed(VmopReason.OPERATION_FAILED, f"{OFF_AGAIN}{why}")]
        if view.phase is VmopPhase.IN_PROGRESS:
            return []
        waiting = "Waiting for the operation to complete."
        return [SetStatus(VmopPhase.IN_PROGRESS, reason, waiting, 50, signalled=True)]
    words = f"VirtualMachineOperation {view.type} is completed"
    completed = VmopReason.OPERATION_COMPLETED
    return [SetStatus(VmopPhase.COMPLETED, completed, words, 100, done=True, signalled=True)]


def _signal(view: VmopView, vm: VmView) -> list[Intent]:
    """Asked of the VM once nothing else is done to it."""
    refused = _wrong_run_policy(view, vm)  # before it supersedes anything
    if refused is not None:
        return [refused]
    if view.older:
        blocked = _failed(VmopReason.NOT_READY_TO_BE_EXECUTED, BLOCKED)
        return [] if _will_yield(view) else [blocked]
    if vm.phase == VmPhase.MIGRATING and view.type is not VmopType.START:
        return []  # the migration that it took the place of is about to end, on either side
    refused = _wrong_phase(view, vm)
    return [refused] if refused is not None else [SendSignal()]


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


def _off_again(view: VmopView, vm: VmView) -> bool:
    """Its guest ended, or a person decided so, before anybody saw it run: it will not run for this operation."""
    return view.type is not VmopType.STOP and not vm.wanted and vm.phase == VmPhase.STOPPED


def _migration(view: VmopView, vm: VmView) -> list[Intent]:
    if view.vmm is not None:
        return follow(view, view.vmm, vm)
    if view.phase is VmopPhase.IN_PROGRESS:
        return [
            _failed(VmopReason.OPERATION_FAILED, "Migration failed: the migration object is gone")
        ]
    if view.older:
        return [_failed(VmopReason.NOT_READY_TO_BE_EXECUTED, BLOCKED)]
    refused = _wrong_run_policy(view, vm) or _wrong_phase(view, vm)
    if refused is not None:
        return [refused]
    policy, force_said = vm.live_migration_policy, view.force
    if view.system_policy is not None:  # an administrator's word for all VMs; no force against it
        policy, force_said = view.system_policy, None
    converge = rules.auto_converge(policy, force_said)
    if converge is None:
        force = str(bool(view.force)).lower()
        message = (
            f"Operation is invalid: force={force} is not applicable for "
            f"VM liveMigrationPolicy {policy}"
        )
        return [_failed(VmopReason.NOT_APPLICABLE_FOR_LIVE_MIGRATION_POLICY, message)]
    if not vm.migratable:
        return [_failed(VmopReason.OPERATION_FAILED, NOT_MIGRATABLE)]
    if view.foreign_migration:
        words = "Other Migrations are in progress"
        return [_failed(VmopReason.OTHER_MIGRATION_IN_PROGRESS, words)]
    if not vm.holder_pod:
        return []  # Running by its phase, but its Pod is not seen: look again when it is
    return [CreateMigration(policy, converge)]

"""A migration in the words of its operation: phase, reason, message, progress. Pure. Progress never decreases."""

from __future__ import annotations

from drover.api.kinds.vm import VmPhase
from drover.api.kinds.vmop import VmopPhase, VmopReason
from drover.api.names import VmmPhase
from drover.controllers.vmop import progress
from drover.controllers.vmop.intents import Intent, SetStatus
from drover.controllers.vmop.view import VmmView, VmopView, VmView

QUEUED = (
    "The VirtualMachineOperation for migrating the virtual machine has been queued. "
    "Waiting for the queue to be processed and for this operation to be executed."
)
NOT_CONVERGING = "Migration is not converging: data remaining is not decreasing at maximum throttle"


def follow(view: VmopView, vmm: VmmView, vm: VmView) -> list[Intent]:
    """What the operation says of its migration now."""
    if vmm.phase == VmmPhase.SUCCEEDED:
        seen = vm.phase != VmPhase.MIGRATING and vm.node == vmm.target_node
        # A third Pod holds the lease: the VM was lost on the target before it was seen there. (That the source holds it
        # only says that we have not heard of the hand-over yet.)
        target = vmm.target_pod.partition("/")[2]
        seen = seen or vm.holder_pod not in ("", vmm.source_pod, target)
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
        case VmmPhase.PENDING if vmm.reason == "QuotaExceeded":
            return pending, VmopReason.QUOTA_EXCEEDED, vmm.message, 0
        case VmmPhase.PENDING:
            return pending, VmopReason.MIGRATION_PENDING, vmm.message or QUEUED, 0
        case VmmPhase.SCHEDULING if vmm.reason == "TargetUnschedulable":
            message = f'Target pod "{vmm.target_pod}" is unschedulable: {vmm.message}'
            return going, VmopReason.TARGET_UNSCHEDULABLE, message, 2
        case VmmPhase.SCHEDULING:
            return going, VmopReason.TARGET_SCHEDULING, "Scheduling the migration target", 2
        case VmmPhase.PREPARING if vmm.reason in ("WaitingForInboundSlot", "Queued"):
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
    "TargetDiskError": (
        VmopReason.TARGET_DISK_ERROR,
        "Migration failed: target disk attach error",
    ),
    "NotConverging": (VmopReason.NOT_CONVERGING, "Migration did not converge"),
    "TargetPrepareTimeout": (VmopReason.OPERATION_FAILED, ""),
    "Aborted": (VmopReason.ABORTED, "Migration aborted"),
}


def _failure(view: VmopView, vmm: VmmView) -> SetStatus:
    reason, words = _FAILURES.get(vmm.reason, (VmopReason.FAILED, "Migration failed"))
    told = [text for text in (words, vmm.message) if text]
    message = ": ".join(dict.fromkeys(told))
    return SetStatus(
        VmopPhase.FAILED, reason, message, view.progress_percent, done=True, signalled=True
    )

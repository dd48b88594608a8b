"""VirtualMachineOperation: the words of its API and read-only views of one."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import Any

from drover.api.meta import namespace_of
from drover.api.names import EVACUATION_ANNOTATION, PLAN_ANNOTATION, WORKLOAD_UPDATE_ANNOTATION

Obj = Mapping[str, Any]


class VmopType(enum.StrEnum):
    """Restore and Clone are refused by name: they need snapshots."""

    START = "Start"
    STOP = "Stop"
    RESTART = "Restart"
    EVICT = "Evict"
    MIGRATE = "Migrate"


class VmopPhase(enum.StrEnum):
    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    SUPERSEDED = "Superseded"


class Origin(enum.StrEnum):
    """Who made an operation, in the order in which migrations are served."""

    PERSON = "Person"
    PLACEMENT = "Placement"
    EVACUATION = "Evacuation"
    REBALANCE = "Rebalance"
    FIRMWARE = "Firmware"

    @property
    def rank(self) -> int:
        """0 is served first."""
        return list(Origin).index(self)


# By name prefix, and the annotation that goes with it (empty: none).
_ORIGINS = {
    "nodeplacement-update-": (Origin.PLACEMENT, WORKLOAD_UPDATE_ANNOTATION),
    "evacuation-": (Origin.EVACUATION, EVACUATION_ANNOTATION),
    "rebalance-": (Origin.REBALANCE, ""),
    "firmware-update-": (Origin.FIRMWARE, WORKLOAD_UPDATE_ANNOTATION),
}

FINISHED = frozenset({VmopPhase.COMPLETED, VmopPhase.FAILED, VmopPhase.SUPERSEDED})


class VmopCondition:
    COMPLETED = "Completed"
    SIGNAL_SENT = "SignalSent"


class VmopReason(enum.StrEnum):
    """Reasons of the condition Completed; the last two are SignalSent's."""

    VM_NOT_FOUND = "VirtualMachineNotFound"
    NOT_APPLICABLE_FOR_RUN_POLICY = "NotApplicableForVirtualMachineRunPolicy"
    NOT_APPLICABLE_FOR_PHASE = "NotApplicableForVirtualMachinePhase"
    NOT_APPLICABLE_FOR_LIVE_MIGRATION_POLICY = "NotApplicableForLiveMigrationPolicy"
    NOT_READY_TO_BE_EXECUTED = "NotReadyToBeExecuted"
    SUPERSEDED = "Superseded"
    RESTART_IN_PROGRESS = "RestartInProgress"
    START_IN_PROGRESS = "StartInProgress"
    STOP_IN_PROGRESS = "StopInProgress"
    MIGRATION_PENDING = "MigrationPending"
    TARGET_SCHEDULING = "TargetScheduling"
    TARGET_UNSCHEDULABLE = "TargetUnschedulable"
    TARGET_DISK_ERROR = "TargetDiskError"
    TARGET_PREPARING = "TargetPreparing"
    WAITING_FOR_SYNC_SLOT = "WaitingForSyncSlot"
    SYNCING = "Syncing"
    NOT_CONVERGING = "NotConverging"
    SOURCE_SUSPENDED = "SourceSuspended"
    TARGET_RESUMED = "TargetResumed"
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    FAILED = "Failed"
    OTHER_MIGRATION_IN_PROGRESS = "OtherMigrationInProgress"
    QUOTA_EXCEEDED = "QuotaExceeded"
    WAITING_FOR_VM_READY_TO_MIGRATE = "WaitingForVirtualMachineToBeReadyToMigrate"
    OPERATION_FAILED = "OperationFailed"
    OPERATION_COMPLETED = "OperationCompleted"
    SIGNAL_SENT_ERROR = "SignalSentError"
    SIGNAL_SENT_SUCCESS = "SignalSentSuccess"


class VmopEvent:
    """Reasons of Events on a VirtualMachineOperation."""

    STARTED = "VirtualMachineOperationStarted"
    IN_PROGRESS = "VirtualMachineOperationInProgress"
    SUCCEEDED = "VirtualMachineOperationSucceeded"
    FAILED = "VirtualMachineOperationFailed"
    PENDING = "VirtualMachineOperationPending"


def type_of(vmop: Obj) -> VmopType:
    return VmopType(vmop["spec"]["type"])


def vm_name(vmop: Obj) -> str:
    return str(vmop["spec"]["virtualMachineName"])


def vm_key(vmop: Obj) -> str:
    """The key of that VM, ``namespace/name``."""
    return f"{namespace_of(vmop)}/{vm_name(vmop)}"


def force(vmop: Obj) -> bool | None:
    """None is its own case: liveMigrationPolicy reads it differently from false."""
    value = vmop["spec"].get("force")
    return None if value is None else bool(value)


def node_selector(vmop: Obj) -> dict[str, str]:
    """Where a Migrate shall go; empty for all others."""
    return dict((vmop["spec"].get("migrate") or {}).get("nodeSelector") or {})


def plan(vmop: Obj) -> dict[str, Any]:
    """Where a controller wants the VM to go (``vmm.spec.plan``); empty: anywhere, a person's own operation, or a text
    that no controller wrote."""
    text = (vmop["metadata"].get("annotations") or {}).get(PLAN_ANNOTATION, "")
    if not text or origin(vmop) is Origin.PERSON:
        return {}
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def phase(vmop: Obj) -> VmopPhase | None:
    """None: not seen by the vmop controller yet."""
    text = (vmop.get("status") or {}).get("phase")
    return VmopPhase(text) if text else None


def finished(vmop: Obj) -> bool:
    """Terminating is not finished: it still blocks later operations."""
    return phase(vmop) in FINISHED


def is_migration(vmop: Obj) -> bool:
    return type_of(vmop) in (VmopType.EVICT, VmopType.MIGRATE)


def origin(vmop: Obj) -> Origin:
    """A person's own, unless both its name and its annotation say that a controller made it."""
    meta = vmop["metadata"]
    notes = meta.get("annotations") or {}
    for prefix, (made_by, note) in _ORIGINS.items():
        if str(meta["name"]).startswith(prefix) and (not note or notes.get(note) == "true"):
            return made_by
    return Origin.PERSON


def progress_percent(vmop: Obj) -> int:
    text = str((vmop.get("status") or {}).get("progress", ""))
    return int(text.rstrip("%")) if text else 0

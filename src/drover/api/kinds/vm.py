"""VirtualMachine: the words of its API and read-only views of one.

A view takes the decoded object and returns a plain value; it never writes. Defaults of the CRD are
repeated here only so that objects that never saw an API server (tests) read the same. Where a value
is absent because nobody reported it yet, the view returns the empty value.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drover.base import quantity

Obj = Mapping[str, Any]

CORES_MAX = 248
USER_DATA_MAX_BYTES = 2048
NAME_MAX = 63


class RunPolicy(enum.StrEnum):
    ALWAYS_ON = "AlwaysOn"
    ALWAYS_OFF = "AlwaysOff"
    MANUAL = "Manual"
    ALWAYS_ON_UNLESS_STOPPED_MANUALLY = "AlwaysOnUnlessStoppedManually"


class VmPhase(enum.StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    DEGRADED = "Degraded"
    TERMINATING = "Terminating"
    STOPPED = "Stopped"
    STOPPING = "Stopping"
    STARTING = "Starting"
    MIGRATING = "Migrating"
    PAUSE = "Pause"


class LiveMigrationPolicy(enum.StrEnum):
    ALWAYS_SAFE = "AlwaysSafe"
    PREFER_SAFE = "PreferSafe"
    ALWAYS_FORCED = "AlwaysForced"
    PREFER_FORCED = "PreferForced"


class RestartApproval(enum.StrEnum):
    MANUAL = "Manual"
    AUTOMATIC = "Automatic"


class Bootloader(enum.StrEnum):
    """What starts the guest's own boot loader. ``EFIWithSecureBoot`` is refused by the CRD."""

    BIOS = "BIOS"
    EFI = "EFI"


class MigrationResult(enum.StrEnum):
    """``status.migrationState.result``; empty while it goes on."""

    NONE = ""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ProvisioningType(enum.StrEnum):
    USER_DATA = "UserData"
    USER_DATA_REF = "UserDataRef"


class DeviceKind(enum.StrEnum):
    """What ``spec.blockDeviceRefs[].kind`` may name."""

    DISK = "VirtualDisk"
    IMAGE = "VirtualImage"
    CLUSTER_IMAGE = "ClusterVirtualImage"


class VmCondition:
    """Types of conditions of a VirtualMachine."""

    RUNNING = "Running"
    MIGRATING = "Migrating"
    MIGRATABLE = "Migratable"
    EVICTION_REQUIRED = "EvictionRequired"
    EVACUATION_BLOCKED = "EvacuationBlocked"  # ours: it cannot leave now; present only while True
    FIRMWARE_UP_TO_DATE = "FirmwareUpToDate"
    IP_ADDRESS_READY = "VirtualMachineIPAddressReady"
    CLASS_READY = "VirtualMachineClassReady"
    BLOCK_DEVICES_READY = "BlockDevicesReady"
    PROVISIONING_READY = "ProvisioningReady"
    AGENT_READY = "AgentReady"
    CONFIGURATION_APPLIED = "ConfigurationApplied"
    AWAITING_RESTART = "AwaitingRestartToApplyConfiguration"
    SIZING_POLICY_MATCHED = "SizingPolicyMatched"


class VmReason:
    """Reasons of those conditions."""

    FIRMWARE_OUT_OF_DATE = "FirmwareOutOfDate"  # of FirmwareUpToDate
    # Running
    RUNNING = "Running"
    NOT_RUNNING = "NotRunning"
    NO_BOOTABLE_DEVICE = "NoBootableDevice"
    INTERNAL_ERROR = "InternalVirtualMachineError"
    POD_NOT_STARTED = "PodNotStarted"
    NO_CAPACITY = "NoCapacity"  # its node was lost, and no other has room
    POD_TERMINATING = "PodTerminating"
    POD_NOT_FOUND = "PodNotFound"
    NODE_UNKNOWN = "NodeUnknown"  # its lease names a node that has no Lease
    GUEST_NOT_RUNNING = "GuestNotRunning"
    # Migrating
    PENDING = "Pending"
    READY_TO_MIGRATE = "ReadyToMigrate"
    IN_PROGRESS = "InProgress"
    # Migratable
    MIGRATABLE = "VirtualMachineMigratable"
    NON_MIGRATABLE = "VirtualMachineNonMigratable"
    DISKS_NOT_MIGRATABLE = "VirtualMachineDisksNotMigratable"
    # BlockDevicesReady
    BLOCK_DEVICES_READY = "BlockDevicesReady"
    BLOCK_DEVICES_NOT_READY = "BlockDevicesNotReady"
    # the other *Ready conditions
    IP_ADDRESS_READY = "VirtualMachineIPAddressReady"
    IP_ADDRESS_NOT_READY = "VirtualMachineIPAddressNotReady"
    IP_ADDRESS_NOT_ASSIGNED = "VirtualMachineIPAddressNotAssigned"
    CLASS_READY = "VirtualMachineClassReady"
    CLASS_NOT_READY = "VirtualMachineClassNotReady"
    CLASS_NOT_EXISTS = "VirtualMachineClassNotExists"
    PROVISIONING_READY = "ProvisioningReady"
    PROVISIONING_NOT_READY = "ProvisioningNotReady"
    AGENT_READY = "AgentReady"
    AGENT_NOT_READY = "AgentNotReady"
    # SizingPolicyMatched
    SIZING_POLICY_MATCHED = "SizingPolicyMatched"
    SIZING_POLICY_NOT_MATCHED = "SizingPolicyNotMatched"
    # ConfigurationApplied, AwaitingRestartToApplyConfiguration
    CONFIGURATION_APPLIED = "ConfigurationApplied"
    CONFIGURATION_NOT_APPLIED = "ConfigurationNotApplied"
    CHANGES_PENDING_RESTART = "ChangesPendingRestart"
    NO_RESTART_REQUIRED = "NoRestartRequired"
    # EvictionRequired
    EVICTION_REQUIRED = "EvictionRequired"


class VmEvent:
    """Reasons of Events on a VirtualMachine."""

    STARTED = "Started"
    STOPPED = "Stopped"
    RESTARTED = "Restarted"
    EVICTED = "Evicted"
    MIGRATED = "Migrated"
    CHANGES_APPLIED = "ChangesApplied"


@dataclass(frozen=True)
class DeviceRef:
    kind: DeviceKind
    name: str
    boot_order: int  # 0: not given


def spec(vm: Obj) -> Obj:
    return vm.get("spec") or {}


def status(vm: Obj) -> Obj:
    return vm.get("status") or {}


def run_policy(vm: Obj) -> RunPolicy:
    return RunPolicy(spec(vm).get("runPolicy", RunPolicy.ALWAYS_ON_UNLESS_STOPPED_MANUALLY))


def live_migration_policy(vm: Obj) -> LiveMigrationPolicy:
    return LiveMigrationPolicy(spec(vm).get("liveMigrationPolicy", LiveMigrationPolicy.PREFER_SAFE))


def restart_approval(vm: Obj) -> RestartApproval:
    disruptions = spec(vm).get("disruptions") or {}
    return RestartApproval(disruptions.get("restartApprovalMode", RestartApproval.MANUAL))


def class_name(vm: Obj) -> str:
    """Empty: the default class is meant."""
    return str(spec(vm).get("virtualMachineClassName", ""))


def cores(vm: Obj) -> int:
    return int(spec(vm)["cpu"]["cores"])


def core_fraction_percent(vm: Obj) -> int | None:
    """None: the class's default is meant."""
    text = (spec(vm).get("cpu") or {}).get("coreFraction")
    return int(str(text).rstrip("%")) if text else None


def memory_bytes(vm: Obj) -> int:
    return quantity.size_bytes(spec(vm)["memory"]["size"])


def devices(vm: Obj) -> list[DeviceRef]:
    """In the order written."""
    refs = spec(vm).get("blockDeviceRefs") or []
    return [DeviceRef(DeviceKind(r["kind"]), r["name"], int(r.get("bootOrder", 0))) for r in refs]


def user_data(vm: Obj) -> str | None:
    """Inline user data; None when there is none or it is in a Secret."""
    provisioning = spec(vm).get("provisioning") or {}
    return provisioning.get("userData") if provisioning.get("type") == "UserData" else None


def user_data_secret(vm: Obj) -> str | None:
    """Name of the Secret that holds the user data (key ``userData`` or ``userdata``)."""
    provisioning = spec(vm).get("provisioning") or {}
    if provisioning.get("type") != ProvisioningType.USER_DATA_REF:
        return None
    return str(provisioning["userDataRef"]["name"])


def ip_claim_name(vm: Obj) -> str:
    """Name of the VirtualMachineIPAddress asked for; empty: one of the VM's own name is made."""
    return str(spec(vm).get("virtualMachineIPAddressName", ""))


def ip_claim_in_use(vm: Obj) -> str:
    """Name of the VirtualMachineIPAddress whose address its guest has; of one that does not run, will have."""
    return str(status(vm).get("virtualMachineIPAddressName", ""))


def grace_s(vm: Obj) -> int:
    return int(spec(vm).get("terminationGracePeriodSeconds", 60))


def boots_by_efi(vm: Obj) -> bool:
    return str(spec(vm).get("bootloader", Bootloader.BIOS)) == Bootloader.EFI


def priority_class(vm: Obj) -> str:
    return str(spec(vm).get("priorityClassName", ""))


def phase(vm: Obj) -> VmPhase | None:
    """None: not seen by the vm controller yet."""
    text = status(vm).get("phase")
    return VmPhase(text) if text else None


def node_name(vm: Obj) -> str:
    return str(status(vm).get("nodeName", ""))


def ip_address(vm: Obj) -> str:
    return str(status(vm).get("ipAddress", ""))


def sockets_for(core_count: int) -> int:
    """How many sockets the topology has; the CRD refuses counts that do not divide evenly."""
    for limit, sockets in ((16, 1), (32, 2), (64, 4)):
        if core_count <= limit:
            return sockets
    return 8

"""VirtualMachineMigration: one attempt to move one VM. Read-only views of one.

Its phases are ``names.VmmPhase``. ``status`` has three writers: the migration controller (phase,
targets, conditions, reason, message), the source's agent (``status.source``) and the target's
agent (``status.target``).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from drover.api.kinds.vmop import Origin
from drover.api.meta import namespace_of
from drover.api.names import VmmPhase

Obj = Mapping[str, Any]


class TargetPhase(enum.StrEnum):
    """``status.target.phase``."""

    PREPARING = "Preparing"
    LISTENING = "Listening"
    RUNNING = "Running"
    FAILED = "Failed"


def spec(vmm: Obj) -> Obj:
    return vmm["spec"]  # type: ignore[no-any-return]


def status(vmm: Obj) -> Obj:
    return vmm.get("status") or {}


def vm_name(vmm: Obj) -> str:
    return str(spec(vmm)["virtualMachineName"])


def vm_key(vmm: Obj) -> str:
    """The key of that VM, ``namespace/name``."""
    return f"{namespace_of(vmm)}/{vm_name(vmm)}"


def operation_name(vmm: Obj) -> str:
    return str(spec(vmm)["operationName"])


def source_node(vmm: Obj) -> str:
    return str(spec(vmm)["sourceNode"])


def source_pod_uid(vmm: Obj) -> str:
    return str(spec(vmm)["sourcePod"]["uid"])


def source_pod_name(vmm: Obj) -> str:
    return str((spec(vmm).get("sourcePod") or {}).get("name", ""))


def auto_converge(vmm: Obj) -> bool:
    return bool(spec(vmm).get("autoConverge", False))


def origin(vmm: Obj) -> Origin:
    return Origin(spec(vmm).get("origin", Origin.PERSON))


def phase(vmm: Obj) -> str:
    """One of ``VmmPhase``; Pending before anybody wrote one."""
    return str(status(vmm).get("phase") or VmmPhase.PENDING)


def final(vmm: Obj) -> bool:
    return phase(vmm) in VmmPhase.FINAL


def target_node(vmm: Obj) -> str:
    return str(status(vmm).get("targetNode", ""))


def target_pod_uid(vmm: Obj) -> str:
    return str((status(vmm).get("targetPod") or {}).get("uid", ""))


def target_pod_name(vmm: Obj) -> str:
    return str((status(vmm).get("targetPod") or {}).get("name", ""))


def copy_limits(vmm: Obj) -> Obj:
    """``bandwidthBytesPerSecond`` and its fellows, from the settings; empty before Copying."""
    return status(vmm).get("limits") or {}


def source_report(vmm: Obj) -> Obj:
    """What the source's agent reported last; empty before."""
    return status(vmm).get("source") or {}


def target_report(vmm: Obj) -> Obj:
    """What the target's agent reported last; empty before."""
    return status(vmm).get("target") or {}

"""Pods as drover reads them: mostly VM Pods, each one incarnation (or the target copy) of a VM."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from drover.api import names
from drover.api.meta import namespace_of

Obj = Mapping[str, Any]


class PodPhase(enum.StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


def uid(pod: Obj) -> str:
    return str(pod["metadata"]["uid"])


def vm_name(pod: Obj) -> str:
    """The VM the Pod is a copy of; empty: no VM Pod."""
    return str((pod["metadata"].get("labels") or {}).get(names.VM_NAME_LABEL, ""))


def vm_key(pod: Obj) -> str:
    """The key of that VM, ``namespace/name``."""
    return f"{namespace_of(pod)}/{vm_name(pod)}"


def is_vm(pod: Obj) -> bool:
    return bool(vm_name(pod))


def machine_json(pod: Obj) -> str:
    """The machine spec as JSON text; empty when the annotation is missing."""
    return str((pod["metadata"].get("annotations") or {}).get(names.MACHINE_ANNOTATION, ""))


def migration_name(pod: Obj) -> str:
    """The migration this Pod is the target of; empty for a Pod that starts its VM."""
    return str((pod["metadata"].get("annotations") or {}).get(names.MIGRATION_ANNOTATION, ""))


def node_name(pod: Obj) -> str:
    """Where it is bound; empty: not yet."""
    return str((pod.get("spec") or {}).get("nodeName", ""))


def phase(pod: Obj) -> PodPhase:
    return PodPhase((pod.get("status") or {}).get("phase", PodPhase.PENDING))


def ended(pod: Obj) -> bool:
    """True when its containers will never run again."""
    return phase(pod) in (PodPhase.SUCCEEDED, PodPhase.FAILED)


def deleting(pod: Obj) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def trouble(pod: Obj) -> tuple[str, str]:
    """Reason and message of what keeps its guest from running, as its agent says; empty when nothing does."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("message"):
            return str(waiting.get("reason", "")), str(waiting["message"])
    for condition in status.get("conditions") or []:
        if condition["type"] == "Ready" and condition.get("reason") == names.DISK_ERROR:
            return names.DISK_ERROR, str(condition.get("message", ""))
    return "", ""


def unschedulable(pod: Obj) -> str | None:
    """What the scheduler says of the nodes while none fits; None otherwise. Left out is what it says of preemption in
    sentences of its own, since the Pods of VMs push nobody away."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            of_nodes, tail, _ = str(condition.get("message") or "").partition(". ")
            return f"{of_nodes}." if tail else of_nodes or str(condition.get("reason") or "")
    return None

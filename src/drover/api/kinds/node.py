"""Nodes and their heartbeat Lease as drover reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drover.api import names
from drover.api.fencing import Evidence

Obj = Mapping[str, Any]
# Of a node, since a VM's lease was lost, until it counts that it reports no copy: the first may have been on its way.
RENEWALS_NEEDED = 2


def ready(node: Obj) -> bool:
    """True only on a Ready condition of True: Unknown and none are not ready."""
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def for_vms(node: Obj) -> bool:
    """VMs may run there: an agent has joined it."""
    return (node["metadata"].get("labels") or {}).get(names.SCHEDULABLE_LABEL) == "true"


def away(node: Obj) -> bool:
    """Kubernetes has not heard of its agent for a while."""
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "Unknown" for c in conditions)


def cordoned(node: Obj) -> bool:
    return bool((node.get("spec") or {}).get("unschedulable", False))


def rejoining(node: Obj) -> bool:
    """It carries the taint of one that comes back after a fencing."""
    taints = (node.get("spec") or {}).get("taints") or []
    return any(taint["key"] == names.REJOINING_TAINT for taint in taints)


def is_vm_node(node: Obj) -> bool:
    """True when the Node is kept by an agent of ours (it carries the VM taint)."""
    taints = (node.get("spec") or {}).get("taints") or []
    return any(taint["key"] == names.VM_NODE_TAINT for taint in taints)


def internal_ip(node: Obj) -> str:
    for address in (node.get("status") or {}).get("addresses") or []:
        if address["type"] == "InternalIP":
            return str(address["address"])
    return ""


def labels(node: Obj) -> dict[str, str]:
    return dict(node["metadata"].get("labels") or {})


def allocatable(node: Obj) -> dict[str, str]:
    return dict((node.get("status") or {}).get("allocatable") or {})


def incarnation(lease: Obj) -> str:
    """The node's present life, from its heartbeat Lease; empty: never joined."""
    return str((lease["metadata"].get("annotations") or {}).get(names.INCARNATION_ANNOTATION, ""))


def epoch(lease: Obj) -> int:
    """Raised each time a life of the node is condemned."""
    return int((lease["metadata"].get("annotations") or {}).get(names.EPOCH_ANNOTATION, "0"))


def condemned(lease: Obj) -> str:
    """The life that must end, or empty."""
    return str((lease["metadata"].get("annotations") or {}).get(names.CONDEMNED_ANNOTATION, ""))


def evidence(lease: Obj) -> Evidence | None:
    """What the last renewal says; None when it says nothing that we understand."""
    text = (lease["metadata"].get("annotations") or {}).get(names.EVIDENCE_ANNOTATION)
    try:
        return None if text is None else Evidence.load(text)
    except ValueError:
        return None


def renewal(lease: Obj) -> str:
    """The name of its newest renewal: equal ones are the same. Other writes to the Lease (a label, a mark) change its
    version and not the renewal."""
    said = evidence(lease)
    if said is None:
        return str(lease["metadata"]["resourceVersion"])
    return f"{incarnation(lease)}/{said.attempt}"


def confirmed_off(lease: Obj) -> bool:
    """A person says that the node was switched off after this very renewal. A later one makes that void."""
    said = (lease["metadata"].get("annotations") or {}).get(names.CONFIRMED_ANNOTATION)
    return said is not None and said == renewal(lease)


def machines(lease: Obj) -> dict[str, str] | None:
    """What the node says it runs: Pod uid by ``namespace/name`` of the VM. None: it has not looked yet.

    Raises ValueError on a bad report.
    """
    said = copies(lease)
    return None if said is None else {one.vm: one.pod for one in said}


@dataclass(frozen=True)
class Copy:
    """Of a VM, as its node reports it; ``epoch``: at which it held the VM's lease last, 0: not known."""

    vm: str  # namespace/name
    pod: str  # uid
    epoch: int


def copies(lease: Obj) -> list[Copy] | None:
    """All that may run there; None: its agent has not looked yet. Raises ValueError on a bad report."""
    text = (lease["metadata"].get("annotations") or {}).get(names.MACHINES_ANNOTATION)
    if text is None:
        return None
    return [Copy(one["vm"], one["pod"], int(one.get("epoch", 0))) for one in json.loads(text)]

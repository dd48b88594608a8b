"""Nodes and their heartbeat Lease as drover reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drover.api import names

Obj = Mapping[str, Any]


def ready(node: Obj) -> bool:
    """True only on a Ready condition of True: Unknown and none are not ready."""
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def cordoned(node: Obj) -> bool:
    return bool((node.get("spec") or {}).get("unschedulable", False))


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


def machines(lease: Obj) -> dict[str, str] | None:
    """What the node says it runs: Pod uid by ``namespace/name`` of the VM. None: it has not looked yet.

    Raises ValueError on a bad report.
    """
    text = (lease["metadata"].get("annotations") or {}).get(names.MACHINES_ANNOTATION)
    return None if text is None else {entry["vm"]: entry["pod"] for entry in json.loads(text)}

"""Objects of a small cluster, as the API has them, for tests of the rebalancer's pure parts."""

from __future__ import annotations

from typing import Any

from drover.api import names
from drover.base.clock import rfc3339
from drover.controllers.rebalance.guests import Objects
from drover.controllers.rebalance.policy import Policy
from drover.controllers.rebalance.problem import Problem, pose

NOW_S = 1_000_000.0
VM_TAINT = {"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}
ON = Policy(enabled=True)
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def node(name: str, cpu: str = "10", ready: bool = True, **spec: Any) -> Any:
    labels = {"kubernetes.io/hostname": name, names.SCHEDULABLE_LABEL: "true"}
    taints = [VM_TAINT, *spec.pop("taints", [])]
    return {
        "metadata": {"name": name, "labels": {**labels, **spec.pop("labels", {})}},
        "spec": {"taints": taints, **spec},
        "status": {
            "allocatable": {"cpu": cpu, "memory": "100Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
        },
    }


def pod(vm: str, on: str, cpu: str = "2", name: str = "", **more: Any) -> Any:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}
    labels = {
        names.VM_NAME_LABEL: vm,
        "kubevirt.internal.virtualization.deckhouse.io/created-by": vm,
    }
    return {
        "metadata": {
            "name": name or f"d8v-vm-{vm}-x",
            "namespace": "default",
            "uid": f"pod-{vm}-{name}",
            "resourceVersion": "1",
            "labels": {**labels, **more.pop("labels", {})},
            "annotations": more.pop("annotations", {}),
            "ownerReferences": [],
        },
        "spec": {
            "nodeName": on,
            "containers": [container],
            "tolerations": [{"key": names.VM_NODE_TAINT, "operator": "Exists"}],
            **more,
        },
        "status": {"phase": "Running"},
    }


def vm(name: str, on: str, phase: str = "Running", **conditions: str) -> Any:
    told = [{"type": kind, "status": status} for kind, status in conditions.items()]
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"vm-{name}"},
        "spec": {"cpu": {"cores": 2}, "memory": {"size": "1Gi"}},
        "status": {"phase": phase, "nodeName": on, "conditions": told},
    }


def vmop(name: str, of: str, phase: str = "", ended_s: float = 0.0, **more: Any) -> Any:
    """``plan``: one of the rebalancer's. Born a second before its end, or now."""
    plan = more.pop("plan", "")
    notes = {names.REBALANCE_ANNOTATION: plan} if plan else {}
    born = rfc3339(more.pop("born_s", (ended_s or NOW_S) - 1))
    status: dict[str, Any] = {"phase": phase} if phase else {}
    if ended_s:
        completed = {"type": "Completed", "status": "True", "lastTransitionTime": rfc3339(ended_s)}
        status["conditions"] = [completed]
    spec = {"type": more.pop("type", "Migrate"), "virtualMachineName": of, **more}
    meta = {"name": name, "namespace": "default", "uid": f"op-{name}", "creationTimestamp": born}
    return {"metadata": {**meta, "annotations": notes}, "spec": spec, "status": status}


def crowd(number: int, on: str = "n1", cpu: str = "2") -> dict[str, Any]:
    """VMs a, b, c... on one node, with their Pods."""
    letters = "abcdefghijklmnop"[:number]
    return {
        "vms": [vm(name, on) for name in letters],
        "pods": [pod(name, on, cpu) for name in letters],
    }


def three_nodes() -> list[Any]:
    return [node("n1"), node("n2"), node("n3")]


CLASS = {
    "metadata": {
        "name": "generic",
        "annotations": {names.DEFAULT_CLASS_ANNOTATION: "true"},
    },
    "spec": {"cpu": {"type": "Model", "model": "Nehalem"}},
    "status": {"phase": "Ready"},
}
SPACE = {"metadata": {"name": "default", "labels": {"team": "a"}}}


def ask(policy: Policy = ON, **objects: Any) -> Problem:
    given = {"nodes": three_nodes(), "classes": [CLASS], "namespaces": [SPACE], **objects}
    return pose(Objects(**given), policy, NOW_S)

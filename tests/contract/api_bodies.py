"""Small objects for the contract suite of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.names import HELD_FINALIZER
from drover.base.clock import RealClock, rfc3339

if TYPE_CHECKING:
    from tests.contract.api_rig import Rig

    from drover.api.wire import Object


def config_map(rig: Rig, name: str = "one", **meta: object) -> Object:
    return {"metadata": {"name": name, "namespace": rig.namespace, **meta}, "data": {"a": "1"}}


def operation(rig: Rig, name: str = "one", **meta: object) -> Object:
    spec = {"type": "Evict", "virtualMachineName": name}
    return {"metadata": {"name": name, "namespace": rig.namespace, **meta}, "spec": spec}


def lease(rig: Rig, name: str = "one", **meta: object) -> Object:
    spec = {"holderIdentity": "me", "leaseDurationSeconds": 10}
    return {"metadata": {"name": name, "namespace": rig.namespace, **meta}, "spec": spec}


def pod(rig: Rig, name: str = "pod", cpu: str = "100m", **spec: object) -> Object:
    container = {
        "name": "main",
        "image": "none",
        "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}},
    }
    return {
        "metadata": {"name": name, "namespace": rig.namespace, "labels": {"app": name}},
        "spec": {"automountServiceAccountToken": False, "containers": [container], **spec},
    }


def node(name: str, cpu: str = "2", taint: str = "") -> Object:
    """Ready, with room for ``cpu``; ``taint`` keeps other tests' Pods away."""
    room = {"cpu": cpu, "memory": "4Gi", "pods": "10"}
    taints = [{"key": "test", "value": taint, "effect": "NoSchedule"}] if taint else []
    now = rfc3339(RealClock().wall())
    ready = {"type": "Ready", "status": "True", "reason": "Test", "message": "",
             "lastHeartbeatTime": now, "lastTransitionTime": now}  # fmt: skip
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"taints": taints},
        "status": {"capacity": room, "allocatable": room, "conditions": [ready]},
    }


def toleration(taint: str) -> Object:
    return {"key": "test", "operator": "Equal", "value": taint, "effect": "NoSchedule"}


def vml(rig: Rig, holder: str, epoch: int, node: str = "n1", **spec: object) -> Object:
    """A lease; held ones carry their finalizer."""
    meta: Object = {"name": "vm", "namespace": rig.namespace}
    if holder:
        meta["finalizers"] = [HELD_FINALIZER]
    full = {"holder": holder, "epoch": epoch, "node": node, "nodeIncarnation": f"{node}-1", **spec}
    return {"metadata": meta, "spec": full}


def vmm(rig: Rig) -> Object:
    return {
        "metadata": {"name": "move", "namespace": rig.namespace},
        "spec": {
            "virtualMachineName": "vm", "operationName": "op", "sourceNode": "n1",
            "sourcePod": {"name": "p", "uid": "u"},
        },
    }  # fmt: skip

"""Small objects for the contract suite of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

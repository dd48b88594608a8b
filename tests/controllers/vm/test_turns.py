"""A Pod starts its VM once, whatever the caches have not heard of yet."""

from __future__ import annotations

from typing import Any

from tests.controllers.vm.test_needs import CLAIM, CLASS, FREE

from drover.controllers.vm import decide
from drover.controllers.vm.intents import Acquire, CreatePod
from drover.controllers.vm.power import Power
from drover.controllers.vm.view import VmView

OWNER = {"ownerReferences": [{"uid": "vm-uid"}]}
POWER = Power(True, "AlwaysOn", lease="lease-uid", epoch=6, top=6, starters={"old": 4})


def a_vm(power: Power) -> dict[str, Any]:
    meta = {"name": "v", "namespace": "n", "uid": "vm-uid", "finalizers": ["x"]}
    size = {"cpu": {"cores": 1}, "memory": {"size": "1Gi"}}
    spec = {"runPolicy": "AlwaysOn", "virtualMachineClassName": "c", **size}
    return {"metadata": meta, "spec": spec, "status": {"power": power.save()}}


def a_pod(uid: str) -> dict[str, Any]:
    meta = {"name": f"d8v-vm-v-{uid}", "namespace": "n", "uid": uid, **OWNER}
    return {"metadata": meta, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}


def a_view(power: Power, *pods: dict[str, Any]) -> VmView:
    spec = {"holder": "", "node": "", "epoch": 6, "lastReason": "Stopped", "disks": []}
    meta = {"name": "v", "namespace": "n", "uid": "lease-uid", **OWNER}
    return VmView(
        a_vm(power), 0.0, vmclass=CLASS, class_name="c", claim=CLAIM, claim_name="v",
        devices=(FREE,), lease={"metadata": meta, "spec": spec}, pods=pods,
    )  # fmt: skip


def test_a_pod_that_had_its_turn_gets_none_though_a_cache_did_not_know_it_for_a_while() -> None:
    """Two sets of controllers; the one that was frozen looks at the VM before it has heard of its newest Pod."""
    behind = decide.decide(a_view(POWER))
    assert behind.power.starters == {"old": 4}
    later = decide.decide(a_view(behind.power, a_pod("old")))
    kinds = [type(act) for act in later.acts]
    assert Acquire not in kinds
    assert CreatePod in kinds


def test_only_the_last_few_that_are_gone_are_remembered() -> None:
    many = {f"gone-{number}": number for number in range(20)}
    power = decide.decide(a_view(Power(True, "AlwaysOn", starters=many), a_pod("gone-0"))).power
    assert set(power.starters) == {"gone-0", *(f"gone-{n}" for n in range(12, 20))}

"""A Pod starts its VM once, whatever the caches have not heard of yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.controllers.vm.test_needs import CLAIM, CLASS, FREE

from drover.controllers.vm import decide
from drover.controllers.vm.intents import Acquire, CreatePod, DeletePod
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


def test_a_pod_whose_turn_is_past_is_taken_away_while_another_runs_the_vm() -> None:
    """Its creation was on the way for so long that the VM runs in another one by now."""
    late = a_pod("late")
    late["status"]["phase"] = "Pending"

    def taken(chosen_at: int) -> list[str]:
        power = replace(POWER, epoch=8, top=8, starters={"late": chosen_at, "now": 7})
        view = a_view(power, a_pod("now"), late)
        assert view.lease is not None
        held = {**view.lease["spec"], "holder": "now", "node": "n1", "epoch": 8}
        acts = decide.decide(replace(view, lease={**view.lease, "spec": held})).acts
        return [act.pod["metadata"]["uid"] for act in acts if isinstance(act, DeletePod)]

    assert taken(5) == ["late"]
    assert taken(8) == []  # somebody may be about to give it the lease

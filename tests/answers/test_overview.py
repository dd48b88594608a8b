"""The page of everything: what it counts, and what it says needs attention and what not."""

from __future__ import annotations

from typing import Any

from tests.answers.test_why_objects import READY, a_node, a_vm, of, plan

from drover.answers.attention import RECENT_S, USUAL_S
from drover.answers.overview import Overview, rows_json
from drover.answers.world import World
from drover.api import scheme
from drover.api.wire import Object
from drover.base.clock import rfc3339

NOW_S = 1_000_000.0


def seen(*objects: Object, missing: tuple[str, ...] = ()) -> Overview:
    return Overview(World.of(objects, NOW_S, missing))


def tells(*objects: Object) -> list[str]:
    return [one.says for one in seen(*objects).attention]


def operation(phase: str, age_s: float = 1.0, **more: Any) -> Object:
    at = rfc3339(NOW_S - age_s)
    said = {"type": "Completed", "status": "False", "reason": "Failed", "message": "no room"}
    said["lastTransitionTime"] = at
    meta = {"name": "op", "namespace": "users", "creationTimestamp": at}
    spec = {"type": "Evict", "virtualMachineName": "a"}
    status = {"phase": phase, "conditions": [said], **more}
    return of(scheme.VMOP, {"metadata": meta, "spec": spec, "status": status})


def phased(vm: list[Object], phase: str, since_s: float) -> list[Object]:
    vm[0]["status"]["phase"] = phase
    went = (("Stopped", since_s + 900), (phase, since_s), ("Starting", 1), (phase, 0.5))
    vm[0]["status"]["stats"] = {
        "phasesTransitions": [
            {"phase": name, "timestamp": rfc3339(NOW_S - before_s)} for name, before_s in went
        ]
    }
    vm[0]["status"]["conditions"] = [
        {
            "type": "Running",
            "status": "False",
            "reason": "NoCapacity",
            "message": "no room for it",
            "lastTransitionTime": rfc3339(NOW_S - 90_000),
        }
    ]
    return vm


def test_all_is_well() -> None:
    found = seen(a_node("n1"), a_node("n2"), *a_vm("a", "n1", cores=2), *a_vm("b", "n1"))
    assert found.attention == []
    assert [(row.name, row.state, row.vms) for row in found.nodes] == [
        ("n1", "Ready", 2),
        ("n2", "Ready", 0),
    ]
    assert found.phases == {"Running": 2}
    assert found.nodes[0].cpu_milli == sum(row.cpu_milli for row in found.vms) > 0


def test_a_move_is_shown_with_its_dirty_rate() -> None:
    vmop = operation("InProgress", progress="40%")
    source = {"dirtyBytesPerSecond": 7, "ramRemainingBytes": 9}
    spec = {"virtualMachineName": "a", "operationName": "op", "sourceNode": "n1"}
    status = {"phase": "Copying", "targetNode": "n2", "source": source}
    meta = {"name": "m", "namespace": "users"}
    vmm = of(scheme.VMM, {"metadata": meta, "spec": spec, "status": status})
    found = seen(a_node("n1"), a_node("n2"), *a_vm("a", "n1"), vmop, vmm)
    assert rows_json(found.moves) == [
        {
            "vm": "users/a",
            "operation": "op",
            "origin": "Person",
            "phase": "InProgress",
            "percent": 40,
            "source": "n1",
            "target": "n2",
            "dirtyBytesPerSecond": 7,
            "remainingBytes": 9,
        }
    ]
    assert found.vms[0].dirty_bytes_per_second == 7
    assert found.attention == []


def test_a_vm_is_told_of_only_when_it_takes_longer_than_usual() -> None:
    assert tells(a_node("n1"), *phased(a_vm("a", "n1"), "Pending", USUAL_S - 1)) == []
    late = phased(a_vm("a", "n1"), "Pending", USUAL_S + 1)
    [said] = seen(a_node("n1"), *late).attention
    assert said.says == "users/a: no room for it"
    assert said.way_out


def test_a_failed_operation_is_told_of_until_it_is_old_or_another_follows() -> None:
    vm = [a_node("n1"), *a_vm("a", "n1")]
    words = "Evict users/op of a failed: no room"
    assert tells(*vm, operation("Failed")) == [words]
    assert tells(*vm, operation("Completed")) == []
    assert tells(*vm, operation("Failed", RECENT_S + 1)) == []
    later = operation("Completed", 0.5)
    later["metadata"]["name"] = "op2"
    assert tells(*vm, operation("Failed"), later) == []


def test_nodes_that_are_away_in_maintenance_or_not_ready() -> None:
    silent = {"type": "Ready", "status": "Unknown"}
    [away] = seen(a_node("n1", silent)).attention
    assert away.says.startswith("n1 is silent")
    assert "drover fence confirm n1" in away.way_out
    closed = seen(a_node("n1", unschedulable=True), a_node("n2"))
    assert [row.state for row in closed.nodes] == ["Cordoned", "Ready"]
    assert [one.way_out for one in closed.attention] == ["`drover uncordon n1` ends it"]
    assert tells(a_node("n1", {**READY, "status": "False"})) == ["n1 is not Ready"]


def test_a_node_that_was_fenced_is_there_though_its_object_is_gone() -> None:
    spec = {"node": "n9", "incarnation": "life", "group": "g"}
    fence = {"metadata": {"name": "n9-life"}, "spec": spec, "status": {"phase": "Released"}}
    found = seen(a_node("n1"), of(scheme.NODEFENCE, fence))
    assert [(row.name, row.state) for row in found.nodes] == [("n1", "Ready"), ("n9", "Released")]
    assert [one.says for one in found.attention] == [
        "n9 was lost and is gone; its VMs start elsewhere"
    ]


def module(enabled: bool) -> Object:
    return of(
        scheme.MODULECONFIG, {"metadata": {"name": "descheduler"}, "spec": {"enabled": enabled}}
    )


def balance(over: int) -> Object:
    status = {"overloadedNodes": over, "brokenRules": 0}
    return of(scheme.DESCHEDULER, {"metadata": {"name": "virtualization"}, "status": status})


def test_rebalancing_in_a_few_words() -> None:
    assert seen().rebalancing == seen(module(False), balance(1)).rebalancing == "off"
    assert seen(module(True), balance(0)).rebalancing == "on, balanced"
    over = "on, nodes over a threshold: 2, broken rules: 0"
    assert seen(module(True), balance(2)).rebalancing == over
    going = plan(True)
    going["status"] = {"phase": "Executing", "steps": [{"state": "Done"}]}
    words = "on, rebalance-1 is Executing, 1 of 1 moves done"
    assert seen(module(True), balance(2), going).rebalancing == words


def test_fencing_by_group() -> None:
    def group(name: str, mode: str, status: str, reason: str) -> Object:
        said = {"type": "FencingActive", "status": status, "reason": reason}
        spec = {"fencing": {"mode": mode}} if mode else {}
        told = {"conditions": [said]}
        return of(scheme.NODEGROUP, {"metadata": {"name": name}, "spec": spec, "status": told})

    found = seen(
        group("a", "Watchdog", "True", "Watching"),
        group("b", "Watchdog", "False", "Paused"),
        group("c", "", "False", "Off"),
    )
    assert found.fencing == {"a": "Watchdog", "b": "Watchdog, Paused", "c": "off"}


def test_a_plan_that_waits_for_a_person() -> None:
    vm = [a_node("n1"), a_node("n2"), *a_vm("a", "n1")]
    assert tells(*vm, plan(False)) == ["rebalance-1 waits for a person; moves in it: 1"]
    assert tells(*vm, plan(True)) == []


def test_a_node_whose_vms_are_not_confined() -> None:
    """Not once more in a node that does not say, such as one of an earlier release."""
    loose = {"type": "Sandboxed", "status": "False", "message": "QEMU runs as root: no group"}
    one, other = a_node("n1"), a_node("n2")
    one["status"]["conditions"].append(loose)
    words = "VMs on n1 are not confined as they should be: QEMU runs as root: no group"
    assert tells(one, other) == [words]
    loose["status"] = "True"
    assert tells(one, other) == []

"""The rebalancer at work beside the controllers that carry its operations out: hands play scheduler and agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.controllers import moving
from tests.controllers.moving import SOON_S
from tests.controllers.world import NS, World, play

from drover.api import conditions, names
from drover.api.kinds import rebalance as kinds
from drover.api.scheme import DESCHEDULER, EVENT, MODULECONFIG, NODE, REBALANCEPLAN, VM, VMOP
from drover.api.wire import Object
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.controllers.rebalance.controller import AtOnce, wire
from drover.runtime.client import Client
from drover.runtime.manager import Manager

ROOM = {"cpu": "5", "memory": "64Gi", "pods": "110"}
FIVE = ("n1",) * 5
SETTLED_S = 8.0
QUICK: dict[str, Any] = {"settlingTime": 5}


def both(world: World) -> None:
    moving.wire(world)
    wire(world.manager, AtOnce())


def story(told: Callable[[World], Awaitable[None]], seed: int = 0) -> None:
    play(told, both, seed)


async def crowded(world: World, *places: str, **settings: Any) -> list[str]:
    """VMs of one core each; five of them fill a node."""
    vms = await moving.running(world, *(places or FIVE))
    for node in ("n1", "n2", "n3", "n4"):
        ready = [{"type": "Ready", "status": "True"}]
        status = {"allocatable": ROOM, "capacity": ROOM, "conditions": ready}
        await world.admin.patch(NODE, node, "", {"status": status}, subresource="status")
        taint = {"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}
        label = {"labels": {"kubernetes.io/hostname": node}}
        await world.patch(NODE, node, {"metadata": label, "spec": {"taints": [taint]}})
    await world.create(DESCHEDULER, names.DESCHEDULER, {"strategies": {
        "lowNodeUtilization": {"enabled": True, "targetThresholds": {"cpu": 80}},
    }})  # fmt: skip
    await world.create(
        MODULECONFIG,
        names.REBALANCE_MODULE,
        {"enabled": True, "settings": {"rebalance": {**QUICK, **settings}}},
    )
    return vms


async def plans(world: World) -> list[Object]:
    found, _ = await world.admin.list(REBALANCEPLAN)
    return sorted(found, key=kinds.number)


async def ours(world: World) -> list[Object]:
    found, _ = await world.admin.list(VMOP, NS)
    return [op for op in found if op["metadata"]["name"].startswith("rebalance-")]


async def balanced(world: World) -> Object:
    found = await world.get(DESCHEDULER, names.DESCHEDULER)
    return conditions.get_condition(found, "Balanced") or {}


async def arrive(world: World, op: Object) -> None:
    """Scheduler and agents: the VM moves to where its operation says."""
    vm, name = op["spec"]["virtualMachineName"], op["metadata"]["name"]
    node = op["spec"]["migrate"]["nodeSelector"]["kubernetes.io/hostname"]
    source = await world.living_pod_of_lease(vm)
    home = source["spec"]["nodeName"]
    await moving.prepare(world, vm, node, name)
    await world.settle(SOON_S)
    vmm = await moving.move(world, vm, name)
    target = await world.admin.get(moving.POD, vmm["status"]["targetPod"]["name"], NS)
    await moving.say(world, vmm, home, {"source": {"phase": "Copying"}})
    await world.hand_over(vm, target, node, home)
    await world.pod_status(target, node, {"phase": "Running"})
    await moving.say(world, vmm, node, {"target": {"phase": "Running"}})
    await world.pod_status(source, home, {"phase": "Succeeded"})
    await world.settle(2)


def test_an_overloaded_node_is_relieved_by_one_planned_move() -> None:
    async def told(world: World) -> None:
        await crowded(world)
        await world.settle(SETTLED_S)
        [plan] = await plans(world)
        assert kinds.phase(plan) is kinds.PlanPhase.EXECUTING
        assert (plan["spec"]["movesTotal"], plan["spec"]["overloaded"]) == (1, ["n1"])
        [op] = await ours(world)
        assert op["spec"]["type"] == "Migrate"
        [move] = plan["spec"]["moves"]
        assert (move["reason"], move["load"][0]["before"]["cpu"]) == ("Overload", 100)
        assert (await balanced(world))["reason"] == "Rebalancing"
        await arrive(world, op)
        await world.settle(3)
        [plan] = await plans(world)
        assert kinds.phase(plan) is kinds.PlanPhase.DONE
        assert (plan["status"]["done"], plan["status"]["gain"]) == (1, 20)
        assert (await balanced(world))["status"] == "True"
        events, _ = await world.admin.list(EVENT)
        reasons = {event["reason"] for event in events if "n1" in event["message"]}
        assert "Rebalancing" in reasons

    story(told)


def test_it_waits_for_the_settling_time_and_for_the_switch() -> None:
    async def told(world: World) -> None:
        await crowded(world, settlingTime=300)
        await world.settle(200)
        assert await plans(world) == []
        assert (await balanced(world))["reason"] == "Settling"
        await world.patch(MODULECONFIG, names.REBALANCE_MODULE, {"spec": {"enabled": False}})
        await world.settle(200)
        assert await plans(world) == []
        assert (await balanced(world))["reason"] == "Disabled"

    story(told)


def test_a_plan_waits_for_a_persons_word() -> None:
    async def told(world: World) -> None:
        await crowded(world, mode="Approve")
        await world.settle(SETTLED_S)
        [plan] = await plans(world)
        assert (kinds.phase(plan), await ours(world)) == (kinds.PlanPhase.PROPOSED, [])
        assert (await balanced(world))["reason"] == "WaitingForApproval"
        await world.patch(REBALANCEPLAN, "rebalance-1", {"spec": {"approved": True}})
        await world.settle(3)
        assert len(await ours(world)) == 1
        assert kinds.phase((await plans(world))[0]) is kinds.PlanPhase.EXECUTING

    story(told)


def test_a_failed_move_leads_to_a_plan_without_that_vm() -> None:
    async def told(world: World) -> None:
        await crowded(world)
        await world.settle(SETTLED_S)
        [op] = await ours(world)
        vm, name = op["spec"]["virtualMachineName"], op["metadata"]["name"]
        vmm = await moving.move(world, vm, name)
        pod = await world.admin.get(moving.POD, vmm["status"]["targetPod"]["name"], NS)
        node = op["spec"]["migrate"]["nodeSelector"]["kubernetes.io/hostname"]
        await world.bind(pod, node)
        await world.pod_status(pod, node, {"phase": "Failed"})
        await world.settle(5)
        first, second = await plans(world)
        assert kinds.phase(first) is kinds.PlanPhase.SUPERSEDED
        assert first["status"]["failed"] == 1
        assert second["spec"]["moves"][0]["virtualMachine"] != f"default/{vm}"

    story(told)


def test_a_move_that_a_person_takes_back_is_not_made_again() -> None:
    async def told(world: World) -> None:
        await crowded(world)
        await world.settle(SETTLED_S)
        [op] = await ours(world)
        await world.delete(VMOP, op["metadata"]["name"])
        await world.settle(5)
        first, second = await plans(world)
        assert first["status"]["steps"][0]["state"] == "Stopped"
        stopped = first["spec"]["moves"][0]["virtualMachine"]
        assert second["spec"]["moves"][0]["virtualMachine"] != stopped

    story(told)


def test_a_persons_operation_goes_first() -> None:
    async def told(world: World) -> None:
        vms = await crowded(world, mode="Approve")
        await world.settle(SETTLED_S)
        [plan] = await plans(world)
        planned = plan["spec"]["moves"][0]["virtualMachine"].partition("/")[2]
        first, second, *_ = [vm for vm in vms if vm != planned]
        await moving.evict(world, first)
        await moving.evict(world, second)  # waits for the node's slot
        await world.patch(REBALANCEPLAN, "rebalance-1", {"spec": {"approved": True}})
        await world.settle(3)
        assert await ours(world) == []
        assert f"operation default/e-{second} goes first" in (await balanced(world))["message"]
        await world.delete(VMOP, f"e-{second}")
        await world.delete(VMOP, f"e-{first}")
        await world.settle(5)
        assert len(await ours(world)) == 1

    story(told)


def test_switched_off_in_the_middle_it_begins_nothing_more() -> None:
    async def told(world: World) -> None:
        await crowded(world, mode="Approve")
        await world.settle(SETTLED_S)
        await world.patch(MODULECONFIG, names.REBALANCE_MODULE, {"spec": {"enabled": False}})
        await world.settle(3)
        [plan] = await plans(world)
        assert kinds.phase(plan) is kinds.PlanPhase.SUPERSEDED

    story(told)


def test_two_controllers_make_one_plan_and_one_move() -> None:
    """The second has caches and a clock of its own, and acts at the same moments."""

    async def told(world: World) -> None:
        door = world.api.transport(names.CONTROLLERS_USER, [names.CONTROLLERS_USER])
        log = Log(world.clock, world.log.append)
        twin = Manager(Client(door), world.clock, SeededIds("twin"), log)
        wire(twin, AtOnce())
        async with TaskScope("twin") as scope:
            scope.guard(twin.run(), "twin")
            await crowded(world)
            await world.settle(SETTLED_S)
            assert len(await plans(world)) == 1
            [op] = await ours(world)
            await arrive(world, op)
            await world.settle(5)
            [plan] = await plans(world)
            assert kinds.phase(plan) is kinds.PlanPhase.DONE
            assert len(await ours(world)) == 1

    story(told)


def test_an_operation_of_a_plan_that_is_over_is_taken_back() -> None:
    """A controller that stood still may make it late."""

    async def told(world: World) -> None:
        await crowded(world, "n1")
        stray: Object = {"name": "rebalance-late", "namespace": NS}
        stray["annotations"] = {names.REBALANCE_ANNOTATION: "rebalance-7"}
        spec = {
            "type": "Migrate",
            "virtualMachineName": "vm0",
            "migrate": {"nodeSelector": {"kubernetes.io/hostname": "nowhere"}},
        }
        await world.manager.client.create(VMOP, {"metadata": stray, "spec": spec})
        await world.settle(5)
        assert await ours(world) == []
        assert (await world.get(VM, "vm0"))["status"]["phase"] == "Running"

    story(told)


def test_a_rebalancing_without_effect_is_told_to_somebody() -> None:
    async def told(world: World) -> None:
        await crowded(world)
        for node in ("n2", "n3", "n4"):
            await world.patch(NODE, node, {"spec": {"unschedulable": True}})
        await world.settle(600)
        found = await world.get(DESCHEDULER, names.DESCHEDULER)
        assert conditions.is_true(found, "Progressing")
        assert (await balanced(world))["reason"] == "Impossible"
        await world.settle(400)
        found = await world.get(DESCHEDULER, names.DESCHEDULER)
        stalled = conditions.get_condition(found, "Progressing") or {}
        assert (stalled["status"], stalled["reason"]) == ("False", "WithoutEffect")
        events, _ = await world.admin.list(EVENT)
        warned = [event for event in events if event["reason"] == "RebalancingWithoutEffect"]
        assert len(warned) == 1
        await world.patch(NODE, "n2", {"spec": {"unschedulable": None}})
        await world.settle(40)
        assert len(await ours(world)) == 1

    story(told)

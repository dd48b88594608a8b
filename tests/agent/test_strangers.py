"""Pods on a node that are no VMs: visible with a reason, and gone when they are asked to go."""

from __future__ import annotations

from typing import Any

from tests.controllers.world import NS, World, play

from drover.agent.strangers import REASON, Strangers
from drover.api import names
from drover.api.scheme import POD
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.manager import Manager


def plain(name: str, **meta: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": "busybox"}]}
    return {"metadata": {"name": name, "namespace": NS, **meta}, "spec": spec}


async def on_node(world: World, scope: TaskScope) -> None:
    """The part of the agent of n1 that is under test."""
    log = Log(world.clock, lambda entry: None)
    manager = Manager(world.node("n1"), world.clock, SeededIds("agent"), log)
    pods = manager.informer(POD, fields="spec.nodeName=n1")
    manager.add(Strangers(world.node("n1"), pods).controller())
    scope.guard(manager.run(), "agent")


def test_a_pod_that_is_no_vm_waits_with_a_reason_and_goes_when_deleted() -> None:
    async def story(world: World) -> None:
        await world.join("n1")
        async with TaskScope("node") as scope:
            await on_node(world, scope)
            await world.bind(await world.admin.create(POD, plain("web")), "n1")
            await world.settle(2)
            status = (await world.get(POD, "web"))["status"]
            assert (status["phase"], status["reason"]) == ("Pending", REASON)
            assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == REASON
            assert any(entry["type"] == "PodScheduled" for entry in status["conditions"])
            await world.delete(POD, "web")
            await world.settle(2)
            assert await world.find(POD, "web") is None

    play(story, lambda world: None)


def test_the_pod_of_a_vm_is_left_alone() -> None:
    async def story(world: World) -> None:
        await world.join("n1")
        await world.priority_class()
        async with TaskScope("node") as scope:
            await on_node(world, scope)
            labels = {names.VM_NAME_LABEL: "vm"}
            pod = plain("d8v-vm-vm-abcde", labels=labels)
            pod["spec"]["priorityClassName"] = names.VM_PRIORITY_CLASS
            await world.bind(await world.manager.client.create(POD, pod), "n1")
            await world.settle(2)
            assert "reason" not in (await world.get(POD, "d8v-vm-vm-abcde"))["status"]
            await world.delete(POD, "d8v-vm-vm-abcde")
            await world.settle(2)
            found = await world.get(POD, "d8v-vm-vm-abcde")
            assert "deletionTimestamp" in found["metadata"]

    play(story, lambda world: None)

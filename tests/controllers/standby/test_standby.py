"""What the loss of each node would mean is told before it happens: on the group, as a condition, an Event."""

from __future__ import annotations

from typing import Any

from tests.controllers.moving import running
from tests.controllers.moving import wire as wire_moves
from tests.controllers.world import World, play

from drover.api import names
from drover.api.conditions import get_condition
from drover.api.scheme import EVENT, NODE, NODEGROUP, VM
from drover.controllers.pictures import ClusterPicture
from drover.controllers.standby.controller import PERIOD_S
from drover.controllers.standby.controller import wire as wire_standby

GROUP = "worker"


def wire(world: World) -> None:
    wire_moves(world)
    wire_standby(world.manager, ClusterPicture(world.manager))


async def a_group(world: World, cores: str = "2") -> None:
    """Four nodes, two VMs of a core on n1, one on n2; the rest is empty."""
    await running(world, "n1", "n1", "n2")
    for node in ("n1", "n2", "n3", "n4"):
        await world.set_status(
            NODE, node, {"allocatable": {"cpu": cores, "memory": "16Gi", "pods": "9"}}
        )
        label = {"metadata": {"labels": {names.NODE_GROUP_LABEL: GROUP}}}
        await world.patch(NODE, node, {**label, "spec": {"taints": []}})
    await world.create(NODEGROUP, GROUP, {"fencing": {"mode": "Watchdog"}})
    await world.settle(2)


async def told(world: World) -> tuple[str, str, dict[str, dict[str, Any]]]:
    """Reason and message of the condition, and what is said of each node."""
    group = await world.get(NODEGROUP, GROUP)
    said = get_condition(group, "ColdStandbyReady")
    assert said is not None
    return said["reason"], said["message"], {one["node"]: one for one in group["status"]["standby"]}


def test_every_node_may_be_lost() -> None:
    async def story(world: World) -> None:
        await a_group(world)
        reason, message, nodes = await told(world)
        assert (reason, message) == ("RoomForEveryNode", "")
        assert nodes["n1"] == {"node": "n1", "virtualMachines": 2, "withoutRoom": 0}
        assert nodes["n3"] == {"node": "n3", "virtualMachines": 0, "withoutRoom": 0}
        await world.patch(NODEGROUP, GROUP, {"spec": {"fencing": None}})
        await world.settle(2)
        reason, _, nodes = await told(world)
        assert (reason, nodes) == ("Off", {})

    play(story, wire)


def test_a_node_whose_vms_would_find_no_room() -> None:
    async def story(world: World) -> None:
        await a_group(world)
        for node in ("n3", "n4"):
            await world.patch(NODE, node, {"spec": {"unschedulable": True}})
        await world.settle(PERIOD_S + 2)
        reason, message, nodes = await told(world)
        assert reason == "NoRoom"
        assert "when n1 is lost there is no room elsewhere for default/vm1: 0/4 nodes" in message
        assert nodes["n1"]["withoutRoom"] == 1
        assert nodes["n2"]["withoutRoom"] == 1  # n1 is full itself
        events, _ = await world.admin.list(EVENT)
        assert "NoRoom" in [event["reason"] for event in events]
        # A VM that does not start again needs no room.
        await world.patch(VM, "vm1", {"spec": {"runPolicy": "Manual"}})
        await world.settle(PERIOD_S + 2)
        _, _, nodes = await told(world)
        assert (nodes["n1"]["virtualMachines"], nodes["n1"]["withoutRoom"]) == (1, 0)

    play(story, wire)

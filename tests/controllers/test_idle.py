"""What happens all the time costs next to nothing: a node's heartbeat wakes nobody, a VM's word that VM alone."""

from __future__ import annotations

from tests.controllers.moving import running
from tests.controllers.moving import wire as wire_moves
from tests.controllers.world import World, play

from drover.api import names
from drover.api.scheme import NODE, POD
from drover.controllers import access
from drover.controllers.addresses.controller import wire as wire_addresses
from drover.controllers.addresses.decide import Range
from drover.controllers.classes.controller import wire as wire_classes
from drover.controllers.evacuation import budgets
from drover.controllers.evacuation.controller import wire as wire_evacuation
from drover.controllers.fencing.controller import wire as wire_fencing
from drover.controllers.firmware.controller import wire as wire_firmware
from drover.controllers.gc.controller import wire as wire_gc
from drover.controllers.pictures import ClusterPicture
from drover.controllers.placement.controller import wire as wire_placement
from drover.controllers.standby.controller import wire as wire_standby


def wire(world: World) -> None:
    """Everything that looks at VMs, Pods or nodes."""
    manager = world.manager
    wire_moves(world)
    wire_addresses(manager, Range("10.66.10.20", "10.66.10.99"))
    picture = ClusterPicture(manager)
    for one in (wire_classes, wire_gc, wire_fencing, budgets.wire, access.wire):
        one(manager)
    for other in (wire_evacuation, wire_firmware, wire_placement, wire_standby):
        other(manager, picture)


def passes(world: World) -> dict[str, float]:
    """How many each controller has made so far."""
    return {made.name: made.worked.buckets()[-1][1] for made in world.manager.controllers}


async def woken(world: World) -> dict[str, float]:
    """By what was just done."""
    before = passes(world)
    await world.settle(1)
    return {name: now - before[name] for name, now in passes(world).items() if now > before[name]}


def test_a_heartbeat_wakes_nobody_and_a_word_of_a_guest_its_own_vm() -> None:
    async def story(world: World) -> None:
        await running(world, "n1", "n1", "n2", "n3")
        await world.settle(30)
        assert await woken(world) == {}

        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:09Z"}
        await world.set_status(NODE, "n1", {"conditions": [ready]})
        assert await woken(world) == {}

        (pod, *_) = (await world.admin.list(POD, labels=names.VM_NAME_LABEL))[0]
        word = {"metadata": {"annotations": {"drover.dev/word": "1"}}}
        await world.patch(POD, pod["metadata"]["name"], word)
        found = await woken(world)
        assert set(found) <= {"vm", "evacuation", "gc", "migration"}
        assert max(found.values()) == 1

        await world.patch(NODE, "n1", {"spec": {"unschedulable": True}})
        assert "firmware" in await woken(world)  # a change is seen all the same

    play(story, wire)

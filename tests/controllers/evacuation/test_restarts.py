"""The evacuation controller dies and comes back at any moment: one operation at a time, and none forgotten."""

from __future__ import annotations

import pytest
from tests.controllers.evacuation.test_evacuation import (
    VM_NAME,
    Stage,
    cordon,
    operations,
    room,
)
from tests.controllers.world import NS, World, play

from drover.api import names
from drover.api.evacuation import Mark, mark_of, mark_patch
from drover.api.machine import GuestNetwork
from drover.api.names import CONTROLLERS_USER
from drover.api.scheme import POD, VM, VMOP
from drover.base.clock import rfc3339
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.controllers.evacuation.controller import wire as wire_evacuation
from drover.controllers.migration.controller import wire as wire_migration
from drover.controllers.pictures import ClusterPicture
from drover.controllers.vm.act import Settings
from drover.controllers.vm.controller import wire as wire_vm
from drover.controllers.vmop.controller import wire as wire_vmop
from drover.runtime.client import Client
from drover.runtime.manager import Manager


def others(world: World) -> None:
    """All controllers but the one that is restarted."""
    network = GuestNetwork("10.66.10.254", 24)
    wire_vm(world.manager, Settings(network, "/shared/disks", "/shared/images"))
    wire_vmop(world.manager)
    wire_migration(world.manager)


async def live(world: World, number: int, seconds: float) -> None:
    """One life of the evacuation controller, ended without a word."""
    client = Client(world.api.transport(CONTROLLERS_USER, [CONTROLLERS_USER]))
    log = Log(world.clock, lambda entry: None)
    manager = Manager(client, world.clock, SeededIds(f"life{number}"), log)
    wire_evacuation(manager, ClusterPicture(manager))
    async with TaskScope("life") as scope:
        scope.guard(manager.run(), "manager")
        await world.settle(seconds)


async def marked(world: World, stage: Stage) -> None:
    await stage.begin(world)
    await cordon(world, "n1")
    mark = Mark(rfc3339(world.clock.wall()), cordoned=True)
    name = stage.pod["metadata"]["name"]
    await world.manager.client.patch(POD, name, NS, mark_patch(mark))


@pytest.mark.parametrize("life_s", [0.0, 0.001, 0.003, 0.01, 0.05, 1.0])
def test_one_operation_however_short_the_lives_are(life_s: float) -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await marked(world, stage)
        for number in range(12):
            await live(world, number, life_s)
            assert len(await operations(world)) <= 1
        await live(world, 99, 2)
        [op] = await operations(world)
        assert names.EVACUATION_FINALIZER in op["metadata"]["finalizers"]

    play(story, others)


def test_a_mark_that_came_while_nobody_looked_is_seen() -> None:
    """The reference platform waits for the next change of the VM."""
    stage = Stage()

    async def story(world: World) -> None:
        await marked(world, stage)
        await world.settle(100)
        assert await operations(world) == []
        await live(world, 1, 1)
        assert len(await operations(world)) == 1

    play(story, others)


def test_a_deletion_that_nobody_saw_still_cancels_the_mark() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await marked(world, stage)
        await live(world, 1, 1)
        [op] = await operations(world)
        await world.delete(VMOP, op["metadata"]["name"])
        await world.settle(20)
        await live(world, 2, 2)
        assert await operations(world) == []
        assert mark_of(await world.living_pod(VM_NAME)) is None

    play(story, others)


def test_the_pause_after_a_failure_is_kept_across_lives() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await marked(world, stage)
        await live(world, 1, 1)
        await world.settle(301)  # its target finds no node: nobody plays the scheduler
        [op] = await operations(world)
        assert op["status"]["phase"] == "Failed"
        await live(world, 2, 1)
        assert len(await operations(world)) == 1  # the pause is 5 s
        await world.settle(10)
        await live(world, 3, 1)
        assert len(await operations(world)) == 2

    play(story, others)


def test_a_vm_that_is_gone_leaves_no_operation_protected() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await marked(world, stage)
        await room(world, "n2")
        await live(world, 1, 1)
        await world.delete(VM, VM_NAME)
        await world.settle(2)
        await world.release(VM_NAME, "n1", "Stopped")
        await world.settle(5)
        await live(world, 2, 2)
        for op in await operations(world):
            assert names.EVACUATION_FINALIZER not in op["metadata"].get("finalizers", [])

    play(story, others)

"""What a VM shows while it is moved: phase, node, migrationState, and the life that goes on."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.controllers.world import Story, World, play

from drover.api import vmpod
from drover.api.machine import GuestNetwork
from drover.api.scheme import POD, VM, VMM
from drover.api.wire import Object
from drover.controllers.vm.act import Settings
from drover.controllers.vm.controller import wire

SETTINGS = Settings(GuestNetwork("10.66.10.254", 24), "/shared/disks", "/shared/images")


def tell(story: Story) -> None:
    play(story, lambda world: wire(world.manager, SETTINGS))


async def running(world: World) -> Object:
    await world.ready_class()
    await world.ready_disk("root")
    await world.ready_address("linux-vm")
    for node in ("n1", "n2"):
        await world.join(node)
    await world.create(VM, "linux-vm", {"runPolicy": "AlwaysOn"})
    await world.settle()
    return await world.boot("linux-vm", "n1")


async def status(world: World) -> dict[str, Any]:
    found: dict[str, Any] = (await world.get(VM, "linux-vm"))["status"]
    return found


async def target(world: World, source: Object, move: Object) -> Object:
    """The migration controller's part."""
    fresh = await world.get(POD, source["metadata"]["name"])
    pod = await world.manager.client.create(
        POD, vmpod.target_pod(fresh, move, "d8v-vm-linux-vm-moved")
    )
    await world.bind(pod, "n2")
    await vmm(world, "Preparing", targetNode="n2", targetPod=reference(pod))
    return pod


def reference(pod: Object) -> dict[str, str]:
    return {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


async def vmm(world: World, phase: str, **fields: Any) -> None:
    await world.set_status(VMM, "move", {"phase": phase, **fields})
    await world.settle()


def test_a_move_as_its_user_sees_it() -> None:
    async def story(world: World) -> None:
        source = await running(world)
        started = (await status(world))["stats"]["lastStartTime"]
        await world.settle(30)
        move = await world.start_move("linux-vm", source, "n1")
        pod = await target(world, source, move)
        seen = await status(world)
        assert (seen["phase"], seen["nodeName"]) == ("Running", "n1")
        assert "migrationState" not in seen
        assert len(await world.pods("linux-vm")) == 2  # the target is no stray

        await vmm(world, "Ready")
        seen = await status(world)
        assert (seen["phase"], seen["nodeName"]) == ("Migrating", "n1")
        assert seen["migrationState"]["target"] == {"node": "n2", "pod": "d8v-vm-linux-vm-moved"}
        assert seen["migrationState"]["source"]["node"] == "n1"
        await vmm(world, "Copying")

        await world.hand_over("linux-vm", pod, "n2", "n1")
        await world.settle()
        seen = await status(world)
        assert (seen["phase"], seen["nodeName"]) == ("Migrating", "n1")
        assert len(await world.pods("linux-vm")) == 2  # a hand back may follow

        await world.pod_status(pod, "n2", {"phase": "Running"})
        await world.settle()
        seen = await status(world)
        assert (seen["phase"], seen["nodeName"]) == ("Running", "n2")
        assert seen["migrationState"]["result"] == "Succeeded"
        assert seen["migrationState"]["endTimestamp"]
        assert seen["stats"]["lastStartTime"] == started
        assert seen["ipAddress"] == "10.66.10.14"
        active = {p["name"]: p["active"] for p in seen["virtualMachinePods"]}
        assert active == {source["metadata"]["name"]: False, "d8v-vm-linux-vm-moved": True}

        await vmm(world, "Succeeded")
        assert (await status(world))["phase"] == "Running"
        assert "Migrating" not in {c["type"] for c in (await status(world))["conditions"]}

        await world.pod_status(source, "n1", {"phase": "Succeeded"})
        await world.release("linux-vm", "n2", "Crashed", "Failed")
        await world.settle(12)
        await world.boot("linux-vm", "n1")

    tell(story)


async def version(world: World) -> str:
    return str((await world.get(VM, "linux-vm"))["metadata"]["resourceVersion"])


async def copying(world: World) -> tuple[Object, Object]:
    """Source and target of a move that copies."""
    source = await running(world)
    move = await world.start_move("linux-vm", source, "n1")
    pod = await target(world, source, move)
    await vmm(world, "Ready")
    await vmm(world, "Copying")
    return source, pod


def test_hand_over_and_arrival_are_told_in_one_write() -> None:
    async def story(world: World) -> None:
        source, pod = await copying(world)
        before = await version(world)
        await world.hand_over("linux-vm", pod, "n2", "n1")
        await world.settle(0.5)
        assert await version(world) == before
        await world.pod_status(pod, "n2", {"phase": "Running"})
        await world.settle(0.1)
        seen = await status(world)
        assert (seen["phase"], seen["nodeName"]) == ("Running", "n2")
        active = {p["name"]: p["active"] for p in seen["virtualMachinePods"]}
        assert active == {source["metadata"]["name"]: False, pod["metadata"]["name"]: True}

    tell(story)


def test_a_target_that_says_nothing_is_told_all_the_same() -> None:
    async def story(world: World) -> None:
        source, pod = await copying(world)
        await world.hand_over("linux-vm", pod, "n2", "n1")
        await world.settle(1.5)
        active = {p["name"]: p["active"] for p in (await status(world))["virtualMachinePods"]}
        assert active == {source["metadata"]["name"]: False, pod["metadata"]["name"]: True}

    tell(story)


def test_a_move_that_has_waited_for_its_slot_is_not_told_step_by_step_either() -> None:
    async def story(world: World) -> None:
        source = await running(world)
        move = await world.start_move("linux-vm", source, "n1")
        await vmm(world, "Pending")
        await world.settle(4)
        told = {c["type"]: c for c in (await status(world))["conditions"]}["Migrating"]
        assert told["reason"] == "Pending"
        before = await version(world)
        await target(world, source, move)
        await world.settle(0.5)
        assert await version(world) == before
        await world.settle(3)
        told = {c["type"]: c for c in (await status(world))["conditions"]}["Migrating"]
        assert "preparing" in told["message"]

    tell(story)


def test_a_move_that_fails_while_copying() -> None:
    async def story(world: World) -> None:
        source = await running(world)
        move = await world.start_move("linux-vm", source, "n1")
        await target(world, source, move)
        await vmm(world, "Ready")
        await vmm(world, "Copying")
        await vmm(world, "Failed")
        seen = await status(world)
        assert (seen["phase"], seen["nodeName"]) == ("Running", "n1")
        assert seen["migrationState"]["result"] == "Failed"

    tell(story)


def test_a_move_that_is_aborted_before_it_copies_leaves_no_trace() -> None:
    async def story(world: World) -> None:
        source = await running(world)
        await world.start_move("linux-vm", source, "n1")
        await vmm(world, "Scheduling")
        quick = await status(world)
        assert "Migrating" not in {c["type"] for c in quick["conditions"]}, "told too early"
        await asyncio.sleep(3.5)
        condition = {c["type"]: c for c in (await status(world))["conditions"]}["Migrating"]
        assert (condition["status"], condition["reason"]) == ("False", "InProgress")
        assert "being scheduled" in condition["message"]
        await vmm(world, "Aborted")
        seen = await status(world)
        assert seen["phase"] == "Running"
        assert "migrationState" not in seen

    tell(story)


def test_a_move_that_is_deleted_when_ready_never_shows_migrating() -> None:
    async def story(world: World) -> None:
        source = await running(world)
        await world.start_move("linux-vm", source, "n1")
        await world.patch(VMM, "move", {"metadata": {"finalizers": ["drover.dev/migration"]}})
        await world.delete(VMM, "move")
        await vmm(world, "Ready")
        assert (await status(world))["phase"] == "Running"

    tell(story)


def test_labels_and_annotations_reach_the_living_pod_and_leave_it_again() -> None:
    async def story(world: World) -> None:
        pod = await running(world)
        name = pod["metadata"]["name"]
        await world.patch(POD, name, {"metadata": {"labels": {"theirs": "stays"}}})
        patch = {
            "labels": {"tier": "db"},
            "annotations": {"note": "x", "drover.dev/own": "not this"},
        }
        await world.patch(VM, "linux-vm", {"metadata": patch})
        await world.settle()
        meta = (await world.get(POD, name))["metadata"]
        assert (meta["labels"]["tier"], meta["annotations"]["note"]) == ("db", "x")
        assert "drover.dev/own" not in meta["annotations"]
        gone = {"labels": {"tier": None}, "annotations": {"note": None}}
        await world.patch(VM, "linux-vm", {"metadata": gone})
        await world.settle()
        meta = (await world.get(POD, name))["metadata"]
        assert "tier" not in meta["labels"]
        assert "note" not in meta["annotations"]
        assert meta["labels"]["theirs"] == "stays"

    tell(story)

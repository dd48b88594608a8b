"""The controllers of VMs, operations and migrations side by side."""

from __future__ import annotations

from tests.controllers.world import NS, World, play

from drover.api import names
from drover.api.machine import GuestNetwork
from drover.api.scheme import POD, VM, VML, VMM, VMOP
from drover.controllers.migration.controller import wire as wire_migration
from drover.controllers.vm.act import Settings
from drover.controllers.vm.controller import wire as wire_vm
from drover.controllers.vmop.controller import wire as wire_vmop

RESTART = "drover.dev/restart-requested"


def wire(world: World) -> None:
    network = GuestNetwork("10.66.10.254", 24)
    wire_vm(world.manager, Settings(network, "/shared/disks", "/shared/images"))
    wire_vmop(world.manager)
    wire_migration(world.manager)


async def moving(world: World) -> str:
    """A running VM whose migration has its target Pod."""
    await world.ready_class()
    await world.ready_disk("root")
    await world.ready_address("linux-vm")
    for node in ("n1", "n2"):
        await world.join(node)
    await world.create(VM, "linux-vm", {"runPolicy": "Manual"})
    await world.create(VMOP, "start", {"type": "Start", "virtualMachineName": "linux-vm"})
    await world.settle(2)
    await world.boot("linux-vm", "n1")
    await world.settle(12)
    assert (await world.get(VMOP, "start"))["status"]["phase"] == "Completed"
    await world.create(VMOP, "evict", {"type": "Evict", "virtualMachineName": "linux-vm"})
    await world.settle(3)
    pods = await world.pods("linux-vm")
    assert len(pods) == 2, [pod["metadata"]["name"] for pod in pods]
    return str(pods[0]["metadata"]["name"])


def test_a_vm_that_is_deleted_while_it_migrates_leaves_nothing() -> None:
    async def story(world: World) -> None:
        await moving(world)
        await world.delete(VM, "linux-vm")
        await world.settle(5)
        lease = await world.get(VML, "linux-vm")
        source = next(
            p
            for p in await world.pods("linux-vm")
            if p["metadata"]["uid"] == lease["spec"]["holder"]
        )
        assert source["metadata"]["annotations"][names.STOP_ANNOTATION] == "graceful"
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle(15)
        assert await world.find(VM, "linux-vm") is None
        assert await world.find(VML, "linux-vm") is None
        moves, _ = await world.admin.list(VMM, NS)
        assert moves == []

    play(story, wire)


def test_a_request_that_did_not_reach_the_vm_is_sent_again_with_the_same_words() -> None:
    """The VM takes each text in once: another one would restart it twice."""

    async def story(world: World) -> None:
        await moving(world)
        await world.delete(VMOP, "evict")
        await world.settle(5)
        text = await note(world, "once")
        await world.settle(5)
        assert (await world.get(VM, "linux-vm"))["metadata"]["annotations"][RESTART] == text
        assert (await world.get(VMOP, "once"))["status"]["phase"] == "InProgress"

    async def note(world: World, name: str) -> str:
        """As a controller leaves it that dies between its two writes."""
        await world.create(VMOP, name, {"type": "Restart", "virtualMachineName": "linux-vm"})
        made = (await world.get(VMOP, name))["metadata"]["creationTimestamp"]
        text = f"{name};{made}"
        noted = {"drover.dev/signal": text, "drover.dev/signalled-pod": "u"}
        await world.patch(VMOP, name, {"metadata": {"annotations": noted}})
        return text

    play(story, wire)


def test_an_abort_leaves_the_vm_and_lets_the_next_move_begin() -> None:
    async def story(world: World) -> None:
        await moving(world)
        await world.delete(VMOP, "evict")
        await world.settle(5)
        assert await world.find(VMOP, "evict") is None
        assert await world.phase("linux-vm") == "Running"
        found, _ = await world.admin.list(POD, NS)
        alive = [
            p for p in found if p.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]
        assert len(alive) == 1
        await world.create(VMOP, "again", {"type": "Evict", "virtualMachineName": "linux-vm"})
        await world.settle(3)
        assert len(await world.pods("linux-vm")) == 2

    play(story, wire)


def test_stop_and_start_by_operations() -> None:
    async def story(world: World) -> None:
        await world.ready_class()
        await world.ready_disk("root")
        await world.ready_address("linux-vm")
        await world.join("n1")
        await world.create(VM, "linux-vm", {})
        await world.settle()
        await world.boot("linux-vm", "n1")
        await world.create(VMOP, "stop", {"type": "Stop", "virtualMachineName": "linux-vm"})
        await world.settle(2)
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle(12)
        assert (await world.get(VMOP, "stop"))["status"]["phase"] == "Completed"
        assert await world.phase("linux-vm") == "Stopped"
        await world.create(VMOP, "start", {"type": "Start", "virtualMachineName": "linux-vm"})
        await world.settle(2)
        await world.boot("linux-vm", "n1")
        await world.settle(12)
        assert (await world.get(VMOP, "start"))["status"]["phase"] == "Completed"
        await world.create(VMOP, "restart", {"type": "Restart", "virtualMachineName": "linux-vm"})
        await world.settle(2)
        assert (await world.get(VMOP, "restart"))["status"]["phase"] == "InProgress"
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle(2)
        await world.boot("linux-vm", "n1")
        await world.settle(12)
        assert (await world.get(VMOP, "restart"))["status"]["phase"] == "Completed"

    play(story, wire)

"""Moves of running VMs in the small world: hands that play users, scheduler and agents, one write at a time."""

from __future__ import annotations

from typing import Any

from tests.controllers.world import NS, World

from drover.api import names
from drover.api.conditions import get_condition
from drover.api.machine import GuestNetwork
from drover.api.scheme import NODE, POD, VM, VMM, VMOP
from drover.api.wire import Object
from drover.controllers.migration.controller import wire as wire_migration
from drover.controllers.vm.act import Settings
from drover.controllers.vm.controller import wire as wire_vm
from drover.controllers.vmop.controller import wire as wire_vmop

SOON_S = 0.5  # nothing is polled: what is to happen happens at once


def wire(world: World) -> None:
    network = GuestNetwork("10.66.10.254", 24)
    wire_vm(world.manager, Settings(network, "/shared/disks", "/shared/images"))
    wire_vmop(world.manager)
    wire_migration(world.manager)


async def running(world: World, *places: str) -> list[str]:
    """One VM per place, all running; ``n1 n1 n2`` makes vm0 and vm1 on n1, vm2 on n2."""
    await world.ready_class()
    for node in sorted({*places, "n1", "n2", "n3", "n4"}):
        await world.join(node)
        label = {names.SCHEDULABLE_LABEL: "true"}
        await world.patch(NODE, node, {"metadata": {"labels": label}})
    vms = [f"vm{number}" for number in range(len(places))]
    for number, (vm, node) in enumerate(zip(vms, places, strict=True)):
        await world.ready_disk(f"d-{vm}")
        await world.ready_address(vm, f"10.66.10.{20 + number}")
        disk = [{"kind": "VirtualDisk", "name": f"d-{vm}"}]
        await world.create(VM, vm, {"blockDeviceRefs": disk})
        await world.settle()
        await world.boot(vm, node)
    await world.settle(12)
    return vms


async def evict(world: World, vm: str, name: str = "") -> None:
    await world.create(VMOP, name or f"e-{vm}", {"type": "Evict", "virtualMachineName": vm})
    await world.settle(1.1)  # ages differ by whole seconds


async def told(world: World, vm: str, name: str = "") -> tuple[str, str, str, str]:
    """Phase, progress, reason and message of its operation."""
    vmop = await world.get(VMOP, name or f"e-{vm}")
    completed = get_condition(vmop, "Completed") or {}
    status = vmop["status"]
    return status["phase"], status["progress"], completed["reason"], completed["message"]


async def move(world: World, vm: str, name: str = "") -> Object:
    return await world.get(VMM, f"vmop-{name or f'e-{vm}'}")


async def prepare(world: World, vm: str, node: str, name: str = "") -> None:
    """Scheduler and target's agent: bound, and listening."""
    vmm = await move(world, vm, name)
    pod = await world.get(POD, vmm["status"]["targetPod"]["name"])
    await world.bind(pod, node)
    await world.settle(SOON_S)
    said = {"target": {"phase": "Listening", "address": "10.67.10.9", "port": 7000}}
    await say(world, vmm, node, said)


async def say(world: World, vmm: Object, node: str, said: Any) -> None:
    await world.node(node).patch(
        VMM, vmm["metadata"]["name"], NS, {"status": said}, subresource="status"
    )
    await world.settle(SOON_S)


async def phase(world: World, vm: str, name: str = "") -> str:
    return str((await move(world, vm, name))["status"].get("phase", ""))


async def fail(world: World, vm: str, node: str) -> None:
    """The source's copy ends without success."""
    await say(world, await move(world, vm), node, {"source": {"phase": "Failed"}})
    assert await phase(world, vm) == "Failed"

"""A VM on another firmware than the wanted one says so; changes of placement wait for no restart."""

from __future__ import annotations

from typing import Any

from tests.controllers.vm.test_life import SPEC, needs, tell
from tests.controllers.world import NS, World

from drover.api import conditions, firmware
from drover.api.scheme import MODULECONFIG, VM


async def wants(world: World, version: str) -> None:
    settings = {"settings": {"firmware": {"version": version}}}
    found, _ = await world.admin.list(MODULECONFIG)
    if found:
        await world.admin.patch(MODULECONFIG, "virtualization", "", {"spec": settings})
    else:
        await world.create(MODULECONFIG, "virtualization", settings)
    await world.settle()


async def on(world: World, version: str) -> None:
    pod = await world.living_pod("linux-vm")
    container = {"name": "d8v-compute", "imageID": f"qemu://{version}"}
    await world.pod_status(pod, "n1", {"containerStatuses": [container]})
    await world.settle()


async def condition(world: World) -> dict[str, Any] | None:
    return conditions.get_condition(await world.get(VM, "linux-vm"), "FirmwareUpToDate")


def test_a_vm_starts_on_the_wanted_version_and_says_when_it_is_another() -> None:
    async def story(world: World) -> None:
        await needs(world)
        await wants(world, "10.0.2")
        await world.create(VM, "linux-vm", SPEC)
        await world.settle()
        assert firmware.wish_of(await world.living_pod("linux-vm")) == "10.0.2"
        await world.boot("linux-vm", "n1")
        assert await condition(world) is None  # nobody has told what it runs on
        await on(world, "10.0.2")
        assert await condition(world) is None
        assert (await world.get(VM, "linux-vm"))["status"]["versions"] == {"qemu": "10.0.2"}
        await wants(world, "7.2.22")
        found = await condition(world)
        assert found is not None
        assert (found["status"], found["reason"]) == ("False", "FirmwareOutOfDate")
        assert "10.0.2" in found["message"]
        assert "7.2.22" in found["message"]
        await wants(world, "")
        assert await condition(world) is None

    tell(story)


def test_a_stopped_vm_says_nothing_of_firmware() -> None:
    async def story(world: World) -> None:
        await needs(world)
        await world.create(VM, "linux-vm", {**SPEC, "runPolicy": "Manual"})
        await world.ask("linux-vm", "start", "op;2026-01-01T00:00:01Z")
        await world.settle()
        await world.boot("linux-vm", "n1")
        await on(world, "7.2.22")
        await wants(world, "10.0.2")
        assert await condition(world) is not None
        await world.release("linux-vm", "n1", "GuestShutdown")
        await world.settle()
        assert await world.phase("linux-vm") == "Stopped"
        assert await condition(world) is None
        assert "versions" not in (await world.get(VM, "linux-vm"))["status"]

    tell(story)


def test_placement_waits_for_no_restart_and_memory_does() -> None:
    async def story(world: World) -> None:
        await needs(world)
        await world.create(VM, "linux-vm", SPEC)
        await world.settle()
        first = await world.living_pod("linux-vm")
        # Not started yet: made anew where it may run now.
        await world.admin.patch(VM, "linux-vm", NS, {"spec": {"nodeSelector": {"zone": "a"}}})
        await world.settle(3)
        second = await world.living_pod("linux-vm")
        assert second["metadata"]["uid"] != first["metadata"]["uid"]
        await world.boot("linux-vm", "n1")
        change = {"nodeSelector": {"zone": "b"}, "memory": {"size": "2Gi"}}
        await world.admin.patch(VM, "linux-vm", NS, {"spec": change})
        await world.settle()
        vm = await world.get(VM, "linux-vm")
        assert [c["path"] for c in vm["status"]["restartAwaitingChanges"]] == ["memory.size"]
        assert conditions.is_true(vm, "AwaitingRestartToApplyConfiguration")

    tell(story)

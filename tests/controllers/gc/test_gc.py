"""The past of a VM is kept short, per namespace and VM."""

from __future__ import annotations

from tests.controllers.world import NS, Story, World, play

from drover.api import names
from drover.api.scheme import NAMESPACE, POD, VMOP
from drover.controllers.gc.controller import wire


def tell(story: Story) -> None:
    play(story, lambda world: wire(world.manager))


async def operation(world: World, namespace: str, name: str, phase: str) -> None:
    body = {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"virtualMachineName": "linux-vm", "type": "Evict"},
    }
    await world.admin.create(VMOP, body)
    await world.manager.client.patch(
        VMOP, name, namespace, {"status": {"phase": phase}}, subresource="status"
    )


async def left(world: World, namespace: str = NS) -> list[str]:
    found, _ = await world.admin.list(VMOP, namespace)
    return sorted(vmop["metadata"]["name"] for vmop in found)


def test_ten_finished_operations_per_namespace_and_vm() -> None:
    async def story(world: World) -> None:
        await world.admin.create(NAMESPACE, {"metadata": {"name": "other"}})
        for number in range(12):
            for namespace in (NS, "other"):
                await operation(
                    world, namespace, f"op-{number:02}", "Failed" if number % 2 else "Completed"
                )
            await world.settle()
        await operation(world, NS, "op-99", "InProgress")
        await world.settle()
        assert await left(world) == [f"op-{number:02}" for number in range(2, 12)] + ["op-99"]
        assert len(await left(world, "other")) == 10
        await world.settle(24 * 3600 - 6)
        assert "op-11" in await left(world)
        await world.settle(10)
        assert await left(world) == ["op-99"]

    tell(story)


def test_two_ended_pods_are_kept() -> None:
    async def story(world: World) -> None:
        await world.priority_class()
        for number in range(5):
            labels = {names.VM_NAME_LABEL: "linux-vm"}
            meta = {"name": f"p{number}", "namespace": NS, "labels": labels}
            spec = {"containers": [], "priorityClassName": names.VM_PRIORITY_CLASS}
            await world.manager.client.create(POD, {"metadata": meta, "spec": spec})
            phase = "Running" if number == 0 else "Succeeded"
            await world.set_status(POD, f"p{number}", {"phase": phase})
            await world.settle()
        found = [pod["metadata"]["name"] for pod in await world.pods("linux-vm")]
        assert sorted(found) == ["p0", "p3", "p4"]

    tell(story)

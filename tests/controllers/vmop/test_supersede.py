"""A Stop or Restart wins over a migration, at every step of it: the old operation is Superseded, the VM stays or has
moved, and what was asked for is done."""

from __future__ import annotations

import pytest
from tests.controllers.moving import SOON_S, evict, move, phase, prepare, running, say, told, wire
from tests.controllers.world import NS, World, play

from drover.api import names
from drover.api.scheme import EVENT, MODULECONFIG, POD, VM, VML, VMM, VMOP
from drover.api.status import NotFound
from drover.controllers.settings import PREFIX

STEPS = ("waiting", "scheduling", "preparing", "copying")
NEWER = [("Stop", None), ("Stop", True), ("Restart", None), ("Restart", True)]


async def bring_to(world: World, step: str) -> None:
    """``vm0`` on n1 and its Evict, as far as ``step``."""
    if step == "waiting":
        await running(world, "n1", "n1")
        await evict(world, "vm1")
    else:
        await running(world, "n1")
    await evict(world, "vm0")
    if step in ("waiting", "scheduling"):
        assert await phase(world, "vm0") == ("Pending" if step == "waiting" else "Scheduling")
        return
    if step == "preparing":
        pod = await world.get(POD, (await move(world, "vm0"))["status"]["targetPod"]["name"])
        await world.bind(pod, "n2")
        await world.settle(SOON_S)
        assert await phase(world, "vm0") == "Preparing"
        return
    await prepare(world, "vm0", "n2")
    assert await phase(world, "vm0") == "Copying"
    assert await world.phase("vm0") == "Migrating"


async def ask(world: World, kind: str, force: bool | None) -> None:
    spec: dict[str, object] = {"type": kind, "virtualMachineName": "vm0"}
    if force is not None:
        spec["force"] = force
    await world.create(VMOP, "new", spec)
    await world.settle(SOON_S)


async def ends_what_is_deleted(world: World) -> None:
    """The agent of a target that is not needed."""
    for pod in await world.pods("vm0"):
        node = pod["spec"].get("nodeName")
        if "deletionTimestamp" in pod["metadata"] and node:
            await world.node(node).delete(POD, pod["metadata"]["name"], NS, grace_s=0)
    await world.settle(SOON_S)


async def stops(world: World, node: str, force: bool | None) -> None:
    """The holder's agent is asked to stop its guest, and does."""
    lease = await world.get(VML, "vm0")
    [pod] = [p for p in await world.pods("vm0") if p["metadata"]["uid"] == lease["spec"]["holder"]]
    assert pod["spec"]["nodeName"] == node
    wish = pod["metadata"]["annotations"][names.STOP_ANNOTATION]
    assert wish == ("force" if force else "graceful")
    await world.release("vm0", node, "Stopped")
    await world.settle(SOON_S)


async def executed(world: World, kind: str) -> None:
    if kind == "Stop":
        assert await world.phase("vm0") == "Stopped"
    else:
        pod = await world.living_pod("vm0")
        assert names.MIGRATION_ANNOTATION not in pod["metadata"].get("annotations", {})
        await world.boot("vm0", "n3")
        await world.settle(12)
        assert await world.phase("vm0") == "Running"
    assert (await told(world, "vm0", "new"))[0] == "Completed"


@pytest.mark.parametrize(("kind", "force"), NEWER)
@pytest.mark.parametrize("step", STEPS)
def test_before_the_point_of_no_return(step: str, kind: str, force: bool | None) -> None:
    async def story(world: World) -> None:
        await bring_to(world, step)
        await ask(world, kind, force)
        if step == "copying":  # the source's agent cancels, and says so
            assert await world.phase("vm0") == "Migrating"
            assert (await told(world, "vm0", "new"))[0] == "Pending"
            ended = {"source": {"phase": "Failed", "reason": "Aborted"}}
            await say(world, await move(world, "vm0"), "n1", ended)
        old = await told(world, "vm0")
        assert (old[0], old[2]) == ("Superseded", "Superseded")
        assert old[3] == f"Superseded by new with type {kind}"
        await ends_what_is_deleted(world)
        await stops(world, "n1", force)
        await executed(world, kind)
        with pytest.raises(NotFound):
            await move(world, "vm0")

    play(story, wire)


@pytest.mark.parametrize(("kind", "force"), NEWER)
def test_past_the_point_of_no_return_the_vm_stops_where_it_is_then(
    kind: str, force: bool | None
) -> None:
    async def story(world: World) -> None:
        await bring_to(world, "copying")
        vmm = await move(world, "vm0")
        target = await world.get(POD, vmm["status"]["targetPod"]["name"])
        await world.hand_over("vm0", target, "n2", "n1")
        await ask(world, kind, force)
        assert (await told(world, "vm0"))[0] == "InProgress"  # it comes to its end
        await world.pod_status(target, "n2", {"phase": "Running"})
        await say(world, vmm, "n2", {"target": {"phase": "Running"}})
        old = await told(world, "vm0")
        source = vmm["spec"]["sourcePod"]["name"]
        await world.pod_status(await world.get(POD, source), "n1", {"phase": "Succeeded"})
        words = f"Superseded by new with type {kind}; the virtual machine has moved to n2"
        assert (old[0], old[3]) == ("Superseded", words)
        await stops(world, "n2", force)
        await executed(world, kind)

    play(story, wire)


def test_an_operation_that_is_refused_takes_nobodys_place() -> None:
    async def story(world: World) -> None:
        await bring_to(world, "copying")
        await world.patch(VM, "vm0", {"spec": {"runPolicy": "AlwaysOn"}})
        await world.settle(SOON_S)
        await ask(world, "Stop", None)
        assert (await told(world, "vm0", "new"))[2] == "NotApplicableForVirtualMachineRunPolicy"
        assert (await told(world, "vm0"))[0] == "InProgress"
        assert await phase(world, "vm0") == "Copying"

    play(story, wire)


def test_the_first_of_two_takes_the_place() -> None:
    """The door lets no second one in; a webhook that is away does."""

    async def story(world: World) -> None:
        await bring_to(world, "scheduling")
        for name in ("zz", "aa"):
            await world.create(VMOP, name, {"type": "Stop", "virtualMachineName": "vm0"})
            await world.clock.sleep(0)
        await world.settle(SOON_S)
        first = sorted(("zz", "aa"))[0]  # within one second the name decides
        assert (await told(world, "vm0"))[3] == f"Superseded by {first} with type Stop"

    play(story, wire)


def test_the_system_policy_is_applied_and_told() -> None:
    async def story(world: World) -> None:
        notes = {PREFIX + "system-migration-policy": "AlwaysForced"}
        await world.create(MODULECONFIG, "virtualization", {}, annotations=notes)
        await running(world, "n1")
        await evict(world, "vm0")
        assert (await move(world, "vm0"))["spec"]["autoConverge"] is True
        events, _ = await world.admin.list(EVENT, NS)
        words = (
            "Migration settings for operation type Evict: "
            "liveMigrationPolicy AlwaysForced, autoConverge true"
        )
        assert words in [event["message"] for event in events]

    play(story, wire)


def test_who_made_the_operation_is_noted_on_its_migration() -> None:
    async def story(world: World) -> None:
        await running(world, "n1")
        spec = {"type": "Evict", "virtualMachineName": "vm0"}
        notes = {names.EVACUATION_ANNOTATION: "true"}
        await world.create(VMOP, "evacuation-abcde", spec, annotations=notes)
        await world.settle(SOON_S)
        vmm = await world.get(VMM, "vmop-evacuation-abcde")
        assert vmm["spec"]["origin"] == "Evacuation"

    play(story, wire)

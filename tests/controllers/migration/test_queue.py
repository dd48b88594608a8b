"""Migrations that wait for a slot: what their operations say, and that they go the moment one is free."""

from __future__ import annotations

import pytest
from tests.controllers.moving import (
    SOON_S,
    evict,
    fail,
    move,
    phase,
    prepare,
    running,
    say,
    told,
    wire,
)
from tests.controllers.world import World, play

from drover.api import names
from drover.api.conditions import get_condition
from drover.api.scheme import MODULECONFIG, NODE, POD, VM, VMOP, Kind
from drover.api.status import Forbidden, Invalid
from drover.api.wire import Object


def test_one_at_a_time_from_a_node_and_the_next_goes_at_once() -> None:
    async def story(world: World) -> None:
        await running(world, "n1", "n1", "n2")
        for vm in ("vm0", "vm1", "vm2"):
            await evict(world, vm)
        assert [await phase(world, vm) for vm in ("vm0", "vm1", "vm2")] == [
            "Scheduling", "Pending", "Scheduling",
        ]  # fmt: skip
        words = 'Waiting for a free outbound migration slot on source node "n1".'
        assert await told(world, "vm1") == ("Pending", "0%", "MigrationPending", words)
        await prepare(world, "vm0", "n3")
        assert await phase(world, "vm0") == "Copying"
        await world.settle(1000)
        assert (await told(world, "vm1"))[3] == words  # the wait has no time limit
        await fail(world, "vm0", "n1")
        assert await phase(world, "vm1") == "Scheduling"

    play(story, wire)


def test_the_cluster_limit_and_a_change_of_it() -> None:
    async def story(world: World) -> None:
        await world.create(MODULECONFIG, "virtualization", limits(cluster=1))
        await running(world, "n1", "n2", "n3")
        for vm in ("vm0", "vm1", "vm2"):
            await evict(world, vm)
        words = "Waiting for a free migration slot: the cluster live migration limit is reached."
        for vm in ("vm1", "vm2"):
            assert await told(world, vm) == ("Pending", "0%", "MigrationPending", words)
        await world.patch(MODULECONFIG, "virtualization", {"spec": limits(cluster=2)})
        await world.settle(SOON_S)
        assert await phase(world, "vm1") == "Scheduling"
        assert (await told(world, "vm2"))[3] == words
        await world.delete(VMOP, "e-vm0")  # an abort frees its slots too
        await world.settle(SOON_S)
        assert await phase(world, "vm2") == "Scheduling"

    play(story, wire)


def limits(**values: int) -> Object:
    return {"settings": {"liveMigration": {"limits": values}}}


def test_a_node_that_comes_raises_the_cluster_limit() -> None:
    async def story(world: World) -> None:
        await running(world, "n1", "n2", "n3", "n4", "n5")
        for node in ("n3", "n4", "n5"):
            unfit = {names.SCHEDULABLE_LABEL: None}
            await world.patch(NODE, node, {"metadata": {"labels": unfit}})
        for vm in ("vm0", "vm1", "vm2"):
            await evict(world, vm)
        assert await phase(world, "vm2") == "Pending"
        fit = {names.SCHEDULABLE_LABEL: "true"}
        await world.patch(NODE, "n5", {"metadata": {"labels": fit}})
        await world.settle(SOON_S)
        assert await phase(world, "vm2") == "Scheduling"

    play(story, wire)


def test_one_arrives_at_a_node_and_the_other_target_waits_prepared() -> None:
    async def story(world: World) -> None:
        await running(world, "n1", "n2")
        for vm in ("vm0", "vm1"):
            await evict(world, vm)
            await prepare(world, vm, "n3")
        assert [await phase(world, vm) for vm in ("vm0", "vm1")] == ["Copying", "Preparing"]
        words = 'Waiting for a free inbound migration slot on target node "n3".'
        assert await told(world, "vm1") == ("Pending", "3%", "MigrationPending", words)
        assert (await world.get(VM, "vm1"))["status"]["phase"] == "Running"
        await world.settle(1000)
        assert await phase(world, "vm1") == "Preparing"  # a queue is no stall
        await fail(world, "vm0", "n1")
        assert await phase(world, "vm1") == "Copying"

    play(story, wire)


def test_one_leaves_a_node_and_the_other_waits_for_its_sync_slot() -> None:
    async def story(world: World) -> None:
        await world.create(MODULECONFIG, "virtualization", limits(outboundPerNode=2))
        await running(world, "n1", "n1")
        for vm, node in (("vm0", "n2"), ("vm1", "n3")):
            await evict(world, vm)
            await prepare(world, vm, node)
        words = 'Target prepared; waiting for a free sync slot on source node "n1".'
        assert await told(world, "vm1") == ("Pending", "4%", "WaitingForSyncSlot", words)
        await fail(world, "vm0", "n1")
        assert await phase(world, "vm1") == "Copying"
        copying = await move(world, "vm1")
        assert copying["status"]["limits"] == {
            "bandwidthBytesPerSecond": 640 * 2**20,
            "completionSecondsPerGiB": 800,
            "progressSeconds": 150,
        }

    play(story, wire)


def test_a_target_without_room_keeps_no_slot() -> None:
    async def story(world: World) -> None:
        await running(world, "n1", "n1")
        for vm in ("vm0", "vm1"):
            await evict(world, vm)
        pod = await world.get(POD, (await move(world, "vm0"))["status"]["targetPod"]["name"])
        why = "0/3 nodes are available: 3 Insufficient memory."
        unfit = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": why,
        }
        await world.set_status(POD, pod["metadata"]["name"], {"conditions": [unfit]})
        await world.settle(SOON_S)
        assert await phase(world, "vm1") == "Scheduling"
        before = await told(world, "vm0")
        assert before[:3] == ("InProgress", "2%", "TargetUnschedulable")
        assert why in before[3]
        await world.settle(301)
        after = await told(world, "vm0")
        assert after[0] == "Failed"
        assert after[2:] == (
            "TargetUnschedulable",
            "Migration failed: target pod is unschedulable: No available nodes were found to place"
            f" the target VM within the timeout period: {why}",
        )

    play(story, wire)


def test_a_copy_whose_qemu_was_silent_says_so_in_words() -> None:
    async def story(world: World) -> None:
        await running(world, "n1")
        await evict(world, "vm0")
        await prepare(world, "vm0", "n2")
        report = {"phase": "Failed", "reason": "MonitorSilent", "message": "QEMU says cancelled"}
        await say(world, await move(world, "vm0"), "n1", {"source": report})
        await world.settle()
        assert (await told(world, "vm0"))[3] == (
            "Migration failed: QEMU on the source did not answer while it was copying,"
            " and the copy was cancelled; a busy host does that"
        )

    play(story, wire)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("NoProgress", "Live migration stuck for 7 seconds and has been aborted"),
        ("TooLong", "Live migration is not completed after 9 seconds and has been aborted"),
    ],
)
def test_a_copy_that_is_given_up_says_after_how_long(said: str, words: str) -> None:
    async def story(world: World) -> None:
        times = {"progressTimeout": 7, "completionTimeoutPerGiB": 9}
        spec = {"settings": {"liveMigration": times}}
        await world.create(MODULECONFIG, "virtualization", spec)
        await running(world, "n1")
        await evict(world, "vm0")
        await prepare(world, "vm0", "n2")
        later = {"settings": {"liveMigration": {"progressTimeout": 100}}}
        await world.patch(MODULECONFIG, "virtualization", {"spec": later})
        failed = {"source": {"phase": "Failed", "reason": said, "message": "QEMU says cancelled"}}
        await say(world, await move(world, "vm0"), "n1", failed)
        await world.settle()
        assert await told(world, "vm0") == (
            "Failed", "10%", "NotConverging", f"Migration did not converge: {words}",
        )  # fmt: skip

    play(story, wire)


def test_a_copy_that_does_not_converge_says_so_while_it_goes_on() -> None:
    async def story(world: World) -> None:
        await running(world, "n1")
        await evict(world, "vm0")
        await prepare(world, "vm0", "n2")
        counters = {
            "phase": "Copying", "ramTotalBytes": 2**28, "ramTransferredBytes": 2**29,
            "ramRemainingBytes": 2**26, "iteration": 3, "stalledSeconds": 9,
        }  # fmt: skip
        await say(world, await move(world, "vm0"), "n1", {"source": counters})
        assert (await told(world, "vm0"))[2] == "Syncing"
        await say(world, await move(world, "vm0"), "n1", {"source": {"stalledSeconds": 10}})
        got = await told(world, "vm0")
        assert (got[0], got[2]) == ("InProgress", "NotConverging")
        assert got[3].startswith(
            "Migration is not converging: data remaining is not decreasing at maximum throttle: "
        )

    play(story, wire)


def test_a_target_that_does_not_get_ready_is_given_up() -> None:
    async def story(world: World) -> None:
        await running(world, "n1")
        await evict(world, "vm0")
        pod = await world.get(POD, (await move(world, "vm0"))["status"]["targetPod"]["name"])
        await world.settle(290)
        await world.bind(pod, "n2")
        await world.settle(290)  # each step has its own five minutes
        assert (await told(world, "vm0"))[:3] == ("InProgress", "3%", "TargetPreparing")
        await world.settle(12)
        words = "Timed out preparing the migration target."
        assert await told(world, "vm0") == ("Failed", "3%", "OperationFailed", words)

    play(story, wire)


def test_a_quota_keeps_one_waiting_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    exceeded = 'pods "d8v-vm-vm0-x" is forbidden: exceeded quota: small'

    async def story(world: World) -> None:
        await running(world, "n1", "n1")
        create, full = world.manager.client.create, True

        async def within_quota(kind: Kind, obj: Object) -> Object:
            if full and kind is POD and "vm0" in obj["metadata"]["name"]:
                raise Forbidden(exceeded)
            return await create(kind, obj)

        monkeypatch.setattr(world.manager.client, "create", within_quota)
        await evict(world, "vm0")
        assert (await told(world, "vm0"))[:3] == ("Pending", "0%", "QuotaExceeded")
        assert exceeded in (await told(world, "vm0"))[3]
        await world.settle(4)
        vm = await world.get(VM, "vm0")
        condition = get_condition(vm, "Migrating") or {}
        assert (condition["status"], condition["reason"]) == ("False", "Pending")
        assert condition["message"].startswith("Migration is pending: ")
        assert exceeded in condition["message"]
        await evict(world, "vm1")  # of the same node, which prepares one at a time
        assert await phase(world, "vm1") == "Scheduling"
        await withdraw(world, "vm1")
        full = False
        await world.settle(6)
        assert await phase(world, "vm0") == "Scheduling"

    play(story, wire)


async def withdraw(world: World, vm: str) -> None:
    """It goes away, so that its slot is free."""
    await world.delete(VMOP, f"e-{vm}")
    await world.settle(SOON_S)


def test_a_target_that_can_never_be_made_ends_the_move_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A target has a few annotations more than its source: who filled theirs to the brim waits for nothing."""
    too_long = "metadata.annotations: Too long: may not be more than 262144 bytes"

    async def story(world: World) -> None:
        await running(world, "n1")
        create = world.manager.client.create

        async def with_limits(kind: Kind, obj: Object) -> Object:
            if kind is POD:
                raise Invalid(too_long)
            return await create(kind, obj)

        monkeypatch.setattr(world.manager.client, "create", with_limits)
        await evict(world, "vm0")
        assert (await told(world, "vm0"))[0] == "Failed"
        assert too_long in (await told(world, "vm0"))[3]

    play(story, wire)

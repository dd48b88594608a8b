"""Evictions in a small world: the review, the evacuation controller, the operations and the migrations."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.controllers.world import NS, World, play

from drover.api import names
from drover.api.evacuation import Blocked, BlockedReason, blocked_patch, mark_of
from drover.api.machine import GuestNetwork
from drover.api.scheme import BUDGET, NODE, POD, VM, VML, VMM, VMOP
from drover.api.wire import Object
from drover.base.tasks import TaskScope
from drover.controllers.current import CurrentSettings
from drover.controllers.evacuation import review
from drover.controllers.evacuation.budgets import NAME
from drover.controllers.evacuation.budgets import wire as wire_budgets
from drover.controllers.evacuation.controller import operation_name
from drover.controllers.evacuation.controller import wire as wire_evacuation
from drover.controllers.evacuation.reviewer import MOST_HELD, Reviewer
from drover.controllers.migration.controller import wire as wire_migration
from drover.controllers.pictures import ClusterPicture
from drover.controllers.vm.act import Settings
from drover.controllers.vm.controller import wire as wire_vm
from drover.controllers.vmop.controller import wire as wire_vmop
from drover.controllers.webhook import Refusal

VM_NAME = "linux-vm"


class Stage:
    """The world with a running VM on n1, and the review of its evictions."""

    def __init__(self) -> None:
        self.reviewer: Reviewer | None = None
        self.pod: Object = {}

    def wire(self, world: World) -> None:
        network = GuestNetwork("10.66.10.254", 24)
        wire_vm(world.manager, Settings(network, "/shared/disks", "/shared/images"))
        wire_vmop(world.manager)
        wire_migration(world.manager)
        wire_budgets(world.manager)
        made = wire_evacuation(world.manager, ClusterPicture(world.manager))
        self.reviewer = Reviewer(world.manager, CurrentSettings(world.manager), made.caches.doing)

    async def begin(self, world: World) -> None:
        await world.ready_class()
        await world.ready_disk("root")
        await world.ready_address(VM_NAME)
        for node in ("n1", "n2"):
            await world.join(node)
            await room(world, node)
        await world.create(VM, VM_NAME, {"runPolicy": "AlwaysOn"})
        await world.settle(2)
        self.pod = await world.boot(VM_NAME, "n1")
        await world.settle(5)

    async def evict(self, **more: Any) -> Refusal | None:
        assert self.reviewer is not None
        name = self.pod["metadata"]["name"]
        return await self.reviewer.review({"namespace": NS, "name": name, "object": {}, **more})


async def cordon(world: World, node: str, on: bool = True) -> None:
    await world.patch(NODE, node, {"spec": {"unschedulable": on}})


async def room(world: World, node: str, memory: str = "16Gi") -> None:
    """What its agent tells, and the node lifecycle controller after that."""
    await world.patch(NODE, node, {"spec": {"taints": []}})
    allocatable = {"cpu": "8", "memory": memory, "pods": "110"}
    await world.set_status(NODE, node, {"allocatable": allocatable})


async def operations(world: World) -> list[Object]:
    found, _ = await world.admin.list(VMOP, NS)
    return found


async def arrive(world: World, stage: Stage) -> None:
    """Scheduler and agents: the migration goes through."""
    await world.settle(4)
    [target] = [
        p for p in await world.pods(VM_NAME) if p["metadata"]["uid"] != stage.pod["metadata"]["uid"]
    ]
    await world.bind(target, "n2")
    await world.settle(1)
    [vmm] = [
        m
        for m in (await world.admin.list(VMM, NS))[0]
        if m["status"]["phase"] not in ("Failed", "Aborted")
    ]
    name = vmm["metadata"]["name"]

    async def report(node: str, part: str, said: Object) -> None:
        await world.node(node).patch(VMM, name, NS, {"status": {part: said}}, subresource="status")
        await world.settle(1)

    await report("n2", "target", {"phase": "Listening", "address": "10.0.0.2", "port": 1})
    await report("n1", "source", {"phase": "Copying"})
    await world.hand_over(VM_NAME, target, "n2", "n1")
    await world.pod_status(target, "n2", {"phase": "Running"})
    await report("n2", "target", {"phase": "Running"})
    await world.pod_status(stage.pod, "n1", {"phase": "Succeeded"})
    await world.settle(1)


def condition(vm: Object, kind: str) -> Object | None:
    found = [c for c in vm["status"]["conditions"] if c["type"] == kind]
    return found[0] if found else None


def test_an_eviction_is_held_until_the_vm_has_moved_and_then_allowed() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        await cordon(world, "n1")
        async with TaskScope("kubectl") as scope:
            review = scope.spawn(stage.evict(), "evict")
            await arrive(world, stage)
            assert await review is None
        [op] = await operations(world)
        assert op["metadata"]["name"].startswith(names.EVACUATION_PREFIX)
        assert op["metadata"]["annotations"] == {names.EVACUATION_ANNOTATION: "true"} | {
            key: value
            for key, value in op["metadata"]["annotations"].items()
            if key.startswith("drover.dev/")
        }
        await world.settle(2)
        [op] = await operations(world)
        assert op["status"]["phase"] == "Completed"
        assert names.EVACUATION_FINALIZER not in op["metadata"].get("finalizers", [])
        vm = await world.get(VM, VM_NAME)
        assert condition(vm, "EvictionRequired") is None
        living = await world.living_pod(VM_NAME)
        assert mark_of(living) is None

    play(story, stage.wire)


def test_what_a_vm_of_a_drain_costs() -> None:
    """In versions of each object: every write more takes time from the copies of all."""
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        await cordon(world, "n1")
        await world.settle(1)
        begun = world.api.store.revision
        async with TaskScope("kubectl") as scope:
            review = scope.spawn(stage.evict(), "evict")
            await arrive(world, stage)
            assert await review is None
        await world.settle(2)
        counts = Counter(change.kind.kind for change in world.api.store.since(begun))
        # Asked to leave; scheduling and preparing, told since they take seconds here; Migrating; Running.
        assert counts["VirtualMachine"] == 5
        assert counts["VirtualMachineOperation"] <= 8
        [vmop] = await operations(world)
        vm_uid = (await world.get(VM, VM_NAME))["metadata"]["uid"]
        assert vmop["metadata"]["labels"] == {names.VM_UID_LABEL: vm_uid}

    play(story, stage.wire)


def test_a_review_that_was_held_to_the_end_says_try_again_and_what_goes_on() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        began_s = world.clock.monotonic()
        refusal = await stage.evict()
        assert refusal is not None
        assert 24 <= world.clock.monotonic() - began_s <= 26
        assert refusal.code == 429
        assert refusal.message.startswith(
            f'Eviction triggered evacuation of VMI "{NS}/{VM_NAME}": evacuation-'
        )
        again = await stage.evict()
        assert again is not None
        assert again.message.startswith("Evacuation in progress: Eviction triggered")
        assert len(await operations(world)) == 1
        required = condition(await world.get(VM, VM_NAME), "EvictionRequired")
        assert required is not None
        assert required["status"] == "True"

    play(story, stage.wire)


def test_a_dry_run_marks_nothing_and_is_answered_at_once() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        began_s = world.clock.monotonic()
        for dry in ({"dryRun": True}, {"object": {"deleteOptions": {"dryRun": ["All"]}}}):
            refusal = await stage.evict(**dry)
            assert refusal is not None
            assert refusal.code == 403  # which kubectl does not repeat
            assert "would be moved first" in refusal.message
        assert world.clock.monotonic() - began_s < 1
        await world.settle(2)
        assert mark_of(await world.living_pod(VM_NAME)) is None
        assert await operations(world) == []

    play(story, stage.wire)


def test_no_more_than_so_many_reviews_are_held() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        async with TaskScope("kubectl") as scope:
            for number in range(MOST_HELD):
                scope.spawn(stage.evict(), f"evict {number}")
            await world.settle(1)
            assert stage.reviewer is not None
            assert stage.reviewer.held == MOST_HELD
            began_s = world.clock.monotonic()
            refusal = await stage.evict()
            assert refusal is not None
            assert world.clock.monotonic() - began_s < 1

    play(story, stage.wire)


def test_a_pod_that_is_gone_or_has_ended_may_be_evicted() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        assert stage.reviewer is not None
        assert await stage.reviewer.review({"namespace": NS, "name": "d8v-vm-nobody"}) is None
        await world.release(VM_NAME, "n1", "GuestReset")
        await world.settle(1)
        assert await stage.evict() is None

    play(story, stage.wire)


def test_the_target_of_a_migration_is_not_evicted() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        await world.create(VMOP, "move", {"type": "Evict", "virtualMachineName": VM_NAME})
        await world.settle(3)
        [target] = [
            p
            for p in await world.pods(VM_NAME)
            if p["metadata"]["uid"] != stage.pod["metadata"]["uid"]
        ]
        refusal = await stage.evict(name=target["metadata"]["name"])
        assert refusal is not None
        assert (refusal.code, refusal.message) == (429, "Eviction request for target Pod")
        found = await world.get(POD, target["metadata"]["name"])
        assert mark_of(found) is None

    play(story, stage.wire)


def test_deleting_the_operation_cancels_the_mark_until_the_next_eviction() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        await cordon(world, "n1")
        async with TaskScope("kubectl") as scope:
            review = scope.spawn(stage.evict(), "evict")
            await world.settle(3)
            [op] = await operations(world)
            await world.delete(VMOP, op["metadata"]["name"])
            refusal = await review
            assert refusal is not None
        await world.settle(30)
        assert await operations(world) == []
        assert mark_of(await world.living_pod(VM_NAME)) is None
        assert condition(await world.get(VM, VM_NAME), "EvictionRequired") is None
        await stage.evict()
        [again] = await operations(world)
        assert again["metadata"]["name"] != op["metadata"]["name"]

    play(story, stage.wire)


def test_uncordon_ends_what_does_not_copy() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        await cordon(world, "n1")
        await stage.evict()
        assert len(await operations(world)) == 1
        await cordon(world, "n1", on=False)
        await world.settle(10)
        assert await operations(world) == []
        assert mark_of(await world.living_pod(VM_NAME)) is None
        assert await world.phase(VM_NAME) == "Running"

    play(story, stage.wire)


def test_a_failed_evacuation_is_tried_again() -> None:
    """And no failed operation has to be deleted for that, as on the reference platform."""
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        await cordon(world, "n1")
        await stage.evict()
        [first] = await operations(world)
        await world.settle(330)  # unschedulable for five minutes, and the first pause
        found = await operations(world)
        assert len(found) == 2
        by_name = {op["metadata"]["name"]: op["status"]["phase"] for op in found}
        assert by_name.pop(first["metadata"]["name"]) == "Failed"
        assert list(by_name.values()) == ["Pending"] or list(by_name.values()) == ["InProgress"]
        await arrive(world, stage)
        await world.settle(3)
        phases = sorted(op["status"]["phase"] for op in await operations(world))
        assert phases == ["Completed", "Failed"]

    play(story, stage.wire)


def test_one_operation_whatever_the_cache_has_seen() -> None:
    """Its name follows from what asks for it: a repeated creation finds the first one."""
    first = operation_name("pod", "2026-01-01T00:00:00Z", "", 0)
    assert first == operation_name("pod", "2026-01-01T00:00:00Z", "", 0)
    others = {
        operation_name("pod2", "2026-01-01T00:00:00Z", "", 0),
        operation_name("pod", "2026-01-01T00:00:01Z", "", 0),
        operation_name("pod", "2026-01-01T00:00:00Z", "failed", 0),
        operation_name("pod", "2026-01-01T00:00:00Z", "", 1),
    }
    assert first not in others
    assert len(others) == 4


def test_without_room_no_operation_is_made_until_there_is_some() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        await room(world, "n2", "1Gi")
        await cordon(world, "n1")
        began_s = world.clock.monotonic()
        refusal = await stage.evict()
        assert refusal is not None
        assert "0/2 nodes are available" in refusal.message
        assert "Insufficient memory" in refusal.message
        assert world.clock.monotonic() - began_s < 5  # it would not change for long
        await world.settle(600)
        assert await operations(world) == []
        blocked = condition(await world.get(VM, VM_NAME), "EvacuationBlocked")
        assert blocked is not None
        assert blocked["reason"] == "NoFeasibleNode"
        await room(world, "n2")
        await world.settle(1)
        assert len(await operations(world)) == 1
        assert condition(await world.get(VM, VM_NAME), "EvacuationBlocked") is None

    play(story, stage.wire)


def test_the_words_for_a_vm_that_cannot_move() -> None:
    pod = {
        "metadata": {
            "name": "d8v-vm-linux-vm-abcde",
            "labels": {names.VM_NAME_LABEL: VM_NAME},
            **blocked_patch(Blocked(BlockedReason.NOT_MIGRATABLE, "its disk is local"))["metadata"],
        },
        "status": {"phase": "Running"},
    }
    assert review.words(f"{NS}/{VM_NAME}", pod, None, "") == (
        "VMI linux-vm is configured with an eviction strategy but is not live-migratable: "
        "its disk is local"
    )


def test_a_vm_that_stops_meanwhile_leaves_nothing() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        await cordon(world, "n1")
        async with TaskScope("kubectl") as scope:
            review = scope.spawn(stage.evict(), "evict")
            await world.settle(2)
            await world.patch(VM, VM_NAME, {"spec": {"runPolicy": "AlwaysOff"}})
            await world.settle(1)
            await world.release(VM_NAME, "n1", "Stopped")
            assert await review is None
        await world.settle(5)
        [op] = await operations(world)
        assert op["status"]["phase"] == "Failed"
        assert names.EVACUATION_FINALIZER not in op["metadata"].get("finalizers", [])
        await world.get(VML, VM_NAME)

    play(story, stage.wire)


def test_a_namespace_with_vms_has_a_budget_that_never_allows() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await stage.begin(world)
        budget = await world.get(BUDGET, NAME)
        await world.manager.client.delete(BUDGET, NAME, NS)
        await world.settle(1)
        again = await world.get(BUDGET, NAME)
        assert again["spec"] == budget["spec"]
        assert again["metadata"]["uid"] != budget["metadata"]["uid"]
        await world.delete(VM, VM_NAME)
        await world.settle(1)
        await world.release(VM_NAME, "n1", "Stopped")
        await world.settle(5)
        assert await world.find(VM, VM_NAME) is None
        assert await world.find(BUDGET, NAME) is None

    play(story, stage.wire)

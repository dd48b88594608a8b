"""The lease changes hands while one of the hands is gone: nothing gets lost, nothing gets stuck."""

from __future__ import annotations

import asyncio
import copy

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api import names
from drover.api.scheme import POD
from drover.api.wire import Request
from drover.runtime.client import Client
from drover.sim.faults import lease_write

pytestmark = pytest.mark.sim


def migration_report(request: Request) -> bool:
    """A word of an agent on its migration."""
    return request.method == "PATCH" and "/virtualmachinemigrations/" in request.path


def started(stage: Stage) -> list[str]:
    """The copies of the VM that ever ran, in order."""
    history = stage.world.site.ledger.history
    return list(dict.fromkeys(its for vm, its in history if vm == "default/a"))


def test_a_target_that_dies_before_the_copy_begins_ends_the_move() -> None:
    """The source had nothing to report, and the migration stayed in Copying for ever."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        source = s.node_of("a")
        operation = await s.evict("a")
        await s.at("migration.ready")
        stage.f.kill_agent(source)
        await s.at("migration.copying")
        stage.f.crash(s.target("a"))
        await stage.pause(3)
        stage.f.start_agent(source)
        assert await s.finished(operation, 30) == "Failed"
        assert s.operation_reason(operation) == "Failed"
        assert len(started(stage)) == 1

    tell(story)


def test_a_hand_over_that_lands_when_its_target_is_gone_is_handed_back() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        before, target = s.lease_spec("a")["holder"], s.target("a").copy
        held = stage.f.hold(s.source("a").node, lease_write)
        await s.at("evict.completed")
        await s.until(lambda: bool(held.requests), "the hand-over is on its way", 2)
        for pod in s.pods_of("a"):
            if pod["metadata"]["uid"] == target:
                await s.delete_pod(pod["metadata"]["name"], grace_s=0)
        await asyncio.sleep(1)
        assert not s.world.site.qemu(target).alive
        held.let_go()
        await s.at("evict.hand-back")
        await s.finished(operation)
        await s.until(lambda: s.runs("a"), "a runs", 10)
        assert s.lease_spec("a")["holder"] == before
        assert started(stage) == [before]

    tell(story)


def test_a_hand_over_to_a_former_life_of_the_target_is_handed_back() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        before, node = s.lease_spec("a")["holder"], s.target("a").node
        held = stage.f.hold(s.source("a").node, lease_write)
        await s.at("evict.completed")
        await s.until(lambda: bool(held.requests), "the hand-over is on its way", 2)
        cycle = stage.do(stage.f.power_cycle(node, 2))
        held.let_go()
        await cycle
        await s.at("evict.hand-back")
        await s.finished(operation)
        await s.until(lambda: s.runs("a"), "a runs", 10)
        assert started(stage) == [before]

    tell(story)


def test_a_source_that_never_reported_gets_its_guest_back() -> None:
    """A short copy is handed over before the source's first report: who gives back must find its life."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        before = s.lease_spec("a")["holder"]
        operation = await s.evict("a")
        held = stage.f.hold(s.node_of("a"), migration_report)
        await s.at("evict.hand-over")
        stage.f.crash(s.target("a"))
        await s.at("evict.hand-back")
        await s.until(lambda: s.runs("a"), "a runs", 20)
        held.let_go()
        assert await s.finished(operation) == "Failed"
        assert started(stage) == [before]

    tell(story)


def test_two_leaders_start_each_vm_once_and_leave_no_pod() -> None:
    """Each makes a Pod; the one that does not get the lease is taken away, and never the other."""

    async def story(stage: Stage) -> None:
        s = stage.s
        six = [f"v{number}" for number in range(6)]
        for name in six:
            await s.running_vm(name)
        stage.do(stage.f.rival_controllers(5))
        await stage.pause(6)  # both are at work from now on
        for name in six:
            await s.delete_pod(s.pods_of(name)[0]["metadata"]["name"], grace_s=0)
        await stage.pause(3)
        await s.until(lambda: all(map(s.runs, six)), "all run", 60)
        left = {name: len(s.pods_of(name)) for name in six}
        assert set(left.values()) == {1}, left
        ran = {its for _, its in stage.world.site.ledger.history}
        assert len(ran) == 2 * len(six), "a guest that ran already was stopped again"

    tell(story)


async def stray_target(stage: Stage, vm: str) -> None:
    """A target Pod of ``vm`` for a migration that is gone, made like the Pod of VM ``a``."""
    [pod] = stage.s.pods_of("a")
    stray = copy.deepcopy({key: pod[key] for key in ("apiVersion", "kind", "metadata", "spec")})
    for field in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        stray["metadata"].pop(field, None)
    stray["metadata"]["name"] += "-late"
    stray["metadata"]["labels"][names.VM_NAME_LABEL] = vm
    stray["metadata"]["annotations"][names.MIGRATION_ANNOTATION] = "vmop-long-gone"
    stray["spec"].pop("nodeName")
    stray["spec"]["nodeSelector"] = {"no": "node"}
    user = names.CONTROLLERS_USER
    await Client(stage.world.api.transport(user, (user,))).create(POD, stray)


def test_a_target_pod_made_for_a_migration_that_is_gone_is_taken_away() -> None:
    """By a leader whose cache is behind; nobody else would ever look at it."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        before = s.pods_of("a")
        await stray_target(stage, "a")
        await s.until(lambda: s.pods_of("a") == before, "the stray is gone", 10)
        assert s.runs("a")

    tell(story)


def test_a_target_pod_whose_lease_is_lost_is_left_alone() -> None:
    """Absent is not released: the guest may have arrived in it."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        await stray_target(stage, "b")
        await stage.pause(10)
        assert len(s.pods_of("b")) == 1

    tell(story)

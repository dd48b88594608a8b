"""A VM is moved, and people change their minds: scenarios without faults."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell

pytestmark = pytest.mark.sim


def test_an_evicted_vm_runs_on_another_node() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        before, address = s.node_of("a"), s.vm_status("a")["ipAddress"]
        assert await s.finished(await s.evict("a")) == "Completed"
        assert s.node_of("a") != before
        assert s.vm_status("a")["ipAddress"] == address
        assert s.runs("a")
        assert s.vm_status("a")["migrationState"]["result"] == "Succeeded"

    tell(story)


def test_a_vm_says_migrating_before_its_memory_is_copied() -> None:
    async def story(stage: Stage) -> None:
        await stage.s.running_vm("a")
        await stage.s.evict("a")
        await stage.s.at("evict.copy")
        assert stage.s.phase("a") == "Migrating"

    tell(story)


def test_a_chain_of_moves() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        for _ in range(5):
            before = s.node_of("a")
            assert await s.finished(await s.evict("a")) == "Completed"
            assert s.node_of("a") != before

    tell(story)


def test_two_vms_change_places() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        await s.running_vm("b")
        first, second = await s.evict("a"), await s.evict("b")
        assert await s.finished(first) == "Completed"
        assert await s.finished(second) == "Completed"

    tell(story, nodes=2)


@pytest.mark.parametrize(
    "step",
    ["migration.scheduling", "migration.preparing", "migration.ready", "migration.copying",
     "evict.listening", "evict.copy"],
)  # fmt: skip
def test_an_abort_at_any_step_leaves_the_vm_on_its_source(step: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        before = s.lease_spec("a")
        operation = await s.evict("a")
        await s.at(step)
        await s.abort(operation)
        await s.until(lambda: s.operation(operation) is None, "the operation is gone", 2)
        assert s.runs("a")
        assert s.lease_spec("a") == before
        assert len(s.pods_of("a")) == 1
        again = await s.evict("a")
        assert await s.finished(again) == "Completed"

    tell(story)


def test_an_abort_before_anything_began() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        operation = await s.evict("a")
        await s.abort(operation)
        await s.until(lambda: s.operation(operation) is None, "the operation is gone", 2)
        assert s.runs("a")

    tell(story)


@pytest.mark.parametrize("step", ["evict.hand-over", "resumed"])
def test_past_the_point_of_no_return_the_deletion_waits_for_the_end(step: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        before = s.node_of("a")
        operation = await s.evict("a")
        await s.at(step)
        await s.abort(operation)
        await s.until(lambda: s.operation(operation) is None, "the operation is gone", 10)
        assert s.runs("a")
        assert s.node_of("a") != before

    tell(story)


def test_a_vm_deleted_while_it_moves_is_gone() -> None:
    async def story(stage: Stage) -> None:
        await stage.moving()
        await stage.s.delete_vm("a")
        await stage.s.until(lambda: stage.s.vm("a") is None, "the VM is gone", 60)
        assert not stage.s.living("a")

    tell(story)


def test_a_target_pod_deleted_by_force_costs_the_move_only() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        before = s.lease_spec("a")["holder"]
        for pod in s.pods_of("a"):
            if pod["metadata"]["uid"] != before:
                await s.delete_pod(pod["metadata"]["name"], grace_s=0)
        assert await s.finished(operation) == "Failed"
        assert s.lease_spec("a")["holder"] == before
        assert s.runs("a")

    tell(story)

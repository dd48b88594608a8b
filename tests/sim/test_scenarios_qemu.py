"""A QEMU that refuses, or says nothing: bounded where the guest stands still, left alone where it runs."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell

from drover.agent.ports import HypervisorError, Machine, MonitorSilent
from drover.api.wire import Object
from drover.sim.qemu_model import ModelQemu

pytestmark = pytest.mark.sim


def refuse(qemu: ModelQemu) -> None:
    """`cont` fails from now on, as it does when a disk cannot be locked."""

    def cont() -> None:
        raise HypervisorError('Failed to get "write" lock')

    qemu.cont = cont  # type: ignore[method-assign]


def ready(stage: Stage) -> Object:
    (pod,) = stage.s.pods_of("a")
    return next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")


def test_a_guest_that_may_not_start_ends_with_a_reason_and_the_policy_starts_it_again() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.create_vm("a")
        await s.at("start.launch")
        await s.until(lambda: bool(s.living("a")), "a QEMU", 5)
        refuse(s.living("a")[0])
        await s.until(lambda: s.lease_spec("a").get("lastReason") == "StartFailed", "the end", 60)
        await s.until(lambda: s.runs("a"), "a runs", 60)

    tell(story)


def test_an_arrived_guest_that_may_not_go_on_ends_with_a_reason() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        refuse(s.target("a"))
        await s.until(lambda: s.lease_spec("a").get("lastReason") == "Crashed", "the end", 60)
        assert await s.finished(operation) == "Failed"
        await s.until(lambda: s.runs("a"), "a runs", 60)

    tell(story)


def test_a_silent_monitor_is_shown_and_its_guest_runs_on() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        (copy,) = s.running_copies("a")
        hang = stage.do(stage.f.hang(s.world.site.qemu(copy), 60))
        await s.until(lambda: ready(stage)["status"] == "False", "the Pod is not Ready", 40)
        assert ready(stage)["reason"] == "MonitorSilent"
        assert s.phase("a") == "Running"
        await hang
        await s.until(lambda: ready(stage)["status"] == "True", "the Pod is Ready", 20)
        assert s.running_copies("a") == [copy]

    tell(story)


@pytest.mark.parametrize("before", [False, True])
def test_a_copy_that_cannot_begin_says_why_and_the_next_one_may(before: bool) -> None:
    """Also after one that began and failed: what QEMU still says of that one is of no interest."""

    async def story(stage: Stage) -> None:
        s, site = stage.s, stage.world.site
        if before:
            operation = await stage.moving()
            s.target("a").crash()
            assert await s.finished(operation) == "Failed"
        else:
            await s.running_vm("a")
        (copy,) = s.running_copies("a")
        site.refuse_copy[s.node_of("a")] = "no relay came up"
        operation = await s.evict("a")
        assert await s.finished(operation, 30) == "Failed"
        assert s.operation_message(operation) == "Migration failed: no relay came up"
        assert s.running_copies("a") == [copy]
        site.refuse_copy.clear()
        assert await s.finished(await s.evict("a"), 60) == "Completed"

    tell(story)


def test_a_silence_while_a_guest_is_copied_and_runs_ends_no_move() -> None:
    """A busy host: QEMU attends to nobody for a while."""

    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        stage.do(stage.f.hang(s.source("a"), 20))
        assert await s.finished(operation, 60) == "Completed"

    tell(story)


def test_a_target_that_falls_silent_as_it_goes_on_keeps_no_slot() -> None:
    """Nobody hears it say that it runs; its source may not go on any more all the same."""

    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        target = s.target("a")
        ledger = s.world.site.ledger
        before = ledger.on_run

        def freeze(copy: str, vm: str) -> None:
            before(copy, vm)
            target.frozen = copy == target.copy

        ledger.on_run = freeze
        await s.at("migration.succeeded", 60)
        assert target.frozen
        target.frozen = False
        assert await s.finished(operation, 60) == "Completed"

    tell(story)


def lose_answers(stage: Stage, starts: int) -> None:
    """QEMU is started, and whoever asked for it hears nothing."""
    for node in stage.world.nodes.values():
        assert node.agent is not None
        hypervisor = node.agent.context.hypervisor
        launch = hypervisor.launch
        left = [starts]

        async def silent(
            *args: object, launch: object = launch, left: list[int] = left, **more: object
        ) -> Machine:
            machine: Machine = await launch(*args, **more)  # type: ignore[operator]
            left[0] -= 1
            if left[0] >= 0:
                raise MonitorSilent("no answer")
            return machine

        hypervisor.launch = silent  # type: ignore[method-assign]


def test_a_start_without_an_answer_leaves_no_qemu_behind() -> None:
    """Its lease was released with the process alive, which kept the disks locked."""

    async def story(stage: Stage) -> None:
        lose_answers(stage, 1)
        await stage.s.running_vm("a")
        assert len(stage.s.living("a")) == 1

    tell(story)


def test_a_target_that_started_without_an_answer_costs_the_move_only() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        (copy,) = s.running_copies("a")
        lose_answers(stage, 1)
        operation = await s.evict("a")
        await s.finished(operation, 400)
        await s.until(lambda: s.runs("a"), "a runs", 10)
        assert len(s.living("a")) == 1
        assert s.operation_phase(operation) == "Completed" or s.running_copies("a") == [copy]

    tell(story)

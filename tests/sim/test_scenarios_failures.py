"""Every failure of a migration ends clean. The VM is lost only when its own QEMU died before the
hand-over; then its runPolicy decides."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api.scheme import MODULECONFIG, NODE
from drover.sim.faults import lease_write
from drover.sim.scenario import Scenario
from drover.sim.world import CONTROLLERS

pytestmark = pytest.mark.sim

AGENT_STEPS = ["evict.copy", "evict.completed", "evict.hand-over", "resumed"]
SERVER_STEPS = [
    "migration.scheduling", "migration.preparing", "migration.ready", "migration.copying",
    "evict.listening", "evict.copy", "evict.completed", "evict.hand-over",
]  # fmt: skip


def stays(s: Scenario, before: dict[str, object], operation: str) -> None:
    """The move failed and cost nothing: the same copy runs where it ran."""
    assert s.operation_phase(operation) == "Failed", s.operation_phase(operation)
    assert s.lease_spec("a")["holder"] == before["holder"]
    assert s.runs("a")


async def ends_well(s: Scenario, operation: str, limit_s: float = 60) -> None:
    """Whatever came of the move: it is over and the VM runs, without having been restarted."""
    await s.finished(operation, limit_s)
    await s.until(lambda: s.runs("a"), "a runs", limit_s)
    restarts = [copy for vm, copy in s.world.site.ledger.history if vm == "default/a"]
    assert len(dict.fromkeys(restarts)) <= 2
    assert s.lease_spec("a").get("lastReason", "") == ""


# --- QEMU dies ---


def test_target_qemu_dies_while_memory_is_copied() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        before = s.lease_spec("a")
        stage.f.crash(s.target("a"))
        await s.finished(operation)
        stays(s, before, operation)

    tell(story)


def test_target_qemu_dies_with_the_lease_in_hand_and_hands_it_back() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        before = s.lease_spec("a")
        await s.at("evict.hand-over")
        stage.f.crash(s.target("a"))
        await s.at("evict.hand-back")
        await s.finished(operation)
        stays(s, before, operation)

    tell(story)


@pytest.mark.parametrize("step", ["evict.listening", "evict.copy"])
def test_source_qemu_dies_before_the_hand_over_and_the_policy_restarts_the_vm(step: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        operation = await s.evict("a")
        await s.at(step)
        stage.f.crash(next(q for q in s.living("a") if q.copy == s.lease_spec("a")["holder"]))
        assert await s.finished(operation) == "Failed"
        await s.until(lambda: s.runs("a"), "the policy starts it again", 60)
        assert s.lease_spec("a")["lastReason"] == "Crashed"

    tell(story)


@pytest.mark.parametrize("step", ["evict.completed", "evict.hand-over"])
def test_source_qemu_dies_when_all_is_copied_and_nobody_notices(step: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        await s.at(step)
        stage.f.crash(s.source("a"))
        assert await s.finished(operation) == "Completed"
        assert s.runs("a")

    tell(story)


# --- agents die ---


@pytest.mark.parametrize("down_s", [0.0, 3.0])
@pytest.mark.parametrize("step", AGENT_STEPS)
def test_source_agent_is_killed_and_restarted(step: str, down_s: float) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        source = s.node_of("a")
        operation = await s.evict("a")
        await s.at(step)
        await stage.f.restart_agent(source, down_s)
        await ends_well(s, operation)

    tell(story)


@pytest.mark.parametrize("down_s", [0.0, 3.0])
@pytest.mark.parametrize("step", ["evict.listening", *AGENT_STEPS])
def test_target_agent_is_killed_and_restarted(step: str, down_s: float) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        source = s.node_of("a")
        operation = await s.evict("a")
        await s.at(step)
        (target,) = [q.node for q in s.living("a") if q.node != source] or ["n3"]
        await stage.f.restart_agent(target, down_s)
        await ends_well(s, operation)

    tell(story, nodes=3)


# --- the wire between the nodes ---


def test_wire_cut_while_copying_for_a_while_only_delays_the_move() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        await stage.f.cut_wire(s.source("a").node, s.target("a").node, 20)
        assert await s.finished(operation) == "Completed"

    tell(story)


def test_wire_cut_for_good_while_copying_is_given_up_after_150_s() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        before, began_s = s.lease_spec("a"), stage.world.loop.time()
        stage.do(stage.f.cut_wire(s.source("a").node, s.target("a").node, 1000))
        await s.finished(operation, 200)
        stays(s, before, operation)
        assert s.operation_reason(operation) == "NotConverging"
        assert 145 < stage.world.loop.time() - began_s < 160

    tell(story)


def test_wire_cut_at_switchover_is_freed_by_yank_and_the_source_goes_on() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        before, source = s.lease_spec("a"), s.source("a")
        await stage.world.until(lambda: source.state == "finish-migrate", "switchover", 5, 0.002)
        stage.do(stage.f.cut_wire(source.node, s.target("a").node, 1000))
        # Two answers are awaited for 5 s each, then a silence of 3 s is over, and the cancel waits for 1 s.
        await s.until(lambda: s.running_copies("a") == [source.copy], "the guest goes on", 14)
        await s.finished(operation, 60)
        stays(s, before, operation)

    tell(story, seed=3)


def test_the_last_word_is_lost_and_the_source_resumes_by_itself() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        before = s.lease_spec("a")
        stage.do(stage.f.lose_last_word(s.source("a").node, s.target("a").node, 10))
        await s.finished(operation)
        stays(s, before, operation)

    tell(story)


# --- the control plane ---


@pytest.mark.parametrize("down_s", [0.5, 15.0])
@pytest.mark.parametrize("step", SERVER_STEPS)
def test_api_server_restarts_at_any_step(step: str, down_s: float) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        operation = await s.evict("a")
        await s.at(step)
        await stage.f.restart_api(down_s)
        await ends_well(s, operation)

    tell(story)


@pytest.mark.parametrize("down_s", [0.5, 15.0])
@pytest.mark.parametrize("step", SERVER_STEPS)
def test_controllers_restart_at_any_step(step: str, down_s: float) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        operation = await s.evict("a")
        await s.at(step)
        await stage.f.restart_controllers(down_s)
        assert await s.finished(operation) == "Completed"

    tell(story)


@pytest.mark.parametrize("who", ["source", "target", CONTROLLERS])
@pytest.mark.parametrize("how", ["cut", "clog"])
def test_the_line_to_the_api_fails_during_the_copy(how: str, who: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        nodes = {"source": s.source("a").node, "target": s.target("a").node}
        where = nodes.get(who, who)
        fault = stage.f.cut_api if how == "cut" else stage.f.clog_api
        await fault(where, 12)
        await ends_well(s, operation)

    tell(story)


def test_a_hand_over_that_lands_late_is_refused() -> None:
    """Its answer never came, so the source took its lease back before it went on."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        before = s.lease_spec("a")
        held = stage.f.hold(s.node_of("a"), lease_write)
        operation = await s.evict("a")
        await s.until(lambda: bool(held.requests), "the hand-over is on its way", 10)
        await s.until(lambda: bool(s.running_copies("a")), "the source goes on", 10)
        held.let_go()
        await s.finished(operation)
        stays(s, before, operation)

    tell(story)


# --- no room, no target, no end ---


def test_no_node_fits_and_the_scheduler_says_why() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        before = s.lease_spec("a")
        for node in stage.world.nodes:
            cordon = {"spec": {"unschedulable": True}}
            await stage.world.user.patch(NODE, node, "", cordon)
        operation = await s.evict("a")
        await s.until(
            lambda: s.operation_reason(operation) == "TargetUnschedulable", "the reason", 10
        )
        await s.finished(operation, 400)
        stays(s, before, operation)
        message = (s.operation(operation) or {})["status"]["conditions"][0]["message"]
        assert "0/3 nodes are available" in message
        for node in stage.world.nodes:
            await stage.world.user.patch(NODE, node, "", {"spec": {"unschedulable": None}})

    tell(story)


def test_a_target_that_is_never_ready_is_given_up_after_5_minutes() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        before, began_s = s.lease_spec("a"), stage.world.loop.time()
        operation = await s.evict("a")
        await s.at("migration.scheduling")
        for node in stage.world.nodes:
            if node != s.node_of("a"):
                stage.do(stage.f.freeze(node, 330))
        await s.finished(operation, 400)
        stays(s, before, operation)
        assert 295 < stage.world.loop.time() - began_s < 310

    tell(story)


def test_qemu_that_does_not_start_on_the_target_costs_the_move_only() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        before = s.lease_spec("a")
        for node in stage.world.nodes:
            stage.do(stage.f.refuse_launch(node, 30))
        await stage.pause(0)
        operation = await s.evict("a")
        await s.finished(operation)
        stays(s, before, operation)

    tell(story)


def test_a_copy_that_makes_progress_but_takes_too_long_is_given_up() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        times = {"liveMigration": {"completionTimeoutPerGiB": 20}}
        config = {"metadata": {"name": "virtualization"}, "spec": {"settings": times}}
        await stage.world.user.create(MODULECONFIG, config)
        await s.running_vm("a", guest=large(dirty_bytes_per_second=0))
        before = s.lease_spec("a")
        for node in stage.world.nodes:
            if node != s.node_of("a"):
                stage.do(stage.f.slow_wire(s.node_of("a"), node, 1 << 20, 400))
        operation = await s.evict("a")
        await s.finished(operation, 60)
        stays(s, before, operation)
        assert s.operation_reason(operation) == "NotConverging"

    tell(story)

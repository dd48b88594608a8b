"""The safety rules, one named scenario each (docs/safety.md lists them).

``test_mutants`` takes each rule out of a copy of the source and expects exactly its scenario here to
fail. So each asserts what its own rule promises, and nothing of the others'.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.sim.stage import Stage, large, tell

from drover.agent.ports import Hypervisor, RunState
from drover.agent.resume import Ground, NotAllowed, resume
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.names import LastReason
from drover.api.scheme import NODE, POD, VML
from drover.api.status import Forbidden, TooManyRequests
from drover.api.wire import Request
from drover.runtime.client import Client
from drover.sim.faults import lease_write
from drover.sim.scheduler import USER as SCHEDULER

pytestmark = pytest.mark.sim


def test_rule_1_an_absent_lease_is_not_released() -> None:
    """A lease that vanished starts nothing, and is rebuilt from what the nodes report."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        copies = s.running_copies("a")
        with pytest.raises(Forbidden):
            await world.user.delete(VML, "a", "default")
        lease = s.lease("a")
        assert lease is not None
        world.note("the lease of a vanishes, as after a restore of a backup")
        world.api.store.remove(VML, lease)
        await s.until(lambda: s.lease("a") is not None, "the lease is rebuilt", 60)
        await stage.pause(20)
        assert s.running_copies("a") == copies
        assert s.lease_spec("a")["holder"] == copies[0]

    tell(story)


def test_rule_2_a_write_meant_for_a_former_lease_never_lands() -> None:
    """A hand-over that is on its way for minutes arrives at another VM's lease of the same name."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        source = s.node_of("a")
        held = stage.f.hold(source, lease_write)
        operation = await s.evict("a")
        await s.at("evict.take-back")
        await s.finished(operation)
        await s.delete_vm("a")
        await s.until(lambda: s.vm("a") is None, "the VM is gone", 60)
        await s.running_vm("a", nodeSelector={"kubernetes.io/hostname": source})
        lease = s.lease("a")
        assert len(held.requests) == 1
        held.let_go()
        await stage.pause(5)
        assert s.lease("a") == lease

    tell(story)


def test_rule_3_a_lease_that_names_a_former_life_of_the_node_starts_nothing() -> None:
    """The node lost power between Acquire and launch: its next life releases the lease."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.create_vm("a")
        await s.at("vml.acquired")
        first = s.lease_spec("a")
        await stage.f.power_cycle(str(first["node"]), 5)
        await s.until(lambda: s.runs("a"), "a runs", 60)
        ran = [copy for _, copy in stage.world.site.ledger.history]
        assert first["holder"] not in ran

    tell(story)


def test_rule_4_no_hand_back_once_cont_may_have_been_sent() -> None:
    """The target's agent dies between ``cont`` and its answer, then its QEMU: the source is old."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await stage.moving()
        target = s.target("a")
        told = world.site.ledger.on_run

        def on_run(copy: str, vm: str) -> None:
            told(copy, vm)
            if copy == target.copy and target.alive:
                world.kill_agent(target.node)

        world.site.ledger.on_run = on_run
        await s.until(lambda: not world.nodes[target.node].process, "the agent is dead", 10)
        await stage.pause(1)
        stage.f.crash(target)
        stage.f.start_agent(target.node)
        await s.until(lambda: s.runs("a"), "the policy starts it anew", 60)

    tell(story)


def test_rule_5_postmigrate_goes_on_only_after_an_acknowledged_write() -> None:
    """The agent crashed with a hand-over in flight, and its successor reads that nothing changed."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        source = s.node_of("a")
        held = stage.f.hold(source, lease_write)
        operation = await s.evict("a")
        await s.until(lambda: bool(held.requests), "the hand-over is on its way", 10)
        stage.f.kill_agent(source)
        await s.abort(operation)
        await stage.pause(1)  # so that its successor finds the migration aborted
        stage.f.start_agent(source)
        await s.until(lambda: bool(s.running_copies("a")), "the source goes on", 10)
        held.let_go()
        await stage.pause(5)
        assert s.node_of("a") == source
        assert s.runs("a")

    tell(story)


def test_rule_6_the_one_cont_is_refused_while_the_guest_is_not_complete() -> None:
    """QEMU itself would take it, and run on half a memory."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await stage.moving()
        target = stage.s.target("a")
        machine = next(
            m for m in await _hypervisor(stage, target.node).adopt() if m.copy == target.copy
        )

        async def holds() -> bool:
            return True

        assert target.state is RunState.INMIGRATE
        with pytest.raises(NotAllowed):
            await resume(machine, Ground.ARRIVAL, holds)
        await s.at("resumed")

    tell(story)


def _hypervisor(stage: Stage, node: str) -> Hypervisor:
    agent = stage.world.nodes[node].agent
    assert agent is not None
    return agent.context.hypervisor


def test_rule_7_a_guest_that_reset_during_the_copy_goes_on_nowhere() -> None:
    """The source's agent was away when its guest reset; only the target's state tells of it."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await stage.moving()
        source, target = s.source("a"), s.target("a")
        stage.f.kill_agent(source.node)
        source.guest_reset()
        source.noted_end = ""  # a full disk: QEMU's note of it is lost, too
        await stage.world.until(lambda: target.state is RunState.SHUTDOWN, "it is copied", 10, 0.01)
        stage.f.start_agent(source.node)
        await s.until(lambda: s.runs("a"), "the policy starts it anew", 60)
        ran = [copy for _, copy in stage.world.site.ledger.history]
        assert ran.count(source.copy) == 1
        assert target.copy not in ran

    tell(story)


def test_rule_10_after_a_restore_nothing_is_started_before_all_have_reported() -> None:
    """The backup knows the VM, and not that it was started since."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.create_vm("a")
        backup = world.api.store.backup()
        await s.until(lambda: s.runs("a"), "a runs", 60)
        stage.do(stage.f.cut_api(s.node_of("a"), 60))
        copies = s.running_copies("a")
        stage.f.restore(backup)
        await stage.pause(50)
        assert s.running_copies("a") == copies
        await s.until(lambda: not world.settling, "the restore is settled", 60)

    tell(story)


def test_rule_11_one_disk_one_vm() -> None:
    """The second VM that names a disk waits, and says for whom."""

    async def story(stage: Stage) -> None:
        s = stage.s
        disks = [{"kind": "VirtualDisk", "name": "a"}]
        await s.create_vm("a")
        await s.create_vm("b", blockDeviceRefs=disks)
        await s.until(lambda: s.runs("a") or s.runs("b"), "one of them runs", 60)
        one, other = ("a", "b") if s.runs("a") else ("b", "a")
        await stage.pause(20)
        assert s.phase(other) == "Pending"
        said = [c["message"] for c in s.vm_status(other)["conditions"] if c["status"] == "False"]
        assert f'VirtualDisk "a" is in use by VirtualMachine "{one}"' in " ".join(said)
        await s.delete_vm(one)
        await s.until(lambda: s.runs(other), "the other one runs", 60)

    tell(story)


def test_rule_13_kubernetes_deletes_no_running_vm() -> None:
    """Neither preemption, nor the collectors of Pods and of what owners left, nor a lost Node."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        operation = await s.evict("a")
        assert await s.finished(operation) == "Completed"
        await s.abort(operation)  # takes its migration along
        await s.until(lambda: s.migration("a") is None, "the migration is gone", 10)
        copies, (pod,) = s.running_copies("a"), s.pods_of("a")
        scheduler = Client(world.api.transport(SCHEDULER, ()))
        with pytest.raises(Forbidden):
            await scheduler.delete(POD, pod["metadata"]["name"], "default")
        world.note("user: deletes the Node of a")
        await world.user.delete(NODE, pods.node_name(pod))
        await stage.pause(90)
        assert s.running_copies("a") == copies
        assert world.node_ready(pods.node_name(pod))

    tell(story)


def test_rule_14_a_lease_is_released_though_its_pod_and_process_are_gone() -> None:
    """With the agent away, the QEMU dies and the Pod is deleted by force."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        (pod,), (qemu,) = s.pods_of("a"), s.living("a")
        stage.f.kill_agent(qemu.node)
        await s.delete_pod(pod["metadata"]["name"], grace_s=0)
        stage.f.crash(qemu)
        await stage.pause(10)
        assert s.lease_spec("a")["holder"] == qemu.copy
        stage.f.start_agent(qemu.node)
        await s.until(lambda: s.runs("a"), "the policy starts it anew", 60)

    tell(story)


def test_rule_17_restart_decisions_read_the_reason_of_the_release() -> None:
    """The guest powered itself off while no controller lived to see it."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", policy="AlwaysOnUnlessStoppedManually")
        await s.running_vm("b", policy="AlwaysOnUnlessStoppedManually")
        stage.f.kill_controllers()
        s.living("a")[0].guest_poweroff()
        s.living("b")[0].guest_reset()
        await stage.pause(5)
        assert s.lease_spec("a")["lastReason"] == LastReason.GUEST_SHUTDOWN
        stage.f.start_controllers()
        await s.until(lambda: s.phase("a") == "Stopped", "a stays off", 30)
        await s.until(lambda: s.runs("b"), "b starts anew", 30)

    tell(story)


def test_rule_19_a_hand_over_that_never_left_lets_the_source_go_on() -> None:
    """The API is away when all is copied; the guest stands still for milliseconds, not minutes."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        for attempt in range(2):  # a guest that arrived by a move before can do it too
            copies = s.running_copies("a")
            operation = await s.evict("a")
            away: list[asyncio.Task[None]] = []

            def strike(
                name: str, _entry: dict[str, object], away: list[asyncio.Task[None]] = away
            ) -> None:
                if name == "evict.completed" and not away:  # at once: the write is about to leave
                    away.append(stage.do(stage.f.restart_api(20)))

            stage.world.on_mark.append(strike)
            await s.until(lambda away=away: bool(away), "all is copied", 30)  # type: ignore[misc]
            stage.world.on_mark.remove(strike)
            await stage.pause(1)
            assert not away[0].done()
            assert s.running_copies("a") == copies
            assert await s.finished(operation, 60) == "Failed"
            if not attempt:
                assert await s.finished(await s.evict("a"), 60) == "Completed"

    tell(story)


def node_lease_write(request: Request) -> bool:
    """A renewal of a node's Lease."""
    return (
        request.method in ("PUT", "PATCH", "POST")
        and "/namespaces/kube-node-lease/" in request.path
    )


def test_rule_18_an_eviction_waits_for_the_end_of_that_very_pod() -> None:
    """The lease is with the target already, but the source's agent is down and its Pod has not ended."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a", guest=large())
        source, [pod] = s.node_of("a"), s.pods_of("a")
        name = pod["metadata"]["name"]

        async def evict() -> None:
            eviction = {"metadata": {"name": name, "namespace": "default"}}
            while True:
                try:
                    await world.user.post(POD.path("default", name, "eviction"), eviction)
                    return
                except TooManyRequests:
                    await world.clock.sleep(5)

        asked = world.scope.spawn(evict(), "evict")
        await s.at("evict.hand-over")
        world.kill_agent(source)
        await s.until(lambda: s.node_of("a") != source, "the VM is on its target", 60)
        await stage.pause(40)  # longer than an answer is held
        assert not asked.done()
        present = world.find(POD, name)
        assert present is not None
        assert not pods.deleting(present)
        world.start_agent(source)
        await asked
        assert world.find(POD, name) is None

    tell(story, drains=True)


def test_rule_19_a_copy_begins_only_while_the_node_is_known_to_live() -> None:
    """Its renewals get no answer, all else does: a node that may be fenced soon sends nobody away."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        copies, source = s.running_copies("a"), s.node_of("a")
        held = stage.f.hold(source, node_lease_write, most=1000)
        await stage.pause(5)  # the last acknowledgement is stale by now
        operation = await s.evict("a")
        await s.until(
            lambda: vmms.phase(s.migration("a") or {}) == "Copying", "the copy may begin", 20
        )
        await stage.pause(10)
        assert stage.world.marks.get("evict.copy", 0) == 0
        assert s.running_copies("a") == copies
        held.let_go()
        assert await s.finished(operation) == "Completed"

    tell(story)


def test_rule_19_the_target_is_looked_at_again_before_the_hand_over() -> None:
    """Its Pod is being deleted, of which the source does not hear and the target hears late: the guest goes on where it
    is, and nothing was handed over."""

    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        before = s.lease_spec("a")
        target = s.target("a").copy
        (pod,) = [pod for pod in s.pods_of("a") if pods.uid(pod) == target]
        node = pods.node_name(pod)
        lagging = stage.do(stage.f.lag(node, POD, 5))
        await s.delete_pod(pod["metadata"]["name"])
        await s.until(lambda: "evict.completed" in stage.world.marks, "all is copied", 5)
        await lagging
        assert await s.finished(operation) == "Failed"
        assert stage.world.marks.get("evict.hand-over", 0) == 0
        assert s.lease_spec("a")["holder"] == before["holder"]

    tell(story)

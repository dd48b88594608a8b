"""Operations that win over others, and migrations that share slots, in whole worlds: with restarts at every step."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api.kinds import vmm as vmms
from drover.api.names import VmmPhase
from drover.api.scheme import MODULECONFIG, VMM, VMOP

pytestmark = pytest.mark.sim

STEPS = [
    "vmop.pending", "migration.scheduling", "migration.preparing", "migration.ready",
    "migration.copying", "evict.listening", "evict.copy", "evict.completed", "evict.hand-over",
    "resumed",
]  # fmt: skip
POLICY = "AlwaysOnUnlessStoppedManually"


async def won(stage: Stage, kind: str, old: str, new: str) -> None:
    """What was asked for last is done, and the move says who took its place."""
    s = stage.s
    assert await s.finished(new) == "Completed"
    assert s.operation_phase(old) == "Superseded"
    if kind == "Stop":
        assert s.phase("a") == "Stopped"
        # Its agent may be away: then what waits for the guest on the target waits for it.
        await s.until(lambda: not s.living("a"), "no QEMU is left", 10)
    else:
        await s.until(lambda: s.runs("a"), "the VM runs again", 30)
        await s.until(lambda: len(s.pods_of("a")) == 1, "nothing is left of the move", 10)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["Stop", "Restart"])
def test_stop_and_restart_win_at_every_step(kind: str, step: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", policy=POLICY, guest=large())
        old = await s.evict("a")
        await s.at(step)
        await won(stage, kind, old, await s.operate(kind, "a"))

    tell(story)


@pytest.mark.parametrize("step", ["evict.cancel", "migration.aborted", "vmop.superseded"])
@pytest.mark.parametrize("who", ["controllers", "source", "target"])
@pytest.mark.parametrize("kind", ["Stop", "Restart"])
def test_they_win_although_somebody_dies_meanwhile(kind: str, who: str, step: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", policy=POLICY, guest=large())
        old = await s.evict("a")
        await s.at("evict.copy")
        source, target = s.node_of("a"), vmms.target_node(s.migration("a") or {})
        reached = asyncio.ensure_future(s.at(step))
        await asyncio.sleep(0)
        new = await s.operate(kind, "a", force=True)
        await reached
        if who == "controllers":
            await stage.f.restart_controllers(2.0)
        else:
            await stage.f.restart_agent(source if who == "source" else target, 2.0)
        await won(stage, kind, old, new)

    tell(story)


class Limits:
    """Looks at every change: how many hold a slot of each kind."""

    def __init__(self, stage: Stage, **most: int) -> None:
        self.stage, self.most = stage, most
        self.seen: Counter[str] = Counter()
        stage.world.on_mark.append(lambda mark, entry: self.look())

    def look(self) -> None:
        open_ones = [v for v in self.stage.world.api.objects(VMM) if not vmms.final(v)]
        held = [v for v in open_ones if vmms.phase(v) != VmmPhase.PENDING]
        sent = [v for v in held if vmms.phase(v) in (VmmPhase.READY, VmmPhase.COPYING)]
        counts = {
            "cluster": Counter("all" for _ in held),
            "outbound": Counter(vmms.source_node(v) for v in held),
            "sync": Counter(vmms.source_node(v) for v in sent),
            "inbound": Counter(vmms.target_node(v) for v in sent),
        }
        for name, count in counts.items():
            top = max(count.values(), default=0)
            assert top <= self.most[name], (name, dict(count))
            self.seen[name] = max(self.seen[name], top)


def settings(**limits: int) -> Any:
    spec = {"settings": {"liveMigration": {"limits": limits}}}
    return {"metadata": {"name": "virtualization"}, "spec": spec}


async def crowd(stage: Stage, count: int) -> list[str]:
    vms = [f"v{number}" for number in range(count)]
    for vm in vms:
        await stage.s.create_vm(vm, guest=large())
    for vm in vms:
        await stage.s.until(lambda vm=vm: stage.s.runs(vm), f"{vm} runs", 60)  # type: ignore[misc]
    return vms


@pytest.mark.parametrize("trouble", ["none", "controllers", "agents"])
def test_limits_hold_and_no_slot_is_lost(trouble: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        vms = await crowd(stage, 9)
        limits = Limits(stage, cluster=3, outbound=1, sync=1, inbound=1)
        operations = [await s.evict(vm) for vm in vms]
        for turn in range(6 if trouble != "none" else 0):
            await stage.pause(0.7)
            if trouble == "controllers":
                await stage.f.restart_controllers(0.3)
            else:
                await stage.f.restart_agent(sorted(stage.world.nodes)[turn % 3], 0.3)
        ends = [await s.finished(operation, 300) for operation in operations]
        assert set(ends) <= ({"Completed"} if trouble == "none" else {"Completed", "Failed"}), ends
        assert limits.seen["cluster"] >= 2
        assert not [v for v in stage.world.api.objects(VMM) if not vmms.final(v)]
        assert await s.finished(await s.evict("v0"), 60) == "Completed"

    tell(story)


def towards(node: str) -> Any:
    return {"migrate": {"nodeSelector": {"kubernetes.io/hostname": node}}}


@pytest.mark.parametrize(
    ("dead", "step"), [("source", "evict.copy"), ("target", "evict.hand-over")]
)
def test_a_dead_node_keeps_no_slots_of_the_living(dead: str, step: str) -> None:
    """Nothing is fenced here, so its migration ends only when the node is back."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        source = s.node_of("a")
        target, third = [node for node in stage.world.nodes if node != source]
        beside = (
            third if dead == "source" else source
        )  # so that b goes to a's target, or from its source
        await s.running_vm("b", guest=large())
        if s.node_of("b") != beside:
            await s.finished(await s.operate("Migrate", "b", **towards(beside)))
        stuck = await s.operate("Migrate", "a", **towards(target))
        await s.at(step)
        stage.do(stage.f.power_cycle(source if dead == "source" else target, 300))
        await stage.pause(60)
        await s.finished(
            await s.operate("Migrate", "b", **towards(target if dead == "source" else third)), 60
        )
        assert s.node_of("b") == (target if dead == "source" else third)
        assert s.operation_phase(stuck) == "InProgress"

    tell(story)


def test_a_settings_change_lets_more_go() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        vms = await crowd(stage, 9)
        slots = {"cluster": 6, "outboundPerNode": 3, "inboundPerNode": 3, "syncPerNode": 2}
        await stage.world.user.create(MODULECONFIG, settings(**slots))
        limits = Limits(stage, cluster=6, outbound=3, sync=2, inbound=3)
        operations = [await s.evict(vm) for vm in vms]
        ends = [await s.finished(operation, 300) for operation in operations]
        assert set(ends) == {"Completed"}
        assert limits.seen["cluster"] > 3
        assert limits.seen["outbound"] > 1

    tell(story)


def test_a_person_goes_before_evacuations_that_were_there_first() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await stage.world.user.create(MODULECONFIG, settings(cluster=1))
        for vm in ("a", "b", "c"):
            await s.running_vm(vm, guest=large())
        begun: list[str] = []
        stage.world.on_mark.append(
            lambda mark, entry: (
                begun.append(str(entry["vmm"])) if mark == "migration.scheduling" else None
            )
        )
        for vm in ("a", "b"):
            note = {"virtualization.deckhouse.io/evacuation": "true"}
            meta = {"name": f"evacuation-{vm}", "namespace": "default", "annotations": note}
            spec = {"type": "Evict", "virtualMachineName": vm}
            await stage.world.user.create(VMOP, {"metadata": meta, "spec": spec})
            await stage.pause(0.05)
        mine = await s.evict("c")
        for operation in (mine, "evacuation-a", "evacuation-b"):
            assert await s.finished(operation) == "Completed"
        assert begun == ["vmop-evacuation-a", f"vmop-{mine}", "vmop-evacuation-b"]

    tell(story)

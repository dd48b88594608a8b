"""Several workers decide at once: no slot is taken twice although writes are slow, and of one VM nothing overlaps."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.sim.stage import Stage, tell
from tests.sim.test_scenarios_limits import Limits, crowd, settings, towards

from drover.api.kinds import vmm as vmms
from drover.api.names import VmmPhase
from drover.api.scheme import MODULECONFIG, VMM, VMOP
from drover.sim.world import CONTROLLERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from drover.api.wire import Object, Request

pytestmark = pytest.mark.sim

ONE_EACH = {"outbound": 1, "sync": 1, "inbound": 1}


def says(phase: str) -> Callable[[Request], bool]:
    """The write of this phase of a migration."""

    def chosen(request: Request) -> bool:
        status = (request.body or {}).get("status") or {}
        return "/virtualmachinemigrations/" in request.path and status.get("phase") == phase

    return chosen


async def neighbours(stage: Stage) -> tuple[str, str]:
    """Two VMs of one node."""
    vms = await crowd(stage, len(stage.world.nodes) + 1)
    shared, _ = Counter(map(stage.s.node_of, vms)).most_common(1)[0]
    first, second, *_ = [vm for vm in vms if stage.s.node_of(vm) == shared]
    return first, second


async def evacuate(stage: Stage, vm: str, kind: str = "Evict", **spec: Any) -> str:
    """An operation that goes after those of people."""
    note = {"virtualization.deckhouse.io/evacuation": "true"}
    meta = {"name": f"evacuation-{vm}", "namespace": "default", "annotations": note}
    wish: Object = {"metadata": meta, "spec": {"type": kind, "virtualMachineName": vm, **spec}}
    await stage.world.user.create(VMOP, wish)
    return f"evacuation-{vm}"


async def settled(stage: Stage, vm: str, phase: str) -> None:
    """Its migration waits for a slot, or has come to this phase."""

    def so() -> bool:
        status = vmms.status(stage.s.migration(vm) or {})
        return status.get("phase") == phase or "Waiting for a free" in status.get("message", "")

    await stage.s.until(so, f"{vm} waits, or does not", 10)


async def both_end(stage: Stage, *operations: str) -> None:
    for operation in operations:
        assert await stage.s.finished(operation) == "Completed"


def test_a_slot_is_taken_before_the_write_that_says_so_has_landed() -> None:
    """A person comes meanwhile, and would go first."""

    async def story(stage: Stage) -> None:
        first, second = await neighbours(stage)
        limits = Limits(stage, cluster=3, **ONE_EACH)
        held = stage.f.hold(CONTROLLERS, says(VmmPhase.SCHEDULING))
        evacuation = await evacuate(stage, first)
        await stage.s.until(lambda: bool(held.requests), "a slot is being taken", 5)
        mine = await stage.s.evict(second)
        await settled(stage, second, VmmPhase.SCHEDULING)
        held.let_go()
        await both_end(stage, evacuation, mine)
        assert limits.seen["outbound"] == 1

    tell(story)


def test_a_transfer_is_begun_before_the_write_that_says_so_has_landed() -> None:
    """Of two that go to one node, the second comes from a person."""

    async def story(stage: Stage) -> None:
        s = stage.s
        vms = await crowd(stage, 3)
        places = {s.node_of(vm): vm for vm in vms}
        (_, first), (_, second), (target, _) = sorted(places.items())
        limits = Limits(stage, cluster=3, **ONE_EACH)
        held = stage.f.hold(CONTROLLERS, says(VmmPhase.READY))
        evacuation = await evacuate(stage, first, "Migrate", **towards(target))
        await s.until(lambda: bool(held.requests), "a slot is being taken", 10)
        mine = await s.operate("Migrate", second, **towards(target))
        await settled(stage, second, VmmPhase.READY)
        held.let_go()
        await both_end(stage, evacuation, mine)
        assert limits.seen["inbound"] == 1

    tell(story)


def test_a_slot_stays_taken_when_nothing_is_known_of_its_write() -> None:
    """It has landed: its answer is lost, and the watch is behind."""

    async def story(stage: Stage) -> None:
        first, second = await neighbours(stage)
        limits = Limits(stage, cluster=3, **ONE_EACH)
        link = stage.f.api_link(CONTROLLERS)
        begun = asyncio.ensure_future(stage.s.at("migration.scheduling"))
        await asyncio.sleep(0)
        evacuation = await evacuate(stage, first)
        await begun
        link.lose_answer = 1.0
        lags = stage.do(stage.f.lag(CONTROLLERS, VMM, 20.0))
        await stage.pause(0.1)
        link.lose_answer = 0.0
        assert limits.seen["outbound"] == 0  # nobody has looked yet
        mine = await stage.s.evict(second)
        await lags
        await both_end(stage, evacuation, mine)
        assert limits.seen["outbound"] == 1

    tell(story)


@pytest.mark.parametrize("trouble", ["none", "restarts"])
def test_one_vm_has_one_migration_at_a_time(trouble: str) -> None:
    """Three operations on each VM at once, the youngest first by name: within a second that is their order."""

    async def story(stage: Stage) -> None:
        vms = await crowd(stage, 4)
        await stage.world.user.create(MODULECONFIG, settings(cluster=4, outboundPerNode=4))
        most = [0]

        def look(*_: object) -> None:
            open_ones = [v for v in stage.world.api.objects(VMM) if not vmms.final(v)]
            most.append(max(Counter(map(vmms.vm_name, open_ones)).values(), default=0))

        stage.world.on_mark.append(look)
        operations = [(letter, vm) for vm in vms for letter in "cba"]
        for letter, vm in operations:
            spec = {"type": "Evict", "virtualMachineName": vm}
            meta = {"name": f"{letter}-{vm}", "namespace": "default"}
            await stage.world.user.create(VMOP, {"metadata": meta, "spec": spec})
        if trouble == "restarts":
            await stage.f.restart_controllers(0.3)
        ends = Counter([await stage.s.finished(f"{letter}-{vm}") for letter, vm in operations])
        assert max(most) == 1
        assert ends["Completed"] >= len(vms)
        assert set(ends) == {"Completed", "Failed"}

    tell(story)

"""How long moves take, foretold by a plan from earlier moves, beside how long they take on simulated links."""

from __future__ import annotations

from typing import Any

import pytest
from tests.sim.stage import MIB, Stage, tell

from drover.api import names, scheme
from drover.api.kinds import rebalance as kinds
from drover.sim.qemu_model import Guest
from drover.sim.story_rebalance import switch_on

pytestmark = pytest.mark.sim

# Touched MiB, and MiB written in a second, over a link of 500 MiB/s.
GUESTS = {"a": (3000, 5), "b": (2000, 100), "c": (1000, 20), "d": (500, 1)}
SPEC: dict[str, Any] = {"cpu": {"cores": 2}, "memory": {"size": "3Gi"}}
WITHIN = 0.25


def test_the_seconds_of_a_plan_are_those_that_its_moves_take() -> None:
    told: dict[str, tuple[float, float]] = {}

    async def story(stage: Stage) -> None:
        began: dict[str, tuple[str, float]] = {}  # by operation: VM, when

        def note(mark: str, fields: dict[str, Any]) -> None:
            if mark == "rebalance.move":
                began[fields["vmop"]] = fields["vm"], stage.world.clock.monotonic()
            if mark == "vmop.completed" and fields["vmop"] in began:
                vm, at_s = began[fields["vmop"]]
                told[vm] = (foretold(stage, vm), stage.world.clock.monotonic() - at_s)

        stage.world.on_mark.append(note)
        await gather(stage, "n1")
        for _ in range(2):  # there and back, so that the moves of each are known
            for vm in GUESTS:
                node = "n2" if stage.s.node_of(vm) == "n1" else "n1"
                await stage.s.finished(await to(stage, vm, node), 120.0)
        await limit_cpu(stage, 45)  # one VM a node
        await switch_on(stage.s)
        await stage.s.until(lambda: len(told) == 3, "each on a node of its own", 300)

    tell(story, nodes=4, rebalances=True)
    for vm, (foretold_s, lasted_s) in told.items():
        assert foretold_s == pytest.approx(lasted_s, rel=WITHIN), vm


async def limit_cpu(stage: Stage, percent: int) -> None:
    low = {"enabled": True, "targetThresholds": {"cpu": percent}}
    body = {
        "metadata": {"name": names.DESCHEDULER},
        "spec": {"strategies": {"lowNodeUtilization": low}},
    }
    await stage.world.user.create(scheme.DESCHEDULER, body)


async def gather(stage: Stage, node: str) -> None:
    """All VMs to one node, one after another."""
    for vm, (used_mib, dirty_mib) in GUESTS.items():
        guest = Guest(used_bytes=used_mib * MIB, dirty_bytes_per_second=dirty_mib * MIB)
        await stage.s.running_vm(vm, guest=guest, **SPEC)
        if stage.s.node_of(vm) != node:
            await stage.s.finished(await to(stage, vm, node), 120.0)


async def to(stage: Stage, vm: str, node: str) -> str:
    selector = {"nodeSelector": {names.HOSTNAME_LABEL: node}}
    return await stage.s.operate("Migrate", vm, migrate=selector)


def foretold(stage: Stage, vm: str) -> float:
    """What the newest plan said of this VM's move."""
    newest = max(stage.world.api.store.all(scheme.REBALANCEPLAN), key=kinds.number)
    [move] = [one for one in kinds.moves(newest) if one["virtualMachine"] == vm]
    return float(move["seconds"])

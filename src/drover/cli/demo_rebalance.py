"""The rebalancing part of the demo: a node is filled to 90 %, the plan is shown and carried out; then two VMs that must
not be together are separated."""

from __future__ import annotations

import json

from drover.api import scheme
from drover.cli import demo_group
from drover.cli.connect import Api
from drover.cli.demo_group import Group
from drover.cli.demo_stage import DemoFailed, Stage
from drover.cli.rebalance_world import look, shown
from drover.cli.session import PROGRAM

CROWD = Group("examples/crowd.yaml", "app=crowd", ("crowd-1", "crowd-2", "crowd-3"))
SETTLE_S = 3
MOVE_LIMIT_S = 120
_WAIT = f"{PROGRAM} k wait descheduler/virtualization"


class Balance:
    """Plays it. ``avoid``: a VM whose memory changes too fast to be moved without force; its node is left alone."""

    def __init__(self, stage: Stage, api: Api, avoid: str) -> None:
        self._stage = stage
        self._api = api
        self._avoid = avoid

    async def play(self) -> float:
        """How long it took from the switch until every node was below its threshold, in seconds."""
        stage = self._stage
        stage.title(
            "Rebalancing: a node is full, one VM moves; two that must be apart are separated"
        )
        node, others = await demo_group.choose(self._api, self._avoid, "balancing")
        async with stage.step(f"90 % of {node}'s CPU are reserved"):
            await demo_group.start(stage, self._api, CROWD, node, others)
        try:
            async with stage.step("every node is at 80 % or below"):
                planned = await self._plan(node)
                began_s = stage.clock.monotonic()
                await stage.run(f"{PROGRAM} rebalance on --settle {SETTLE_S}")
                await self._until_balanced()
                took_s = stage.clock.monotonic() - began_s
                await stage.run(f"{PROGRAM} k get rebalanceplan,vm")
                await self._check(planned)
            async with stage.step("two VMs that must not be together are apart"):
                await self._separate(node)
        finally:
            await stage.run(f"{PROGRAM} rebalance off")
        await stage.run(f"{PROGRAM} k delete -f {CROWD.file} --wait=false")
        return took_s

    async def _plan(self, node: str) -> str:
        """Show the plan; its hash."""
        await self._stage.run(f"{PROGRAM} rebalance plan")
        found = shown(await look(self._api))
        if found.before[node]["cpu"] <= 80 or not found.spec["movesTotal"]:
            raise DemoFailed(f"{node} is at {found.before[node]['cpu']:.0f} %: nothing to balance")
        return str(found.spec["hash"])

    async def _until_balanced(self) -> None:
        await self._stage.run(f"{_WAIT} --for=condition=Balanced --timeout={MOVE_LIMIT_S}s")

    async def _check(self, planned: str) -> None:
        """What ran is what was shown, and it has come of it what was promised."""
        found, _ = await self._api.client.list(scheme.REBALANCEPLAN)
        if planned not in {plan["spec"]["hash"] for plan in found}:
            raise DemoFailed(f"another plan ran than the one that was shown, {planned[:12]}")
        loads = shown(await look(self._api)).before
        full = {node: round(load["cpu"]) for node, load in loads.items() if load["cpu"] > 80}
        if full:
            raise DemoFailed(f"still over 80 %: {json.dumps(full)}")

    async def _separate(self, node: str) -> None:
        """Of two VMs that are still together one gets the label that the other must not be near."""
        stage = self._stage
        together = [
            name for name in CROWD.names if await demo_group.node_of(self._api, name) == node
        ]
        if len(together) < 2:
            raise DemoFailed(f"no two of the VMs are on {node} any more")
        first, second = together[:2]
        stage.tell(f"{second} must not be on a node with a VM that is labelled apart=yes.")
        await stage.run(f"{PROGRAM} k label vm {first} apart=yes --overwrite")
        await stage.run(f"{_WAIT} --for=condition=Balanced=false --timeout=30s")
        await self._until_balanced()
        await stage.run(f"{PROGRAM} k get vm")
        if await demo_group.node_of(self._api, first) == await demo_group.node_of(
            self._api, second
        ):
            raise DemoFailed(f"{first} and {second} are still together")

"""The story ``noise``: a day of 96 quarters of an hour, in each of which every node's reservation is another.

Here are no agents and no guests: nodes, VMs and Pods are objects only, and a *mover* carries operations out in half a
minute, or fails one in ten. What is judged is the rebalancer's patience: when the first hour has put things in order,
at most 2 % of the VMs move in a day, and none goes back where it came from.
"""

from __future__ import annotations

import asyncio

from drover.api import names, scheme
from drover.api.kinds import vmop as vmops
from drover.base.tasks import TaskScope
from drover.sim.bare import CORES, NAMESPACE, Bare
from drover.sim.checkers.judge import Broken

NODES, VMS = 10, 200

LOAD = (0.50, 0.72)  # of a node by its VMs, drawn for each; two are hot
HOT, HOT_LOAD = 2, 0.86
CYCLES, CYCLE_S = 96, 900.0
FIRST = 4  # cycles until it is in order
NOISE = 0.03  # of a node, up and down
COOLDOWN_S = 3600.0
MOVE_S = 30.0
FAILS = 0.1
MOST_MOVED = 0.02  # of the VMs, in the day


class Day(Bare):
    def __init__(self, seed: int) -> None:
        super().__init__("noise", seed)
        self._moves: list[tuple[float, str, str, str, str]] = []  # when, VM, source, target, plan

    async def happen(self, scope: TaskScope) -> None:
        scope.guard(self._mover(), "mover")
        for cycle in range(CYCLES):
            await self._noise(cycle)
            await asyncio.sleep(CYCLE_S)
            if scope.failure is not None:
                raise scope.failure
        self._judge()

    # --- the world ---

    async def furnish(self) -> None:
        for number in range(NODES):
            await self.node(f"n{number:02}")
        left = [HOT_LOAD if n < HOT else self.dice.between(*LOAD) for n in range(NODES)]
        for number in range(VMS):
            milli = self.dice.pick((500, 1000, 2000, 4000))
            at = max(range(NODES), key=lambda n: left[n])
            left[at] -= milli / (CORES * 1000)
            if left[at] >= 0:
                await self.vm(f"vm{number:03}", f"n{at:02}", milli)

    async def _noise(self, cycle: int) -> None:
        """What else runs on each node: a twentieth of it, and a little more or less in each cycle."""
        for number in range(NODES):
            share = 0.05 + self.dice.between(-NOISE, NOISE)
            node = f"n{number:02}"
            if cycle:
                await self.admin.delete(scheme.POD, f"other-{node}", NAMESPACE, grace_s=0)
            await self.pod(f"other-{node}", node, int(share * CORES * 1000), {})

    # --- the mover ---

    async def _mover(self) -> None:
        """Carries the operations out, one after another."""
        while True:
            for vmop in await self.open_operations():
                await asyncio.sleep(MOVE_S)
                failed = self.dice.happens(FAILS)
                if not failed:
                    plan = vmop["metadata"]["annotations"][names.REBALANCE_ANNOTATION]
                    target = vmops.node_selector(vmop)[names.HOSTNAME_LABEL]
                    await self._moved(vmops.vm_name(vmop), target, plan)
                await self.finish(vmop, "Failed" if failed else "Completed")
            await asyncio.sleep(1.0)

    async def _moved(self, vm: str, target: str, plan: str) -> None:
        label = f"{names.VM_NAME_LABEL}={vm}"
        [pod], _ = await self.admin.list(scheme.POD, NAMESPACE, labels=label)
        source, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
        asked = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        number = len(self._moves) + 1
        await self.admin.delete(scheme.POD, name, NAMESPACE, grace_s=0)
        await self.pod(
            f"d8v-vm-{vm}-{number}", target, int(asked.rstrip("m")), {names.VM_NAME_LABEL: vm}
        )
        await self.says(vm, target)
        self._moves.append((self.now_s, vm, source, target, plan))

    # --- the judge ---

    def _judge(self) -> None:
        now_s = self.now_s
        if not self._moves:
            raise Broken("noise", "nothing was moved: the story says nothing", now_s)
        late = {vm for at, vm, *_ in self._moves if at > FIRST * CYCLE_S}
        if len(late) > MOST_MOVED * VMS:
            raise Broken("at most 2 % of VMs a day", f"{len(late)} of {VMS} moved", now_s)
        homes: dict[str, list[str]] = {}
        last: dict[str, tuple[float, str]] = {}
        for at, vm, source, target, plan in self._moves:
            before_s, by = last.get(vm, (-COOLDOWN_S, ""))
            if at - before_s < COOLDOWN_S and by != plan:
                raise Broken("each VM rests for its cooldown", f"{vm} moved again", at)
            last[vm] = (at, plan)
            been = homes.setdefault(vm, [source])
            if target in been:
                raise Broken("no way back", f"{vm} went {[*been, target]}", now_s)
            been.append(target)

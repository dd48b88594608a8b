"""The story ``flight``: a plan whose moves take minutes and fail one in ten; in every other run a node is lost.

Nodes, VMs and Pods are objects only. A quarter of the nodes is overloaded. Each operation is carried out for itself: a
Pod on the target takes room at once, and after some minutes the source's or, when the move fails, the target's is gone.
What is judged: no more operations than the fewest moves and one for each failure, room at both ends for all that is in
flight, no more of it than the settings allow, and order in the end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drover.api import names, scheme
from drover.api.kinds import rebalance as kinds
from drover.api.kinds import vmop as vmops
from drover.api.meta import name_of
from drover.base.quantity import cpu_milli
from drover.controllers.settings import Settings
from drover.sim.bare import CORES, NAMESPACE, Bare
from drover.sim.checkers.judge import Broken

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.base.tasks import TaskScope

NODES, HOT, VMS = 20, 5, 500
COOL_LOAD, HOT_LOAD = (0.45, 0.70), (0.84, 0.95)
SIZES_MILLI = (500, 1000, 2000, 4000)
MOVE_S = (60.0, 300.0)
FAILS = 0.1
LOST_S = (120.0, 900.0)  # after the first operation
LONGEST_S = 4 * 3600.0
CEILING = 0.80


class Flight(Bare):
    def __init__(self, seed: int) -> None:
        super().__init__("flight", seed)
        self._seen: set[str] = set()
        self._from: dict[str, str] = {}  # by operation: the node that its VM leaves
        self._nodes: list[str] = []
        self._failed = 0
        self._lost_at_s = 0.0 if seed % 2 else self.dice.between(*LOST_S)

    async def furnish(self) -> None:
        for number in range(NODES):
            self._nodes.append(f"n{number:02}")
            await self.node(self._nodes[-1])
        left = [self.dice.between(*(HOT_LOAD if n < HOT else COOL_LOAD)) for n in range(NODES)]
        for number in range(VMS):
            milli = self.dice.pick(SIZES_MILLI)
            at = max(range(NODES), key=lambda n: left[n])
            left[at] -= milli / (CORES * 1000)
            if left[at] >= 0:
                await self.vm(f"vm{number:03}", self._nodes[at], milli)

    async def happen(self, scope: TaskScope) -> None:
        began_s = 0.0
        while self.now_s < LONGEST_S:
            for vmop in await self.open_operations():
                if name_of(vmop) not in self._seen:
                    began_s = began_s or self.now_s
                    await self._judge(vmop)
                    self._seen.add(name_of(vmop))
                    scope.spawn(self._move(vmop), name_of(vmop))
            if began_s and self._lost_at_s and self.now_s > began_s + self._lost_at_s:
                self._lost_at_s = 0.0
                await self._lose(await self._likely())
            if self.marks["rebalance.proposed"] and await self._settled():
                break
            await asyncio.sleep(1.0)
        await self._judge_all()

    # --- the world ---

    async def _move(self, vmop: Object) -> None:
        vm, target = vmops.vm_name(vmop), vmops.node_selector(vmop)[names.HOSTNAME_LABEL]
        [source] = await self._pods(vm)
        milli = cpu_milli(source["spec"]["containers"][0]["resources"]["requests"]["cpu"])
        copy = f"d8v-vm-{vm}-{len(self._seen)}"
        await self.pod(copy, target, milli, {names.VM_NAME_LABEL: vm})
        await asyncio.sleep(self.dice.between(*MOVE_S))
        gone = {source["spec"]["nodeName"], target} - set(self._nodes)
        failed = bool(gone) or self.dice.happens(FAILS)
        self._failed += failed
        if not gone:
            over = copy if failed else name_of(source)
            await self.admin.delete(scheme.POD, over, NAMESPACE, grace_s=0)
        elif target in self._nodes:  # a copy without its source is none
            await self.admin.delete(scheme.POD, copy, NAMESPACE, grace_s=0)
        if not failed:
            await self.says(vm, target)
        await self.finish(vmop, "Failed" if failed else "Completed")

    async def _pods(self, vm: str) -> list[Object]:
        found, _ = await self.admin.list(
            scheme.POD, NAMESPACE, labels=f"{names.VM_NAME_LABEL}={vm}"
        )
        return found

    async def _likely(self) -> str:
        """A node that a VM is on its way to, where there is one."""
        moving = await self.open_operations()
        targets = [vmops.node_selector(one)[names.HOSTNAME_LABEL] for one in moving]
        return self.dice.pick(targets or self._nodes)

    async def _lose(self, node: str) -> None:
        """With all that runs there, as after its fence."""
        self._nodes.remove(node)
        self.marks["lost"] += 1
        await self.admin.delete(scheme.NODE, node)
        found, _ = await self.admin.list(scheme.POD, NAMESPACE)
        for pod in found:
            if pod["spec"]["nodeName"] == node:
                await self.admin.delete(scheme.POD, name_of(pod), NAMESPACE, grace_s=0)

    async def _settled(self) -> bool:
        """No node is too full, and nothing is on its way."""
        plans, _ = await self.admin.list(scheme.REBALANCEPLAN, "")
        if any(kinds.open_(plan) for plan in plans) or await self.open_operations():
            return False
        return all(share <= CEILING for share in (await self._shares()).values())

    async def _shares(self) -> dict[str, float]:
        found, _ = await self.admin.list(scheme.POD, NAMESPACE)
        used = dict.fromkeys(self._nodes, 0)
        for pod in found:
            asked = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
            used[pod["spec"]["nodeName"]] += cpu_milli(asked)
        return {node: milli / (CORES * 1000) for node, milli in used.items()}

    # --- the judge ---

    async def _judge(self, new: Object) -> None:
        """A new operation, beside those that are in flight."""
        settings, open_ = Settings(), await self.open_operations()
        target = vmops.node_selector(new)[names.HOSTNAME_LABEL]
        [pod] = await self._pods(vmops.vm_name(new))
        asked = cpu_milli(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"])
        if target in self._nodes:
            share = (await self._shares())[target] + asked / (CORES * 1000)
            if share > CEILING:
                raise Broken("room at both ends", f"{target} will be at {share:.3f}", self.now_s)
        if len(open_) > settings.cluster_most(NODES):
            raise Broken("limits of the cluster", f"{len(open_)} in flight", self.now_s)
        self._from[name_of(new)] = pod["spec"]["nodeName"]
        leaving = sum(self._from.get(name_of(o)) == pod["spec"]["nodeName"] for o in open_)
        if leaving > settings.outbound_per_node:
            raise Broken("limits of a node", f"{leaving} leave one node", self.now_s)
        coming = sum(vmops.node_selector(o)[names.HOSTNAME_LABEL] == target for o in open_)
        if coming > settings.inbound_per_node:
            raise Broken("limits of a node", f"{coming} to {target}", self.now_s)

    async def _judge_all(self) -> None:
        plans, _ = await self.admin.list(scheme.REBALANCEPLAN, "")
        first = min(plans, key=kinds.number)
        fewest, asked = int(first["spec"]["lowerBound"]), len(self._seen)
        self.marks["fewest"], self.marks["asked"], self.marks["failures"] = (
            fewest,
            asked,
            self._failed,
        )
        if not await self._settled():
            raise Broken("order in the end", f"{await self._shares()}", self.now_s)
        if asked > fewest + self._failed:
            words = f"{asked} operations for {fewest} moves and {self._failed} failures"
            raise Broken("no more operations than needed", words, self.now_s)

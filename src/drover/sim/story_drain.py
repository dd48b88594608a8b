"""The story ``drain``: nodes are serviced one after another, by people who also change their minds.

A maintainer cordons a node and evicts its VM Pods as kubectl drain does, gives up early now and then, or has one of the
evacuations cancelled, and uncordons. There are two of them, so two nodes may be drained at once, and the last free one
be wanted by both. The owners of the VMs go on as in ``evict``, at a slower pace. Besides the checkers of every story:
a drain that said it was done has left no VM on its node.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drover.api import names, scheme
from drover.api.kinds import pod as pods
from drover.api.kinds import vmop as vmops
from drover.api.meta import name_of
from drover.api.status import ApiError, Conflict, NotFound, TooManyRequests
from drover.base.tasks import TaskScope, all_of
from drover.sim.checkers.judge import Broken
from drover.sim.parts import Dice
from drover.sim.stories import EvictStory, Pace
from drover.sim.world import Shape

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.sim.scenario import Scenario

RETRY_S = 5.0  # as kubectl
PATIENCE_S = (5.0, 300.0)
PAUSE_S = (1.0, 30.0)
MAINTAINERS = 2
NAMESPACE = "default"


class DrainStory(EvictStory):
    """One run."""

    def _shape(self) -> Shape:
        return Shape(nodes=self._plan.nodes, drains=True)

    def _people(self, scenario: Scenario, users: TaskScope, vms: list[str], pace: Pace) -> None:
        slower = Pace((pace.think_s[0] * 5, pace.think_s[1] * 5), pace.fault_means_s, pace.work_s)
        super()._people(scenario, users, vms, slower)
        for number in range(MAINTAINERS):
            who = f"maintainer{number}"
            users.guard(Maintainer(scenario, who).work(), who)

    async def _go_home(self, scenario: Scenario) -> None:
        for node in scenario.world.nodes:
            await _cordon(scenario, node, on=False)


class Maintainer:
    """Services nodes."""

    def __init__(self, scenario: Scenario, name: str) -> None:
        self._scenario = scenario
        self._name = name
        self._dice = Dice(f"{name}-{scenario.world.seed}")

    async def work(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._dice.between(*PAUSE_S))
            node = self._dice.pick(list(self._scenario.world.nodes))
            try:
                await self._service(node)
            except (ApiError, TimeoutError):
                continue  # told, and tried again another time

    async def _service(self, node: str) -> None:
        world = self._scenario.world
        await _cordon(self._scenario, node, on=True)
        world.note(f"{self._name}: drain {node}")
        patience_s = self._dice.between(*PATIENCE_S)
        try:
            async with asyncio.timeout(patience_s):
                await self._drain(node)
            world.note(f"{self._name}: {node} is drained")
        except TimeoutError:
            world.note(f"{self._name}: gives {node} up")
        await asyncio.sleep(self._dice.between(0.0, 20.0))
        world.note(f"{self._name}: uncordon {node}")
        await _cordon(self._scenario, node, on=False)

    async def _drain(self, node: str) -> None:
        """kubectl lists once, evicts all side by side, and returns when those Pods are gone."""
        chosen = _vm_pods(self._scenario, node)
        if self._dice.happens(0.2):
            await asyncio.sleep(self._dice.between(0.5, 10.0))
            await self._cancel_one()
        await all_of(*(self._evict(pod) for pod in chosen))
        left = {name_of(pod) for pod in chosen} & {
            name_of(pod) for pod in _vm_pods(self._scenario, node)
        }
        if left:
            now_s = self._scenario.world.loop.time()
            raise Broken("a drain that is done", f"{sorted(left)} still on {node}", now_s)

    async def _evict(self, pod: Object) -> None:
        name = name_of(pod)
        path = scheme.POD.path(NAMESPACE, name, "eviction")
        body = {"metadata": {"name": name, "namespace": NAMESPACE}}
        while True:
            try:
                await self._scenario.world.user.post(path, body)
                break
            except (NotFound, Conflict):
                return
            except TooManyRequests:
                await asyncio.sleep(RETRY_S)
        scenario = self._scenario

        def gone() -> bool:
            return all(name_of(other) != name for other in _all_pods(scenario))

        await scenario.until(gone, f"{name} is gone", PATIENCE_S[1])

    async def _cancel_one(self) -> None:
        found, _ = await self._scenario.world.user.list(scheme.VMOP, NAMESPACE)
        open_ = [
            name_of(op)
            for op in found
            if name_of(op).startswith(names.EVACUATION_PREFIX) and not vmops.finished(op)
        ]
        if open_:
            await self._scenario.abort(self._dice.pick(open_))


def _all_pods(scenario: Scenario) -> list[Object]:
    return [pod for vm in scenario.guests for pod in scenario.pods_of(vm)]


def _vm_pods(scenario: Scenario, node: str) -> list[Object]:
    return [pod for pod in _all_pods(scenario) if pods.node_name(pod) == node]


async def _cordon(scenario: Scenario, node: str, on: bool) -> None:
    patch = {"spec": {"unschedulable": True if on else None}}
    await scenario.world.user.patch(scheme.NODE, node, "", patch)

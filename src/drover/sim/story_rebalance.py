"""The story ``rebalance``: people crowd VMs on one node, and break rules by what they change around them.

A *crowder* sends VMs one after another to a node of their choice, as a person may; a *labeller* gives a VM the label
that another one must not be near; a *maintainer* cordons a node for a while. The rebalancer puts it all in order, with
failures of migrations, nodes lost in the middle of a plan and all other weather around it. Besides the checkers of
every story: one plan at a time, nothing but what it says, no target over its threshold, each VM left alone for its
cooldown, and in the end order wherever a legal plan leads to it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from drover.api import names, scheme
from drover.api.status import ApiError
from drover.base.tasks import TaskScope
from drover.sim.parts import Dice
from drover.sim.stories import EvictStory, Pace
from drover.sim.world import Shape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from drover.sim.scenario import Scenario

    Act = Callable[[], Awaitable[None]]

CORES = (2, 2, 2, 1)  # of a node's 8: four such VMs are more than 80 %
SETTLE_S, COOLDOWN_S = 3, 20
PAUSE_S = (5.0, 60.0)
LABEL = {"app": "loner"}


class RebalanceStory(EvictStory):
    """One run."""

    def _shape(self) -> Shape:
        return Shape(nodes=self._plan.nodes, rebalances=True)

    async def _furnish(self, scenario: Scenario) -> None:
        await switch_on(scenario)

    async def _create(self, scenario: Scenario, number: int) -> None:
        """Every fourth VM must not be near one with the label."""
        spec: dict[str, Any] = {"cpu": {"cores": CORES[number % len(CORES)]}}
        if number % 4 == 3:
            spec["affinity"] = {"virtualMachineAndPodAntiAffinity": {_REQUIRED: [_TERM]}}
        policy = self._dice.pick(("AlwaysOn", "AlwaysOnUnlessStoppedManually"))
        await scenario.create_vm(f"vm{number + 1}", policy, self._guest(), **spec)

    def _people(self, scenario: Scenario, users: TaskScope, vms: list[str], pace: Pace) -> None:
        slower = Pace((pace.think_s[0] * 9, pace.think_s[1] * 9), pace.fault_means_s, pace.work_s)
        super()._people(scenario, users, vms, slower)
        person = Person(scenario, vms)
        users.guard(person.does(person.crowd), "crowder")
        users.guard(person.does(person.label), "labeller")
        users.guard(person.does(person.cordon), "maintainer")

    async def _go_home(self, scenario: Scenario) -> None:
        for node in scenario.world.nodes:
            await _cordon(scenario, node, on=False)


async def switch_on(scenario: Scenario, **settings: object) -> None:
    """ModuleConfig alone is enough; the times are those of a story that lasts minutes."""
    times = {"settlingTime": SETTLE_S, "cooldown": COOLDOWN_S, **settings}
    module = {
        "metadata": {"name": names.REBALANCE_MODULE},
        "spec": {"enabled": True, "settings": {"rebalance": times}},
    }
    await scenario.world.user.create(scheme.MODULECONFIG, module)


class Person:
    """Somebody with rights and little foresight."""

    def __init__(self, scenario: Scenario, vms: list[str]) -> None:
        self._scenario = scenario
        self._vms = vms
        self._dice = Dice(f"person-{scenario.world.seed}")

    async def does(self, what: Act) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._dice.between(*PAUSE_S))
            try:
                await what()
            except (ApiError, TimeoutError):
                continue

    async def crowd(self) -> None:
        """Everybody to one node."""
        node = self._dice.pick(list(self._scenario.world.nodes))
        selector = {"nodeSelector": {names.HOSTNAME_LABEL: node}}
        self._scenario.world.note(f"crowder: all VMs to {node}")
        for vm in self._vms:
            if self._scenario.node_of(vm) != node:
                operation = await self._scenario.operate("Migrate", vm, migrate=selector)
                await self._scenario.finished(operation, 20.0)

    async def label(self) -> None:
        vm = self._dice.pick(self._vms)
        worn = self._dice.happens(0.5)
        patch = {"metadata": {"labels": LABEL if worn else dict.fromkeys(LABEL)}}
        self._scenario.world.note(f"labeller: {vm} {'gets' if worn else 'loses'} {LABEL}")
        await self._scenario.world.user.patch(scheme.VM, vm, "default", patch)

    async def cordon(self) -> None:
        node = self._dice.pick(list(self._scenario.world.nodes))
        await _cordon(self._scenario, node, on=True)
        await asyncio.sleep(self._dice.between(1.0, 60.0))
        await _cordon(self._scenario, node, on=False)


async def _cordon(scenario: Scenario, node: str, on: bool) -> None:
    scenario.world.note(f"maintainer: {'cordon' if on else 'uncordon'} {node}")
    patch = {"spec": {"unschedulable": True if on else None}}
    await scenario.world.user.patch(scheme.NODE, node, "", patch)


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_TERM = {"topologyKey": names.HOSTNAME_LABEL, "labelSelector": {"matchLabels": LABEL}}

"""Faults by chance, whatever they are: some strike at a random time, some right at a step of a story (a mark in the
log), where the interesting moments are. At most a few go on at once.

Who subclasses this draws how often, which, and where: ``weather`` for moves, ``losses`` for nodes that are fenced. Who
uses it ends it with ``stop``, and everything is mended then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from drover.base.tasks import TaskScope
from drover.sim.faults import Faults
from drover.sim.parts import Dice
from drover.sim.world import CONTROLLERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from drover.sim.scenario import Scenario

_MOST_AT_ONCE = 6


class Storm:
    """Faults of one world, until ``stop``. ``name`` is part of the seed."""

    _mean_s: float  # between two faults at random times

    def __init__(self, scenario: Scenario, name: str) -> None:
        self._scenario = scenario
        self._world = scenario.world
        self.faults = Faults(scenario.world)
        self._name = name
        self._dice = Dice(f"{name}-{scenario.world.seed}")
        self._scope = TaskScope(name)
        self._going = 0

    def start(self) -> None:
        self._world.on_mark.append(self._step)
        self._spawn(self._at_random())

    async def stop(self) -> None:
        """It is over; what it broke is mended."""
        self._world.on_mark.remove(self._step)
        await self._scope.aclose()
        self.faults.heal()

    def _step(self, mark: str, entry: dict[str, Any]) -> None:
        """A story has come to a step: strike, or not."""
        raise NotImplementedError

    def _random(self, where: str) -> Coroutine[Any, Any, None]:
        """A strike at no particular step."""
        raise NotImplementedError

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        with self._world.loop.process(self._name):
            self._scope.spawn(work, "fault")

    async def _at_random(self) -> None:
        while True:
            await asyncio.sleep(self._dice.between(0.1, 2 * self._mean_s))
            self._spawn(self._random(self._dice.pick((*self._world.nodes, CONTROLLERS))))

    @property
    def _full(self) -> bool:
        return self._going >= _MOST_AT_ONCE

    async def _counted(self, fault: Awaitable[None]) -> None:
        self._going += 1
        try:
            await fault
        finally:
            self._going -= 1

    def _node(self, where: str) -> str:
        """That node, or any for what is none."""
        return where if where in self._world.nodes else self._dice.pick(list(self._world.nodes))

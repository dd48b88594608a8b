"""Rough weather: faults by chance. The seed draws how often each happens; some strike at a random
time, some right at a step of a migration (a mark in the log), where the interesting moments are.

The user of this module ends it with ``stop`` and then heals the world.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from drover.api.scheme import NODE, POD, VDISK, VM, VML, VMM, VMOP
from drover.base.tasks import TaskScope
from drover.sim.faults import Faults
from drover.sim.parts import Dice
from drover.sim.world import CONTROLLERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from drover.sim.qemu_model import ModelQemu
    from drover.sim.scenario import Scenario

STEPS = (
    "migration.scheduling", "migration.preparing", "migration.ready", "migration.copying",
    "migration.succeeded", "evict.listening", "evict.copy", "evict.completed", "evict.hand-over",
    "evict.take-back", "evict.hand-back", "evict.cancel", "resumed", "killed", "released",
)  # fmt: skip
WATCHED = (POD, VM, VMOP, VML, VMM, VDISK, NODE)
_DELAYS_S = (0.0, 0.0, 0.001, 0.003, 0.01, 0.1, 0.5)
_MOST_AT_ONCE = 6


class Weather:
    """Faults of one world, until ``stop``."""

    def __init__(self, scenario: Scenario, means_s: Sequence[float]) -> None:
        self._scenario = scenario
        self._world = scenario.world
        self.faults = Faults(scenario.world)
        self._dice = Dice(f"weather-{scenario.world.seed}")
        self._scope = TaskScope("weather")
        dice = self._dice
        self._at_steps = dice.pick((0.0, 0.05, 0.15, 0.3))  # chance of a fault at each step
        self._mean_s = dice.pick(means_s)  # between two faults at random times
        self._kinds = [fault for fault in self._all() if dice.happens(0.6)] or [self._agent]
        self._going = 0

    def _all(self) -> list[Callable[[str], Awaitable[None]]]:
        return [
            self._agent, self._frozen_agent, self._crash, self._guest_ends, self._hang, self._cut,
            self._clog, self._lossy, self._controllers, self._frozen_controllers, self._server,
            self._wire, self._last_word, self._slow, self._no_launch, self._power, self._lag,
            self._leaders,
        ]  # fmt: skip

    def start(self) -> None:
        self._world.note(f"weather: {self._at_steps:g} at steps, every {self._mean_s:g} s, "
                         f"{' '.join(fault.__name__.strip('_') for fault in self._kinds)}")  # fmt: skip
        self._world.on_mark.append(self._step)
        self._spawn(self._at_random())

    async def stop(self) -> None:
        """The storm is over; everything is mended."""
        self._world.on_mark.remove(self._step)
        await self._scope.aclose()
        self.faults.heal()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        with self._world.loop.process("weather"):
            self._scope.spawn(work, "fault")

    def _step(self, mark: str, entry: dict[str, Any]) -> None:
        if mark in STEPS and self._dice.happens(self._at_steps):
            where = str(entry.get("node") or CONTROLLERS)
            self._spawn(self._strike(where, self._dice.pick(_DELAYS_S)))

    async def _at_random(self) -> None:
        while True:
            await asyncio.sleep(self._dice.between(0.1, 2 * self._mean_s))
            where = self._dice.pick((*self._world.nodes, CONTROLLERS))
            self._spawn(self._strike(where, 0.0))

    async def _strike(self, where: str, after_s: float) -> None:
        if self._going >= _MOST_AT_ONCE:
            return
        await asyncio.sleep(after_s)
        self._going += 1
        try:
            await self._dice.pick(self._kinds)(where)
        finally:
            self._going -= 1

    def _short_s(self) -> float:
        """Mostly under a second, sometimes many."""
        return self._dice.pick((0.01, 0.2, 1.0, 5.0, 20.0)) * self._dice.between(0.5, 1.5)

    def _node(self, where: str) -> str:
        return where if where in self._world.nodes else self._dice.pick(list(self._world.nodes))

    def _other(self, node: str) -> str:
        return self._dice.pick([name for name in self._world.nodes if name != node])

    def _qemu(self, where: str) -> ModelQemu | None:
        """A process on this node, or on any when there is none."""
        living = self._world.site.living(self._node(where))
        living = living or [q for q in self._world.site.qemus.values() if q.alive]
        return self._dice.pick(living) if living else None

    # --- the kinds ---

    async def _agent(self, where: str) -> None:
        await self.faults.restart_agent(self._node(where), self._short_s())

    async def _frozen_agent(self, where: str) -> None:
        await self.faults.freeze(self._node(where), self._short_s())

    async def _crash(self, where: str) -> None:
        qemu = self._qemu(where)
        if qemu is not None:
            self.faults.crash(qemu)

    async def _guest_ends(self, where: str) -> None:
        qemu = self._qemu(where)
        if qemu is not None:
            how = self._dice.pick(("guest_reset", "guest_panic", "guest_poweroff"))
            self._world.note(f"fault: {how} of {qemu.spec.vm}")
            getattr(qemu, how)()

    async def _hang(self, where: str) -> None:
        qemu = self._qemu(where)
        if qemu is not None:
            await self.faults.hang(qemu, self._short_s())

    async def _cut(self, where: str) -> None:
        await self.faults.cut_api(where, self._short_s())

    async def _clog(self, where: str) -> None:
        await self.faults.clog_api(where, self._short_s())

    async def _lossy(self, where: str) -> None:
        """Requests and answers get lost, or land late."""
        link = self.faults.api_link(where)
        self._world.note(f"fault: the line from {where} to the API is lossy")
        link.lose_request, link.lose_answer = self._dice.between(0, 0.3), self._dice.between(0, 0.3)
        link.late = self._dice.between(0, 0.3)
        await asyncio.sleep(self._short_s())
        link.lose_request = link.lose_answer = link.late = 0.0

    async def _controllers(self, where: str) -> None:
        await self.faults.restart_controllers(self._short_s())

    async def _frozen_controllers(self, where: str) -> None:
        await self.faults.freeze(CONTROLLERS, self._short_s())

    async def _server(self, where: str) -> None:
        await self.faults.restart_api(min(5.0, self._short_s()))

    async def _wire(self, where: str) -> None:
        node = self._node(where)
        await self.faults.cut_wire(node, self._other(node), self._short_s())

    async def _last_word(self, where: str) -> None:
        node = self._node(where)
        await self.faults.lose_last_word(node, self._other(node), self._short_s())

    async def _slow(self, where: str) -> None:
        node = self._node(where)
        await self.faults.slow_wire(node, self._other(node), 2 << 20, self._short_s())

    async def _no_launch(self, where: str) -> None:
        await self.faults.refuse_launch(self._node(where), self._short_s())

    async def _power(self, where: str) -> None:
        await self.faults.power_cycle(self._node(where), self._short_s())

    async def _lag(self, where: str) -> None:
        await self.faults.lag(where, self._dice.pick(WATCHED), self._short_s())

    async def _leaders(self, where: str) -> None:
        if not self._world.shape.drains:  # the door of evictions has room for one
            await self.faults.rival_controllers(self._short_s())

"""Rough weather: faults by chance. The seed draws how often each happens; some strike at a random
time, some right at a step of a migration (a mark in the log), where the interesting moments are:
then half of them are of a kind that suits the step, and hit the very link or node that takes it.

The user of this module ends it with ``stop`` and then heals the world.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drover.api.scheme import NODE, POD, VDISK, VM, VML, VMM, VMOP
from drover.sim.faults import lease_write
from drover.sim.storm import Storm
from drover.sim.world import CONTROLLERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from drover.api.wire import Request
    from drover.sim.qemu_model import ModelQemu
    from drover.sim.scenario import Scenario

    Fault = Callable[["Spot"], Awaitable[None]]

STEPS = (
    "migration.scheduling", "migration.preparing", "migration.ready", "migration.copying",
    "migration.succeeded", "evict.listening", "evict.copy", "evict.completed", "evict.hand-over",
    "evict.take-back", "evict.hand-back", "evict.cancel", "resumed", "killed", "released",
)  # fmt: skip
WATCHED = (POD, VM, VMOP, VML, VMM, VDISK, NODE)
_DELAYS_S = (0.0, 0.0, 0.001, 0.003, 0.01, 0.1, 0.5)
# What is held on its way lands when one of these is reached next for the same VM, or much later.
# Most that can be harmed is harmed where a guest has just gone on.
_LANDINGS = (
    "resumed", "resumed", "resumed", "evict.take-back", "released", "vml.acquired", "start.launch",
)  # fmt: skip
_HELD_MOST_S = 60.0


@dataclass(frozen=True)
class Spot:
    """Where a fault strikes: ``node`` may be the controllers; ``peer`` if the step tells one."""

    node: str
    peer: str = ""


class Weather(Storm):
    """Faults of one world, until ``stop``."""

    def __init__(self, scenario: Scenario, means_s: Sequence[float]) -> None:
        super().__init__(scenario, "weather")
        dice = self._dice
        self._at_steps = dice.pick((0.0, 0.05, 0.15, 0.3))  # chance of a fault at each step
        self._mean_s = dice.pick(means_s)
        self._kinds = [fault for fault in self._all() if dice.happens(0.6)] or [self._agent]

    def _all(self) -> list[Fault]:
        return [
            self._agent, self._frozen_agent, self._crash, self._guest_ends, self._hang, self._cut,
            self._clog, self._lossy, self._hold, self._controllers, self._frozen_controllers,
            self._server, self._wire, self._last_word, self._slow, self._no_launch, self._power,
            self._lag, self._leaders,
        ]  # fmt: skip

    def _suited(self, mark: str) -> list[Fault]:
        """Kinds that may hurt most at this step, of those that this weather knows."""
        hold = self._hold
        suited: dict[str, list[Fault]] = {
            "evict.copy": [self._wire, self._last_word, self._slow, self._crash],
            "evict.completed": [hold, hold, self._agent, self._frozen_agent, self._clog],
            "evict.hand-over": [hold, self._agent, self._crash, self._lossy],
        }
        return [fault for fault in suited.get(mark, []) if fault in self._kinds]

    def start(self) -> None:
        self._world.note(f"weather: {self._at_steps:g} at steps, every {self._mean_s:g} s, "
                         f"{' '.join(fault.__name__.strip('_') for fault in self._kinds)}")  # fmt: skip
        super().start()

    def _step(self, mark: str, entry: dict[str, Any]) -> None:
        if mark in STEPS and self._dice.happens(self._at_steps):
            spot = Spot(str(entry.get("node") or CONTROLLERS), str(entry.get("target") or ""))
            suited = self._suited(mark)
            if suited and self._dice.happens(0.5):
                self._spawn(self._strike(self._dice.pick(suited), spot, 0.0))
            else:
                kind = self._dice.pick(self._kinds)
                self._spawn(self._strike(kind, spot, self._dice.pick(_DELAYS_S)))

    def _random(self, where: str) -> Coroutine[Any, Any, None]:
        return self._strike(self._dice.pick(self._kinds), Spot(where), 0.0)

    async def _strike(self, fault: Fault, spot: Spot, after_s: float) -> None:
        if self._full:
            return
        if after_s:
            await asyncio.sleep(after_s)
        await self._counted(fault(spot))

    def _short_s(self) -> float:
        """Mostly under a second, sometimes many."""
        return self._dice.pick((0.01, 0.2, 1.0, 5.0, 20.0)) * self._dice.between(0.5, 1.5)

    def _wire_at(self, spot: Spot) -> tuple[str, str]:
        """The wire that the step uses, or any of this node."""
        node = self._node(spot.node)
        others = [name for name in self._world.nodes if name != node]
        return node, spot.peer if spot.peer in others else self._dice.pick(others)

    def _qemu(self, spot: Spot) -> ModelQemu | None:
        """A process on this node, or on any when there is none."""
        living = self._world.site.living(self._node(spot.node))
        living = living or [q for q in self._world.site.qemus.values() if q.alive]
        return self._dice.pick(living) if living else None

    # --- the kinds ---

    async def _agent(self, spot: Spot) -> None:
        await self.faults.restart_agent(self._node(spot.node), self._short_s())

    async def _frozen_agent(self, spot: Spot) -> None:
        await self.faults.freeze(self._node(spot.node), self._short_s())

    async def _crash(self, spot: Spot) -> None:
        qemu = self._qemu(spot)
        if qemu is not None:
            self.faults.crash(qemu)

    async def _guest_ends(self, spot: Spot) -> None:
        qemu = self._qemu(spot)
        if qemu is not None:
            how = self._dice.pick(("guest_reset", "guest_panic", "guest_poweroff"))
            self._world.fault(f"{how} of {qemu.spec.vm}")
            getattr(qemu, how)()

    async def _hang(self, spot: Spot) -> None:
        qemu = self._qemu(spot)
        if qemu is not None:
            await self.faults.hang(qemu, self._short_s())

    async def _cut(self, spot: Spot) -> None:
        await self.faults.cut_api(spot.node, self._short_s())

    async def _clog(self, spot: Spot) -> None:
        await self.faults.clog_api(spot.node, self._short_s())

    async def _lossy(self, spot: Spot) -> None:
        """Requests and answers get lost, or land late."""
        link = self.faults.api_link(spot.node)
        self._world.fault(f"the line from {spot.node} to the API is lossy")
        link.lose_request, link.lose_answer = self._dice.between(0, 0.3), self._dice.between(0, 0.3)
        link.late = self._dice.between(0, 0.3)
        await asyncio.sleep(self._short_s())
        link.lose_request = link.lose_answer = link.late = 0.0

    async def _hold(self, spot: Spot) -> None:
        """The next write to a VM lease travels for long, and lands at an unlucky moment."""
        node = self._node(spot.node)
        if self.faults.api_link(node).holds is not None:
            return  # one is on its way already
        held = self.faults.hold(node, lease_write)
        landing, landed = self._dice.pick(_LANDINGS), asyncio.Event()

        def tell(mark: str, entry: dict[str, Any]) -> None:
            if mark == landing and held.requests and _about(held.requests[0], entry):
                landed.set()

        self._world.on_mark.append(tell)
        try:
            async with asyncio.timeout(self._dice.between(1.0, _HELD_MOST_S)):
                await landed.wait()
        except TimeoutError:
            pass
        finally:
            self._world.on_mark.remove(tell)
            held.let_go()

    async def _controllers(self, spot: Spot) -> None:
        await self.faults.restart_controllers(self._short_s())

    async def _frozen_controllers(self, spot: Spot) -> None:
        await self.faults.freeze(CONTROLLERS, self._short_s())

    async def _server(self, spot: Spot) -> None:
        await self.faults.restart_api(min(5.0, self._short_s()))

    async def _wire(self, spot: Spot) -> None:
        await self.faults.cut_wire(*self._wire_at(spot), self._short_s())

    async def _last_word(self, spot: Spot) -> None:
        lost = self.faults.lose_last_word if self._dice.happens(0.6) else self.faults.hold_last_word
        await lost(*self._wire_at(spot), self._short_s())

    async def _slow(self, spot: Spot) -> None:
        await self.faults.slow_wire(*self._wire_at(spot), 2 << 20, self._short_s())

    async def _no_launch(self, spot: Spot) -> None:
        await self.faults.refuse_launch(self._node(spot.node), self._short_s())

    async def _power(self, spot: Spot) -> None:
        await self.faults.power_cycle(self._node(spot.node), self._short_s())

    async def _lag(self, spot: Spot) -> None:
        await self.faults.lag(spot.node, self._dice.pick(WATCHED), self._short_s())

    async def _leaders(self, spot: Spot) -> None:
        if not self._world.shape.drains:  # the door of evictions has room for one
            await self.faults.rival_controllers(self._short_s())


def _about(request: Request, entry: dict[str, Any]) -> bool:
    """Whether a mark is of the VM whose lease is written."""
    return str(entry.get("vm", "")).rpartition("/")[2] == request.path.rpartition("/")[2]

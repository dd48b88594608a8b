"""What happens to nodes that are fenced: power, cables, stopped processes, controllers that change, people who meddle.

The seed draws how often each kind happens; some strike at a random time, some right at a step of a fencing or of a
move. Durations lie on both sides of the times that matter (docs/timing.md), for timeouts of 3 and 6 s. As ``weather``,
which looks at moves, this is ended with ``stop``, and everything is mended then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from drover.api import names, scheme
from drover.api.meta import name_of
from drover.api.status import ApiError
from drover.sim.parts import Dice
from drover.sim.storm import Storm
from drover.sim.times import fencing_by
from drover.sim.world import CONTROLLERS, GROUP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from drover.api.wire import Object
    from drover.sim.scenario import Scenario

    Kind = Callable[[str], Awaitable[None]]

STEPS = (
    "fencing.armed", "fencing.held", "fencing.suspect", "fencing.condemned", "fencing.fenced", "fencing.released",
    "fencing.rejoined", "fencing.roster", "fencing.disarmed", "life.ended", "node.registered", "vml.broken",
    "vml.acquired", "start.launch", "resumed", "evict.copy", "evict.completed", "evict.hand-over",
)  # fmt: skip
_DELAYS_S = (0.0, 0.0, 0.002, 0.05, 0.5, 2.0)
_SHORT_S = (0.1, 1.0, 2.6, 2.9, 3.1, 4.0, 5.8, 6.2, 7.5)
_LONG_S = (9.0, 9.3, 12.0, 20.0, 45.0)
OTHER_TIMES = ("9s", "4s", "1s", "fast", "lab", "host")
_STALL_S = 40.0
_SILENT_S = 45.0
_WALL_STEP_S = 3600.0
_RESTORES = 0.1  # chance that a world sees a backup restored
PAUSE: Object = {"metadata": {"annotations": {names.FENCING_DISABLE_ANNOTATION: ""}}}
NO_PAUSE: Object = {"metadata": {"annotations": {names.FENCING_DISABLE_ANNOTATION: None}}}


class Losses(Storm):
    """Faults of one world, until ``stop``."""

    def __init__(self, scenario: Scenario, timeout: str) -> None:
        super().__init__(scenario, "losses")
        self._timeout = timeout
        dice = self._dice
        self._at_steps = dice.pick((0.0, 0.05, 0.15, 0.4))
        self._mean_s = dice.pick((3.0, 8.0, 20.0))
        self._longer = dice.pick((0.2, 0.5, 0.8))  # chance that something lasts long
        self._kinds = [kind for kind in self._all() if dice.happens(0.4)] or [self._isolated]
        self._most_lost = dice.pick(
            (None, 2, 3)
        )  # a brake of the group that is off lets more be tried

    def _all(self) -> list[Kind]:
        return [
            self._power, self._isolated, self._several, self._api_cut, self._friends, self._friends,
            self._one_way, self._one_way, self._silent, self._wire, self._mute, self._frozen_agent,
            self._agent, self._frozen_again, self._controllers, self._frozen_controllers, self._rivals,
            self._server, self._stall, self._api_away, self._wall_clock, self._disks, self._crash,
            self._pause, self._off_and_on, self._other_times, self._delete_pod, self._meddle,
        ]  # fmt: skip

    def start(self) -> None:
        kinds = " ".join(kind.__name__.strip("_") for kind in self._kinds)
        self._world.note(f"losses: {self._at_steps:g} at steps, every {self._mean_s:g} s, {kinds}")
        self._spawn(self._set_mode("Watchdog", self._timeout))
        dice = Dice(f"restores-{self._world.seed}")
        if dice.happens(_RESTORES):
            self._spawn(self._restore(dice))
        super().start()

    async def stop(self) -> None:
        await super().stop()
        await self._mend_settings()

    async def _mend_settings(self) -> None:
        user = self._world.user
        for name in self._world.nodes:
            if self._world.find(scheme.NODE, name) is not None:
                await user.patch(scheme.NODE, name, "", NO_PAUSE)
            self._world.nodes[name].clock.set_wall_error(0.0)
        await user.patch(scheme.NODEGROUP, GROUP, "", NO_PAUSE)
        self._most_lost = None
        await self._set_mode("Watchdog", self._timeout)

    async def _set_mode(self, mode: str | None, timeout: str) -> None:
        fencing: Object | None = None
        if mode:
            changed = {"mode": mode, "maxUnhealthy": self._most_lost}
            fencing = {"watchdog": None, **fencing_by(timeout), **changed}
        await self._world.user.patch(scheme.NODEGROUP, GROUP, "", {"spec": {"fencing": fencing}})

    def _step(self, mark: str, entry: dict[str, Any]) -> None:
        if mark in STEPS and self._dice.happens(self._at_steps):
            where = self._dice.pick((entry.get("on"), entry.get("node"))) or CONTROLLERS
            self._spawn(self._strike(str(where), self._dice.pick(_DELAYS_S)))

    def _random(self, where: str) -> Coroutine[Any, Any, None]:
        return self._strike(where, 0.0)

    async def _strike(self, where: str, after_s: float) -> None:
        if self._full:
            return
        await asyncio.sleep(after_s)
        try:
            await self._counted(self._chosen(where))
        except ApiError as refused:
            self._world.note(f"refused: {refused.message}")

    async def _chosen(self, where: str) -> None:
        await self._dice.pick(self._kinds)(where)

    def _s(self) -> float:
        """How long something lasts."""
        return self._dice.pick(_LONG_S if self._dice.happens(self._longer) else _SHORT_S)

    def _others(self, node: str) -> list[str]:
        return [name for name in self._world.nodes if name != node]

    async def _together(self, *faults: Awaitable[None]) -> None:
        for fault in faults:
            self._spawn(_awaited(fault))

    # --- nodes and cables ---

    async def _power(self, where: str) -> None:
        await self.faults.power_cycle(self._node(where), self._s())

    async def _isolated(self, where: str) -> None:
        """Nobody reaches it; its disks are the shared ones still."""
        node, for_s = self._node(where), self._s()
        wires = [self.faults.cut_wire(node, other, for_s) for other in self._others(node)]
        await self._together(*wires, self.faults.cut_api(node, for_s))

    async def _several(self, where: str) -> None:
        """Two at once, each in its own way."""
        first = self._node(where)
        for node in (first, self._dice.pick(self._others(first))):
            await self._together(
                self._dice.pick((self._power, self._isolated, self._api_cut))(node)
            )

    async def _api_cut(self, where: str) -> None:
        await self.faults.cut_api(where, self._s())

    async def _friends(self, where: str) -> None:
        """One is cut off from the API and lives by the word of another, which comes and goes: when it is back, its
        promise and its last voucher are what stands between two copies."""
        node = self._node(where)
        friend = self._dice.pick(self._others(node))
        self._spawn(_awaited(self.faults.cut_api(node, self._dice.pick(_LONG_S))))
        await asyncio.sleep(self._dice.between(0.0, 1.0))
        for _ in range(3):
            await self.faults.cut_api(friend, self._dice.between(3.0, 6.0))
            await asyncio.sleep(self._dice.between(0.1, 3.0))

    async def _one_way(self, where: str) -> None:
        """What it says arrives and it hears no answer, or the other way round, or either now and then."""
        some = self._dice.between(0, 0.5), self._dice.between(0, 0.5)
        requests, answers = self._dice.pick(((0.0, 1.0), (1.0, 0.0), some))
        self._world.fault(f"{where} and the API lose {requests:g} there, {answers:g} back")
        link = self.faults.api_link(where)
        link.lose_request, link.lose_answer = requests, answers
        await asyncio.sleep(self._s())
        link.lose_request = link.lose_answer = 0.0

    async def _silent(self, where: str) -> None:
        """A connection that is dead, and nobody notices for 45 s."""
        await self.faults.clog_api(where, _SILENT_S)

    async def _wire(self, where: str) -> None:
        node = self._node(where)
        await self.faults.cut_wire(node, self._dice.pick(self._others(node)), self._s())

    async def _mute(self, where: str) -> None:
        node = self._node(where)
        await self.faults.mute(node, self._dice.pick(self._others(node)), self._s())

    async def _disks(self, where: str) -> None:
        await self.faults.fail_disks(self._node(where), self._s())

    async def _wall_clock(self, where: str) -> None:
        node = self._node(where)
        step_s = self._dice.between(-_WALL_STEP_S, _WALL_STEP_S)
        self._world.fault(f"the wall clock of {node} is off by {step_s:.0f} s")
        self._world.nodes[node].clock.set_wall_error(step_s)

    # --- processes ---

    async def _frozen_agent(self, where: str) -> None:
        await self.faults.freeze(self._node(where), self._s())

    async def _frozen_again(self, where: str) -> None:
        """It is thawed for a moment only, at whatever line it stands."""
        node = self._node(where)
        for _ in range(3):
            await self.faults.freeze(node, self._s())
            await asyncio.sleep(self._dice.pick((0.001, 0.01, 0.3)))

    async def _agent(self, where: str) -> None:
        await self.faults.restart_agent(self._node(where), self._dice.pick(_SHORT_S))

    async def _crash(self, where: str) -> None:
        living = self._world.site.living(self._node(where))
        if living:
            self.faults.crash(self._dice.pick(living))

    async def _controllers(self, where: str) -> None:
        await self.faults.restart_controllers(self._dice.pick(_SHORT_S))

    async def _frozen_controllers(self, where: str) -> None:
        await self.faults.freeze(CONTROLLERS, self._s())

    async def _rivals(self, where: str) -> None:
        await self.faults.rival_controllers(self._s())

    # --- the API ---

    async def _server(self, where: str) -> None:
        await self.faults.restart_api(self._s())

    async def _stall(self, where: str) -> None:
        """The API takes everything and answers nothing for 40 s; then all of it lands."""
        links = (*self._world.nodes, CONTROLLERS)
        await self._together(*(self.faults.clog_api(link, _STALL_S) for link in links))

    async def _restore(self, dice: Dice) -> None:
        """etcd is put back to what it was a while ago, whatever else goes on."""
        await asyncio.sleep(dice.between(1.0, 12.0))
        backup = self._world.api.store.backup()
        await asyncio.sleep(dice.between(2.5, 12.0))
        self.faults.restore(backup)

    async def _api_away(self, where: str) -> None:
        """From all but one."""
        links = [link for link in (*self._world.nodes, CONTROLLERS) if link != where]
        for_s = self._s()
        await self._together(*(self.faults.cut_api(link, for_s) for link in links))

    # --- people ---

    async def _pause(self, where: str) -> None:
        about, name = self._dice.pick(((scheme.NODE, self._node(where)), (scheme.NODEGROUP, GROUP)))
        self._world.note(f"user: pauses the fencing of {name}")
        await self._world.user.patch(about, name, "", PAUSE)
        await asyncio.sleep(self._s())
        await self._world.user.patch(about, name, "", NO_PAUSE)

    async def _off_and_on(self, where: str) -> None:
        self._world.note("user: switches fencing off and on again")
        await self._set_mode(None, "")
        await asyncio.sleep(self._dice.pick((0.01, 0.3, *_SHORT_S)))
        await self._set_mode("Watchdog", self._timeout)

    async def _other_times(self, where: str) -> None:
        times = self._dice.pick(OTHER_TIMES)
        self._world.note(f"user: changes the times to {times}")
        await self._set_mode("Watchdog", times)
        await asyncio.sleep(self._s())
        await self._set_mode("Watchdog", self._timeout)

    async def _delete_pod(self, where: str) -> None:
        found = [pod for vm in self._scenario.guests for pod in self._scenario.pods_of(vm)]
        if found:
            await self._scenario.delete_pod(
                name_of(self._dice.pick(found)), self._dice.pick((None, 0))
            )

    async def _meddle(self, where: str) -> None:
        """What an editor may, and tries to, do to the objects of the proof."""
        node, user = self._node(where), self._world.user
        self._world.note(f"user: meddles with the proof about {node}")
        label: Object = {"metadata": {"labels": {"by": self._dice.pick(("kubectl", "hand"))}}}
        await user.patch(scheme.LEASE, node, names.NODE_LEASE_NAMESPACE, label)
        kind = self._dice.pick((scheme.NODEFENCE, scheme.NODEROSTER, scheme.NODE, scheme.LEASE))
        for obj in self._world.api.store.all(kind):
            namespace = names.NODE_LEASE_NAMESPACE if kind is scheme.LEASE else ""
            if self._dice.happens(0.5):
                await user.delete(kind, name_of(obj), namespace)


async def _awaited(fault: Awaitable[None]) -> None:
    await fault

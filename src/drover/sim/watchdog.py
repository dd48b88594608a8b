"""The node's first process and the wire between agents, as far as fencing needs them.

``Guard`` is nodeinit: the very latch of the real one (``agent.deadline``), with simulated QEMUs to kill. It
lives as long as the node is booted and is never frozen with its agent. ``SimPeers`` asks the agents of other nodes over
the wires of the site: a frozen one answers when it is thawed, a dead one never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from drover.agent.deadline import Deadline
from drover.agent.ports import HypervisorError
from drover.api.kinds.nodefence import Member

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.base.tasks import TaskScope
    from drover.sim.hypervisor import Site

SIGKILL_STATUS = -9
_HOP_S = 0.001

Answer = Callable[[str], bool]
# The agent of a node: its process, and what it says when it is asked for a voucher. None: there is no agent.
Ask = Callable[[str], "tuple[str, Answer] | None"]


class Guard:
    """One boot of a node's first process."""

    def __init__(self, node: str, site: Site, clock: Clock) -> None:
        self._node = node
        self._site = site
        self._clock = clock  # the host's, as its agent has it
        self._deadline = Deadline()
        self.off = False  # the node lost power

    def refusal(self, life: str) -> str:
        """Why a QEMU of this life may not be started, or empty."""
        return self._deadline.refusal(life, self._clock.monotonic())

    def end(self, life: str) -> None:
        self._deadline.end(life)
        for qemu in self._site.living(self._node):
            if qemu.life in self._deadline.ended:
                qemu.end(SIGKILL_STATUS)

    def live(self, life: str, until_s: float) -> str:
        self._look()
        lives = [qemu.life for qemu in self._site.living(self._node)]
        refusal = self._deadline.live(life, until_s, self._clock.monotonic(), lives)
        if not refusal:
            with self._site.process("nodeinit"):
                self._site.scope.spawn(self._wait(until_s), f"deadline-{self._node}")
        return refusal

    def until(self, life: str) -> float | None:
        return self._deadline.until_s if life and self._deadline.life == life else None

    def free(self, life: str) -> None:
        if self._deadline.life == life:
            self._deadline.life = ""

    @property
    def ended(self) -> list[str]:
        self._look()
        return list(self._deadline.ended)

    async def _wait(self, until_s: float) -> None:
        while (left_s := until_s - self._clock.monotonic()) > 0:  # again after an error of rounding
            await self._clock.sleep(left_s)
        self._look()

    def _look(self) -> None:
        if not self.off and self._deadline.due(self._clock.monotonic()):
            self.end(self._deadline.life)


class SimWatchdog:
    """See ``agent.watchdog.Watchdog``."""

    kind = "deadline"
    kick_s = 0.0

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def arm(self) -> None:
        await asyncio.sleep(_HOP_S)

    async def live(self, life: str, until_s: float) -> None:
        await asyncio.sleep(_HOP_S)
        refusal = self._guard.live(life, until_s)
        if refusal:
            raise HypervisorError(refusal)

    async def until(self, life: str) -> float | None:
        await asyncio.sleep(_HOP_S)
        return self._guard.until(life)

    async def free(self, life: str) -> None:
        self._guard.free(life)

    async def bury(self, life: str) -> None:
        self._guard.end(life)
        await asyncio.sleep(_HOP_S)

    async def ended(self) -> list[str]:
        await asyncio.sleep(_HOP_S)
        return self._guard.ended


class SimPeers:
    """See ``agent.rounds.Peers``."""

    def __init__(self, node: str, site: Site, ask: Ask, processes: TaskScope) -> None:
        """``processes`` holds tasks that may never end, since their process was killed."""
        self._node = node
        self._site = site
        self._processes = processes
        self._ask = ask

    async def ask(self, member: Member, nonce: str, limit_s: float) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        wire = self._site.link(self._node, member.node)
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.sleep(_HOP_S)
                heard = wire.up and wire.mute != self._node
                found = self._ask(member.node) if heard else None
                if found is not None:
                    process, says = found
                    with self._site.process(process):
                        self._processes.spawn(self._answered(says, answer), "voucher")
                given = await answer
                await asyncio.sleep(_HOP_S)
                if not wire.up or wire.mute == member.node:
                    await asyncio.Event().wait()  # the answer is lost
                return given
        except TimeoutError:
            return False

    async def _answered(self, says: Answer, answer: asyncio.Future[bool]) -> None:
        """In the process of who is asked: a voucher is noted there even when its answer is lost."""
        await asyncio.sleep(0)
        given = says(self._node)
        if not answer.done():
            answer.set_result(given)

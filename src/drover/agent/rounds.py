"""Hold rounds: while its renewals fail a node asks its peers, one round after the other (rule A4).

Every peer of the roster is asked at once, and nobody is waited for who is not needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from drover.agent.life import Life, Round
from drover.api.kinds.nodefence import Member, Roster
from drover.base.clock import Clock
from drover.base.log import Log
from drover.base.tasks import TaskScope

_IDLE_S = 0.5


class Peers(Protocol):
    """The other nodes, over mutual TLS."""

    async def ask(self, member: Member, nonce: str, limit_s: float) -> bool:
        """Ask for a voucher for this node; False when it is refused or no answer comes in time. Never raises."""
        ...


async def ask_all(peers: Peers, asked: Round, limit_s: float) -> None:
    """Returns when the round is complete, or when every peer has answered or was given up after ``limit_s``."""
    async with TaskScope("round") as scope:
        done = asyncio.Event()

        async def ask(member: Member) -> None:
            if await peers.ask(member, asked.nonce, limit_s):
                asked.voucher(member.node, asked.nonce)
            if asked.complete:
                done.set()

        others = [member for member in asked.roster.members if member.node != asked.me]
        asks = [scope.spawn(ask(member), f"ask {member.node}") for member in others]
        if asks and not asked.complete:
            waiting = scope.spawn(done.wait(), "complete")
            every = scope.spawn(_all(asks), "every answer")
            await asyncio.wait([waiting, every], return_when=asyncio.FIRST_COMPLETED)


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        await task


@dataclass
class Holding:
    """Of the node ``me``, whose present deadline is ``life()``; ``held`` is called when a round has put it off."""

    peers: Peers
    clock: Clock
    log: Log
    me: str
    incarnation: str
    life: Callable[[], Life | None]
    roster: Callable[[], Roster]
    held: Callable[[], None]
    _rounds: int = 0

    async def run(self) -> None:
        """For ever."""
        while True:
            life = self.life()
            if life is None or not life.must_ask(self.clock.monotonic()):
                await self.clock.sleep(_IDLE_S if life is None else life.timing.pause_s)
                continue
            await self._round(life)
            await self.clock.sleep(life.timing.pause_s)

    async def _round(self, life: Life) -> None:
        self._rounds += 1
        begun_s, nonce = self.clock.monotonic(), f"{self.incarnation}/{self._rounds}"
        asked = Round(nonce, begun_s, self.me, self.roster())
        await ask_all(self.peers, asked, life.timing.renew_s)
        if asked.complete and self.life() is life:
            life.held(begun_s)
            self.log.mark("fencing.held", vouchers=sorted(asked.given))
            self.held()

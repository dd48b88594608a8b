"""A hold round on its way: every peer of the roster is asked at once, and nobody is waited for who is not needed."""

from __future__ import annotations

import asyncio
from typing import Protocol

from drover.agent.life import Round
from drover.api.kinds.nodefence import Member
from drover.base.tasks import TaskScope


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

"""One way to the API for all commands: the kubeconfig that was named or the lab's, the user's own rights."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from drover.base.clock import RealClock
from drover.cli.session import Session
from drover.runtime.client import Client
from drover.runtime.kubeconfig import load

T = TypeVar("T")


@dataclass(frozen=True)
class Api:
    """What a command gets."""

    client: Client
    clock: RealClock


@contextlib.asynccontextmanager
async def connected(session: Session) -> AsyncIterator[Api]:
    """Open the door of the cluster; says so when a lab was meant and does not run."""
    clock = RealClock()
    access = load(session.kubeconfig())
    transport = await access.transport(clock)
    try:
        yield Api(Client(transport), clock)
    finally:
        await transport.aclose()


def with_api(
    session: Session, work: Callable[[Api], Awaitable[T]], limit_s: float | None = None
) -> T:
    """Run ``work`` with an open door. Raises TimeoutError after ``limit_s``."""

    async def inside() -> T:
        async with asyncio.timeout(limit_s), connected(session) as api:
            return await work(api)

    return asyncio.run(inside())

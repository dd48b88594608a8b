"""Time enters the program here and nowhere else.

Every other module takes a ``Clock``; the simulation hands in one that follows virtual time. ``monotonic``
counts suspend (CLOCK_BOOTTIME), since a suspended host must not believe that its leases are fresh. It starts at a
random offset, so that mixing it with wall time shows at once. It does not promise any accuracy of ``wall``.
"""

from __future__ import annotations

import asyncio
import datetime
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds. ``monotonic`` never goes back; ``wall`` is Unix time and may jump."""

    def monotonic(self) -> float: ...

    def wall(self) -> float: ...

    async def sleep(self, delay_s: float) -> None: ...


class RealClock:
    """The host's clocks."""

    def __init__(self) -> None:
        self._offset_s = random.uniform(1_000, 1_000_000)

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self._offset_s

    def boottime(self, moment_s: float) -> float:
        """A ``monotonic`` moment on CLOCK_BOOTTIME, as another process of this host counts it."""
        return moment_s - self._offset_s

    def wall(self) -> float:
        return time.time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


def rfc3339(wall_s: float) -> str:
    """Whole seconds in UTC, as Kubernetes prints times: ``2026-01-02T03:04:05Z``."""
    moment = datetime.datetime.fromtimestamp(wall_s, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(wall_s: float) -> str:
    """Microseconds, as ``Lease.spec.renewTime`` wants it."""
    moment = datetime.datetime.fromtimestamp(wall_s, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Unix seconds of either form above. Raises ValueError."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

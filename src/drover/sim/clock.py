"""Clocks of the simulated world.

``SimClock`` follows the loop. ``NodeClock`` is one node's own view: it drifts, is off, and may be
set by hand. Both count on while a process is frozen, as CLOCK_BOOTTIME does: freezing is the loop's
business (``VirtualLoop.freeze``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drover.sim.loop import EPOCH_S

if TYPE_CHECKING:
    from drover.base.clock import Clock


class SimClock:
    """Virtual time of the running loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return EPOCH_S + asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


class NodeClock:
    """``rate`` 1.001 runs a thousandth fast; ``offset_s`` is where its monotonic clock began."""

    def __init__(self, base: Clock, rate: float = 1.0, offset_s: float = 0.0) -> None:
        self._base = base
        self._rate = rate
        self._offset_s = offset_s
        self._wall_error_s = 0.0

    def monotonic(self) -> float:
        return self._base.monotonic() * self._rate + self._offset_s

    def wall(self) -> float:
        return self._base.wall() + self._wall_error_s

    async def sleep(self, delay_s: float) -> None:
        await self._base.sleep(delay_s / self._rate)

    def run_at(self, rate: float, offset_s: float) -> None:
        """Before anybody has read it."""
        self._rate, self._offset_s = rate, offset_s

    def set_wall_error(self, error_s: float) -> None:
        """Wall time jumps: it is now ``error_s`` ahead of true time."""
        self._wall_error_s = error_s

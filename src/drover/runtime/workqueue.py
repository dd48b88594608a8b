"""The queue between watches and reconciles. Five promises, the first four those of Kubernetes' own:

- fair: keys come out in the order they went in;
- stingy: a key added many times before it is taken is processed once;
- never two at once: a key that is added while being processed comes out again only after ``done``;
- delayed: ``add_after`` keeps the earliest of several delays, ``add_rate_limited`` doubles the
  delay per failure;
- never two of one lane at once: what shares a lane is worked on one after another, in its order, and whoever waits for
  its lane keeps nobody else from going. By default each key has a lane of its own.

Nothing is remembered across a restart of the process, and a key says nothing about what happened.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from drover.base.backoff import Backoff
from drover.base.tasks import TaskScope
from drover.runtime.histogram import Histogram

if TYPE_CHECKING:
    from drover.base.clock import Clock

RETRY = Backoff(first_s=0.005, most_s=30.0)
Lane = Callable[[str], str]
BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class WorkQueue:
    """Keys to work on. Bounded by the number of keys, since each is held at most once per state."""

    def __init__(self, clock: Clock, retry: Backoff = RETRY, lane: Lane = str) -> None:
        self._clock = clock
        self._retry = retry
        self._lane = lane
        self._ready: asyncio.Queue[str] = asyncio.Queue()  # dirty and not being processed
        self._dirty: set[str] = set()  # wants processing
        # Taken and not done, with its lane; dirty too if it must come again.
        self._processing: dict[str, str] = {}
        self._held: dict[str, list[str]] = {}  # dirty keys by the lane that is not free for them
        self._due_s: dict[str, float] = {}  # delayed keys
        self._timers: dict[str, asyncio.Task[None]] = {}  # exactly one for each of _due_s
        self._failures: dict[str, int] = {}
        self._ready_s: dict[str, float] = {}  # since when the keys of _ready are there
        self.waited = Histogram(BOUNDS_S)
        self._scope = TaskScope("queue")

    def add(self, key: str) -> None:
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._make_ready(key)

    def _make_ready(self, key: str) -> None:
        self._ready_s[key] = self._clock.monotonic()
        self._ready.put_nowait(key)

    def add_after(self, key: str, delay_s: float) -> None:
        if delay_s <= 0:
            self.add(key)
            return
        due_s = self._clock.monotonic() + delay_s
        if due_s >= self._due_s.get(key, math.inf):
            return
        if key in self._timers:
            self._timers[key].cancel()
        self._due_s[key] = due_s
        self._timers[key] = self._scope.spawn(self._later(key, delay_s), f"later {key}")

    def add_rate_limited(self, key: str, most_s: float = math.inf) -> None:
        """Add after a delay that doubles with every call until ``forget``, but is never more than
        ``most_s``.
        """
        self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, min(self._retry.delay_s(self._failures[key]), most_s))

    def forget(self, key: str) -> None:
        """The key succeeded: its next failure waits the shortest delay."""
        self._failures.pop(key, None)

    def failures(self, key: str) -> int:
        return self._failures.get(key, 0)

    def unsettled(self) -> list[str]:
        """Keys that wait to be taken, are being processed, or failed when they last were."""
        return sorted(self._dirty | self._processing.keys() | self._failures.keys())

    async def get(self) -> str:
        """The next key; the caller must call ``done`` for it."""
        while (lane := self._lane(key := await self._ready.get())) in self._held:
            self._held[lane].append(key)
        self._held[lane] = []
        self._dirty.discard(key)
        self._processing[key] = lane
        self.waited.observe(self._clock.monotonic() - self._ready_s.pop(key))
        return key

    def done(self, key: str) -> None:
        for held in self._held.pop(self._processing.pop(key)):
            self._ready.put_nowait(held)
        if key in self._dirty:
            self._make_ready(key)

    async def aclose(self) -> None:
        """Stop the timers."""
        await self._scope.aclose()

    async def _later(self, key: str, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        del self._due_s[key], self._timers[key]
        self.add(key)

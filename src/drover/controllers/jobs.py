"""Follows long work inside one reconcile: looks at it every second, reports, and gives it up when it is not wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from drover.base.clock import Clock
from drover.base.tasks import TaskScope, wait_first

T = TypeVar("T")

LOOK_S = 1.0


class Unwanted(Exception):
    """The work was given up because nobody wants its result any more."""


async def follow(
    clock: Clock,
    work: Coroutine[Any, Any, T],
    look: Callable[[], Awaitable[bool]],
) -> T:
    """The result of ``work``. ``look`` runs every second and says whether to go on; raises Unwanted if not.
    Whatever way this ends, the work has ended too."""
    async with TaskScope("job") as scope:
        job = scope.spawn(work, "work")
        while not job.done():
            await wait_first(job, scope.spawn(clock.sleep(LOOK_S), "look"))
            if not job.done() and not await look():
                raise Unwanted
        result: T = job.result()
        return result

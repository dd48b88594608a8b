"""The only place that spawns asyncio tasks.

A ``TaskScope`` owns named children in the order of their birth. ``spawn`` starts work that may end; ``guard`` starts
work that must not end before the scope closes. When a guarded child ends, or any child raises, the scope is *broken*:
``wait_broken`` returns the reason and the owner decides (usually: stop the process). ``aclose`` cancels children in
the reverse order of birth and waits for each, so nothing is left behind.

Why not asyncio.TaskGroup: it keeps its children in a set ordered by address, so the same seed gave different traces in
different processes of the simulation; and a broken child cannot be told apart from a finished one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class ChildEnded(Exception):
    """A guarded child returned although it must not."""


class TaskScope:
    """Owner of child tasks; use as an async context manager."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._children: dict[asyncio.Task[Any], bool] = {}
        self._broken: asyncio.Future[BaseException] | None = None
        self._closing = False

    async def __aenter__(self) -> TaskScope:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start work that may end."""
        return self._start(work, name, guarded=False)

    def guard(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start work whose end before ``aclose`` breaks the scope."""
        return self._start(work, name, guarded=True)

    def _start(self, work: Coroutine[Any, Any, Any], name: str, guarded: bool) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}/{name}")
        self._children[task] = guarded
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        guarded = self._children.pop(task, False)
        error = None if task.cancelled() else task.exception()
        if error is None and guarded and not self._closing:
            error = ChildEnded(f"{task.get_name()} ended")
        if error is not None:
            future = self._broken_future()
            if not future.done():
                future.set_result(error)

    def _broken_future(self) -> asyncio.Future[BaseException]:
        if self._broken is None:
            self._broken = asyncio.get_running_loop().create_future()
        return self._broken

    async def wait_broken(self) -> BaseException:
        """Return the first error of a child. Waits for ever while all is well."""
        return await asyncio.shield(self._broken_future())

    @property
    def failure(self) -> BaseException | None:
        """The first error of a child so far."""
        done = self._broken is not None and self._broken.done()
        return self._broken.result() if done and self._broken is not None else None

    async def aclose(self) -> None:
        """Cancel every child, last born first, and wait until each has ended.

        A cancellation of the caller meanwhile is raised only then, so nothing is left behind.
        """
        self._closing = True
        cancelled: asyncio.CancelledError | None = None
        for task in reversed(list(self._children)):
            task.cancel()
        while self._children:
            task = next(reversed(self._children))
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
                continue
            self._children.pop(task, None)
        if cancelled is not None:
            raise cancelled


async def wait_first(*tasks: asyncio.Task[Any]) -> None:
    """Wait until at least one of the given tasks is done; order of completion is not promised."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def all_of(*works: Coroutine[Any, Any, Any]) -> None:
    """Run works side by side; the first error cancels the others and is raised."""
    async with TaskScope("all-of") as scope:
        for task in [scope.spawn(work, str(number)) for number, work in enumerate(works)]:
            await task

"""Several labs side by side, a process each: what one waits for, another uses.

Faults hit whole labs (an API server, a node, a cable), so cells that are played at the same time must not share one.
A process each, since a story must see a mark within milliseconds, whatever the other does.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from tests.faults import stage
from tests.faults.cells import Pair, must_restart
from tests.faults.outcome import Cell
from tests.faults.story import Story

from drover.base.tasks import TaskScope
from drover.lab.lab import Lab
from drover.runtime.client import Client

if TYPE_CHECKING:
    from multiprocessing.queues import Queue


class Player:
    """Plays cells in one lab, with a VM that is replaced when its own QEMU was the victim: its restarts are held back
    longer each time. The next VM boots while the victim's restart is waited for."""

    def __init__(self, lab: Lab, client: Client, scope: TaskScope) -> None:
        self._lab = lab
        self._client = client
        self._scope = scope
        self._story: Story | None = None
        self._next: asyncio.Task[Story] | None = None
        self._number = 0

    async def play(self, pair: Pair) -> Cell:
        if self._story is None:
            self._story = await (self._next or self._boot())
            self._next = None
        if must_restart(*pair) and self._next is None:
            self._next = self._boot()
        cell = await self._story.cell(*pair)
        if cell.restarted or not cell.good:
            await stage.drop_vm(self._client, self._story.name)
            self._story = None
        return cell

    def _boot(self) -> asyncio.Task[Story]:
        self._number += 1
        name = f"faults-{int(time.time()) % 100000}-{self._number}"
        return self._scope.spawn(stage.new_vm(self._lab, self._client, name), "the next VM")

    async def drop(self) -> None:
        """Leave nothing behind."""
        if self._next is not None:
            self._story = await self._next
        if self._story is not None:
            await stage.drop_vm(self._client, self._story.name)
        self._story = self._next = None


async def play_in(lab: Lab, pairs: Iterable[Pair], tell: Callable[[Cell], None]) -> None:
    """One pair after the other."""
    async with stage.connected(lab) as client, TaskScope("lane") as scope:
        player = Player(lab, client, scope)
        for pair in pairs:
            tell(await player.play(pair))
        await player.drop()


def _lane(todo: Queue[Pair | None], done: Queue[Cell | None]) -> None:
    """The life of one process: a lab of its own, and pairs until there are no more."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the lab is taken away
    try:
        with stage.own_lab() as lab:
            asyncio.run(play_in(lab, iter(todo.get, None), done.put))
    finally:
        done.put(None)


def play(pairs: list[Pair], lanes: int) -> Iterator[Cell]:
    """The cells as they end. Raises RuntimeError when a lane breaks."""
    context = multiprocessing.get_context("fork")
    todo, done = context.Queue(), context.Queue()
    for pair in (*pairs, *(None for _ in range(lanes))):
        todo.put(pair)
    processes = [context.Process(target=_lane, args=(todo, done)) for _ in range(lanes)]
    for process in processes:
        process.start()
    living = lanes
    try:
        while living:
            cell = done.get()
            living -= cell is None
            if cell is not None:
                yield cell
    finally:
        for process in processes if living else ():
            process.terminate()
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a lane broke: see above")

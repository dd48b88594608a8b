"""An asyncio loop on virtual time with seeded chance: one seed, one trace, in every process.

Time stands still while anything is ready and jumps to the next timer when nothing is. Each turn
runs the ready batch in a seeded order; what one task has queued, and what plain callbacks (timers,
futures) have queued, stays first in, first out: an order that a real loop could have taken. The
batch is sorted by the tasks' birth numbers before the shuffle: containers ordered by address
(``TaskGroup``, ``asyncio.wait``) would otherwise leak into the trace.

Tasks belong to a *process* of the simulated world, a context variable that the tasks they start
inherit. A process can be frozen (nothing of it runs, at whatever ``await`` it stands, while clocks
count on), thawed, or killed (nothing of it ever runs again, ``finally`` blocks included, as after
SIGKILL).

It does not promise anything about threads, executors or sockets: they are refused. When nothing is
ready and no timer is set, ``Deadlock`` names the tasks that wait.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
import random
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

TICKS_PER_S = 1_000_000
EPOCH_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z: wall time when a world begins
MAX_STEPS_PER_INSTANT = 1_000_000
_PURGE_AT = 100
_CLEANING_ROUNDS = 10

_process: contextvars.ContextVar[str] = contextvars.ContextVar("process", default="")


class Deadlock(Exception):
    """Nothing can ever happen again, but the main task waits."""


class Livelock(Exception):
    """Too many steps without time moving, or the limit of virtual time was reached."""


class StrayErrors(Exception):
    """Errors that nobody observed: of plain callbacks, or of tasks whose result was never read."""


class Forbidden(Exception):
    """The code under simulation reached for threads, executors or the real world."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Use through ``run``; tests of worlds reach it with ``asyncio.get_running_loop()``."""

    _ready: deque[asyncio.Handle]
    _stopping: bool
    _thread_id: int | None

    def __init__(self, seed: int | str, limit_s: float = 1e7) -> None:
        super().__init__()
        self._now = 0  # ticks
        self._limit_s = limit_s
        self._chance = random.Random(f"loop-{seed}")
        self._born = 0
        # Due tick and number: equal deadlines fire in the order in which they were set.
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._timers_set = 0
        self._timers_cancelled = 0
        self._steps_now = 0
        self._frozen: dict[str, list[asyncio.Handle]] = {}
        self._killed: dict[str, list[asyncio.Handle]] = {}
        self.errors: list[str] = []
        self.set_exception_handler(_record_error)

    def time(self) -> float:
        return self._now / TICKS_PER_S

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        # Every positive delay takes time: else code that sleeps the rest of a limit, which may be
        # lost in rounding, would spin for ever at one instant.
        when = max(self.time() + delay, (self._now + (delay > 0)) / TICKS_PER_S)
        return self.call_at(when, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers_set += 1
        # What lies ahead by less than a rounding error takes time too: see call_later.
        due = max(_ticks(when), self._now + (when > self.time()))
        heapq.heappush(self._timers, (due, self._timers_set, timer))
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timers_cancelled += 1

    @contextmanager
    def process(self, name: str) -> Iterator[None]:
        """Tasks and timers started inside belong to the process ``name``."""
        token = _process.set(name)
        try:
            yield
        finally:
            _process.reset(token)

    def freeze(self, name: str) -> None:
        """SIGSTOP: nothing of the process runs until ``thaw``."""
        self._frozen.setdefault(name, [])

    def thaw(self, name: str) -> None:
        """SIGCONT: what became ready meanwhile is ready now."""
        self._ready.extend(self._frozen.pop(name, []))

    def kill(self, name: str) -> None:
        """SIGKILL: nothing of the process ever runs again. A successor must have another name."""
        # Handles are kept: a collected coroutine would still run its finally blocks.
        self._killed.setdefault(name, []).extend(self._frozen.pop(name, []))

    def _run_once(self) -> None:
        self._drop_cancelled_timers()
        if not self._ready:
            self._jump()
        timers, ready = self._timers, self._ready
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            ready.append(timer)
        batch = self._shuffled_batch() if len(ready) > 1 else self._only_one()
        for handle in batch:
            if not handle._cancelled:
                handle._run()
                self._steps_now += 1
        if self._steps_now > MAX_STEPS_PER_INSTANT:
            raise Livelock(f"{self._steps_now} steps at virtual second {self.time()}")

    def _jump(self) -> None:
        if self._stopping:
            return
        if not self._timers:
            raise Deadlock("nothing will ever happen; waiting: " + ", ".join(self.waiting()))
        due = self._timers[0][0]
        if due > self._now:
            self._now = due
            self._steps_now = 0
        if self.time() > self._limit_s:
            raise Livelock(f"not done after {self._limit_s} s; waiting: {self.waiting()}")

    def _only_one(self) -> list[asyncio.Handle]:
        """The commonest batch by far: there is nothing to shuffle."""
        batch = []
        while self._ready:  # the collector may add to it at any moment: a generator that is over is closed by a call
            handle = self._ready.popleft()
            if not self._held(handle):
                batch.append(handle)
        return batch

    def _shuffled_batch(self) -> list[asyncio.Handle]:
        chains: dict[int, deque[asyncio.Handle]] = {}
        while self._ready:
            handle = self._ready.popleft()
            if not self._held(handle):
                chains.setdefault(_chain_of(handle), deque()).append(handle)
        if len(chains) == 1:
            return list(chains.popitem()[1])
        order = [chain for chain in sorted(chains) for _ in chains[chain]]
        self._chance.shuffle(order)
        return [chains[chain].popleft() for chain in order]

    def _held(self, handle: asyncio.Handle) -> bool:
        if not self._killed and not self._frozen:
            return False
        context: contextvars.Context = handle._context  # type: ignore[attr-defined]
        name = context.get(_process, "")
        for held in (self._killed, self._frozen):
            if name in held:
                held[name].append(handle)
                return True
        return False

    def _drop_cancelled_timers(self) -> None:
        timers = self._timers
        if self._timers_cancelled > max(_PURGE_AT, len(timers) // 2):
            self._timers_cancelled = 0
            timers[:] = [timer for timer in timers if not timer[2].cancelled()]
            heapq.heapify(timers)
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        # Set before the task exists: an eager first step could create tasks of its own.
        self._born += 1
        birth = self._born
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        task._birth = birth  # type: ignore[attr-defined]
        return task

    def waiting(self) -> list[str]:
        """Names of the tasks that are not done, oldest first."""
        return [task.get_name() for task in sorted(asyncio.all_tasks(self), key=_birth)]

    def cancel_all(self) -> list[asyncio.Task[Any]]:
        """The world is over: cancel every task, youngest first, frozen and killed ones too."""
        for held in (*self._frozen.values(), *self._killed.values()):
            self._ready.extend(held)
        self._frozen.clear()
        self._killed.clear()
        tasks = sorted(asyncio.all_tasks(self), key=_birth, reverse=True)
        for task in tasks:
            task.cancel()
        return tasks

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        raise Forbidden(f"executor: {func!r}")

    def _write_to_self(self) -> None:
        if threading.get_ident() != self._thread_id:
            raise Forbidden("call from another thread")

    def _process_events(self, event_list: Any) -> None:
        raise Forbidden("real input or output")


def _birth(task: asyncio.Task[Any]) -> int:
    return getattr(task, "_birth", 0)


def _chain_of(handle: asyncio.Handle) -> int:
    """Birth number of the task that a handle continues; 0 for plain callbacks."""
    owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    return _birth(owner) if isinstance(owner, asyncio.Task) else 0


def _ticks(when_s: float) -> int:
    """Rounded up, but for the rounding errors of adding floats."""
    return math.ceil(when_s * TICKS_PER_S - 1e-3)


def _record_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(loop, VirtualLoop):
        loop.errors.append(f"{context.get('message')}: {context.get('exception')!r}")


def run(main: Coroutine[Any, Any, T], seed: int | str = 0, limit_s: float = 1e7) -> T:
    """Run a world to the end of ``main`` and return its value; what it left behind is cancelled.

    Raises Deadlock, Livelock, whatever ``main`` raises, or StrayErrors when a callback or an
    unobserved task failed.
    """
    loop = VirtualLoop(seed, limit_s)
    try:
        value = loop.run_until_complete(main)
        errors = list(loop.errors)
    finally:
        _clean(loop)
    if errors:
        raise StrayErrors("; ".join(errors))
    return value


def _clean(loop: VirtualLoop) -> None:
    try:
        for _ in range(_CLEANING_ROUNDS):
            tasks = loop.cancel_all()
            if not tasks:
                break
            with suppress(Deadlock):  # a finally block waits for ever: cancel it once more
                loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()

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
from weakref import WeakKeyDictionary

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


class _Timer(asyncio.TimerHandle):
    """Equal deadlines fire in the order in which they were set."""

    __slots__ = ("number",)
    number: int

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, _Timer):
            return NotImplemented
        return (self.when(), self.number) < (other.when(), other.number)


class VirtualLoop(asyncio.BaseEventLoop):
    """Use through ``run``; tests of worlds reach it with ``asyncio.get_running_loop()``."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[_Timer]
    _timer_cancelled_count: int
    _stopping: bool
    _thread_id: int | None

    def __init__(self, seed: int | str, limit_s: float = 1e7) -> None:
        super().__init__()
        self._now = 0  # ticks
        self._limit_s = limit_s
        self._chance = random.Random(f"loop-{seed}")
        self._births: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._born = 0
        self._timers = 0
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
        timer = _Timer(when, callback, args, self, context)
        self._timers += 1
        timer.number = self._timers
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

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
        while self._scheduled and _ticks(self._scheduled[0].when()) <= self._now:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]
            self._ready.append(timer)
        for handle in self._shuffled_batch():
            if not handle.cancelled():
                handle._run()
                self._steps_now += 1
        if self._steps_now > MAX_STEPS_PER_INSTANT:
            raise Livelock(f"{self._steps_now} steps at virtual second {self.time()}")

    def _jump(self) -> None:
        if self._stopping:
            return
        if not self._scheduled:
            raise Deadlock("nothing will ever happen; waiting: " + ", ".join(self.waiting()))
        due = _ticks(self._scheduled[0].when())
        if due > self._now:
            self._now = due
            self._steps_now = 0
        if self.time() > self._limit_s:
            raise Livelock(f"not done after {self._limit_s} s; waiting: {self.waiting()}")

    def _shuffled_batch(self) -> list[asyncio.Handle]:
        chains: dict[int, deque[asyncio.Handle]] = {}
        while self._ready:
            handle = self._ready.popleft()
            if self._held(handle):
                continue
            chains.setdefault(self._chain_of(handle), deque()).append(handle)
        order = [chain for chain in sorted(chains) for _ in chains[chain]]
        if len(chains) > 1:
            self._chance.shuffle(order)
        return [chains[chain].popleft() for chain in order]

    def _held(self, handle: asyncio.Handle) -> bool:
        context: contextvars.Context = handle._context  # type: ignore[attr-defined]
        name = context.get(_process, "")
        for held in (self._killed, self._frozen):
            if name in held:
                held[name].append(handle)
                return True
        return False

    def _chain_of(self, handle: asyncio.Handle) -> int:
        """Birth number of the task that a handle continues; 0 for plain callbacks."""
        owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
        return self._births.get(owner, 0) if isinstance(owner, asyncio.Task) else 0

    def _drop_cancelled_timers(self) -> None:
        if self._timer_cancelled_count > _PURGE_AT:
            self._timer_cancelled_count = 0
            self._scheduled = [timer for timer in self._scheduled if not timer.cancelled()]
            heapq.heapify(self._scheduled)
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        # Set before the task exists: an eager first step could create tasks of its own.
        self._born += 1
        birth = self._born
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        self._births[task] = birth
        return task

    def waiting(self) -> list[str]:
        """Names of the tasks that are not done, oldest first."""
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: self._births.get(task, 0))
        return [task.get_name() for task in tasks]

    def cancel_all(self) -> list[asyncio.Task[Any]]:
        """The world is over: cancel every task, youngest first, frozen and killed ones too."""
        for held in (*self._frozen.values(), *self._killed.values()):
            self._ready.extend(held)
        self._frozen.clear()
        self._killed.clear()
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: -self._births.get(task, 0))
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

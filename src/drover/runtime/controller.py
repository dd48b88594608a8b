"""Runs one reconcile function over the keys of a work queue.

A key is a name, never an event: whatever woke us, reconcile looks at the whole state and moves one
step toward the wish. What its outcome means is the switch in ``_one``. Errors of the API are
expected and retried. Every other exception is a bug of ours that one object has found: it is logged
with its traceback, and that key is tried again with a back-off. Objects are written by users, and
the process looks after everybody's VMs: no single one may stop it. A broken invariant does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drover.api.status import ApiError, Conflict, Unanswered
from drover.api.wire import Object
from drover.base.checks import require
from drover.base.tasks import TaskScope
from drover.runtime.histogram import Histogram
from drover.runtime.workqueue import BOUNDS_S, Lane, WorkQueue

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.base.log import Log
    from drover.runtime.informer import Informer

CONFLICT_MOST_S = 0.5  # a stale cache catches up soon
QUIET_FAILURES = 3  # so many failures in a row are routine


@dataclass(frozen=True)
class Done:
    """Nothing more to do until something changes."""


@dataclass(frozen=True)
class After:
    """Look again after this delay, or earlier when something changes."""

    delay_s: float


Outcome = Done | After
Reconcile = Callable[[str], Awaitable[Outcome]]
Keys = Callable[[Object], list[str]]
Part = Callable[[Object], object]


class Controller:
    """Wiring of one reconcile function. ``Manager.add`` binds and runs it.

    So many keys are worked on at once as there are ``workers``, but never two of one ``lane``: for passes that look at
    what another's pass may be writing just now.
    """

    def __init__(
        self, name: str, reconcile: Reconcile, *, workers: int = 1, lane: Lane = str
    ) -> None:
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._lane = lane
        self._watches: list[tuple[Informer, Keys, Part | None]] = []
        self._queue: WorkQueue | None = None
        self._log: Log | None = None
        self._clock: Clock | None = None
        self._notes = True  # what changes is put into the queue
        self.worked = Histogram(BOUNDS_S)

    @property
    def waited(self) -> Histogram:
        """For how long keys waited for their turn."""
        return self._bound()[0].waited

    def watch(self, informer: Informer, keys: Keys, part: Part | None = None) -> None:
        """Changes of the informer's objects wake ``keys(obj)``, of the old and of the new state.

        ``part``: all that the pass reads of such an object. Then only changes of that wake: where one object wakes
        many keys, or a pass looks at many objects, a heartbeat would cost as much as a change.
        """
        self._watches.append((informer, keys, part))
        if self._queue is not None:
            self._subscribe(informer, keys, part)

    def bind(self, clock: Clock, log: Log) -> None:
        """Give the controller its queue; called once."""
        require(self._queue is None, f"controller {self.name} is bound twice")
        self._queue = WorkQueue(clock, lane=self._lane)
        self._clock = clock
        self._log = log.bind(controller=self.name)
        for informer, keys, part in self._watches:
            self._subscribe(informer, keys, part)

    def stand_by(self) -> None:
        """Until ``run`` nothing is noted, and then all that is there by then. A process that stands by for days would
        else hold the key of every object that ever was.
        """
        self._notes = False

    def _note_all(self) -> None:
        if self._notes:
            return
        self._notes = True
        for informer, keys, _ in self._watches:
            for obj in informer.all():
                for key in keys(obj):
                    self.add(key)

    def add(self, key: str) -> None:
        """Wake a key by hand."""
        self._bound()[0].add(key)

    def unsettled(self) -> list[str]:
        """Keys that are not at rest, see ``WorkQueue.unsettled``."""
        return [f"{self.name} {key}" for key in self._bound()[0].unsettled()]

    async def run(self) -> None:
        """Work until cancelled. Raises InvariantBroken."""
        queue, _ = self._bound()
        self._note_all()
        try:
            async with TaskScope(self.name) as scope:
                for number in range(self._workers):
                    scope.guard(self._work(), f"worker {number}")
                raise await scope.wait_broken()
        finally:
            await queue.aclose()

    async def _work(self) -> None:
        queue, _ = self._bound()
        assert self._clock is not None
        clock = self._clock
        while True:
            key = await queue.get()
            began_s = clock.monotonic()
            try:
                await self._one(key)
            finally:
                self.worked.observe(clock.monotonic() - began_s)
                queue.done(key)

    async def _one(self, key: str) -> None:
        queue, log = self._bound()
        try:
            outcome = await self._reconcile(key)
        except Conflict:
            queue.add_rate_limited(key, CONFLICT_MOST_S)
        except (ApiError, Unanswered) as error:
            queue.add_rate_limited(key)
            if queue.failures(key) > QUIET_FAILURES:
                log.warn(
                    "reconcile fails", key=key, error=repr(error), failures=queue.failures(key)
                )
        except Exception as bug:
            queue.add_rate_limited(key)
            log.bug(bug, key=key)
        except BaseException as error:
            error.add_note(f"in controller {self.name}, key {key}")
            raise
        else:
            queue.forget(key)
            if isinstance(outcome, After):
                queue.add_after(key, outcome.delay_s)

    def _subscribe(self, informer: Informer, keys: Keys, part: Part | None) -> None:
        queue, _ = self._bound()

        def wake(old: Object | None, new: Object | None) -> None:
            if not self._notes:
                return
            if part is not None and old is not None and new is not None and part(old) == part(new):
                return
            for obj in (old, new):
                for key in keys(obj) if obj is not None else []:
                    queue.add(key)

        informer.add_handler(wake)

    def _bound(self) -> tuple[WorkQueue, Log]:
        require(self._queue is not None and self._log is not None, f"{self.name} is not bound")
        assert self._queue is not None
        assert self._log is not None
        return self._queue, self._log

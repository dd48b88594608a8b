"""Status reports of this node's copies: the newest wish per object is written, older ones are skipped.

A report never holds up a copy: ``wish`` returns at once. One task hands out the writes, at most ``AT_ONCE`` side by
side and one for each part of an object, so that a report never passes an older one of the same part. Level, not edge: a
wish that equals the last acknowledged one is not written again, unless an older report of ours, sent before it and
answered never, has landed after it. A failed write is tried again with a back-off of its own. At most ``MOST`` objects
wait; the objects are those of copies on this node, so that the bound is never met while copies are bounded.

Not promised: that every intermediate state is seen by others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from drover.api import status
from drover.api.merge import holds
from drover.api.meta import version_of
from drover.api.scheme import Kind
from drover.api.wire import Object
from drover.base.backoff import Backoff
from drover.base.checks import require
from drover.base.clock import Clock
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client

MOST = 10_000
AT_ONCE = 8
_LEAST_S = 0.001
_RETRY = Backoff(first_s=0.05, most_s=5.0)
# An API server that has just started refuses everybody until it has read who may do what. Later than that (about half
# a minute) a refusal is meant.
_MOST_REFUSALS = 12


@dataclass(frozen=True)
class Subject:
    """Which part of which object: ``part`` keeps wishes about different status fields apart."""

    kind: Kind
    namespace: str
    name: str
    part: str


class Publisher:
    """One task per agent; see the module's header."""

    def __init__(self, client: Client, clock: Clock, log: Log) -> None:
        self._client = client
        self._clock = clock
        self._log = log
        self._wishes: dict[Subject, Object] = {}
        self._acked: dict[Subject, tuple[Object, int]] = {}  # with the version of the answer
        self._refusals: dict[Subject, int] = {}
        self._failures: dict[
            Subject, tuple[int, float]
        ] = {}  # how often in a row, and when it is due again
        self._writing: set[Subject] = set()
        self._wake = asyncio.Event()

    def wish(self, subject: Subject, patch: Object, seen: Object | None = None) -> None:
        """``patch`` is a merge patch of the object's status subresource, ``seen`` the object as it is known."""
        waiting = self._wishes.get(subject)
        if waiting == patch or (waiting is None and self._stands(subject, patch, seen)):
            return
        require(len(self._wishes) < MOST, "more status reports wait than copies can exist")
        self._wishes[subject] = patch
        self._wake.set()

    def _stands(self, subject: Subject, patch: Object, seen: Object | None) -> bool:
        """Whether this was acknowledged, and nothing has been written over it since."""
        acked, version = self._acked.get(subject, (None, 0))
        if acked != patch:
            return False
        return seen is None or version_of(seen) <= version or holds(seen, patch)

    def forget(self, subject: Subject) -> None:
        """The object is gone, or nobody reads it any more."""
        self._acked.pop(subject, None)
        self._wishes.pop(subject, None)
        self._refusals.pop(subject, None)
        self._failures.pop(subject, None)

    def rewound(self) -> None:
        """The API may have forgotten anything that it has acknowledged."""
        self._acked.clear()

    async def run(self) -> None:
        """Write wishes for ever."""
        async with TaskScope("reports") as scope:
            scope.guard(self._hand_out(scope), "hand out")
            raise await scope.wait_broken()

    async def _hand_out(self, scope: TaskScope) -> None:
        while True:
            await self._pause()
            now = self._clock.monotonic()
            due = [each for each in self._waiting() if self._due_s(each) <= now]
            for subject in due[: AT_ONCE - len(self._writing)]:
                self._writing.add(subject)
                scope.spawn(self._one(subject), subject.name)

    async def _one(self, subject: Subject) -> None:
        try:
            patch = self._wishes.get(subject)  # a newer one may have come, or it was forgotten
            if patch is None or await self._write(subject, patch):
                return
            if subject in self._wishes:
                self._failed(subject)
        finally:
            self._writing.discard(subject)
            self._wake.set()

    def _waiting(self) -> list[Subject]:
        """Those with a wish and no write under way."""
        return [subject for subject in self._wishes if subject not in self._writing]

    async def _pause(self) -> None:
        """Until there is a new wish, a write has ended, or one that failed is due."""
        due = [self._due_s(subject) for subject in self._waiting()]
        full = len(self._writing) >= AT_ONCE
        # A wait that rounds to nothing would end before its time has come, for ever.
        wait_s = max(_LEAST_S, min(due) - self._clock.monotonic()) if due and not full else None
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _due_s(self, subject: Subject) -> float:
        return self._failures[subject][1] if subject in self._failures else 0.0

    def _failed(self, subject: Subject) -> None:
        """What fails waits by itself, longer each time; others are not held up."""
        count = self._failures[subject][0] + 1 if subject in self._failures else 1
        self._failures[subject] = (count, self._clock.monotonic() + _RETRY.delay_s(count))

    async def _write(self, subject: Subject, patch: Object) -> bool:
        """True when nothing is left to do for this wish."""
        try:
            answer = await self._client.patch(
                subject.kind, subject.name, subject.namespace, patch, subresource="status"
            )
        except status.NotFound:
            self._done(subject, patch)
            return True
        except (status.ServerError, status.TooManyRequests, status.Conflict, status.Unanswered):
            return False
        except status.ApiError as refused:
            if self._may_be_early(subject, refused):
                return False
            self._log.error("a status report was refused", object=subject.name, why=refused.message)
            self._done(subject, patch)
            return True
        if subject in self._wishes:  # else it was forgotten meanwhile
            self._acked[subject] = (patch, version_of(answer))
        self._done(subject, patch)
        return True

    def _may_be_early(self, subject: Subject, refused: status.ApiError) -> bool:
        """Whether asking again may help."""
        if not isinstance(refused, status.Forbidden | status.Unauthorized):
            return False
        self._refusals[subject] = self._refusals.get(subject, 0) + 1
        return self._refusals[subject] < _MOST_REFUSALS

    def _done(self, subject: Subject, patch: Object) -> None:
        self._refusals.pop(subject, None)
        self._failures.pop(subject, None)
        if self._wishes.get(subject) == patch:
            del self._wishes[subject]

"""Status reports of this node's copies: the newest wish per object is written, older ones are skipped.

A report never holds up a copy: ``wish`` returns at once, one task writes. Level, not edge: a wish that equals the last
acknowledged one is not written again, a failed write is tried again with back-off. At most ``MOST`` objects wait; the
objects are those of copies on this node, so that the bound is never met while copies are bounded.

Not promised: that every intermediate state is seen by others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from drover.api import status
from drover.api.scheme import Kind
from drover.api.wire import Object
from drover.base.backoff import Backoff
from drover.base.checks import require
from drover.base.clock import Clock
from drover.base.log import Log
from drover.runtime.client import Client

MOST = 10_000
_RETRY = Backoff(first_s=0.05, most_s=5.0)


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
        self._acked: dict[Subject, Object] = {}
        self._wake = asyncio.Event()

    def wish(self, subject: Subject, patch: Object) -> None:
        """``patch`` is a merge patch of the object's status subresource."""
        if self._wishes.get(subject, self._acked.get(subject)) == patch:
            return
        require(len(self._wishes) < MOST, "more status reports wait than copies can exist")
        self._wishes[subject] = patch
        self._wake.set()

    def forget(self, subject: Subject) -> None:
        """The object is gone, or nobody reads it any more."""
        self._acked.pop(subject, None)
        self._wishes.pop(subject, None)

    async def run(self) -> None:
        """Write wishes for ever."""
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            for subject, patch in list(self._wishes.items()):
                if not await self._write(subject, patch):
                    failures += 1
            if any(True for _ in self._wishes):
                await self._clock.sleep(_RETRY.delay_s(failures))
                self._wake.set()
            else:
                failures = 0

    async def _write(self, subject: Subject, patch: Object) -> bool:
        """True when nothing is left to do for this wish."""
        try:
            await self._client.patch(
                subject.kind, subject.name, subject.namespace, patch, subresource="status"
            )
        except status.NotFound:
            self._done(subject, patch)
            return True
        except (status.ServerError, status.TooManyRequests, status.Conflict, status.Unanswered):
            return False
        except status.ApiError as refused:
            self._log.error("a status report was refused", object=subject.name, why=refused.message)
            self._done(subject, patch)
            return True
        self._acked[subject] = patch
        self._done(subject, patch)
        return True

    def _done(self, subject: Subject, patch: Object) -> None:
        if self._wishes.get(subject) == patch:
            del self._wishes[subject]

"""Writes Kubernetes Events (core/v1) that tell people what happened to an object.

``event`` never blocks and never fails: it queues. An event that repeats is counted in one Event
object (``count``, ``lastTimestamp``). The queue holds at most ``MOST_PENDING`` different events,
and what does not fit, or what the API refuses, is dropped and counted in ``dropped``. Nothing may
ever be decided from an Event, so they stand back: after each one the writer rests for twice as long
as the API took for it, unless many wait. A drain begins with six for each VM.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from drover.api.meta import name_of, namespace_of, uid_of
from drover.api.scheme import EVENT
from drover.api.status import (
    AlreadyExists,
    ApiError,
    NotFound,
    ServerError,
    TooManyRequests,
    Unanswered,
)
from drover.base.backoff import Backoff
from drover.base.clock import Clock, rfc3339

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.base.ids import Ids
    from drover.runtime.client import Client

MOST_PENDING = 1000
MOST_REMEMBERED = 4096
MANY = 200  # so many that wait are written without a rest
# Between two writes: by how much longer than the first one took, and at most.
REST, MOST_REST_S = 2.0, 0.2
MOST_MESSAGE = 1024  # Kubernetes' own limit
TRIES = 4
RETRY = Backoff(first_s=0.2, most_s=2.0, jitter=0.5)

Story = tuple[str, str, str, str]  # uid of the object, type, reason, message


@dataclass
class _Pending:
    """An event not yet written, with the times and number of its repeats."""

    about: Object
    name: str
    first_s: float
    last_s: float
    count: int = 1


@dataclass(frozen=True)
class _Written:
    """Where an event was written, and how often it has been counted."""

    namespace: str
    name: str
    count: int


class Recorder:
    """One per process; ``run`` does the writing."""

    def __init__(self, client: Client, clock: Clock, ids: Ids, component: str) -> None:
        self._client = client
        self._clock = clock
        self._ids = ids
        self._component = component
        self._pending: OrderedDict[Story, _Pending] = OrderedDict()
        self._written: OrderedDict[Story, _Written] = OrderedDict()
        self._wake = asyncio.Event()
        self.dropped = 0

    def event(
        self, about: Object, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Queue one event about an object (which carries apiVersion and kind)."""
        now_s = self._clock.wall()
        story = (uid_of(about) or name_of(about), kind, reason, message[:MOST_MESSAGE])
        if story in self._pending:
            self._pending[story].count += 1
            self._pending[story].last_s = now_s
        elif len(self._pending) >= MOST_PENDING:
            self.dropped += 1
        else:
            name = f"{name_of(about)}.{self._ids.suffix(12)}"
            self._pending[story] = _Pending(about, name, now_s, now_s)
            self._wake.set()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                story, pending = self._pending.popitem(last=False)
                began_s = self._clock.monotonic()
                await self._write(story, pending)
                took_s = self._clock.monotonic() - began_s
                if 0 < len(self._pending) < MANY:
                    await self._clock.sleep(min(REST * took_s, MOST_REST_S))

    async def _write(self, story: Story, pending: _Pending) -> None:
        for failures in range(1, TRIES + 1):
            try:
                await self._write_once(story, pending)
                return
            except (Unanswered, ServerError, TooManyRequests):
                await self._clock.sleep(RETRY.delay_s(failures, self._ids.uniform()))
            except ApiError:
                break  # refused: a namespace that ends, a missing right
        self.dropped += 1

    async def _write_once(self, story: Story, pending: _Pending) -> None:
        before = self._written.pop(story, None)
        if before is not None:
            count = before.count + pending.count
            patch = {"count": count, "lastTimestamp": rfc3339(pending.last_s)}
            try:
                await self._client.patch(EVENT, before.name, before.namespace, patch)
            except NotFound:
                pass  # events expire after an hour: begin a new one
            else:
                self._remember(story, _Written(before.namespace, before.name, count))
                return
        body = self._body(story, pending)
        with suppress(AlreadyExists):  # an earlier try landed, its answer was lost
            await self._client.create(EVENT, body)
        self._remember(story, _Written(namespace_of(body), name_of(body), pending.count))

    def _remember(self, story: Story, written: _Written) -> None:
        self._written[story] = written
        if len(self._written) > MOST_REMEMBERED:
            self._written.popitem(last=False)

    def _body(self, story: Story, pending: _Pending) -> Object:
        _, kind, reason, message = story
        about = pending.about
        meta = about["metadata"]
        involved = {
            "apiVersion": about.get("apiVersion", ""),
            "kind": about.get("kind", ""),
            "name": meta["name"],
            "namespace": meta.get("namespace", ""),
            "uid": meta.get("uid", ""),
            "resourceVersion": meta.get("resourceVersion", ""),
        }
        return {
            "metadata": {
                "name": pending.name,
                "namespace": namespace_of(about) or "default",
            },
            "involvedObject": {key: value for key, value in involved.items() if value},
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "count": pending.count,
            "firstTimestamp": rfc3339(pending.first_s),
            "lastTimestamp": rfc3339(pending.last_s),
        }

"""Follows one collection of the API: list, watch, resume, and list again when the server forgot the
version.

    list --> watch --> (ends, breaks, silent) --> watch from the last version seen
      ^                      |
      +------ Gone ----------+

Every restart has one of five reasons: the server ended the watch (at its time limit), the
connection broke, nothing came for longer than ``SILENT_S`` (a half-dead connection looks just like
a quiet collection), the server refused, or 410 Gone. Failures back off with jitter. The sink sees
every change in order, but not every state: it promises the latest, not the history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from drover.api.status import ApiError, Gone, TooManyRequests, Unanswered, error_from
from drover.base.backoff import Backoff
from drover.base.tasks import TaskScope, wait_first
from drover.runtime.client import PAGE_ITEMS, PAGE_LEAST

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.api.wire import Object
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.base.log import Log
    from drover.runtime.client import Client, Listing

WATCH_S = (
    240  # asked of the server; up to half is added by chance, so that watches do not end together
)
SILENT_S = 75.0  # Kubernetes sends a bookmark about once a minute
RETRY = Backoff(first_s=0.1, most_s=5.0, jitter=0.5)
SETTLED_S = 1.0  # a watch that lived so long was no failure
PAGE_S = 2.0  # what a page may take: a fifth of what any answer may


def paced(page: int, took_s: float) -> int:
    """How many items to ask for next, when ``page`` of them came in ``took_s``: what comes in ``PAGE_S`` at that pace,
    and no more than twice as many.
    """
    most = min(2 * page, PAGE_ITEMS)
    return most if took_s <= 0 else max(PAGE_LEAST, min(most, int(page * PAGE_S / took_s)))


class Sink(Protocol):
    """Who is told. All calls are synchronous and in order."""

    def kept(self, obj: Object) -> Any:
        """What is to be held of a listed object until the list is complete."""
        ...

    def replaced(self, items: list[Any], version: int) -> None:
        """``items``: what was ``kept`` of each."""
        ...

    def changed(self, event: str, obj: Object) -> None:
        """``event`` is ADDED, MODIFIED or DELETED."""
        ...

    def progressed(self, version: int) -> None:
        """Everything up to ``version`` has been told."""
        ...


class Selection:
    """Which part of a kind is followed."""

    def __init__(self, kind: Kind, namespace: str = "", labels: str = "", fields: str = "") -> None:
        self.kind = kind
        self.namespace = namespace
        self.labels = labels
        self.fields = fields

    def __str__(self) -> str:
        parts = (self.kind.plural, self.namespace, self.labels, self.fields)
        return " ".join(part for part in parts if part)


class Reflector:
    """One endless ``run`` per collection."""

    def __init__(
        self, client: Client, clock: Clock, ids: Ids, log: Log, selection: Selection, sink: Sink
    ) -> None:
        self._client = client
        self._clock = clock
        self._ids = ids
        self._log = log.bind(watch=str(selection))
        self._selection = selection
        self._sink = sink
        self._version = ""  # resume from here; empty: list first
        self._listing: Listing | None = None  # one whose last page failed
        self._page = PAGE_ITEMS
        self._failures = 0
        self._heard_s = 0.0  # monotonic time of the last sign of life

    async def run(self) -> None:
        """For ever. API errors are waited out; anything else propagates."""
        while True:
            try:
                await self._once()
            except Gone:
                self._version, self._listing = "", None
                self._failures += 1
            except (ApiError, Unanswered) as error:
                if isinstance(error, ApiError) and not isinstance(error, TooManyRequests):
                    # Not only Gone means it: after a restore our version lies in the future.
                    self._version, self._listing = "", None
                self._failures += 1
                self._log.warn("watch failed", error=repr(error), failures=self._failures)
            await self._clock.sleep(RETRY.delay_s(self._failures, self._ids.uniform()))

    async def _once(self) -> None:
        """List if there is no version, then one watch until it ends."""
        chosen = self._selection
        if not self._version:
            await self._list()
        began_s = self._heard_s = self._clock.monotonic()
        async with TaskScope(f"watch {chosen}") as scope:
            reading = scope.spawn(self._read(), "read")
            silence = scope.spawn(self._until_silent(), "silence")
            await wait_first(reading, silence)
            if reading.done():
                reading.result()
            else:
                self._log.warn("watch was silent", limit_s=SILENT_S)
        lived = self._clock.monotonic() - began_s >= SETTLED_S
        self._failures = 0 if lived else self._failures + 1

    async def _list(self) -> None:
        """A busy server may need too long for a page of a large collection: asked the same again and again, it would
        never get there, and have the more to do. So pages are as large as it answers in good time, no answer is waited
        for longer, and what was read stays.
        """
        chosen = self._selection
        if self._listing is None:
            self._listing = self._client.listing(
                chosen.kind, chosen.namespace, chosen.labels, chosen.fields, self._sink.kept
            )
        while not self._listing.complete:
            began_s = self._clock.monotonic()
            try:
                await self._client.read(self._listing, self._page)
            except (Unanswered, TooManyRequests):
                self._page = max(PAGE_LEAST, self._page // 4)
                raise
            self._page = paced(self._page, self._clock.monotonic() - began_s)
        listing, self._listing = self._listing, None
        self._version = listing.version
        self._sink.replaced(listing.items, int(self._version))

    async def _read(self) -> None:
        chosen = self._selection
        timeout_s = int(WATCH_S * (1 + self._ids.uniform() / 2))
        watch = self._client.watch(
            chosen.kind, self._version, timeout_s,
            namespace=chosen.namespace, labels=chosen.labels, fields=chosen.fields,
        )  # fmt: skip
        async with watch as events:
            async for event in events:
                self._heard_s = self._clock.monotonic()
                self._failures = 0
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            raise error_from(int(obj.get("code") or 500), obj)
        self._version = str(obj["metadata"]["resourceVersion"])
        if kind != "BOOKMARK":
            self._sink.changed(kind, obj)
        self._sink.progressed(int(self._version))

    async def _until_silent(self) -> None:
        while (quiet_s := self._clock.monotonic() - self._heard_s) < SILENT_S:
            await self._clock.sleep(SILENT_S - quiet_s)

"""Watches of the modelled API: from a revision on, each matching change once and in order.

A watch selects by label or field like the server: an object that leaves the selection is DELETED,
one that enters it is ADDED. A watch that falls behind the kept history gets an ERROR event with
410 and ends, as on the wire. Nothing is buffered per watch: it reads the store's history.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drover.api.status import Gone, Unanswered
from drover.sim.api.store import Change, Store, at_revision

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from drover.api.scheme import Kind
    from drover.api.wire import Object


_ROUNDING_S = 1e-6  # a timer may fire that much before the sum of two floats
BOOKMARK_S = 60.0  # the server tells its progress about once a minute


@dataclass(frozen=True)
class Selection:
    """What a list or a watch is about."""

    kind: Kind
    namespace: str
    labels: Callable[[Object], bool]
    fields: Callable[[Object], bool]

    def has(self, obj: Object | None) -> bool:
        if obj is None:
            return False
        inside = not self.namespace or obj["metadata"].get("namespace") == self.namespace
        return inside and self.labels(obj) and self.fields(obj)

    def event(self, change: Change) -> dict[str, Any] | None:
        """The watch event of a change, or None when it is not of this selection."""
        if change.kind != self.kind:
            return None
        before, after = self.has(change.old), self.has(change.new)
        if after:
            return {"type": "MODIFIED" if before else "ADDED", "object": change.new}
        if before:
            assert change.old is not None
            return {"type": "DELETED", "object": at_revision(change.old, change.revision)}
        return None


class Watch:
    """One stream of events. ``broken`` ends it as a lost connection would."""

    def __init__(
        self, store: Store, selection: Selection, after: int | None, bookmarks: bool
    ) -> None:
        self._store = store
        self._selection = selection
        self._bookmarks = bookmarks
        self._broken = False
        self._after = store.revision if after is None else after
        if self._after < store.compacted and after is not None:
            raise expired(self._after)
        objects = store.all(selection.kind) if after is None else []
        self._initial = [obj for obj in objects if selection.has(obj)]

    def break_off(self) -> None:
        self._broken = True
        self._store.wake()

    async def events(self, timeout_s: float) -> AsyncGenerator[dict[str, Any], None]:
        ends = _now() + timeout_s
        quiet_until = _now() + BOOKMARK_S
        for obj in self._initial:
            yield {"type": "ADDED", "object": obj}
        while True:
            if self._after < self._store.forgotten(self._selection.kind):
                yield {"type": "ERROR", "object": status_body(expired(self._after))}
                return
            changes = self._store.since(self._after, self._selection.kind)
            for change in changes:
                if self._broken:
                    break
                self._after = change.revision
                event = self._selection.event(change)
                if event is not None:
                    yield event
            if self._broken:
                raise Unanswered("the watch's connection broke", sent=True)
            if changes:
                continue  # more may have come while these were read
            self._after = self._store.revision
            if not await self._wait(ends, quiet_until):
                if self._bookmarks:
                    yield self._bookmark()
                if _now() >= ends - _ROUNDING_S:
                    return
                quiet_until = _now() + BOOKMARK_S

    async def _wait(self, ends: float, quiet_until: float) -> bool:
        """Wait for a change; False when the time is up, of the watch or of its silence."""
        try:
            async with asyncio.timeout_at(min(ends, quiet_until)):
                await self._store.wait_changed(self._selection.kind)
        except TimeoutError:
            return False
        return True

    def _bookmark(self) -> dict[str, Any]:
        kind = self._selection.kind
        meta = {"resourceVersion": str(self._after)}
        body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
        return {"type": "BOOKMARK", "object": body}


def _now() -> float:
    return asyncio.get_running_loop().time()


def expired(revision: int) -> Gone:
    return Gone(f"too old resource version: {revision}", "Expired", 410)


def status_body(error: Any) -> Object:
    """A ``Status`` object as the server sends it."""
    body = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": error.message, "reason": error.reason, "code": error.code,
    }  # fmt: skip
    if error.details is not None:
        body["details"] = error.details
    return body

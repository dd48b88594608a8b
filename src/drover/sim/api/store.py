"""What the modelled API server keeps: objects by kind, one revision counter, and a bounded history.

Stored objects are frozen (``frozen``): every write stores a new one and appends a ``Change``, and all
who read share it.
The history is what watches resume from; what falls out of it is *compacted*, and a watch that
begins before it, or has missed a change of its kind, is Gone. Nothing here knows rules of kinds;
``model`` does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drover.sim.api.frozen import frozen

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.api.wire import Object

HISTORY = 10_000
RESTORE_BUMP = 1_000_000_000  # as etcd's own tool is told to

Backup = dict["Kind", dict[tuple[str, str], "Object"]]


@dataclass
class Change:
    """One write. ``old`` is None for a creation, ``new`` is None for a removal."""

    revision: int
    kind: Kind
    old: Object | None
    new: Object | None


class Store:
    """Objects by kind, then by (namespace, name)."""

    def __init__(self, history: int = HISTORY) -> None:
        self.revision = 1
        self.compacted = 1  # changes up to this revision are forgotten
        self._history = history
        self._log: deque[Change] = deque()
        self._logs: dict[Kind, deque[Change]] = {}  # the same, by kind
        self._forgotten: dict[Kind, int] = {}  # the last revision that is no longer kept
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {}
        self._changed = asyncio.Event()
        self._changed_of: dict[Kind, asyncio.Event] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._objects.get(kind, {}).get((namespace, name))

    def all(self, kind: Kind, namespace: str = "") -> list[Object]:
        """In the order of namespace and name, as etcd's keys."""
        found = self._objects.get(kind, {})
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def kinds(self) -> list[Kind]:
        return list(self._objects)

    def put(self, kind: Kind, obj: Object) -> Object:
        """Store ``obj`` at a new revision, unless nothing differs; return what is stored."""
        key = _key(obj)
        old = self._objects.setdefault(kind, {}).get(key)
        if old is not None and _same(old, obj):
            return old
        self.revision += 1
        stored = at_revision(obj, self.revision)
        self._objects[kind][key] = stored
        self._append(Change(self.revision, kind, old, stored))
        return stored

    def remove(self, kind: Kind, obj: Object) -> Object:
        """Forget ``obj``; return its last state at the revision of the removal."""
        self.revision += 1
        self._objects[kind].pop(_key(obj))
        last = at_revision(obj, self.revision)
        self._append(Change(self.revision, kind, last, None))
        return last

    def backup(self) -> Backup:
        """All objects as they are now."""
        return {kind: dict(objects) for kind, objects in self._objects.items()}

    def restore(self, backup: Backup) -> None:
        """Put the objects back to what they were, versions included, as etcd's restore with a raised revision does:
        whoever watches has missed something for ever."""
        self._objects = {kind: dict(objects) for kind, objects in backup.items()}
        self.compact()
        self.revision += RESTORE_BUMP
        self.compacted = self.revision
        self._forgotten = dict.fromkeys({*self._logs, *self._objects}, self.revision)
        self.wake()

    def compact(self) -> None:
        """Forget all history up to now."""
        while self._log:
            self._forget_oldest()
        self.compacted = self.revision

    def _forget_oldest(self) -> None:
        change = self._log.popleft()
        self._logs[change.kind].popleft()
        self._forgotten[change.kind] = self.compacted = change.revision

    def forgotten(self, kind: Kind) -> int:
        """Whoever has seen less than this revision of the kind has missed something for ever."""
        return self._forgotten.get(kind, 0)

    def since(self, revision: int, kind: Kind | None = None) -> list[Change]:
        """Changes above ``revision``, oldest first. The caller has compared it with
        ``compacted`` or ``forgotten``.
        """
        found: list[Change] = []
        for change in reversed(self._log if kind is None else self._logs.get(kind, ())):
            if change.revision <= revision:
                break
            found.append(change)
        return found[::-1]

    async def wait_changed(self, kind: Kind | None = None) -> None:
        """Until anything, or anything of this kind, changes."""
        if kind is None:
            await self._changed.wait()
        else:
            await self._changed_of.setdefault(kind, asyncio.Event()).wait()

    def _append(self, change: Change) -> None:
        self._log.append(change)
        self._logs.setdefault(change.kind, deque()).append(change)
        if len(self._log) > self._history:
            self._forget_oldest()
        self._wake(change.kind)

    def wake(self) -> None:
        """Let every watch look again."""
        for kind in list(self._changed_of):
            self._wake(kind)

    def _wake(self, kind: Kind) -> None:
        # A new event each time: whoever waits on the old one wakes, whoever comes later waits anew.
        self._changed.set()
        self._changed = asyncio.Event()
        event = self._changed_of.pop(kind, None)
        if event is not None:
            event.set()


def _key(obj: Object) -> tuple[str, str]:
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _same(old: Object, new: Object) -> bool:
    old_meta = {**old["metadata"], "resourceVersion": ""}
    new_meta = {**new["metadata"], "resourceVersion": ""}
    return {**old, "metadata": old_meta} == {**new, "metadata": new_meta}


def at_revision(obj: Object, revision: int) -> Object:
    """The object, frozen, as of a revision."""
    meta = {**obj["metadata"], "resourceVersion": str(revision)}
    whole: Object = frozen({**obj, "metadata": meta})
    return whole

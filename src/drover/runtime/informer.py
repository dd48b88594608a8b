"""A cache of one collection, fed by a watch and by the answers of our own writes.

Handlers hear of every change as ``(old, new)``, synchronously; they should do no more than add keys
to queues. Objects are shared: treat them as read-only. They are held in one of two forms (``forms``),
and always without ``managedFields``, half of an object that nobody here reads; a write that does
not bring them leaves the server's alone.

An informer of a part of a kind (a label) follows the informer of the whole kind where the process
has one: one watch, and each object once in memory.

Versions decide what is newer. The watch has told everything up to ``_told``, so:
- an event that is not newer than the cached object is old news (our own write was already
  observed);
- an observed answer that is not newer than ``_told`` is old news too, and if its object is gone it
  was deleted since;
- a list does not remove an object that was written after it;
- a list older than ``_told`` comes from a restored store: everything cached is dropped first.

It promises the latest state some time later. It does not promise to be up to date: a decision that
must not be wrong is guarded by compare-and-swap, never by this cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from drover.api.meta import version_of
from drover.api.scheme import key_of
from drover.api.selectors import matches_fields, matches_labels
from drover.api.wire import Object
from drover.runtime.forms import Form, Held, Plain
from drover.runtime.index import Index
from drover.runtime.reflector import Reflector, Selection

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.base.log import Log
    from drover.runtime.client import Client

Handler = Callable[[Object | None, Object | None], None]


class Informer:
    """Shared by everyone in the process who reads this collection. Made by ``Manager.informer``."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        ids: Ids,
        log: Log,
        selection: Selection,
        form: Form | None = None,
    ) -> None:
        self._form = form or Plain()
        self.kind = selection.kind
        self.selection = selection
        self._reflector = Reflector(client, clock, ids, log, selection, self)
        self._objects: dict[str, Held] = {}
        self._order: list[str] | None = []  # sorted keys; None: to be sorted again
        self._indices: dict[str, Index] = {}
        self._handlers: list[Handler] = []
        self._told = 0
        self._synced = asyncio.Event()
        self._whole: Informer | None = None  # who tells us, instead of a watch of our own
        self._parts: list[Informer] = []  # whom we tell

    def get(self, key: str) -> Object | None:
        held = self._objects.get(key)
        return self._form.read(held) if held is not None else None

    def __contains__(self, key: str) -> bool:
        return key in self._objects

    def all(self) -> Sequence[Object]:
        """In key order."""
        if self._order is None:
            self._order = sorted(self._objects)
        return self._form.each([self._objects[key] for key in self._order])

    def by_index(self, index: str, value: str) -> list[Object]:
        """In key order. KeyError for an index that was never added."""
        return [self._form.read(self._objects[key]) for key in self._indices[index].keys(value)]

    def index_counts(self, index: str) -> dict[str, int]:
        """How many objects have each value of an index. KeyError for one that was never added."""
        return self._indices[index].counts()

    def add_index(self, name: str, values: Callable[[Object], list[str]]) -> None:
        """Adding a name twice replaces the index."""
        index = Index(values)
        for key, held in self._objects.items():
            index.move(key, None, self._form.read(held))
        self._indices[name] = index

    def add_handler(self, handler: Handler) -> None:
        """A late handler is told of every object already here, as of a new one."""
        self._handlers.append(handler)
        for obj in self.all():
            handler(None, obj)

    def observe(self, obj: Object) -> None:
        """Take the answer of an own write, so that the next reconcile sees it."""
        if self._whole is not None:
            self._whole.observe(obj)
            return
        chosen = self.selection
        inside = not chosen.namespace or obj["metadata"].get("namespace") == chosen.namespace
        if not inside or version_of(obj) <= self._told:
            return
        if matches_labels(chosen.labels, obj) and matches_fields(chosen.fields, obj):
            self._newer(obj)

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Return once the first list has arrived."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follow the collection for ever."""
        await self._reflector.run()

    def follow(self, whole: Informer) -> None:
        """Be told by the informer of the whole kind, instead of ``run``."""
        self._whole = whole
        self._form = whole._form
        whole.add_handler(self._part)
        whole._parts.append(self)
        if whole.synced:
            self._synced.set()

    def _part(self, old: Object | None, new: Object | None) -> None:
        assert self._whole is not None
        if new is not None and matches_labels(self.selection.labels, new):
            self._put(key_of(new), self._whole._objects[key_of(new)])
        elif (gone := new or old) is not None and key_of(gone) in self._objects:
            self._put(key_of(gone), None, last=old if new is None else None)

    # What the reflector tells.

    def replaced(self, items: list[Held], version: int) -> None:
        if version < self._told:  # the store was restored: what we know is of another history
            for key in list(self._objects):
                self._put(key, None)
            self._told = 0
        objects = zip(items, self._form.each(items), strict=True)
        listed = {key_of(obj): (version_of(obj), held) for held, obj in objects}
        for key in list(self._objects):
            if key not in listed and self._version(key) <= version:
                self._put(key, None)
        for key, (its, held) in listed.items():
            # What is older than this list and newer than what it says is of another history, too: etcd was restored,
            # and its revision raised.
            if self._version(key) < its or its < self._version(key) <= version:
                self._put(key, held)
        self._told = max(self._told, version)
        for informer in (self, *self._parts):
            informer._synced.set()

    def changed(self, event: str, obj: Object) -> None:
        if event != "DELETED":
            self._newer(obj)
        elif 0 < self._version(key_of(obj)) <= version_of(obj):
            self._put(key_of(obj), None, last=obj)

    def progressed(self, version: int) -> None:
        self._told = max(self._told, version)

    def _newer(self, obj: Object) -> None:
        if self._version(key_of(obj)) < version_of(obj):
            self._put(key_of(obj), self.kept(obj))

    def _version(self, key: str) -> int:
        """What is held; 0 for what is not."""
        present = self.get(key)
        return version_of(present) if present is not None else 0

    def kept(self, obj: Object) -> Held:
        """As it is held in memory. Of a list each page is made so when it comes: several lists of ten thousand whole
        objects at once would leave a heap behind that is larger by two thirds, all holes.
        """
        meta = obj["metadata"]
        if "managedFields" in meta:
            obj = {**obj, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}
        return self._form.hold(obj)

    def _put(self, key: str, held: Held | None, last: Object | None = None) -> None:
        """The one place that changes the cache. ``last`` is the final state of an object that
        goes.
        """
        old = self.get(key)
        self._objects.pop(key, None)
        if held is not None:
            self._objects[key] = held
        new = self.get(key)
        if (old is None) != (new is None):
            self._order = None
        for index in self._indices.values():
            index.move(key, old, new)
        for handler in self._handlers:
            handler(last or old, new)

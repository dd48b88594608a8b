"""Verbs on kinds: what controllers and agents say to the API.

Reads give plain dicts; writes are full PUTs or merge patches. Errors are the kinds of
``api.status``; nothing is retried here, since only the caller knows whether a write may be
repeated. ``replace`` insists on uid and resourceVersion, and ``patch`` adds both when it is given
the version read: without the uid, a write meant for a deleted object lands on its successor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from drover.api.meta import name_of, namespace_of
from drover.api.status import error_from
from drover.api.wire import MERGE_PATCH, Object, Request
from drover.base.checks import require

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from drover.api.scheme import Kind
    from drover.runtime.transport import Transport

PAGE_ITEMS = 500
PAGE_LEAST = 50  # for a server that is too busy for more
MOST_PAGES = 10_000

Events = AsyncIterator[dict[str, Any]]


@dataclass
class Listing:
    """A list that is read page by page, all of one version. What was read stays when a page fails: to read on asks for
    that page again, of any size.
    """

    kind: Kind
    namespace: str
    query: dict[str, str]
    keep: Callable[[Object], Any]  # what is held of an item; the rest goes with its page
    items: list[Any] = field(default_factory=list)  # of each that, its apiVersion and kind included
    version: str = ""  # the resourceVersion to watch from; empty: nothing was read
    pages: int = 0

    @property
    def complete(self) -> bool:
        return bool(self.version) and "continue" not in self.query

    def take(self, answer: Object) -> None:
        """The next page."""
        for item in answer.get("items") or []:
            named = {"apiVersion": self.kind.api_version, "kind": self.kind.kind}
            self.items.append(self.keep({**named, **item}))
        meta = answer["metadata"]
        self.version, self.pages = str(meta["resourceVersion"]), self.pages + 1
        self.query.pop("continue", None)
        if meta.get("continue"):
            self.query["continue"] = meta["continue"]


def _whole(item: Object) -> Object:
    return item


class Client:
    """Speaks to one API server through one transport, which the caller closes.

    ``timeout_s`` bounds each answer; clients with different limits may share a transport.
    """

    def __init__(self, transport: Transport, timeout_s: float = 10.0) -> None:
        self._transport = transport
        self._timeout_s = timeout_s

    def patient(self, timeout_s: float) -> Client:
        """For requests that are answered late on purpose, over the same transport."""
        return Client(self._transport, timeout_s)

    def within(self, timeout_s: float) -> Client:
        """For requests whose answer is of no use later, over the same transport."""
        return Client(self._transport, timeout_s)

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return await self._call("GET", kind.path(namespace, name))

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        page: int = PAGE_ITEMS,
    ) -> tuple[list[Object], str]:
        """All items, each with apiVersion and kind, and the resourceVersion to watch from.

        Read page by page, all of one version; Gone when the server forgot that version meanwhile.
        """
        listing = self.listing(kind, namespace, labels, fields)
        while not listing.complete:
            await self.read(listing, page)
        return listing.items, listing.version

    def listing(
        self,
        kind: Kind,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        keep: Callable[[Object], Any] = _whole,
    ) -> Listing:
        """Of which nothing was read yet. ``keep`` gives what is to be held of each item."""
        return Listing(kind, namespace, _selection(labels, fields), keep)

    async def read(self, listing: Listing, page: int) -> None:
        """Its next page, of so many items at most. After Unanswered and TooManyRequests it can be read on; after Gone
        it is void.
        """
        path = listing.kind.path(listing.namespace)
        require(listing.pages < MOST_PAGES, f"the list of {path} has no end")
        asked = {**listing.query, "limit": str(page)}
        listing.take(await self._call("GET", path, query=asked))

    def watch(
        self,
        kind: Kind,
        version: str,
        timeout_s: int,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AbstractAsyncContextManager[Events]:
        """Raw watch events after ``version``; the server ends it after ``timeout_s``. See
        ``Reflector``.
        """
        asked = {
            **_selection(labels, fields),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(timeout_s),
        }
        request = Request("GET", kind.path(namespace), asked, timeout_s=self._timeout_s)
        return self._transport.stream(request)

    async def create(self, kind: Kind, obj: Object) -> Object:
        """The namespace is taken from the object."""
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        return await self._call("POST", kind.path(namespace_of(obj)), body)

    async def replace(self, kind: Kind, obj: Object, subresource: str = "") -> Object:
        """PUT of the whole object, which must carry the uid and resourceVersion that were read."""
        meta = obj["metadata"]
        bound = bool(meta.get("uid")) and bool(meta.get("resourceVersion"))
        require(bound, f"replace of {kind.kind} {name_of(obj)} without uid and resourceVersion")
        path = kind.path(namespace_of(obj), name_of(obj), subresource)
        return await self._call(
            "PUT", path, {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        )

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        patch: Object,
        *,
        subresource: str = "",
        version: Object | None = None,
    ) -> Object:
        """JSON merge patch. With ``version``, the object as read, it lands on that very version or
        raises Conflict.
        """
        if version is not None:
            read = version["metadata"]
            bound = {"uid": read["uid"], "resourceVersion": read["resourceVersion"]}
            patch = {**patch, "metadata": {**(patch.get("metadata") or {}), **bound}}
        path = kind.path(namespace, name, subresource)
        return await self._call("PATCH", path, patch, content_type=MERGE_PATCH)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_s: int | None = None,
        propagation: str = "",
    ) -> None:
        """Ask for deletion; ``uid`` and ``resource_version`` are preconditions (Conflict when they
        differ).
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        conditions = {"uid": uid, "resourceVersion": resource_version}
        if preconditions := {key: value for key, value in conditions.items() if value}:
            options["preconditions"] = preconditions
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if propagation:
            options["propagationPolicy"] = propagation
        await self._call("DELETE", kind.path(namespace, name), options)

    async def post(self, path: str, body: Object) -> Object:
        """POST to any path: bindings, evictions, approvals."""
        return await self._call("POST", path, body)

    async def _call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        request = Request(method, path, dict(query or {}), body, content_type, self._timeout_s)
        response = await self._transport.send(request)
        if response.status >= 300:
            raise error_from(response.status, response.body)
        return response.body if isinstance(response.body, dict) else {}


def _selection(labels: str, fields: str) -> dict[str, str]:
    """The query parameters of a selection."""
    asked = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in asked.items() if value}

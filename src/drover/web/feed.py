"""What one session sees: a watch per kind with the session's own rights, and a line to each of its open pages.

    informer --(row, when it differs)--> Feed.rows --> Line --> stream.py --> browser

Which kinds may be watched is asked once, by reading one object of each; a refused kind is named in ``missing`` and done
without. A namespaced kind that is refused cluster-wide is tried in the namespace given at log-in. Rights that change
later are noticed at the next log-in; a credential that is no longer accepted ends the session at once.

A ``Line`` is bounded: changes of one object replace one another, and beyond ``MOST_PENDING`` changed objects the page
is told everything anew. It promises the latest state, not the history.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from drover.answers import world as answers
from drover.api import scheme
from drover.api.scheme import Kind, key_of
from drover.api.status import ApiError, Unanswered, error_from
from drover.api.wire import Object, Request, Response
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.informer import Informer
from drover.runtime.reflector import Selection
from drover.web.rows import MAKERS, Row, row_of

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.base.log import Log
    from drover.runtime.transport import Transport

KINDS: tuple[Kind, ...] = (*answers.KINDS, scheme.EVENT)
MOST_PENDING = 5_000  # changed objects that one page has not been told of yet
MOST_LINES = 8  # open pages of one session
UNAUTHORIZED = 401

Change = tuple[str, str, Row | None]  # kind, key, and the row; None: it is gone


class TooManyPages(Exception):
    """A session has as many pages open as it may."""


class Line:
    """To one open page. ``wait`` until there is something to tell, then ``take`` it."""

    def __init__(self) -> None:
        self._changed: dict[tuple[str, str], Row | None] = {}
        self._whole = True
        self._wake = asyncio.Event()
        self._wake.set()
        self.overflows = 0

    def put(self, change: Change) -> None:
        kind, key, row = change
        if not self._whole:
            self._changed[kind, key] = row
            if len(self._changed) > MOST_PENDING:
                self._changed.clear()
                self._whole = True
                self.overflows += 1
        self._wake.set()

    def nudge(self) -> None:
        """The state of the feed has changed."""
        self._wake.set()

    async def wait(self, limit_s: float) -> bool:
        """False when nothing happened within ``limit_s``."""
        try:
            async with asyncio.timeout(limit_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> tuple[bool, list[Change]]:
        """Whether everything is to be told anew, else what has changed since the last call."""
        self._wake.clear()
        whole, self._whole = self._whole, False
        changed = [(kind, key, row) for (kind, key), row in self._changed.items()]
        self._changed.clear()
        return whole, changed


class Heard:
    """A transport that notes whether the API answers, and tells of a credential that it no longer takes."""

    def __init__(self, inner: Transport, told: Callable[[bool], None], refused: Callable[[], None]):
        self._inner = inner
        self._told = told
        self._refused = refused

    async def send(self, request: Request) -> Response:
        try:
            response = await self._inner.send(request)
        except Unanswered:
            self._told(False)
            raise
        self._told(True)
        if response.status == UNAUTHORIZED:
            self._refused()
        return response

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        try:
            async with self._inner.stream(request) as events:
                self._told(True)
                yield events
        except Unanswered:
            self._told(False)
            raise
        except ApiError as error:
            if error.code == UNAUTHORIZED:
                self._refused()
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()


class Feed:
    """``start`` it, ``open`` a line per page, ``aclose`` it with the session."""

    def __init__(self, transport: Transport, clock: Clock, ids: Ids, log: Log) -> None:
        self._transport = Heard(transport, self._heard, self._refused)
        self.client = Client(self._transport)
        self._clock, self._ids, self._log = clock, ids, log
        self._scope = TaskScope("feed")
        self._informers: dict[Kind, Informer] = {}
        self._lines: list[Line] = []
        self.rows: dict[str, dict[str, Row]] = {kind.kind: {} for kind in MAKERS}
        self.missing: tuple[str, ...] = ()
        self.alive = True  # the API answers
        self.ended = ""  # why the session is over; empty: it is not

    async def start(self, namespace: str) -> None:
        """Find out what may be seen, and watch it. Raises Unanswered, Unauthorized."""
        found: dict[Kind, str | None] = {}
        async with TaskScope("rights") as scope:
            asked = [(kind, scope.spawn(self._where(kind, namespace), kind.kind)) for kind in KINDS]
            for kind, task in asked:
                found[kind] = await task
        self.missing = tuple(kind.kind for kind in KINDS if found[kind] is None)
        for kind, space in found.items():
            if space is not None:
                self._follow(kind, space)

    async def _where(self, kind: Kind, namespace: str) -> str | None:
        """The namespace to watch, empty for all; None when the kind may not be read at all."""
        for space in dict.fromkeys(["", namespace]) if kind.namespaced else [""]:
            request = Request("GET", kind.path(space), {"limit": "1"})
            response = await self._transport.send(request)
            if response.status < 300:
                return space
            if response.status == UNAUTHORIZED or response.status >= 500:
                raise error_from(response.status, response.body)
        return None

    def _follow(self, kind: Kind, namespace: str) -> None:
        informer = Informer(
            self.client, self._clock, self._ids, self._log, Selection(kind, namespace)
        )
        self._informers[kind] = informer
        if kind in MAKERS:
            informer.add_handler(lambda old, new: self._changed(kind, old, new))
        self._scope.guard(informer.run(), kind.plural)
        self._scope.spawn(self._tell_synced(informer), f"{kind.plural} synced")

    async def _tell_synced(self, informer: Informer) -> None:
        await informer.wait_synced()
        self._nudge()

    @property
    def synced(self) -> bool:
        """Everything that may be seen was read once."""
        return all(informer.synced for informer in self._informers.values())

    def world(self) -> answers.World:
        """All that is seen now, for ``drover.answers``."""
        found: list[Object] = []
        for kind, informer in self._informers.items():
            if kind is not scheme.EVENT:
                named = {"apiVersion": kind.api_version, "kind": kind.kind}
                found += [{**named, **obj} for obj in informer.all()]
        return answers.World.of(found, self._clock.wall(), self.missing)

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        informer = self._informers.get(kind)
        key = f"{namespace}/{name}" if namespace else name
        return informer.get(key) if informer is not None else None

    @contextlib.contextmanager
    def open(self) -> Iterator[Line]:
        """A line for one page. Raises TooManyPages."""
        if len(self._lines) >= MOST_LINES:
            raise TooManyPages
        line = Line()
        self._lines.append(line)
        try:
            yield line
        finally:
            self._lines.remove(line)

    @property
    def pages(self) -> int:
        return len(self._lines)

    @property
    def failure(self) -> BaseException | None:
        """A mistake of ours that has stopped one of its watches."""
        return self._scope.failure

    def end(self, why: str) -> None:
        """The session is over; each page is told why."""
        self.ended = self.ended or why
        self._nudge()

    async def aclose(self) -> None:
        await self._scope.aclose()
        await self._transport.aclose()

    def _changed(self, kind: Kind, old: Object | None, new: Object | None) -> None:
        known = self.rows[kind.kind]
        if new is not None:
            key, row = key_of(new), row_of(kind, new)
            if known.get(key) == row:
                return
            known[key] = row
            change: Change = (kind.kind, key, row)
        else:
            assert old is not None
            key = key_of(old)
            known.pop(key, None)
            change = (kind.kind, key, None)
        for line in self._lines:
            line.put(change)

    def _heard(self, alive: bool) -> None:
        if alive != self.alive:
            self.alive = alive
            self._nudge()

    def _refused(self) -> None:
        self.end("the API no longer accepts this log-in")

    def _nudge(self) -> None:
        for line in self._lines:
            line.nudge()

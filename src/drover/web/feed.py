"""What one session sees: a watch per kind with the session's own rights, and a line to each of its open pages.

    informer --(row, when it differs)--> Feed.rows --> Line --> stream.py --> browser

What is drawn is read first; what only ``about`` and the answers need follows once that is there, so that the picture of
a large cluster does not wait for it. Of an Event a page is told whom it is about, and asks again.

Which kinds may be watched is asked once, by reading one object of each; a refused kind is named in ``missing`` and done
without. A namespaced kind that is refused cluster-wide is tried in the namespace given at log-in. Rights that change
later are noticed at the next log-in; a credential that is no longer accepted ends the session at once.

A ``Line`` is bounded: changes of one object replace one another, and beyond ``MOST_PENDING`` changed objects the page
is told everything anew. It promises the latest state, not the history.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from drover.answers import world as answers
from drover.api import scheme
from drover.api.scheme import Kind, key_of
from drover.api.status import error_from
from drover.api.wire import Object, Request
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.informer import Informer
from drover.runtime.reflector import Selection
from drover.web.about import subject
from drover.web.heard import UNAUTHORIZED, Heard
from drover.web.rows import MAKERS, Row, row_of

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.base.log import Log
    from drover.runtime.transport import Transport

# What is drawn, in the order in which it is told; then the rest.
KINDS: tuple[Kind, ...] = (
    *MAKERS, *(kind for kind in answers.KINDS if kind not in MAKERS), scheme.EVENT,
)  # fmt: skip
READ_S = 10.0  # how long an answer waits for what it is made of
LOOK_S = 0.05
MOST_PENDING = 5_000  # changed objects that one page has not been told of yet
MOST_LINES = 8  # open pages of one session

_SUBJECT = "subject"

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


class Feed:
    """``start`` it, ``open`` a line per page, ``aclose`` it with the session."""

    def __init__(self, transport: Transport, clock: Clock, ids: Ids, log: Log) -> None:
        self._transport = Heard(transport, self._heard, self._refused)
        self.client = Client(self._transport)
        self._clock, self._ids, self._log = clock, ids, log
        self._scope = TaskScope("feed")
        self._spaces: dict[Kind, str] = {}  # what may be seen, and where; empty: everywhere
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
                self._spaces[kind] = space
        for kind in MAKERS:
            self._follow(kind)
        self._scope.spawn(self._follow_rest(), "the rest")

    async def _follow_rest(self) -> None:
        with contextlib.suppress(TimeoutError):  # a kind that cannot be read holds up no other
            async with asyncio.timeout(READ_S):
                for informer in list(self._informers.values()):
                    await informer.wait_synced()
        for kind in KINDS:
            if kind not in MAKERS:
                self._follow(kind)

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

    def _follow(self, kind: Kind) -> None:
        if kind not in self._spaces:
            return
        selection = Selection(kind, self._spaces[kind])
        informer = Informer(self.client, self._clock, self._ids, self._log, selection)
        self._informers[kind] = informer
        if kind is scheme.EVENT:
            informer.add_index(_SUBJECT, subject)
            informer.add_handler(self._happened)
        elif kind in MAKERS:
            informer.add_handler(lambda old, new: self._changed(kind, old, new))
        self._scope.guard(informer.run(), kind.plural)
        self._scope.spawn(self._tell_synced(informer), f"{kind.plural} synced")

    async def _tell_synced(self, informer: Informer) -> None:
        await informer.wait_synced()
        self._nudge()

    @property
    def drawn(self) -> bool:
        """What the page draws was read once."""
        return self._read(MAKERS)

    @property
    def synced(self) -> bool:
        """Everything that may be seen was read once."""
        return self._read(KINDS)

    def _read(self, kinds: Iterable[Kind]) -> bool:
        wanted = [kind for kind in kinds if kind in self._spaces]
        return all(kind in self._informers and self._informers[kind].synced for kind in wanted)

    async def read(self) -> None:
        """Return once everything was read, or it takes too long: ``world`` names what is not there."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_S):
                while not self.synced:
                    await self._clock.sleep(LOOK_S)

    def world(self) -> answers.World:
        """All that is seen now, for ``drover.answers``."""
        found: list[Object] = []
        for kind, informer in self._informers.items():
            if kind is not scheme.EVENT:
                named = {"apiVersion": kind.api_version, "kind": kind.kind}
                found += [{**named, **obj} for obj in informer.all()]
        unread = (
            kind.kind for kind in KINDS if kind.kind not in self.missing and not self._read([kind])
        )
        return answers.World.of(found, self._clock.wall(), (*self.missing, *unread))

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        informer = self._informers.get(kind)
        key = f"{namespace}/{name}" if namespace else name
        return informer.get(key) if informer is not None else None

    def all(self, kind: Kind) -> Sequence[Object]:
        informer = self._informers.get(kind)
        return informer.all() if informer is not None else []

    def events(self, about: str) -> list[Object]:
        """Those with that subject (``about.subject``)."""
        informer = self._informers.get(scheme.EVENT)
        return informer.by_index(_SUBJECT, about) if informer is not None else []

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

    def _happened(self, old: Object | None, new: Object | None) -> None:
        """Pages are told whom an Event is about; a page that shows that one asks for its Events."""
        if new is None or old == new or not self._informers[scheme.EVENT].synced:
            return  # what was there before is in the first answer
        for about in subject(new):
            row = {"version": str(new["metadata"].get("resourceVersion", ""))}
            for line in self._lines:
                line.put((scheme.EVENT.kind, about, row))

    def _heard(self, alive: bool) -> None:
        if alive != self.alive:
            self.alive = alive
            self._nudge()

    def _refused(self) -> None:
        self.end("the API no longer accepts this log-in")

    def _nudge(self) -> None:
        for line in self._lines:
            line.nudge()

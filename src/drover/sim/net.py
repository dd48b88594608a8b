"""The network between clients and the modelled API server: delay, loss, cuts, clogs, restarts.

    client -- request --> [delay, loss, cut, clog] --> server
    client <-- answer --- [delay, loss, cut, clog] --- server

Each client has one ``Link``, by name. What has left a client travels by itself: a request whose
sender gave up, froze or died still lands, later than its time limit when the link was clogged.
That is the trap this module exists for: ``Unanswered(sent=True)`` says nothing about whether a
write happened. ``sent=False`` is given only when no connection could be made.

A cut behaves as TCP does: what is under way is repeated for ``PEER_SILENT_S`` and lands if the link
heals by then; open watches break after that time. A clog holds everything for as long as it lasts.
Separate requests keep no order, as over separate connections; a watch's events do.
"""

# Long module: requests, watches and faults share the state of one line.

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from drover.api.status import ApiError, Unanswered
from drover.base.tasks import TaskScope
from drover.sim.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from drover.api.wire import Request, Response
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.runtime.transport import Transport

PEER_SILENT_S = 10.0
CONNECT_S = 5.0
MOST_EVENTS = 1000
NETWORK = "network"  # the process that carries what has left a client


class _Lost(Exception):
    """A message went nowhere; its sender is left to its time limit."""


@dataclass(eq=False)
class Link:
    """One client's line. Chances are in [0, 1); ``late`` lets a request land after its time
    limit.
    """

    delay_s: float = 0.001
    jitter_s: float = 0.002
    lose_request: float = 0.0
    lose_answer: float = 0.0
    late: float = 0.0
    holds: Callable[[Request], bool] | None = None  # fault: these requests wait until ``change``
    lags: dict[str, None] = field(
        default_factory=dict
    )  # fault: watches of these paths tell nothing
    cut: bool = False
    clogged: bool = False
    cuts: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    streams: dict[_Stream, None] = field(default_factory=dict)

    @property
    def passable(self) -> bool:
        return not self.cut and not self.clogged

    def change(self, *, cut: bool | None = None, clogged: bool | None = None) -> None:
        self.cut = self.cut if cut is None else cut
        self.clogged = self.clogged if clogged is None else clogged
        self.changed.set()
        self.changed = asyncio.Event()


class _Stream:
    """The client's end of one watch."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[ApiError | Unanswered | None] = asyncio.Future()
        self.queue: asyncio.Queue[dict[str, Any] | Unanswered | None] = asyncio.Queue(MOST_EVENTS)
        self.pump: asyncio.Task[None] | None = None

    def break_off(self) -> None:
        """The connection breaks; events that were not read are lost."""
        if self.pump is not None:
            self.pump.cancel()
        error = Unanswered("the connection broke", sent=True)
        if not self.opened.done():
            self.opened.set_result(error)
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(error)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            event = await self.queue.get()
            if isinstance(event, Unanswered):
                raise event
            if event is None:
                return
            yield event


class SimNet:
    """All links to one API server."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._ids = ids
        self._links: dict[str, Link] = {}
        self._scope = TaskScope(NETWORK)
        self._down = False
        self._server_lives = 0

    def link(self, name: str) -> Link:
        """The link of a client, to set its delays and chances."""
        return self._links.setdefault(name, Link())

    def transport(self, name: str, inner: Transport) -> SimTransport:
        """``inner`` as seen from the far end of the link ``name``."""
        return SimTransport(self, self.link(name), inner)

    def cut(self, name: str) -> None:
        """Nothing passes until ``heal``; open watches break after ``PEER_SILENT_S``."""
        link = self.link(name)
        if not link.cut:
            link.cuts += 1
            link.change(cut=True)
            self.carry(self._break_if_still_cut(link, link.cuts), f"cut {name}")

    async def _break_if_still_cut(self, link: Link, cuts: int) -> None:
        await self._clock.sleep(PEER_SILENT_S)
        if link.cut and link.cuts == cuts:
            self._break_streams(link)

    def clog(self, name: str) -> None:
        """Everything waits, for as long as it takes, until ``heal``."""
        self.link(name).change(clogged=True)

    def heal(self, name: str) -> None:
        self.link(name).change(cut=False, clogged=False)

    def reset(self, name: str) -> None:
        """The client's process died: its watches end; requests under way still land."""
        self._break_streams(self.link(name))

    async def restart_server(self, down_s: float) -> None:
        """The server dies and comes back with all it had stored."""
        self._down = True
        self._server_lives += 1
        for link in self._links.values():
            self._break_streams(link)
        try:
            await self._clock.sleep(down_s)
        finally:
            self._down = False

    @property
    def failure(self) -> BaseException | None:
        """An error of this module's own, or of the model behind it."""
        return self._scope.failure

    async def aclose(self) -> None:
        await self._scope.aclose()

    def _break_streams(self, link: Link) -> None:
        for stream in list(link.streams):
            stream.break_off()
        link.streams.clear()

    def carry(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Do something on the network's own account: no client's death or freeze stops it."""
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            return self._scope.spawn(work, name)
        with loop.process(NETWORK):
            return self._scope.spawn(work, name)

    async def to_server(self, link: Link, request: Request) -> None:
        """The way of a request. Raises Unanswered when no connection is made, _Lost on the way."""
        if self._down:
            raise Unanswered("connection refused", sent=False)
        if link.cut and self._chance(0.5):  # no kept connection: a new one must be made
            await self._wait_passable(link, min(CONNECT_S, request.timeout_s))
            if link.cut:
                raise Unanswered("no connection", sent=False)
        if self._chance(link.late):
            await self._clock.sleep(request.timeout_s * (1 + self._ids.uniform()))
        while link.holds is not None and link.holds(request):
            await link.changed.wait()
        await self._pass(link, link.lose_request)
        if self._down:
            raise Unanswered("connection reset", sent=True)

    async def to_client(self, link: Link, server_life: int, loss: float = 0.0) -> None:
        """The way of an answer or an event. Raises Unanswered, _Lost."""
        await self._pass(link, loss)
        if server_life != self._server_lives:
            raise Unanswered("connection reset", sent=True)

    @property
    def server_life(self) -> int:
        return self._server_lives

    async def _pass(self, link: Link, loss: float) -> None:
        if self._chance(loss):
            raise _Lost
        await self._clock.sleep(link.delay_s + link.jitter_s * self._ids.uniform())
        while link.clogged:
            await link.changed.wait()
        if link.cut:
            await self._wait_passable(link, PEER_SILENT_S)
            if link.cut:
                raise _Lost

    async def _wait_passable(self, link: Link, limit_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not link.passable:
                    await link.changed.wait()

    def _chance(self, chance: float) -> bool:
        return chance > 0 and self._ids.uniform() < chance


class SimTransport:
    """A ``Transport`` at the far end of a link."""

    def __init__(self, net: SimNet, link: Link, inner: Transport) -> None:
        self._net = net
        self._link = link
        self._inner = inner

    async def send(self, request: Request) -> Response:
        # A value, never an exception: nobody may be left to fetch it.
        answer: asyncio.Future[Response | Unanswered] = asyncio.Future()
        self._net.carry(self._exchange(request, answer), f"{request.method} {request.path}")
        try:
            async with asyncio.timeout(request.timeout_s):
                outcome = await answer
        except TimeoutError as error:
            raise Unanswered(f"no answer in {request.timeout_s} s", sent=True) from error
        if isinstance(outcome, Unanswered):
            raise outcome
        return outcome

    async def _exchange(
        self, request: Request, answer: asyncio.Future[Response | Unanswered]
    ) -> None:
        outcome: Response | Unanswered
        try:
            await self._net.to_server(self._link, request)
            life = self._net.server_life
            outcome = await self._inner.send(request)
            await self._net.to_client(self._link, life, self._link.lose_answer)
        except _Lost:
            return
        except Unanswered as error:
            outcome = error
        if not answer.done():
            answer.set_result(outcome)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        stream = _Stream()
        self._link.streams[stream] = None
        stream.pump = self._net.carry(self._pump(request, stream), f"WATCH {request.path}")
        try:
            try:
                async with asyncio.timeout(request.timeout_s):
                    refusal = await stream.opened
            except TimeoutError as error:
                raise Unanswered(f"no answer in {request.timeout_s} s", sent=True) from error
            if refusal is not None:
                raise refusal
            yield stream.events()
        finally:
            stream.pump.cancel()
            self._link.streams.pop(stream, None)

    async def _pump(self, request: Request, stream: _Stream) -> None:
        """Carry events from the server into the client's queue, in order."""
        refusal: ApiError | Unanswered
        try:
            await self._net.to_server(self._link, request)
            life = self._net.server_life
            async with self._inner.stream(request) as events:
                await self._net.to_client(self._link, life)
                if not stream.opened.done():
                    stream.opened.set_result(None)
                async for event in events:
                    await self._net.to_client(self._link, life)
                    while request.path in self._link.lags:
                        await self._link.changed.wait()
                    await stream.queue.put(event)
            await stream.queue.put(None)
            return
        except _Lost:
            refusal = Unanswered("the connection broke", sent=True)
        except (ApiError, Unanswered) as error:
            refusal = error
        if not stream.opened.done():
            stream.opened.set_result(refusal)
        elif isinstance(refusal, Unanswered):
            await stream.queue.put(refusal)

    async def aclose(self) -> None:
        await self._inner.aclose()

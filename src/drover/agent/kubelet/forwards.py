"""kubectl's port-forward: many connections in one WebSocket, by SPDY, each a pair of streams, ``data`` and ``error``.

A connection begins when both streams of one ``requestID`` are there. Its end, or why it failed, goes out on the error
stream. One guest that does not read holds up the others of the same kubectl: SPDY's windows are not used by its library
either.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from drover.agent.kubelet import spdy
from drover.agent.kubelet.tunnel import CHUNK_BYTES, NoTunnel, Opening
from drover.base.tasks import TaskScope

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
MOST_CONNECTIONS = 64  # of one kubectl
BACKLOG_CHUNKS = 16

Connect = Callable[[int], Opening]  # to a port


@dataclass
class _Connection:
    """``heard`` ends with an empty chunk."""

    port: str
    data: int = 0
    error: int = 0
    heard: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(BACKLOG_CHUNKS))
    task: asyncio.Task[None] | None = None
    ended: bool = False

    def end(self) -> None:
        """Lets go whoever waits to be heard."""
        self.ended = True
        while not self.heard.empty():
            self.heard.get_nowait()


class Forwards:
    """All connections of one WebSocket. ``connect`` raises NoTunnel."""

    def __init__(self, socket: web.WebSocketResponse, connect: Connect) -> None:
        self._socket = socket
        self._connect = connect
        self._reader = spdy.Reader()
        self._writer = spdy.Writer()
        self._connections: dict[str, _Connection] = {}  # by requestID

    async def run(self) -> None:
        """Until the caller is gone, or does not speak as agreed."""
        async with TaskScope("forwards") as scope:
            with contextlib.suppress(ConnectionError, spdy.BadFrames):
                async for message in self._socket:
                    if message.type is not WSMsgType.BINARY:
                        continue
                    for frame in self._reader.feed(message.data):
                        if frame.kind == spdy.GOAWAY:
                            return
                        await self._take(frame, scope)

    async def _take(self, frame: spdy.Frame, scope: TaskScope) -> None:
        if frame.kind == spdy.PING:
            await self._send(self._writer.ping(frame.number))
        elif frame.kind == spdy.SYN_STREAM:
            await self._opened(frame, scope)
        elif frame.kind == spdy.RST_STREAM:
            for request, one in list(self._connections.items()):
                if frame.number == one.data and one.task is not None:
                    one.task.cancel()
                    self._connections.pop(request, None)
        elif frame.kind == 0:
            for one in self._connections.values():
                if frame.number == one.data:
                    await self._heard(one, frame)
                    return

    async def _heard(self, one: _Connection, frame: spdy.Frame) -> None:
        """Queue what the caller said; a connection that has ended meanwhile hears nothing more."""
        chunks = [frame.data] if frame.data else []
        for chunk in [*chunks, b""] if frame.fin else chunks:
            if not one.ended:
                await one.heard.put(chunk)

    async def _opened(self, frame: spdy.Frame, scope: TaskScope) -> None:
        said = frame.headers
        request, kind, port = (said.get(k, "") for k in ("requestid", "streamtype", "port"))
        one = self._connections.setdefault(request, _Connection(port))
        known = kind in ("data", "error") and not getattr(one, kind) and one.port == port
        if not known or len(self._connections) > MOST_CONNECTIONS:
            await self._send(self._writer.reset(frame.number))
            return
        setattr(one, kind, frame.number)
        await self._send(self._writer.reply(frame.number))
        if one.data and one.error:
            one.task = scope.spawn(self._serve(request, one), f"port {port}")

    async def _serve(self, request: str, one: _Connection) -> None:
        why = ""
        try:
            if not (one.port.isdecimal() and 0 < int(one.port) < 65536):
                raise NoTunnel(f"{one.port!r} is no port")
            async with self._connect(int(one.port)) as (reader, writer), TaskScope("pair") as scope:
                scope.spawn(_into(one.heard, writer), "in")
                while chunk := await reader.read(CHUNK_BYTES):
                    await self._send(self._writer.data(one.data, chunk))
        except NoTunnel as none:
            why = str(none)
        except ConnectionError as error:
            why = f"the connection broke: {error}"
        finally:
            one.end()
            self._connections.pop(request, None)
        with contextlib.suppress(ConnectionError):
            await self._send(self._writer.data(one.error, why.encode(), fin=True))
            await self._send(self._writer.data(one.data, b"", fin=True))

    async def _send(self, frame: bytes) -> None:
        await self._socket.send_bytes(frame)


async def _into(heard: asyncio.Queue[bytes], writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await heard.get():
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

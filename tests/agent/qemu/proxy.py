"""A wire between two QEMUs on which things go wrong: slow, dead, or deaf at the last word.

The stream is TLS, so the proxy sees records, not messages. The return path's messages are eight
bytes each, which TLS 1.3 makes records of 25 bytes: the first is the answer to the source's ping,
the second the target's last word.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drover.agent.ports import Listener
    from drover.base.tasks import TaskScope

_APPLICATION_DATA = 23
_RETURN_MESSAGE_BYTES = 8 + 1 + 16  # message, TLS 1.3 content type, tag
_LAST_WORD = 2
_CHUNK = 65536


class Proxy:
    """One listener's stand-in. Everything it does can be changed while it runs."""

    def __init__(self, scope: TaskScope, listener: Listener) -> None:
        self._scope = scope
        self._target = (listener.address, listener.port)
        self.up = True
        self.bytes_per_second = 0.0  # 0: as fast as it goes
        self.swallows_last_word = False
        self.holds_last_word = False
        self.port = 0

    def open(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        server.setblocking(False)
        self.port = server.getsockname()[1]
        self._scope.spawn(self._accept(server), "proxy")

    async def _accept(self, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with server:
            source, _ = await loop.sock_accept(server)
        target = socket.socket()
        if self.bytes_per_second:
            # Little may be in flight, so that a cut leaves the sender with more to send.
            source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK)
        target.setblocking(False)
        source.setblocking(False)
        await loop.sock_connect(target, self._target)
        forth = self._scope.spawn(self._forward(source, target), "forth")
        back = self._scope.spawn(self._back(target, source), "back")
        try:
            await asyncio.wait([forth, back], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (forth, back):
                task.cancel()
            source.close()
            target.close()

    async def _forward(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(source, _CHUNK):
                await self._pass()
                await loop.sock_sendall(target, data)
                if self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
        except OSError:
            return

    async def _back(self, target: socket.socket, source: socket.socket) -> None:
        """Record by record."""
        loop = asyncio.get_running_loop()
        reader = _Reader(target)
        seen = 0
        try:
            while header := await reader.exactly(5):
                kind, _, size = struct.unpack("!BHH", header)
                body = await reader.exactly(size)
                seen += kind == _APPLICATION_DATA and size == _RETURN_MESSAGE_BYTES
                if self.swallows_last_word and seen == _LAST_WORD:
                    return
                if self.holds_last_word and seen == _LAST_WORD:
                    await asyncio.Event().wait()
                await self._pass()
                await loop.sock_sendall(source, header + body)
        except OSError:
            return

    async def _pass(self) -> None:
        while not self.up:  # noqa: ASYNC110 - a test switches it
            await asyncio.sleep(0.01)


class _Reader:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    async def exactly(self, size: int) -> bytes:
        """Empty at the end of the stream."""
        while len(self._buffer) < size:
            data = await asyncio.get_running_loop().sock_recv(self._sock, _CHUNK)
            if not data:
                return b""
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

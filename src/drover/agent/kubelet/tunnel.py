"""A WebSocket of the API server joined to a byte stream: a port of a guest, or its screen.

Two forms of the same: *portforward* (channel 0 both ways, channel 1 tells an error, and each channel begins with the
port's number) and *exec* (0 in, 1 out, 3 the final status). In both a message ``255 0`` says that no more input comes.

Not promised: that a guest which ended its side hears what is sent after that; the tunnel ends with the guest's side.
A tunnel ends when its guest moves: the stream belongs to the node.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import WSMsgType, web

from drover.base.tasks import TaskScope, wait_first

CHUNK_BYTES = 64 * 1024
CONNECT_S = 5.0
TUNNELS_MOST = 128  # of a node
CLOSE = 255

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Opening = contextlib.AbstractAsyncContextManager[Stream]


class NoTunnel(Exception):
    """The other end is not there; ``str()`` says why."""


@dataclass(frozen=True)
class Channels:
    """First bytes of messages. ``head`` is sent first on both of ours."""

    out: int
    status: int
    head: bytes = b""

    def failure(self, why: str) -> bytes:
        """The message that tells why a tunnel ended; empty: as it should."""
        if self.head:
            return bytes([self.status]) + why.encode()
        said: dict[str, object] = {"metadata": {}, "status": "Failure" if why else "Success"}
        if why:
            said |= {"reason": "InternalError", "message": why}
        return bytes([self.status]) + json.dumps(said).encode()


EXEC = Channels(out=1, status=3)


def forwarding(port: int) -> Channels:
    return Channels(out=0, status=1, head=port.to_bytes(2, "little"))


class Tunnels:
    """All tunnels of a node."""

    def __init__(self) -> None:
        self._open = 0

    async def to_port(self, socket: web.WebSocketResponse, address: str, port: int) -> None:
        """Join ``socket`` to a port of a guest on this node, until either side ends."""
        await self._join(socket, forwarding(port), self.connect(address, port))

    async def to_socket(self, socket: web.WebSocketResponse, path: Path | None) -> None:
        """Join ``socket`` to a guest's screen, until either side ends."""
        await self._join(socket, EXEC, self._counted(_connected("the screen", path)))

    def connect(self, address: str, port: int) -> Opening:
        """A connection to a port of a guest on this node. Entering it raises NoTunnel."""
        return self._counted(_connected(f"port {port} of {address}", address, port))

    @contextlib.asynccontextmanager
    async def _counted(self, opening: Opening) -> AsyncIterator[Stream]:
        if self._open >= TUNNELS_MOST:
            raise NoTunnel(f"{TUNNELS_MOST} tunnels into VMs of this node are open already")
        self._open += 1
        try:
            async with opening as stream:
                yield stream
        finally:
            self._open -= 1

    async def _join(
        self, socket: web.WebSocketResponse, channels: Channels, opening: Opening
    ) -> None:
        why = ""
        with contextlib.suppress(ConnectionError):
            for channel in (channels.out, channels.status) if channels.head else ():
                await socket.send_bytes(bytes([channel]) + channels.head)
            try:
                async with opening as (reader, writer), TaskScope("tunnel") as scope:
                    out = scope.spawn(_out(socket, channels.out, reader), "out")
                    into = scope.spawn(_in(socket, writer), "in")
                    await wait_first(out, into)
            except NoTunnel as none:
                why = str(none)
            if why or not channels.head:
                await socket.send_bytes(channels.failure(why))


@contextlib.asynccontextmanager
async def _connected(
    what: str, at: str | Path | None, port: int | None = None
) -> AsyncIterator[Stream]:
    """Raises NoTunnel."""
    if at is None:
        raise NoTunnel(f"{what} is not there")
    try:
        async with asyncio.timeout(CONNECT_S):
            if port is None:
                reader, writer = await asyncio.open_unix_connection(str(at))
            else:
                reader, writer = await asyncio.open_connection(str(at), port)
    except TimeoutError as error:
        raise NoTunnel(f"{what} did not answer within {CONNECT_S:.0f} s") from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise NoTunnel(f"{what} cannot be reached: {why}") from error
    try:
        yield reader, writer
    finally:
        writer.close()


async def _out(socket: web.WebSocketResponse, channel: int, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(CHUNK_BYTES):
            await socket.send_bytes(bytes([channel]) + chunk)


async def _in(socket: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
    """Until the caller is gone. After the end of its input it still listens."""
    with contextlib.suppress(ConnectionError):
        async for message in socket:
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            if message.data[0] == CLOSE:
                writer.write_eof()
            elif message.data[0] == 0 and len(message.data) > 1:
                writer.write(message.data[1:])
                await writer.drain()

"""Byte streams into a Pod through the API server, as WebSockets, with the user's own rights.

    attach    the console (subresource attach)
    screen    the VGA screen's VNC (subresource exec, whose one command is ``vnc``)
    forward   a TCP port of the guest (subresource portforward)

Spoken is ``v4.channel.k8s.io``: the first byte of a message names its channel (0 input, 1 output, 2 errors, 3 the
final status; of a port 0 data, 1 an error). The API server joins both ends byte by byte. One before 1.36 does not do
that for ``v5``: it would speak SPDY to the agent, which the agent does not. So v5 is not offered; of what it has
besides we need the end of a channel (255), which our agents understand in v4, too.

Not promised: that input sent last arrives when the other end dies, and anything beyond one connection; whoever wants to
follow a guest that moves attaches again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import aiohttp

from drover.api.scheme import POD
from drover.api.status import Unanswered, error_from

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.runtime.kubeconfig import Access

PROTOCOLS = ("v4.channel.k8s.io",)
STDIN, STDOUT, STDERR, STATUS = 0, 1, 2, 3
DATA, ERROR = 0, 1  # of a port; both begin with the port's number
PORT_BYTES = 2
CLOSE = 255
CONNECT_S = 15.0
HEARTBEAT_S = 20.0
MESSAGE_MOST_BYTES = 4 * 2**20


class Attached:
    """One open stream."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.failure = ""  # why it ended, when the other end said so

    async def send(self, data: bytes) -> None:
        """Type ``data``. Raises Unanswered when the connection is gone."""
        await self._say(bytes([STDIN]) + data)

    async def end_input(self) -> None:
        """No more is typed; the other side may still answer. Raises Unanswered."""
        await self._say(bytes([CLOSE, STDIN]))

    async def _say(self, message: bytes) -> None:
        try:
            await self._socket.send_bytes(message)
        except (ConnectionError, aiohttp.ClientError) as error:
            raise Unanswered(f"the connection broke: {error}", sent=True) from error

    async def output(self) -> AsyncIterator[bytes]:
        """What the other side says, until it ends."""
        async for channel, data in self._messages():
            if channel in (STDOUT, STDERR) and data:
                yield data
            elif channel == STATUS:
                self.failure = _failure(data)

    async def _messages(self) -> AsyncIterator[tuple[int, bytes]]:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.BINARY and message.data:
                yield message.data[0], message.data[1:]


class Forwarded(Attached):
    """One open connection to a port."""

    async def output(self) -> AsyncIterator[bytes]:
        begun: set[int] = set()
        async for channel, data in self._messages():
            if channel not in begun:
                begun.add(channel)
                data = data[PORT_BYTES:]
            if channel == DATA and data:
                yield data
            elif channel == ERROR and data:
                self.failure = data.decode(errors="replace")


def _failure(data: bytes) -> str:
    try:
        status = json.loads(data)
        return "" if status.get("status") == "Success" else str(status.get("message") or status)
    except (ValueError, AttributeError):
        return data.decode(errors="replace")


@contextlib.asynccontextmanager
async def attach(
    access: Access, clock: Clock, namespace: str, pod: str, container: str
) -> AsyncIterator[Attached]:
    """Open the console of a Pod. Raises ApiError kinds, Unanswered, BadKubeconfig."""
    flags = {"stdin": "true", "stdout": "true", "tty": "true", "container": container}
    async with _opened(access, clock, POD.path(namespace, pod, "attach"), flags) as socket:
        yield Attached(socket)


@contextlib.asynccontextmanager
async def screen(
    access: Access, clock: Clock, namespace: str, pod: str, container: str
) -> AsyncIterator[Attached]:
    """Open the VNC stream of a Pod's guest. Raises ApiError kinds, Unanswered, BadKubeconfig."""
    flags = {"command": "vnc", "stdin": "true", "stdout": "true", "container": container}
    async with _opened(access, clock, POD.path(namespace, pod, "exec"), flags) as socket:
        yield Attached(socket)


@contextlib.asynccontextmanager
async def forward(
    access: Access, clock: Clock, namespace: str, pod: str, port: int
) -> AsyncIterator[Forwarded]:
    """Connect to a TCP port of a Pod's guest. Raises ApiError kinds, Unanswered, BadKubeconfig."""
    path = POD.path(namespace, pod, "portforward")
    async with _opened(access, clock, path, {"ports": str(port)}) as socket:
        yield Forwarded(socket)


@contextlib.asynccontextmanager
async def _opened(
    access: Access, clock: Clock, path: str, flags: dict[str, str]
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = access.server.rstrip("/") + path
    tls, token = access.tls(), await access.bearer(clock)
    async with aiohttp.ClientSession(trust_env=False) as session:
        try:
            socket = await session.ws_connect(
                url,
                params=flags,
                protocols=PROTOCOLS,
                ssl=tls if tls is not None else True,
                server_hostname=access.server_name,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                heartbeat=HEARTBEAT_S,
                max_msg_size=MESSAGE_MOST_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        except aiohttp.WSServerHandshakeError as refused:
            raise error_from(refused.status, None) from refused
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(f"no connection to {access.server}: {error}", sent=False) from error
        async with socket:
            yield socket

"""A Pod's console through the API server: the attach subresource as a WebSocket, with the user's own rights.

Spoken are ``v5`` and ``v4.channel.k8s.io``, as the API server and the agents do: the first byte of a message names
its channel (0 input, 1 output, 2 errors, 3 the final status). The API server joins both ends byte by byte.

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

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS = 0, 1, 2, 3
CONNECT_S = 15.0
HEARTBEAT_S = 20.0
MESSAGE_MOST_BYTES = 4 * 2**20


class Attached:
    """One open console."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.failure = ""  # why it ended, when the other end said so

    async def send(self, data: bytes) -> None:
        """Type ``data``. Raises Unanswered when the connection is gone."""
        try:
            await self._socket.send_bytes(bytes([STDIN]) + data)
        except (ConnectionError, aiohttp.ClientError) as error:
            raise Unanswered(f"the console's connection broke: {error}", sent=True) from error

    async def output(self) -> AsyncIterator[bytes]:
        """What the guest prints, until the console ends."""
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel in (STDOUT, STDERR) and data:
                yield data
            elif channel == STATUS:
                self.failure = _failure(data)


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
    url = access.server.rstrip("/") + POD.path(namespace, pod, "attach")
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
            yield Attached(socket)

"""The transport over HTTPS to any kube-apiserver, or to several of one cluster.

All servers of a cluster are equal, since all read and write the same etcd. One of them is asked
until it does not answer, or fails (5xx); from then on the next one. A request that was never sent
is asked of the others at once; one that may have been is not, since only its caller knows whether
it may be repeated.

It decides one delicate thing: ``Unanswered.sent``. A request whose connection was never made left
nothing behind (False). Everything else - a time limit, a reset, half an answer - leaves the outcome
open (True), because the bytes may still arrive and be acted on. Only a GET is ever sent a second
time, once, when a kept connection turns out to be dead; aiohttp's own silent repetition, which
covers PUT and DELETE too, is switched off: it would turn a write that landed into a Conflict.

A dead peer is noticed by TCP (keep-alive probes and TCP_USER_TIMEOUT), so watches across a cut
link break after about ten seconds. This is the only place whose time limits run on the event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from drover.api.status import ApiError, Unanswered, error_from
from drover.api.wire import Request, Response

if TYPE_CHECKING:
    import ssl

CONNECT_S = 5.0
MOST_BODY_BYTES = 64 * 2**20
MOST_EVENT_BYTES = 4 * 2**20  # etcd holds 1.5 MiB an object
MOST_CONNECTIONS = 256
READ_BYTES = 256 * 2**10
PEER_SILENT_MS = 10_000

Token = Callable[[], Awaitable[str]]
Events = AsyncGenerator[dict[str, Any], None]


class HttpTransport:
    """One cluster. Make it inside a running loop, and ``aclose`` it. ``more`` are its further servers."""

    def __init__(
        self,
        server: str,
        tls: ssl.SSLContext | None = None,
        token: Token | None = None,
        server_name: str | None = None,
        more: Sequence[str] = (),
    ) -> None:
        self._servers = [one.rstrip("/") for one in (server, *more)]
        self._server = self._servers[0]
        self._token = token
        self._server_name = server_name  # that the certificate must name, if not the URL's host
        connector = aiohttp.TCPConnector(
            ssl=tls if tls is not None else True,
            limit=MOST_CONNECTIONS,
            socket_factory=_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BYTES,
            trust_env=False,
        )
        self._session._retry_connection = False  # see the header; held by a test

    def use(self, servers: Sequence[str]) -> None:
        """From now on these; the one that answers goes on to be asked when it is among them."""
        self._servers = [one.rstrip("/") for one in servers]
        if self._server not in self._servers:
            self._server = self._servers[0]

    def _leave(self, server: str) -> None:
        """Ask the next one from now on, unless another request has seen to that."""
        if server == self._server and server in self._servers:
            at = self._servers.index(server) + 1
            self._server = self._servers[at % len(self._servers)]

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        """Leave a server that does not answer; a caller that waits no longer has had no answer either."""
        server = self._server
        try:
            yield
        except (Unanswered, asyncio.CancelledError):
            self._leave(server)
            raise

    async def send(self, request: Request) -> Response:
        """One exchange within ``timeout_s``."""
        with self._leaving():
            server = self._server
            try:
                async with asyncio.timeout(request.timeout_s):
                    answer = await self._exchange(request)
            except TimeoutError as error:
                raise Unanswered(f"no answer in {request.timeout_s} s", sent=True) from error
            if answer.status >= 500:
                self._leave(server)
            return answer

    async def _exchange(self, request: Request) -> Response:
        for again in (request.method == "GET", False):
            try:
                async with await self._open(request) as answer:
                    return Response(answer.status, _decoded(await _body(answer)))
            except Unanswered as error:
                dead = isinstance(
                    error.__cause__, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError
                )
                if not (again and error.sent and dead):
                    raise
            except (aiohttp.ClientError, OSError) as error:
                raise Unanswered(f"the answer broke off: {error!r}", sent=True) from error
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Decoded watch events, one line each."""
        with self._leaving():
            try:
                async with asyncio.timeout(request.timeout_s):
                    answer = await self._open(request)
            except TimeoutError as error:
                raise Unanswered(f"no answer in {request.timeout_s} s", sent=True) from error
        async with answer:
            if answer.status >= 500:
                self._leave(self._server)
            if answer.status != 200:
                raise await self._refusal(answer, request.timeout_s)
            async with aclosing(_events(answer)) as events:
                yield events

    async def _refusal(self, answer: aiohttp.ClientResponse, timeout_s: float) -> ApiError:
        """The error that a refused watch states, as far as it can be read."""
        try:
            async with asyncio.timeout(timeout_s):
                return error_from(answer.status, _decoded(await _body(answer)))
        except (TimeoutError, aiohttp.ClientError, OSError, Unanswered):
            return error_from(answer.status, None)

    async def _open(self, request: Request) -> aiohttp.ClientResponse:
        """The answer's head, from the first server that takes the request."""
        for others in reversed(range(len(self._servers))):
            server = self._server
            try:
                return await self._ask(server, request)
            except Unanswered as error:
                if error.sent or not others:
                    raise
                self._leave(server)
        raise AssertionError("unreachable")

    async def _ask(self, server: str, request: Request) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {await self._token()}"
        data = None
        if request.body is not None:
            headers["Content-Type"] = request.content_type
            data = msgspec.json.encode(request.body)
        # All together end before the limit of the whole, which could no longer tell that nothing was sent.
        connect_s = min(CONNECT_S, 0.9 * request.timeout_s / len(self._servers))
        try:
            return await self._session.request(
                request.method,
                server + request.path,
                params=request.query,
                data=data,
                headers=headers,
                allow_redirects=False,
                server_hostname=self._server_name,
                timeout=aiohttp.ClientTimeout(total=None, connect=connect_s),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unanswered(f"no connection to {server}: {error}", sent=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(f"no answer from {server}: {error!r}", sent=True) from error

    async def aclose(self) -> None:
        await self._session.close()


def _socket(info: Any) -> socket.socket:
    """A socket that notices a silent peer."""
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_SILENT_MS)
    return made


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body, if it is not larger than allowed."""
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > MOST_BODY_BYTES:
            raise Unanswered(f"the answer is larger than {MOST_BODY_BYTES} bytes", sent=True)
        parts.append(part)
    return b"".join(parts)


def _decoded(body: bytes) -> Any:
    """JSON, or None for an empty body or another format (an error page of a proxy)."""
    try:
        return msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return None


async def _events(answer: aiohttp.ClientResponse) -> Events:
    """Lines to events. A last line without its end is dropped: the watch resumes before it."""
    rest = bytearray()
    try:
        async for part in answer.content.iter_any():
            *lines, tail = (bytes(rest) + part).split(b"\n") if b"\n" in part else (rest + part,)
            rest = bytearray(tail)
            if len(rest) > MOST_EVENT_BYTES:
                raise Unanswered(f"an event is larger than {MOST_EVENT_BYTES} bytes", sent=True)
            for line in lines:
                yield msgspec.json.decode(line)
    except (aiohttp.ClientError, OSError, msgspec.DecodeError) as error:
        raise Unanswered(f"the watch broke: {error!r}", sent=True) from error

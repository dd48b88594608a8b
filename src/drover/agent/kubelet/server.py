"""The HTTPS server behind ``kubectl logs``, ``kubectl attach`` and drover's ``port-forward`` and ``vnc``.

Attach speaks the API server's WebSocket protocol (``v4`` and ``v5.channel.k8s.io``): each message begins with a channel
byte: 0 input, 1 output, 2 errors, 3 the final status, 4 the terminal's size, and in v5 255 closes a channel.
``exec`` knows one word, ``vnc``, which is the guest's screen; any other is refused by name: there is no process of ours
inside a guest. ``portForward`` speaks WebSocket: with one connection each for drover (tunnel.py), with many by SPDY for
kubectl (forwards.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp import WSMsgType, web

from drover.agent.kubelet import forwards, serial_log
from drover.agent.kubelet.console import Consoles, ConsoleUnavailable
from drover.agent.kubelet.tunnel import Tunnels
from drover.base.clock import Clock
from drover.base.tasks import TaskScope
from drover.runtime.tls import peer_name

CLIENT_NAME = "kube-apiserver-kubelet-client"
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, ERROR = 0, 1, 3
VNC = "vnc"  # the one word that exec knows
MESSAGE_MOST_BYTES = 1024 * 1024
SHUTDOWN_S = 1.0


@dataclass(frozen=True)
class CopyPlaces:
    """Where a copy's console, serial log and screen are, and its guest's address."""

    console: Path
    serial_log: Path
    vnc: Path | None = None  # None: it has no display
    address: str = ""


@dataclass(frozen=True)
class KubeletSettings:
    """Where to listen and with which certificates."""

    address: str
    port: int
    cert_file: str
    key_file: str
    client_ca_file: str


Find = Callable[[str, str], CopyPlaces | None]  # (namespace, pod)


class KubeletServer:
    """``find`` gives the places of a Pod's copy on this node."""

    def __init__(
        self, settings: KubeletSettings, find: Find, clock: Clock, scope: TaskScope
    ) -> None:
        self._settings = settings
        self._find = find
        self._clock = clock
        self._consoles = Consoles(scope)
        self._tunnels = Tunnels()
        self._sockets: list[web.WebSocketResponse] = []

    async def run(self) -> None:
        """Serve for ever."""
        runner = web.AppRunner(self._app(), handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            settings = self._settings
            site = web.TCPSite(runner, settings.address, settings.port, ssl_context=self._tls())
            await site.start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=self._settings.client_ca_file
        )
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._settings.cert_file, self._settings.key_file)
        return context

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[_only_the_api_server])
        app.router.add_get("/healthz", _healthy)
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_route("*", "/attach/{namespace}/{pod}/{container}", self._attach)
        app.router.add_route("*", "/exec/{namespace}/{pod}/{container}", self._exec)
        app.router.add_route("*", "/portForward/{namespace}/{pod}", self._forward)
        app.router.add_route("*", "/run/{rest:.*}", _refused)
        app.on_shutdown.append(self._close_all)
        return app

    async def _close_all(self, _: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close()

    def _places(self, request: web.Request) -> CopyPlaces:
        info = request.match_info
        places = self._find(info["namespace"], info["pod"])
        if places is None:
            raise web.HTTPNotFound(
                text=f"pod {info['namespace']}/{info['pod']} is no VM of this node"
            )
        return places

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        places = self._places(request)
        try:
            wanted = serial_log.wanted(request.query)
        except ValueError as bad:
            raise web.HTTPBadRequest(text=str(bad)) from bad
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await answer.prepare(request)
        async for chunk in serial_log.read(places.serial_log, wanted, self._clock):
            await answer.write(chunk)
        return answer

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        places = self._places(request)
        wants_input = request.query.get("input") in ("1", "true")
        hint = "attach speaks WebSocket only; use kubectl 1.31 or newer"
        async with self._socket(request, hint) as socket:
            try:
                async with self._consoles.attach(places.console) as (output, console):
                    await self._talk(socket, output, console if wants_input else None)
                await _say(socket, None)
            except ConsoleUnavailable as unavailable:
                await _say(socket, str(unavailable))
        return socket

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        places = self._places(request)
        if request.query.getall("command", []) != [VNC]:
            return await _refused(request)
        async with self._socket(request, f"use drover {VNC}") as socket:
            await self._tunnels.to_socket(socket, places.vnc)
        return socket

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        places = self._places(request)
        if forwards.PROTOCOL in request.headers.get("Sec-WebSocket-Protocol", ""):
            async with self._socket(request, "", (forwards.PROTOCOL,)) as socket:
                connect = partial(self._tunnels.connect, places.address)
                await forwards.Forwards(socket, connect).run()
            return socket
        port = request.query.get("port", "")
        if not (port.isdecimal() and 0 < int(port) < 65536):
            hint = f"{port!r} is no port, or not asked for by WebSocket: use kubectl 1.31 or newer"
            raise web.HTTPBadRequest(text=hint)
        async with self._socket(request, "use kubectl 1.31 or newer") as socket:
            await self._tunnels.to_port(socket, places.address, int(port))
        return socket

    @contextlib.asynccontextmanager
    async def _socket(
        self, request: web.Request, hint: str, protocols: tuple[str, ...] = PROTOCOLS
    ) -> AsyncIterator[web.WebSocketResponse]:
        """The caller's, as long as it is served. ``hint`` is for who asks in another way."""
        socket = web.WebSocketResponse(protocols=protocols, max_msg_size=MESSAGE_MOST_BYTES)
        if not socket.can_prepare(request).ok:
            raise web.HTTPBadRequest(text=hint)
        await socket.prepare(request)
        self._sockets.append(socket)
        try:
            yield socket
        finally:
            self._sockets.remove(socket)
            await socket.close()

    async def _talk(
        self,
        socket: web.WebSocketResponse,
        output: asyncio.Queue[bytes],
        console: asyncio.StreamWriter | None,
    ) -> None:
        async with TaskScope("attach") as scope:
            sending = scope.spawn(_send(socket, output), "send")
            receiving = scope.spawn(_receive(socket, console), "receive")
            await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)


async def _send(socket: web.WebSocketResponse, output: asyncio.Queue[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        await socket.send_bytes(bytes([STDOUT]))  # tells the client that the stream is open
        while chunk := await output.get():
            await socket.send_bytes(bytes([STDOUT]) + chunk)


async def _receive(socket: web.WebSocketResponse, console: asyncio.StreamWriter | None) -> None:
    async for message in socket:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        if message.data[0] == STDIN and console is not None:
            console.write(message.data[1:])
            with contextlib.suppress(ConnectionError):
                await console.drain()


async def _say(socket: web.WebSocketResponse, failure: str | None) -> None:
    status = {"metadata": {}, "status": "Success"}
    if failure is not None:
        status = {
            "metadata": {},
            "status": "Failure",
            "reason": "InternalError",
            "message": failure,
        }
    with contextlib.suppress(ConnectionError):
        await socket.send_bytes(bytes([ERROR]) + json.dumps(status).encode())


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _only_the_api_server(request: web.Request, handler: Handler) -> web.StreamResponse:
    if peer_name(request) != CLIENT_NAME:
        raise web.HTTPForbidden(text=f"only {CLIENT_NAME} may ask")
    return await handler(request)


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _refused(request: web.Request) -> web.Response:
    what = request.path.split("/")[1]
    text = f"{what} is not possible in a VM; use the console (kubectl attach -it, drover console) or ssh"
    return web.Response(status=501, text=text)

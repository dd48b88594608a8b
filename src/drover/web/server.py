"""The HTTP server of the page: its routes, its life, and the page's own files.

    browser --cookie--> guard --> here --> the session's Feed and Client --> the API, as the caller

It listens on the loopback alone unless it is given a certificate, and has no credential but those of its sessions and
of the one open invitation. Files are read once, at the start; no path that comes from outside touches the disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from drover.answers import draining
from drover.answers.why import why
from drover.api.status import ApiError
from drover.base.tasks import TaskScope
from drover.runtime.kubeconfig import Access
from drover.web import actions, console, guard, stream
from drover.web.about import about
from drover.web.feed import Feed
from drover.web.guard import SESSION, Site, refusal
from drover.web.sessions import Invitations, Session, Sessions

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.base.log import Log
    from drover.runtime.transport import Transport

STATIC = Path(__file__).with_name("static")
TYPES = {
    ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml",
}  # fmt: skip
MOST_BODY_BYTES = 64 * 2**10
MOST_TOKEN = 16_384  # characters
MOST_LOGINS = 8  # at once
SHUTDOWN_S = 1.0
# What a log-in reads is hundreds of thousands of objects that stay; to look through the young ones at every 700th, as
# Python does, took a third of its time.
GC_YOUNG = 50_000


@dataclass(frozen=True)
class Options:
    """How the server is to be reached, and which API it is a door to."""

    upstream: Access  # server and authority; no credential of it is used
    address: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()  # further names of this server
    tls: ssl.SSLContext | None = None


class Server:
    """``async with server.running()``. ``connect`` makes a transport of an Access."""

    def __init__(
        self,
        options: Options,
        clock: Clock,
        ids: Ids,
        log: Log,
        connect: Callable[[Access], Any] | None = None,
    ) -> None:
        self._options = options
        self._clock, self._ids, self._log = clock, ids, log
        self._connect = connect or (lambda access: access.transport(clock))
        self.sessions = Sessions(clock)
        self._scope = TaskScope("web")
        self._logging_in = 0
        self._files = dict(_files())
        self._site = Site(frozenset(), options.tls is not None, options.port)
        self.invitations = Invitations(clock, None, lambda code: None)

    def invite(self, access: Access, issued: Callable[[str], None]) -> None:
        """Open the first invitation; the next one is issued when it was used."""
        self.invitations = Invitations(self._clock, access, issued)
        self.invitations.issue()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """The port it listens on. Raises OSError when the port is taken."""
        listening = _socket(self._options.address, self._options.port)
        thresholds = gc.get_threshold()
        gc.set_threshold(GC_YOUNG)
        port = listening.getsockname()[1]
        self._site = dataclasses.replace(self._site, hosts=_hosts(self._options, port), port=port)
        runner = web.AppRunner(
            self._application(), handler_cancellation=True, shutdown_timeout=SHUTDOWN_S, access_log=None
        )  # fmt: skip
        try:
            await runner.setup()
            await web.SockSite(runner, listening, ssl_context=self._options.tls).start()
            self._scope.guard(self.sessions.sweep(), "sweep")
            yield port
        finally:
            await self._scope.aclose()
            await self.sessions.aclose()  # so that no page's line holds up what follows
            await runner.cleanup()
            listening.close()
            gc.set_threshold(*thresholds)

    def _application(self) -> web.Application:
        app = web.Application(
            client_max_size=MOST_BODY_BYTES,
            middlewares=[guard.guard(self._site, self.sessions, self._log)],  # type: ignore[list-item]
        )
        app.on_response_prepare.append(guard.dress)
        app.add_routes(
            [
                web.get("/", self._file),
                web.get("/static/{name:.+}", self._file),
                web.post("/api/login", self._login),
                web.post("/api/logout", self._logout),
                web.get("/api/session", self._session),
                web.get("/api/live", self._live),
                web.post("/api/act", self._act),
                web.get("/api/about", self._about),
                web.get("/api/why", self._why),
                web.get("/api/forecast", self._forecast),
                web.get("/api/console", self._console),
                web.get("/api/screen", self._console),
            ]
        )
        return app

    async def _file(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info.get("name", "index.html"))
        if found is None:
            return refusal(404, "there is no such file")
        body, kind, tag = found
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    # --- log-in ---

    async def _login(self, request: web.Request) -> web.Response:
        said = await _body(request)
        if self._logging_in >= MOST_LOGINS:
            return refusal(429, "many log in at this moment; try again")
        self._logging_in += 1
        try:
            return await self._log_in(said)
        finally:
            self._logging_in -= 1

    async def _log_in(self, said: dict[str, Any]) -> web.Response:
        code, token, namespace = (
            str(said.get(key, "")).strip() for key in ("code", "token", "namespace")
        )
        if code:
            access = self.invitations.redeem(code)
            if access is None:
                return refusal(
                    403, "this link was used, or is too old; `drover web` prints the next one"
                )
        elif token and len(token) <= MOST_TOKEN and token.isascii() and token.isprintable():
            access = dataclasses.replace(_bare(self._options.upstream), token=token)
        else:
            return refusal(400, "paste a token: `drover k create token NAME` makes one")
        if namespace and not actions.is_name(namespace):
            return refusal(400, "this is no name of a namespace")
        return await self._begin(access, namespace)

    async def _begin(self, access: Access, namespace: str) -> web.Response:
        transport: Transport = await self._connect(access)
        feed = Feed(transport, self._clock, self._ids, self._log)
        try:
            user = await actions.who(feed.client)
            may = await actions.rights(feed.client, namespace)
            await feed.start(namespace)
            now_s = self._clock.monotonic()
            session = Session(user, access, feed, may, now_s, now_s)
            key = self.sessions.add(session)
        except BaseException as error:
            await feed.aclose()
            if isinstance(error, ApiError) and error.code == 401:
                return refusal(401, "the API does not know this token, or no longer")
            raise
        response = web.json_response(self._told(session))
        guard.set_cookie(self._site, response, key)
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        await self.sessions.remove(
            request.cookies.get(self._site.cookie, ""), "you have logged out"
        )
        response = web.json_response({})
        guard.drop_cookie(self._site, response)
        return response

    async def _session(self, request: web.Request) -> web.Response:
        return web.json_response(self._told(request[SESSION]))

    def _told(self, session: Session) -> dict[str, Any]:
        return {
            "user": session.user,
            "token": session.token,
            "may": session.may,
            "expiresInSeconds": round(session.expires_in_s(self._clock.monotonic())),
        }

    # --- what a page asks for ---

    async def _live(self, request: web.Request) -> web.StreamResponse:
        return await stream.live(request, self._clock)

    async def _console(self, request: web.Request) -> web.StreamResponse:
        return await console.console(request, self._clock)

    async def _act(self, request: web.Request) -> web.Response:
        wish = actions.Wish.of(await _body(request))
        said = await actions.perform(request[SESSION].feed, wish, self._scope)
        return web.json_response({"said": said})

    async def _about(self, request: web.Request) -> web.Response:
        name, namespace = (request.query.get(key, "") for key in ("name", "namespace"))
        return web.json_response(about(request[SESSION].feed, namespace, name))

    async def _why(self, request: web.Request) -> web.Response:
        feed = request[SESSION].feed
        await feed.read()
        subject, found = why(
            feed.world(), request.query.get("name", ""), request.query.get("namespace", "")
        )
        told = {"subject": subject, "answers": [one.as_json() for one in found]}
        return web.json_response(told)

    async def _forecast(self, request: web.Request) -> web.Response:
        feed = request[SESSION].feed
        await feed.read()
        outcome = draining.drain(feed.world(), [request.query.get("node", "")])
        return web.json_response(outcome.as_json())


async def _body(request: web.Request) -> dict[str, Any]:
    """Raises BadWish."""
    if request.content_type != "application/json":
        raise actions.BadWish("this is no JSON")
    try:
        said = msgspec.json.decode(await request.read())
    except msgspec.DecodeError as error:
        raise actions.BadWish("this is no JSON") from error
    if not isinstance(said, dict):
        raise actions.BadWish("this is no JSON object")
    return said


def _bare(access: Access) -> Access:
    """The same server without a credential."""
    return Access(
        access.server, ca=access.ca, insecure=access.insecure, server_name=access.server_name
    )


def _hosts(options: Options, port: int) -> frozenset[str]:
    found = {options.address, *options.names}
    if options.address in ("127.0.0.1", "::1"):
        found.add("localhost")
    shown = {f"[{name}]" if ":" in name else name for name in found}
    return frozenset(f"{name}:{port}" for name in shown)


def _socket(address: str, port: int) -> Any:
    import socket

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def _files() -> list[tuple[str, tuple[bytes, str, str]]]:
    """Content, type and tag by name; only what a page uses."""
    found = []
    for path in sorted(STATIC.rglob("*")):
        if path.is_file() and path.suffix in TYPES:
            body = path.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
            found.append((path.relative_to(STATIC).as_posix(), (body, TYPES[path.suffix], tag)))
    return found

"""The web server on a free port over the API model, and a browser's hands without a browser.

``TOKENS`` are the log-ins that the modelled API knows. A ``Gate`` stands before the model and plays what it does not
know: who a token is, and which rights it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from drover.api import scheme
from drover.api.status import Unanswered, Unauthorized
from drover.api.wire import Object, Request, Response
from drover.base.clock import RealClock
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.runtime.client import Client
from drover.runtime.kubeconfig import Access
from drover.sim.api import ApiModel
from drover.web.server import Options, Server

ADMIN, VIEWER, TENANT = "admin-token", "viewer-token", "tenant-token"
TOKENS = {ADMIN: "ada", VIEWER: "vic", TENANT: "ten"}
LIMIT_S = 20.0  # for what takes half a second where nobody else works

Held = dict[str, asyncio.Event]  # of a plural: set when its lists may come


class Clock(RealClock):
    """A clock that tests turn forward."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(min(delay_s, 0.02))


class Gate:
    """One token's way to the model."""

    def __init__(
        self, api: ApiModel, token: str, revoked: set[str], away: asyncio.Event, held: Held
    ) -> None:
        self._away = away
        self._held = held
        self._inner = api.transport() if token == ADMIN else api.stagehand()
        self._token = token
        self._revoked = revoked
        self.closed = False

    def _known(self) -> bool:
        return self._token in TOKENS and self._token not in self._revoked

    async def send(self, request: Request) -> Response:
        self._there()
        if not self._known():
            return Response(401, {"message": "Unauthorized", "reason": "Unauthorized"})
        if request.path.endswith("/selfsubjectreviews"):
            return Response(201, {"status": {"userInfo": {"username": TOKENS[self._token]}}})
        if request.path.endswith("/selfsubjectaccessreviews"):
            return Response(201, {"status": {"allowed": self._token == ADMIN}})
        if self._hidden(request) or (request.method != "GET" and self._token != ADMIN):
            words = f'User "{TOKENS[self._token]}" cannot do this'
            return Response(403, {"message": words, "reason": "Forbidden"})
        if request.query.get("limit") != "1" and (
            list_ := self._held.get(request.path.split("/")[-1])
        ):
            await list_.wait()
        return await self._inner.send(request)

    def _hidden(self, request: Request) -> bool:
        """The tenant sees its own namespace alone."""
        return self._token == TENANT and "/namespaces/default/" not in request.path

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        self._there()
        if not self._known():
            raise Unauthorized("Unauthorized")
        async with self._inner.stream(request) as events:
            yield events

    def _there(self) -> None:
        if self._away.is_set():
            raise Unanswered("no connection", sent=False)

    async def aclose(self) -> None:
        self.closed = True


@dataclasses.dataclass
class Rig:
    server: Server
    api: ApiModel
    clock: Clock
    base: str
    codes: list[str]
    revoked: set[str]
    gates: list[Gate]
    away: asyncio.Event  # set: the API answers nobody
    held: Held

    @property
    def admin(self) -> Client:
        """Straight to the model, past the server and its rights."""
        return Client(self.api.stagehand())

    async def read(self) -> None:
        """Until each log-in has read all that it may see."""
        for session in self.server.sessions._by_key.values():
            await session.feed.read()
            assert session.feed.synced

    @contextlib.asynccontextmanager
    async def browser(self, token: str = "", **more: str) -> AsyncIterator[Browser]:
        """One browser, logged in if it has a token."""
        async with browsing(self.base) as browser:
            if token:
                status, told = await browser.login(token=token, **more)
                assert status == 200, told
            yield browser


@dataclasses.dataclass
class Browser:
    http: aiohttp.ClientSession
    base: str
    token: str = ""  # against forgery

    async def login(self, **credentials: str) -> tuple[int, dict[str, Any]]:
        status, told = await self.post("/api/login", credentials)
        self.token = told.get("token", "")
        return status, told

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        sent = {"Origin": self.base, "X-Drover-Token": self.token, **headers}
        async with self.http.post(path, json=body, headers=sent) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        async with self.http.get(path, headers=headers) as answer:
            return answer.status, await answer.json()

    async def act(self, **wish: Any) -> tuple[int, dict[str, Any]]:
        return await self.post("/api/act", wish)

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """The live line: (event, data)."""
        async with self.http.get("/api/live") as answer:
            assert answer.status == 200, await answer.text()
            yield _events(answer)


@contextlib.asynccontextmanager
async def browsing(base: str) -> AsyncIterator[Browser]:
    """A browser that nobody has logged in with."""
    jar = aiohttp.CookieJar(unsafe=True)  # addresses have cookies too
    async with aiohttp.ClientSession(base, cookie_jar=jar) as http:
        yield Browser(http, base)


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    event = ""
    async for line in answer.content:
        word, _, rest = line.decode().rstrip("\n").partition(": ")
        if word == "event":
            event = rest
        elif word == "data":
            yield event, json.loads(rest)


async def until(events: AsyncIterator[tuple[str, Any]], wanted: str) -> Any:
    """The data of the next event of that name."""
    async for event, data in events:
        if event == wanted:
            return data
    raise AssertionError(f"the line ended before {wanted!r}")


async def everything(events: AsyncIterator[tuple[str, Any]]) -> dict[tuple[str, str], Any]:
    """All rows of one telling."""
    rows: dict[tuple[str, str], Any] = {}
    await until(events, "begin")
    async for event, data in events:
        if event == "end":
            return rows
        if event == "rows":
            for key, *values in data["rows"]:
                row = dict(zip(data["fields"], values, strict=True))
                rows[data["kind"], key] = row
    raise AssertionError("the line ended in the middle")


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Rig]:
    clock, ids = Clock(), SeededIds(1)
    api = ApiModel(RealClock(), ids)
    codes: list[str] = []
    revoked: set[str] = set()
    gates: list[Gate] = []
    away = asyncio.Event()
    held: Held = {}

    async def connect(access: Access) -> Gate:
        # As with the API server, a certificate goes before a token.
        gates.append(Gate(api, ADMIN if access.cert else access.token, revoked, away, held))
        return gates[-1]

    upstream = Access("https://model.test", cert=b"ada's", key=b"ada's")
    server = Server(
        Options(upstream),
        clock, ids, Log(clock, lambda entry: None), connect,
    )  # fmt: skip
    server.invite(upstream, codes.append)
    async with server.running() as port:
        yield Rig(server, api, clock, f"http://127.0.0.1:{port}", codes, revoked, gates, away, held)


@contextlib.asynccontextmanager
async def on_a_page() -> AsyncIterator[tuple[Rig, Browser, AsyncIterator[tuple[str, Any]]]]:
    """The administrator's, open and told everything; all of it within ``LIMIT_S``."""
    async with (
        asyncio.timeout(LIMIT_S),
        serving() as rig,
        rig.browser(ADMIN) as browser,
        browser.live() as events,
    ):
        await until(events, "end")
        yield rig, browser, events


def vm(name: str, **more: Any) -> Object:
    spec = {
        "cpu": {"cores": 2},
        "memory": {"size": "1Gi"},
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
    }
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec, **more}


VM = scheme.VM

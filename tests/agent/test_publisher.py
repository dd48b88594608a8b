"""Status reports reach an API server that refuses, fails or is away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drover.agent import publisher as publishing
from drover.agent.publisher import Publisher, Subject
from drover.api import scheme
from drover.api.wire import Object, Request, Response
from drover.base.backoff import Backoff
from drover.base.clock import RealClock
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client

SUBJECT = Subject(scheme.VMM, "default", "move", "target")
OTHER = Subject(scheme.VMM, "default", "other", "target")
REPORT = {"status": {"target": {"phase": "Listening"}}}


class Server:
    """Answers with ``refusals`` for one object, then takes what it gets."""

    def __init__(self, *refusals: int) -> None:
        self.refusals = list(refusals)
        self.taken: dict[str, Object] = {}
        self.asked = 0
        self.others_refuse = 0

    async def send(self, request: Request) -> Response:
        name = request.path.split("/")[-2]
        if name == SUBJECT.name:
            self.asked += 1
            if self.refusals:
                return Response(self.refusals.pop(0), {"message": "no"})
        elif self.others_refuse:
            self.others_refuse -= 1
            return Response(500, {"message": "no"})
        self.taken[name] = request.body
        return Response(200, {"metadata": {"name": name}})

    def stream(self, request: Request) -> Any:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def publishing_to(server: Server) -> AsyncIterator[Publisher]:
    log = Log(RealClock(), sink=lambda entry: None)
    publisher = Publisher(Client(server), RealClock(), log)
    async with TaskScope("test") as scope:
        scope.guard(publisher.run(), "publisher")
        yield publisher


async def until(check: Any) -> None:
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("refusal", [403, 401, 500, 409, 429])
async def test_a_report_is_made_again_until_it_is_taken(refusal: int) -> None:
    """An API server that has just started knows nobody's rights yet: a refusal then means nothing."""
    server = Server(refusal, refusal)
    async with publishing_to(server) as publisher:
        publisher.wish(SUBJECT, REPORT)
        await until(lambda: server.taken.get("move") == REPORT)


async def test_a_lasting_refusal_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_RETRY", Backoff(first_s=0.001, most_s=0.001))
    server = Server(*[403] * 100)
    async with publishing_to(server) as publisher:
        publisher.wish(SUBJECT, REPORT)
        await until(lambda: server.asked >= 12)
        await asyncio.sleep(0.05)
    assert server.asked == 12


async def test_what_is_refused_holds_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_RETRY", Backoff(first_s=60, most_s=60))
    server = Server(403)
    async with publishing_to(server) as publisher:
        publisher.wish(SUBJECT, REPORT)
        await until(lambda: server.asked == 1)
        publisher.wish(OTHER, REPORT)
        await until(lambda: set(server.taken) == {"other"})


class Steep:
    """A back-off that is short at first, and then as good as for ever."""

    def delay_s(self, failures: int) -> float:
        return 0.01 if failures < 5 else 3600.0


async def test_who_fails_for_long_does_not_slow_down_who_fails_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "_RETRY", Steep())
    server = Server(*[500] * 100)
    async with publishing_to(server) as publisher:
        publisher.wish(SUBJECT, REPORT)
        await until(lambda: server.asked >= 5)
        server.others_refuse = 1
        publisher.wish(OTHER, REPORT)
        await until(lambda: "other" in server.taken)
    assert server.asked == 5

"""A scripted transport: one collection in memory whose watches a test can break, mute or age."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from drover.api.status import Gone, Unanswered
from drover.api.wire import Object, Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def pod(name: str, version: int, uid: str = "", **spec: Any) -> Object:
    meta = {"namespace": "a", "name": name, "uid": uid or f"uid-{name}"}
    return {"metadata": {**meta, "resourceVersion": str(version)}, "spec": spec}


class FakeApi:
    """Lists ``objects`` at ``version``; watches deliver what ``emit`` appended to ``history``."""

    def __init__(self) -> None:
        self.version = 100
        self.oldest = 0  # watches from before it are Gone
        self.objects: dict[str, Object] = {}
        self.history: list[tuple[int, dict[str, Any]]] = []
        self.requests: list[Request] = []
        self.answers: list[Response | Exception] = []  # taken before anything else, first first
        self.list_gate = asyncio.Event()
        self.list_gate.set()
        self.item_s = 0.0  # of a list, for each that is asked for
        self.watches = 0
        self._news = asyncio.Event()
        self._broken: dict[int, Exception | None] = {}

    def emit(self, kind: str, obj: Object) -> None:
        self.version = int(obj["metadata"]["resourceVersion"])
        name = obj["metadata"]["name"]
        self.objects.pop(name, None)
        if kind in ("ADDED", "MODIFIED"):
            self.objects[name] = obj
        self.history.append((self.version, {"type": kind, "object": obj}))
        self._wake()

    def end_watches(self, error: Exception | None = None) -> None:
        """All present watches end, cleanly or with an error."""
        self._broken = dict.fromkeys(range(1, self.watches + 1), error)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        if self.answers:
            return self._scripted()
        items = list(self.objects.values())
        answer = {"metadata": {"resourceVersion": str(self.version)}, "items": items}
        await self.list_gate.wait()
        takes_s = self.item_s * int(request.query.get("limit", 0))
        await asyncio.sleep(min(takes_s, request.timeout_s))
        if takes_s > request.timeout_s:
            raise Unanswered("no answer", sent=True)
        return Response(200, answer)

    def _scripted(self) -> Response:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        self.requests.append(request)
        if self.answers:
            self._scripted()
        since = int(request.query["resourceVersion"])
        if since < self.oldest:
            raise Gone("too old")
        self.watches += 1
        yield self._events(self.watches, since)

    async def _events(self, number: int, since: int) -> AsyncIterator[dict[str, Any]]:
        while True:
            news = self._news
            if number in self._broken:
                error = self._broken[number]
                if error is not None:
                    raise error
                return
            for version, event in self.history:
                if version > since:
                    since = version
                    yield event
            await news.wait()

    async def aclose(self) -> None: ...


LOST = Unanswered("the link is down", sent=True)

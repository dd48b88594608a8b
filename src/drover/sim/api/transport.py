"""One identity's door to the modelled API server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from drover.api.wire import Request, Response
    from drover.sim.api.admission import Caller
    from drover.sim.api.model import ApiModel


WATCH_S = 3600.0  # a watch that states no limit


class ModelTransport:
    """Implements ``runtime.transport.Transport`` without any network: answers come after one
    turn.
    """

    def __init__(self, api: ApiModel, caller: Caller) -> None:
        self._api = api
        self._caller = caller

    @property
    def caller(self) -> Caller:
        return self._caller

    async def send(self, request: Request) -> Response:
        await asyncio.sleep(0)  # others run between the decision to ask and the answer's effect
        response = await self._api.answer(self._caller, request)
        await asyncio.sleep(0)
        return response

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        await asyncio.sleep(0)
        watch = self._api.watch(self._caller, request)
        events = watch.events(float(request.query.get("timeoutSeconds", WATCH_S)))
        try:
            yield events
        finally:
            await events.aclose()
            self._api.end_watch(watch)

    async def aclose(self) -> None:
        return None

"""A transport that notes whether the API answers, and tells of a credential that it no longer takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from drover.api.status import ApiError, Unanswered
from drover.api.wire import Request, Response

if TYPE_CHECKING:
    from drover.runtime.transport import Transport

UNAUTHORIZED = 401


class Heard:
    """``told`` hears of every answer and of every lack of one; ``refused`` of a 401."""

    def __init__(self, inner: Transport, told: Callable[[bool], None], refused: Callable[[], None]):
        self._inner = inner
        self._told = told
        self._refused = refused

    async def send(self, request: Request) -> Response:
        try:
            response = await self._inner.send(request)
        except Unanswered:
            self._told(False)
            raise
        self._told(True)
        if response.status == UNAUTHORIZED:
            self._refused()
        return response

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        try:
            async with self._inner.stream(request) as events:
                self._told(True)
                yield events
        except Unanswered:
            self._told(False)
            raise
        except ApiError as error:
            if error.code == UNAUTHORIZED:
                self._refused()
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

"""The door to the API: one request, one answer, or a stream of watch events.

Real: ``runtime.http_transport``. Second implementation: the API model of the simulation. One
contract suite holds both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from drover.api.wire import Request, Response


class Transport(Protocol):
    async def send(self, request: Request) -> Response:
        """One exchange. HTTP errors come back as a Response; raises ``api.status.Unanswered`` when
        no answer came.
        """
        ...

    def stream(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        """A watch: decoded events ``{"type", "object"}``. Entering raises ApiError kinds or
        Unanswered; the iterator ends when the server closes, and raises Unanswered when the
        connection breaks."""
        ...

    async def aclose(self) -> None: ...

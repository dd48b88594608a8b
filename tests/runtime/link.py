"""A TCP link on loopback that a test can cut, or let answers vanish in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drover.base.tasks import TaskScope

if TYPE_CHECKING:
    from types import TracebackType


class Link:
    """Forwards to ``server``; ``url`` is its near end."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._scheme = parts.scheme
        self._far = (parts.hostname or "", parts.port or 443)
        self._port = 0
        self._listener: asyncio.Server | None = None
        self._scope = TaskScope("link")
        self._writers: dict[asyncio.StreamWriter, None] = {}
        self.mute = False  # answers vanish, requests arrive

    async def __aenter__(self) -> Link:
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self.cut()
        await self._scope.aclose()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._port}"

    async def restore(self) -> None:
        """Listen again, on the same port."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        if self._listener is not None:
            self._listener.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        self._writers |= {writer: None, far_writer: None}
        self._scope.spawn(self._pump(reader, far_writer, answers=False), "requests")
        self._scope.spawn(self._pump(far_reader, writer, answers=True), "answers")

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while part := await reader.read(65536):
                if not (answers and self.mute):
                    writer.write(part)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._writers.pop(writer, None)
            writer.transport.abort()

"""One guest's serial console shared by everybody who attached.

QEMU's console socket takes one client; the hub is that client while anybody looks, and gives every watcher the same
output. A watcher that does not read fast enough loses its connection, not the guest's output: the serial log has all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from drover.base.tasks import TaskScope

CHUNK_BYTES = 16 * 1024
BACKLOG_CHUNKS = 256
WATCHERS_MOST = 16
CONNECT_S = 2.0


class ConsoleUnavailable(Exception):
    """The guest has no console now; ``str()`` says why."""


class _Line:
    """One open console."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.watchers: list[asyncio.Queue[bytes]] = []


class Consoles:
    """All consoles of a node; lines are opened for the first watcher and closed after the last."""

    def __init__(self, scope: TaskScope) -> None:
        self._scope = scope
        self._lines: dict[Path, _Line] = {}
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def attach(
        self, path: Path
    ) -> AsyncIterator[tuple[asyncio.Queue[bytes], asyncio.StreamWriter]]:
        """A queue of output (empty bytes: the console ended) and a writer for input."""
        async with self._opening:
            line = self._lines.get(path) or await self._open(path)
        if len(line.watchers) >= WATCHERS_MOST:
            raise ConsoleUnavailable(f"{WATCHERS_MOST} consoles of this VM are open already")
        queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG_CHUNKS)
        line.watchers.append(queue)
        try:
            yield queue, line.writer
        finally:
            line.watchers.remove(queue)
            if not line.watchers:
                line.writer.close()
                self._lines.pop(path, None)

    async def _open(self, path: Path) -> _Line:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_unix_connection(str(path))
        except (OSError, TimeoutError) as error:
            raise ConsoleUnavailable("the VM does not run here") from error
        line = _Line(reader, writer)
        self._lines[path] = line
        self._scope.spawn(self._pump(path, line), f"console {path.parent.name}")
        return line

    async def _pump(self, path: Path, line: _Line) -> None:
        while True:
            try:
                chunk = await line.reader.read(CHUNK_BYTES)
            except OSError:
                chunk = b""
            for queue in line.watchers:
                if queue.full():
                    _drain(queue)
                    chunk_for = b""  # too slow: this watcher ends
                else:
                    chunk_for = chunk
                queue.put_nowait(chunk_for)
            if not chunk:
                if self._lines.get(path) is line:
                    del self._lines[path]
                line.writer.close()
                return


def _drain(queue: asyncio.Queue[bytes]) -> None:
    while not queue.empty():
        queue.get_nowait()

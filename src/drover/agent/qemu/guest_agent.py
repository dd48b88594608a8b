"""The guest agent's channel: one client at a time, JSON lines, no promise that anybody listens.

A question is ``guest-sync`` with a fresh number: stale answers of earlier, interrupted questions are told apart by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path

_ANSWER_S = 1.0
_READ_S = 0.3
_LINE_MOST_BYTES = 64 * 1024
# 0xff makes the agent drop a half message that somebody else left.
_FLUSH = b"\xff"


class GuestAgent:
    """Behind QEMU's socket at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = asyncio.Lock()
        self._number = 0

    async def answers(self) -> bool:
        """Whether the agent answers now, within a second."""
        async with self._line:
            self._number += 1
            try:
                async with asyncio.timeout(_ANSWER_S):
                    return await self._synced(self._number)
            except (OSError, TimeoutError, ValueError):
                return False

    async def _synced(self, number: int) -> bool:
        reader, writer = await asyncio.open_unix_connection(str(self._path), limit=_LINE_MOST_BYTES)
        try:
            question = {"execute": "guest-sync", "arguments": {"id": number}}
            writer.write(_FLUSH + json.dumps(question).encode() + b"\n")
            while line := await reader.readline():
                if _returned(line) == number:
                    return True
            return False
        finally:
            writer.close()

    async def tell(self, command: str) -> None:
        """At most once, without an answer: most guests have no agent, and a shutdown gives none."""
        async with self._line:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                sock.connect(str(self._path))
                sock.send(_FLUSH + json.dumps({"execute": command}).encode() + b"\n")
                # QEMU forgets what it has not read when we hang up; tried: gone at once is too soon.
                await asyncio.sleep(_READ_S)


def _returned(line: bytes) -> object:
    """What an answer returns; None for what is no answer. A guest may write whatever it likes."""
    try:
        said = json.loads(line.lstrip(_FLUSH))
    except (ValueError, RecursionError):
        return None
    return said.get("return") if isinstance(said, dict) else None

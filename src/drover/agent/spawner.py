"""Processes that outlive the agent: a port, and its client to ``nodeinit``, the node's first
process.

The agent never forks a QEMU itself. It asks nodeinit, and may ask again after its own restart:
``children`` tells what lives, ``wait`` when it ends. Every call is one short connection, so nothing
here has to be kept or restored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from drover.agent.ports import HypervisorError, MonitorSilent

_CALL_LIMIT_S = 5.0
_REAP_LIMIT_S = 10.0
_ANSWER_MAX = 256 * 1024

_OF_COPY = "/"  # in no name of a copy

Confined = Mapping[str, Any] | None


def helper(copy: str, what: str) -> str:
    """The name under which a copy has a further process. It lives and dies as the node's QEMUs do, and is no child to
    be adopted.
    """
    return f"{copy}{_OF_COPY}{what}"


class Spawner(Protocol):
    """Starts, lists, awaits and ends the processes of copies."""

    async def spawn(
        self, copy: str, argv: list[str], stdio: Path, nice: int = 0, confined: Confined = None
    ) -> int:
        """Start a process for ``copy`` and return its pid; ``confined``: see ``confine``. Raises HypervisorError when
        one lives or it is refused.
        """
        ...

    async def confines(self) -> bool:
        """Whether it can: the node's first process may be of an earlier release."""
        ...

    async def children(self) -> dict[str, int]:
        """Pid of every copy that lives."""
        ...

    async def wait(self, copy: str) -> int | None:
        """Return when ``copy`` has no process any more: its exit code (negative: signal), None if
        long forgotten.
        """
        ...

    async def kill(self, copy: str) -> None:
        """SIGKILL; returns when the process is reaped. Raises MonitorSilent when that takes too
        long.
        """
        ...


class NodeInitSpawner:
    """The real one. ``path`` is nodeinit's socket; ``life`` the node's incarnation for which processes are started."""

    def __init__(self, path: Path, life: str = "") -> None:
        self._path = path
        self.life = life

    async def spawn(
        self, copy: str, argv: list[str], stdio: Path, nice: int = 0, confined: Confined = None
    ) -> int:
        request: dict[str, Any] = {"op": "spawn", "copy": copy, "argv": argv, "stdio": str(stdio)}
        request |= {"nice": nice, "life": self.life}
        if confined is not None:
            request["confine"] = dict(confined)
        return int((await self._call(request, _CALL_LIMIT_S))["pid"])

    async def confines(self) -> bool:
        answer = await self._call({"op": "status"}, _CALL_LIMIT_S)
        return "confine" in answer.get("features", ())

    async def children(self) -> dict[str, int]:
        answer = await self._call({"op": "status"}, _CALL_LIMIT_S)
        return {name: int(pid) for name, pid in answer["children"].items() if _OF_COPY not in name}

    async def of_life(self, life: str) -> list[str]:
        """What lives and was started for this life of the node, helpers of copies included."""
        lives = (await self._call({"op": "status"}, _CALL_LIMIT_S))["lives"]
        return [str(copy) for copy, its in lives.items() if its == life]

    async def wait(self, copy: str) -> int | None:
        status = (await self._call({"op": "wait", "copy": copy}, None))["status"]
        return None if status is None else int(status)

    async def kill(self, copy: str) -> None:
        await self._call({"op": "kill", "copy": copy}, _REAP_LIMIT_S)

    async def ended(self) -> list[str]:
        """Lives of the node that are over."""
        return list((await self._call({"op": "status"}, _CALL_LIMIT_S))["ended"])

    async def until(self, life: str) -> float | None:
        """Of CLOCK_BOOTTIME: the deadline to which this life is held; None: none."""
        answer = await self._call({"op": "status"}, _CALL_LIMIT_S)
        return float(answer["until"]) if life and answer["life"] == life else None

    async def arm(self, path: str, timeout_s: int) -> None:
        """Have the node's first process arm and feed a watchdog device. Raises HypervisorError when it is refused."""
        await self._call({"op": "arm", "path": path, "timeout": timeout_s}, _CALL_LIMIT_S)

    async def judge(self, op: str, life: str, until_s: float = 0.0) -> None:
        """``live``, ``free`` or ``end`` a life; see nodeinit. ``until_s`` is of CLOCK_BOOTTIME. Raises HypervisorError
        when it is refused."""
        await self._call({"op": op, "life": life, "until": until_s}, _CALL_LIMIT_S)

    async def _call(self, request: dict[str, Any], limit_s: float | None) -> dict[str, Any]:
        try:
            async with asyncio.timeout(limit_s):
                line = await self._exchange(json.dumps(request).encode() + b"\n")
        except TimeoutError as error:
            raise MonitorSilent(
                f"nodeinit gave no answer to {request['op']} in {limit_s} s"
            ) from error
        except OSError as error:
            raise MonitorSilent(f"nodeinit cannot be reached at {self._path}: {error}") from error
        if not line:
            raise MonitorSilent(f"nodeinit hung up on {request['op']}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HypervisorError(answer["error"])
        return answer

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_ANSWER_MAX)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.readline()
        finally:
            # Closed before our caller hears that there was no answer: nodeinit starts nothing for who has hung up.
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

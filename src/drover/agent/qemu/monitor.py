"""A monitor session that heals: one QMP socket of one QEMU, every call with a time limit.

``run`` keeps a session for as long as it is not cancelled: it connects, passes events on, and
connects again when the session breaks. ``execute`` waits for a session and an answer, both within
its limit, and raises

    HypervisorError (or ImageLocked)   QEMU refused; nothing happened
    MonitorSilent                      no answer: it may have happened

QEMU serves one client per socket; a second connects and gets no greeting, hence the limit on
connecting too. Events between two sessions are lost: ``on_session`` tells, and who cares asks for
the state.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from qemu.qmp import (
    ConnectError,
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
    Runstate,
    StateError,
)

from drover.agent.ports import MonitorSilent
from drover.agent.qemu.failures import refused

# The library logs every broken session as an error with a traceback; ours are broken on purpose,
# and reported by kind.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)

EXECUTE_LIMIT_S = 5.0
_CONNECT_LIMIT_S = 2.0
_RETRY_FIRST_S = 0.01
_RETRY_MAX_S = 0.1


class _Tap(EventListener):
    """Hands each event on at once, and keeps the library's own listener, which nobody reads, empty."""

    def __init__(
        self, client: QMPClient, on_event: Callable[[str, dict[str, object]], None]
    ) -> None:
        super().__init__()
        self._client = client
        self._on_event = on_event

    async def put(self, event: Message) -> None:
        self._client.events.clear()
        self._on_event(str(event["event"]), cast("dict[str, object]", event.get("data", {})))


class Monitor:
    """One socket. ``on_event`` and ``on_session`` are called from ``run`` and must not block."""

    def __init__(
        self,
        path: Path,
        on_event: Callable[[str, dict[str, object]], None],
        on_session: Callable[[], None],
    ) -> None:
        self._path = path
        self._on_event = on_event
        self._on_session = on_session
        self._client: QMPClient | None = None
        self._socket: socket.socket | None = None
        self._up = asyncio.Event()
        self._finished = False

    async def run(self) -> None:
        """Hold a session, until ``finish``."""
        delay_s = _RETRY_FIRST_S
        while not self._finished:
            try:
                async with asyncio.timeout(_CONNECT_LIMIT_S):
                    client = await self._connect()
            except (OSError, ConnectError, TimeoutError):
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 1.5, _RETRY_MAX_S)
                continue
            delay_s = _RETRY_FIRST_S
            try:
                self._client = client
                self._up.set()
                self._on_session()
                while client.runstate is Runstate.RUNNING:
                    await client.runstate_changed()
            finally:
                self._up.clear()
                self._client = self._socket = None
                with contextlib.suppress(EOFError, OSError, QMPError):
                    await client.disconnect()
        self._up.set()

    def finish(self) -> None:
        """The process is gone. ``run`` returns once it has passed on what came last; whoever waits
        for a session fails at once. Not by cancelling: the library's disconnect must not be."""
        self._finished = True

    async def _connect(self) -> QMPClient:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, str(self._path))
            client = QMPClient()
            client.register_listener(_Tap(client, self._on_event))
            await client.connect(sock)
        except BaseException:
            sock.close()
            raise
        self._socket = sock
        return client

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        limit_s: float = EXECUTE_LIMIT_S,
        oob: bool = False,
        fd: int = -1,
    ) -> Any:
        """QEMU's answer. ``fd`` goes along as SCM_RIGHTS (for ``getfd``); ``oob`` overtakes a
        hanging main loop.
        """
        try:
            async with asyncio.timeout(limit_s):
                await self._up.wait()
                client, sock = self._client, self._socket
                if client is None or sock is None:
                    raise MonitorSilent(f"{command}: the monitor hung up")
                if fd >= 0:
                    # Not the library's send_fd_scm: it reaches into asyncio's sockets, which
                    # uvloop's have not.
                    sock.sendmsg(
                        [b" "], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
                    )
                return await client.execute(command, arguments, oob=oob)
        except TimeoutError as error:
            raise MonitorSilent(f"{command}: no answer in {limit_s} s") from error
        except ExecuteError as error:
            raise refused(str(error)) from error
        except (ExecInterruptedError, StateError, OSError) as error:
            raise MonitorSilent(f"{command}: {error}") from error

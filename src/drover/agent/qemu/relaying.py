"""The agent's side of a relay: start it, hand its socket to QEMU, know what it said.

A relay (``relay``) is a child of the node's first process beside the QEMUs, so a copy goes on while its agent is
replaced. It belongs to one migration of one copy, ends when QEMU hangs up, and dies with the node's life as QEMUs do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from drover.agent import sockets
from drover.agent.ports import HypervisorError, MigrationOptions, MonitorSilent, host_errors
from drover.agent.qemu import relay
from drover.agent.qemu.files import CopyFiles
from drover.agent.qemu.settings import QemuSettings
from drover.agent.spawner import Spawner, helper

_CONNECT_LIMIT_S = 10.0
_SAID_MAX = 500


class Relay:
    """Of one copy; one migration at a time."""

    def __init__(
        self, copy: str, files: CopyFiles, settings: QemuSettings, spawner: Spawner
    ) -> None:
        self._name = helper(copy, "relay")
        self._files = files
        self._settings = settings
        self._spawner = spawner

    @contextlib.asynccontextmanager
    async def opened(self, options: MigrationOptions) -> AsyncIterator[socket.socket]:
        """QEMU's end, ours until the block ends. Raises HypervisorError, HostError."""
        try:
            connection = await self._begun(options)
        except HypervisorError as error:  # QEMU was told nothing yet, so this is certain
            said = "no relay came up on the source, so the copy did not begin"
            raise HypervisorError(f"{said}: {error}") from error
        with connection:
            try:
                yield connection
            except MonitorSilent:
                raise  # the copy may have begun
            except HypervisorError:
                await self._spawner.kill(self._name)  # QEMU keeps its end, and would never hang up
                raise

    async def _begun(self, options: MigrationOptions) -> socket.socket:
        """Of a relay that has come up. Raises HypervisorError, HostError."""
        await self._spawner.kill(self._name)  # of an attempt that failed
        path = self._files.relay
        with host_errors("no socket for a relay can be made"):
            path.unlink(missing_ok=True)
            self._files.relay_log.unlink(missing_ok=True)
            user = self._files.user
            listener = sockets.bound(str(path))
            listener.listen(1)
        listener.setblocking(False)
        with listener:
            target = [options.address, str(options.port), options.peer]
            script = [sys.executable, "-I", "-S", str(Path(relay.__file__)), str(path)]
            argv = [*script, *target, str(self._settings.tls_dir), str(user)]
            await self._spawner.spawn(self._name, argv, self._files.relay_log, self._settings.nice)
            connection = await self._connected(listener)
        path.unlink(missing_ok=True)
        return connection

    async def _connected(self, listener: socket.socket) -> socket.socket:
        """Not by an accept with a time limit: what that cancels may have accepted already."""
        loop, there = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(listener, there.set)
        try:
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                await there.wait()
        except TimeoutError as error:
            await self._spawner.kill(self._name)
            quiet = (
                f"it gave no sign within {_CONNECT_LIMIT_S:.0f} s, as on a host that is too busy"
            )
            raise HypervisorError(self.said() or quiet) from error
        finally:
            loop.remove_reader(listener)
        return listener.accept()[0]

    def said(self) -> str:
        """What was wrong with the network, or with its start, if anything was."""
        try:
            lines = self._files.relay_log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1][:_SAID_MAX] if lines else ""

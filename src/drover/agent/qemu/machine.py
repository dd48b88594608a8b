"""One QEMU process, as the port's Machine: its two monitors, its events, its end.

``follow`` is the machine's life: it holds both monitor sessions until nodeinit says that the
process is reaped, then closes them and emits EXIT. Only that makes ``alive`` false; a silent or
broken monitor proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

from drover.agent import logfiles
from drover.agent.ports import (
    MOVING,
    HostError,
    HypervisorError,
    MachineEvent,
    MachineGone,
    MachineSpec,
    MigrationInfo,
    MigrationOptions,
    MonitorSilent,
    RunState,
)
from drover.agent.qemu import endnote, replies
from drover.agent.qemu.failures import refused, tail
from drover.agent.qemu.files import CopyFiles
from drover.agent.qemu.guest_agent import GuestAgent
from drover.agent.qemu.monitor import EXECUTE_LIMIT_S, Monitor
from drover.agent.qemu.outgoing import Outgoing
from drover.agent.qemu.relaying import Relay
from drover.agent.qemu.settings import QemuSettings
from drover.agent.qemu.tls import peer_dn
from drover.agent.spawner import Spawner
from drover.base.tasks import TaskScope

_EVENTS = {"SHUTDOWN", "RESET", "STOP", "RESUME", "GUEST_PANICKED", "BLOCK_IO_ERROR", "MIGRATION"}
_EVENTS_MAX = 1024
_START_LIMIT_S = 20.0
_EXIT_LIMIT_S = 1.0  # from a broken session to the news that the process is reaped
_FOLLOW_RETRY_S = 0.5
_BOUND_S = 10.0


class QemuMachine:
    """Made by QemuHypervisor alone, which also runs ``follow``."""

    def __init__(
        self,
        copy: str,
        spec: MachineSpec,
        files: CopyFiles,
        settings: QemuSettings,
        spawner: Spawner,
    ) -> None:
        self._copy = copy
        self._spec = spec
        self._files = files
        self._settings = settings
        self._spawner = spawner
        self._ended = asyncio.Event()
        self._talks = asyncio.Event()  # the first monitor has, or had, a session
        self._events: asyncio.Queue[MachineEvent] = asyncio.Queue(_EVENTS_MAX)
        self._sessions = 0
        self._guest_agent = GuestAgent(files.agent)
        self._monitor = Monitor(files.monitor, self._on_event, self._on_session)
        self._rescue = Monitor(files.rescue, lambda name, data: None, lambda: None)
        self._outgoing = Outgoing(Relay(copy, files, settings, spawner), self._ask, self._rescue)

    @property
    def copy(self) -> str:
        return self._copy

    @property
    def spec(self) -> MachineSpec:
        return self._spec

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    async def follow(self) -> None:
        """Until the process is reaped."""
        async with TaskScope(self._copy) as scope:
            sessions = [
                scope.spawn(self._monitor.run(), "monitor"),
                scope.spawn(self._second(), "second monitor"),
                scope.spawn(self._bound_notes(), "notes"),
            ]
            status = await self._reaped()
            for monitor in (self._monitor, self._rescue):
                monitor.finish()
            self._talks.set()
            await asyncio.wait(sessions[:2])
            sessions[2].cancel()
        self._ended.set()
        self._emit(MachineEvent("EXIT", {"status": status}))

    async def _second(self) -> None:
        """After the first: a new session tells no events until it is set up, so one of the two always does."""
        await self._talks.wait()
        await self._rescue.run()

    async def _bound_notes(self) -> None:
        while True:
            await asyncio.sleep(_BOUND_S)
            endnote.bound(self._files.events)
            for log in (self._files.serial_log, self._files.qemu_log):
                logfiles.bound(log)

    async def _reaped(self) -> int | None:
        while True:
            try:
                return await self._spawner.wait(self._copy)
            except MonitorSilent:  # nodeinit was too busy to answer; it lives, or we would not
                await asyncio.sleep(_FOLLOW_RETRY_S)

    # --- events ---

    async def events(self) -> AsyncIterator[MachineEvent]:
        while True:
            event = await self._events.get()
            yield event
            if event.name == "EXIT":
                return

    def _on_event(self, name: str, data: dict[str, object]) -> None:
        if name in _EVENTS:
            self._emit(MachineEvent(name, data))

    def _on_session(self) -> None:
        self._sessions += 1
        self._talks.set()
        with contextlib.suppress(HostError):  # the next session tries again
            self._files.seal()  # it answers, so it has made what it had to make
        if self._sessions > 1:
            self._emit(MachineEvent("RECONNECTED"))

    def _emit(self, event: MachineEvent) -> None:
        if self._events.full():
            self._events.get_nowait()  # nobody listens; the state can always be asked
        self._events.put_nowait(event)

    # --- questions ---

    async def status(self) -> RunState:
        return replies.run_state(await self._ask("query-status"))

    async def migration(self) -> MigrationInfo:
        return self._outgoing.seen(replies.migration_info(await self._ask("query-migrate")))

    async def standing(self) -> tuple[MigrationInfo, RunState]:
        async with TaskScope("standing") as scope:  # QEMU answers in the order it was asked in
            migration = scope.spawn(self.migration(), "migration")
            state = scope.spawn(self.status(), "status")
            return await migration, await state

    def guest_end(self) -> str:
        return endnote.read(self._files.events)

    async def _ask(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        limit_s: float = EXECUTE_LIMIT_S,
        fd: int = -1,
    ) -> Any:
        """Execute on the first monitor; MachineGone when the process turns out to have ended."""
        self._must_live()
        try:
            return await self._monitor.execute(command, arguments, limit_s=limit_s, fd=fd)
        except MonitorSilent as error:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_LIMIT_S):
                    await self._ended.wait()
            if self.alive:
                raise
            raise MachineGone(f"{self._copy} has ended") from error

    def _must_live(self) -> None:
        if not self.alive:
            raise MachineGone(f"{self._copy} has ended")

    # --- acts ---

    async def started(self) -> None:
        """Wait until QEMU answers after its start. Raises HypervisorError with its own words when
        it gave up.
        """
        try:
            await self._set_capabilities({"events": True}, _START_LIMIT_S)
            await self._rescue.execute("query-version")
        except MachineGone as error:
            raise refused(tail(self._files.qemu_log.read_bytes())) from error

    async def expect(self, peer: str) -> None:
        """Make ready for a copy from the node called ``peer`` alone."""
        rule = {"match": peer_dn(peer), "policy": "allow", "format": "exact"}
        await self._add_object(
            {"qom-type": "authz-list", "id": "peers0", "policy": "deny", "rules": [rule]}
        )
        await self._use_tls({"tls-authz": "peers0"})
        # Disks are locked at `cont`, not at arrival: should the last word get lost, the source goes on
        # by itself and needs its locks; without this it would run on with disks it cannot write.
        await self._set_capabilities({"return-path": True, "late-block-activate": True})

    async def receive(self, connection: socket.socket) -> None:
        """Take the copy that comes over ``connection``. Call after ``expect``."""
        await self._ask("getfd", {"fdname": "incoming"}, fd=connection.fileno())
        await self._ask("migrate-incoming", {"uri": "fd:incoming"})

    async def migrate(self, options: MigrationOptions) -> None:
        if (await self.migration()).state in MOVING:  # its relay is not to be taken away
            raise HypervisorError(f"{self._copy} is being copied already")
        await self._outgoing.begin(options)

    async def allow_downtime(self, limit_ms: int) -> None:
        await self._ask("migrate-set-parameters", {"downtime-limit": limit_ms})

    async def _set_capabilities(
        self, wanted: Mapping[str, bool], limit_s: float = EXECUTE_LIMIT_S
    ) -> None:
        capabilities = [{"capability": name, "state": state} for name, state in wanted.items()]
        await self._ask("migrate-set-capabilities", {"capabilities": capabilities}, limit_s)

    async def _use_tls(self, parameters: Mapping[str, object]) -> None:
        """As the receiving end, with keys as they are now."""
        creds = {"qom-type": "tls-creds-x509", "id": "tls-server", "endpoint": "server"}
        with self._files.lent(self._settings.tls_dir) as directory:
            await self._add_object({**creds, "dir": str(directory), "verify-peer": True})
        await self._ask("migrate-set-parameters", {"tls-creds": "tls-server", **parameters})

    async def _add_object(self, definition: Mapping[str, object]) -> None:
        with contextlib.suppress(HypervisorError):  # there is none on the first migration
            await self._ask("object-del", {"id": definition["id"]})
        await self._ask("object-add", definition)

    async def cancel(self) -> None:
        self._must_live()
        await self._outgoing.cancel()

    async def cont(self) -> None:
        if self._settings.groups is not None:
            self._settings.groups.favour()
        await self._ask("cont")

    async def announce(self) -> None:
        timing = {"initial": 50, "max": 500, "rounds": 5, "step": 100}
        await self._ask("announce-self", {**timing, "interfaces": ["net0"]})

    async def powerdown(self) -> None:
        await self._ask("system_powerdown")
        await self._guest_agent.tell("guest-shutdown")

    async def guest_agent(self) -> bool:
        return self.alive and await self._guest_agent.answers()

    async def kill(self) -> None:
        await self._spawner.kill(self._copy)
        try:
            async with asyncio.timeout(_EXIT_LIMIT_S):
                await self._ended.wait()
        except TimeoutError as error:
            raise MonitorSilent(f"no news of the end of {self._copy}") from error

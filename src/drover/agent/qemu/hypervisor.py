"""The QEMUs of one node, as the port's Hypervisor.

A copy's directory is written before its process is asked for, and processes are nodeinit's
children, so after a restart ``adopt`` finds every one of them: children of nodeinit, their spec in
the directory, their state by asking.

Early publishing: ``listen`` opens the migration socket long before QEMU is up; QEMU gets it as a
descriptor, and accepts by itself. So a source may connect at any time, and waits in the backlog.
"""

from __future__ import annotations

import socket

from drover.agent.ports import HypervisorError, Listener, Machine, MachineSpec
from drover.agent.qemu import commandline
from drover.agent.qemu.files import CopyFiles
from drover.agent.qemu.machine import QemuMachine
from drover.agent.qemu.settings import QemuSettings
from drover.agent.qemu.tls import ensure_dh_parameters
from drover.agent.spawner import Spawner
from drover.base.checks import require
from drover.base.log import Log
from drover.base.tasks import TaskScope


class QemuHypervisor:
    """``scope`` runs a follower per copy; it must be closed before the loop ends. Closing it ends
    no QEMU.
    """

    def __init__(
        self, settings: QemuSettings, spawner: Spawner, scope: TaskScope, log: Log
    ) -> None:
        self._settings = settings
        self._spawner = spawner
        self._scope = scope
        self._log = log
        self._machines: dict[str, QemuMachine] = {}
        self._listeners: dict[int, socket.socket] = {}
        ensure_dh_parameters(settings.tls_dir)

    def files(self, copy: str) -> CopyFiles:
        """Logs and sockets of a copy; for the console and the serial log."""
        return CopyFiles(self._settings.run_dir / copy, self._settings.log_dir / copy)

    async def listen(self, peer: str) -> Listener:
        family = socket.AF_INET6 if ":" in self._settings.address else socket.AF_INET
        sock = socket.create_server((self._settings.address, 0), family=family)
        port = sock.getsockname()[1]
        self._listeners[port] = sock
        return Listener(self._settings.address, port, peer, sock.fileno())

    async def unlisten(self, listener: Listener) -> None:
        sock = self._listeners.pop(listener.port, None)
        if sock is not None:
            sock.close()

    async def launch(
        self, copy: str, spec: MachineSpec, incoming: Listener | None = None
    ) -> Machine:
        sock = self._listeners.pop(incoming.port, None) if incoming else None
        try:
            if incoming and sock is None:
                raise HypervisorError(f"the listener on port {incoming.port} is closed")
            machine = await self._start(copy, spec, incoming is not None)
            try:
                await machine.started()
                if incoming and sock:
                    await machine.receive(sock, incoming.peer)
            except HypervisorError:
                await machine.kill()
                raise
            return machine
        finally:
            if sock is not None:
                sock.close()

    async def _start(self, copy: str, spec: MachineSpec, incoming: bool) -> QemuMachine:
        if copy in await self._spawner.children():
            raise HypervisorError(f"{copy} runs already")
        files = self.files(copy)
        argv = commandline.build(copy, spec, files, self._settings, incoming)
        files.make(spec)
        pid = await self._spawner.spawn(copy, argv, files.qemu_log, self._settings.nice)
        self._log.info("QEMU started", vm=spec.vm, copy=copy, pid=pid, incoming=incoming)
        return self._open(copy, spec)

    def _open(self, copy: str, spec: MachineSpec) -> QemuMachine:
        machine = QemuMachine(copy, spec, self.files(copy), self._settings, self._spawner)
        self._machines[copy] = machine
        self._scope.spawn(machine.follow(), f"follow {copy}")
        return machine

    async def adopt(self) -> list[Machine]:
        machines: list[Machine] = []
        for copy in sorted(await self._spawner.children()):
            known = self._machines.get(copy)
            if known is None or not known.alive:
                try:
                    spec = self.files(copy).load_spec()
                except (OSError, ValueError, TypeError) as error:
                    # Without its directory it has no sockets either: nobody can ever talk to it.
                    self._log.error("QEMU without a spec killed", copy=copy, error=str(error))
                    await self._spawner.kill(copy)
                    continue
                known = self._open(copy, spec)
            machines.append(known)
        return machines

    async def forget(self, copy: str) -> None:
        machine = self._machines.pop(copy, None)
        require(machine is None or not machine.alive, f"{copy} lives and cannot be forgotten")
        self.files(copy).remove()

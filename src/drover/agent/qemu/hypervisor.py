"""The QEMUs of one node, as the port's Hypervisor.

A copy's directory is written before its process is asked for, and processes are nodeinit's
children, so after a restart ``adopt`` finds every one of them: children of nodeinit, their spec in
the directory, their state by asking.

Early publishing: ``listen`` opens the migration socket long before QEMU is up. A source may connect at
any time; it waits in the backlog until QEMU can take the connection as a descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import replace

from drover.agent.ports import (
    HostError,
    HypervisorError,
    Listener,
    Machine,
    MachineSpec,
    Share,
)
from drover.agent.qemu import bundles, commandline, uefi
from drover.agent.qemu.files import CopyFiles
from drover.agent.qemu.machine import QemuMachine
from drover.agent.qemu.sandbox import Sandbox
from drover.agent.qemu.settings import QemuSettings
from drover.agent.qemu.tls import ensure_dh_parameters
from drover.agent.spawner import Spawner
from drover.base.checks import require
from drover.base.log import Log
from drover.base.tasks import TaskScope

_LOOK_S = 1.0  # how often a listener looks whether its QEMU lives
_WINDOW_BYTES = 512 * 1024
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python's ``socket`` lacks it


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
        self._sandbox = Sandbox(settings, spawner)
        ensure_dh_parameters(settings.tls_dir)

    def files(self, copy: str) -> CopyFiles:
        """Logs and sockets of a copy; for the console and the serial log."""
        return CopyFiles(self._settings.run_dir / copy, self._settings.log_dir / copy)

    async def listen(self, peer: str) -> Listener:
        sock = self._bound(0)
        port = sock.getsockname()[1]
        self._listeners[port] = sock
        return Listener(self._settings.address, port, peer, sock.fileno())

    def _bound(self, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._settings.address else socket.AF_INET
        try:
            sock = socket.create_server((self._settings.address, port), family=family)
        except OSError as error:
            raise HypervisorError(f"port {port or 'any'} is not to be had: {error}") from error
        sock.setblocking(False)
        bound_backlog(sock)
        return sock

    async def listen_again(self, machine: Machine, listener: Listener) -> None:
        known = self._machines[machine.copy]
        self._await_copy(known, self._bound(listener.port))

    async def unlisten(self, listener: Listener) -> None:
        sock = self._listeners.pop(listener.port, None)
        if sock is not None:
            sock.close()

    async def open(self) -> str:
        """Find out how QEMUs can be confined here: once, before the first start. What cannot be, for people."""
        groups = self._settings.groups
        if groups is not None:
            living = await self._spawner.children()
            groups.open((os.getppid(), os.getpid(), *living.values()))
            groups.sweep(living)
        await self._sandbox.open()
        return self._sandbox.trouble

    async def launch(
        self,
        copy: str,
        spec: MachineSpec,
        incoming: Listener | None = None,
        share: Share | None = None,
    ) -> Machine:
        if incoming is not None and incoming.port not in self._listeners:
            raise HypervisorError(f"the listener on port {incoming.port} is closed")
        try:
            machine = await self._start(copy, spec, incoming is not None, share)
            try:
                await machine.started()
                self.files(copy).seal()
                if incoming is not None:
                    await machine.expect(incoming.peer)
            except (HypervisorError, HostError):
                await machine.kill()
                raise
        except (HypervisorError, HostError):
            if incoming is not None:
                await self.unlisten(incoming)
            raise
        if incoming is not None:
            self._await_copy(machine, self._listeners.pop(incoming.port))
        return machine

    def _await_copy(self, machine: QemuMachine, listener: socket.socket) -> None:
        task = self._scope.spawn(self._receive(machine, listener), f"receive {machine.copy}")
        task.add_done_callback(lambda _: listener.close())  # also when it never began

    async def _receive(self, machine: QemuMachine, listener: socket.socket) -> None:
        """Hand the first connection to QEMU, whose ``fd:`` wants a connected socket. Who it is, TLS decides."""
        connection = await self._accepted(machine, listener)
        listener.close()
        if connection is None:
            return
        try:
            await machine.receive(connection)
        except HypervisorError as error:
            self._log.warn("the copy was not taken", copy=machine.copy, error=str(error))
        finally:
            connection.close()

    async def _accepted(
        self, machine: QemuMachine, listener: socket.socket
    ) -> socket.socket | None:
        """Not by a time limit on each accept: what it cancels may have been accepted in that very moment."""
        async with TaskScope("accept") as scope:
            loop = asyncio.get_running_loop()
            taken = scope.spawn(loop.sock_accept(listener), "accept")
            while machine.alive:
                if (await asyncio.wait({taken}, timeout=_LOOK_S))[0]:
                    connection, _ = taken.result()
                    assert isinstance(connection, socket.socket)
                    return connection
        return None

    async def _start(
        self, copy: str, spec: MachineSpec, incoming: bool, share: Share | None
    ) -> QemuMachine:
        if copy in await self._spawner.children():
            raise HypervisorError(f"{copy} runs already")
        choice = bundles.choose(self._settings.bundles, spec)
        if choice.why:
            self._log.warn("not on the firmware that was wished for", vm=spec.vm, why=choice.why)
        spec = replace(spec, firmware=choice.bundle.version)  # from here on what it is, not a wish
        files = self.files(copy)
        handing = self._sandbox.handing()
        argv = commandline.build(copy, spec, files, self._settings, incoming, handing)
        user = self._sandbox.user()
        uefi.prepare(spec, self._settings.uefi, incoming)
        files.make(spec, user)
        confined = self._sandbox.confinement(copy, user, handing, share)
        pid = await self._spawner.spawn(copy, argv, files.qemu_log, self._settings.nice, confined)
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

    async def was_made(self, copy: str) -> bool:
        # The process opens its log before it becomes QEMU; one that was there was removed before it was asked for.
        return self.files(copy).qemu_log.exists()

    async def forget(self, copy: str) -> None:
        machine = self._machines.pop(copy, None)
        require(machine is None or not machine.alive, f"{copy} lives and cannot be forgotten")
        self.files(copy).remove()
        if self._settings.groups is not None:
            self._settings.groups.remove(copy)


def bound_backlog(listener: socket.socket) -> None:
    """What waits in the kernel for a target's QEMU has left the source, whose guest stands still until all is read.

    A kernel that is left alone lets up to 32 MiB wait (``net.ipv4.tcp_rmem``). This much is on its way when an answer
    takes half a millisecond at 1 GiB a second.
    """
    # Everybody may set the first one, up to the host's rmem_max.
    for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, option, _WINDOW_BYTES)

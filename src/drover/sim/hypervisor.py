"""The model Hypervisor: the second implementation of the port, on virtual time, with faults at
hand.

``Site`` is the hardware that nodes share: processes, links, listeners, disk locks, the writer
ledger. It outlives agents: a new ``ModelHypervisor`` on the same node adopts what runs there, and
``power_off`` ends it all. Its tasks belong to the simulated process ``qemu``, so freezing an agent
freezes no guest.

Faults: ``site.link(a, b)`` (cut, slow, lost last word), ``site.refuse_launch``, ``site.refuse_copy``, and of each
``site.qemu(copy)``: its guest, ``frozen``, ``crash()``, ``guest_reset()`` and so on. It does not
promise QEMU's timing, only its order.
"""

# Long module: a whole site's hardware, as the port sees it.

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from drover.agent.ports import (
    HypervisorError,
    Listener,
    Machine,
    MachineEvent,
    MachineGone,
    MachineSpec,
    MigrationInfo,
    MigrationOptions,
    MigrationState,
    MonitorSilent,
    RunState,
    Share,
)
from drover.base.checks import require
from drover.sim.ledger import ImageLocks, WriterLedger
from drover.sim.qemu_model import LOAD_FAILED_STATUS, SIGKILL_STATUS, ModelQemu
from drover.sim.transfer import Link, Transfer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from drover.base.clock import Clock
    from drover.base.tasks import TaskScope

_ANSWER_S = 0.001
_LAUNCH_S = 0.15
_REAP_S = 0.005
_BACKLOG_S = 0.01
_SILENCE_S = 5.0
_CANCEL_LIMIT_S = 1.0
_EVENTS_MAX = 1024
_FIRST_PORT = 30000


@dataclass
class _Door:
    """A listener: who listens, for whom, and the QEMU once it is up."""

    node: str
    peer: str
    qemu: ModelQemu | None = None
    closed: bool = False


@dataclass
class Site:
    """All hardware. ``process`` is ``VirtualLoop.process`` in a world."""

    clock: Clock
    scope: TaskScope
    process: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext()
    ledger: WriterLedger = field(default_factory=WriterLedger)
    locks: ImageLocks = field(default_factory=ImageLocks)
    firmware: tuple[str, ...] = ("",)  # versions that every node offers, its default first
    refuse_launch: dict[str, str] = field(default_factory=dict)  # fault: node -> QEMU's words
    refuse_copy: dict[str, str] = field(default_factory=dict)  # fault: source's node -> why
    qemus: dict[str, ModelQemu] = field(default_factory=dict)  # copy -> process, dead ones too
    links: dict[tuple[str, str], Link] = field(default_factory=dict)
    doors: dict[tuple[str, int], _Door] = field(default_factory=dict)
    ports: int = _FIRST_PORT
    gates: dict[str, Callable[[str], str]] = field(
        default_factory=dict
    )  # node -> why not to start for a life

    def link(self, a: str, b: str) -> Link:
        """The wire between two nodes, one for both directions."""
        return self.links.setdefault((min(a, b), max(a, b)), Link())

    def qemu(self, copy: str) -> ModelQemu:
        return self.qemus[copy]

    def living(self, node: str) -> list[ModelQemu]:
        return [qemu for qemu in self.qemus.values() if qemu.node == node and qemu.alive]

    def power_off(self, node: str) -> None:
        """Every process of the node is gone; nothing is told to anybody."""
        for qemu in self.living(node):
            qemu.listeners.clear()
            qemu.end(SIGKILL_STATUS)
        self.agent_ended(node)

    def agent_ended(self, node: str) -> None:
        """Its sockets are closed; its QEMUs live on."""
        for where, door in list(self.doors.items()):
            if door.node == node:
                door.closed = True
                del self.doors[where]

    async def connect(self, transfer: Transfer, options: MigrationOptions) -> None:
        """The source's connection: refused, turned away by either side's certificate check, or
        run.
        """
        door = self.doors.get((options.address, options.port))
        if door is None:
            transfer.fail("Unable to connect: Connection refused")
            return
        while door.qemu is None and not door.closed and not transfer.over():
            await self.clock.sleep(_BACKLOG_S)
        if transfer.over():
            return  # cancelled before anybody took the connection
        if door.qemu is None or not door.qemu.alive:
            transfer.fail("the target hung up")
        elif door.peer != transfer.source.node:
            transfer.fail("TLS x509 authz check is denied")
        elif door.node != options.peer:
            transfer.fail(f"Certificate does not match the hostname {options.peer}")
            door.qemu.end(LOAD_FAILED_STATUS)
        else:
            door.qemu.say_migration(MigrationInfo(MigrationState.SETUP))
            await transfer.run(door.qemu)


class ModelHypervisor:
    """One node's. ``address`` is where its listeners bind."""

    def __init__(self, site: Site, node: str, address: str) -> None:
        self._site = site
        self._node = node
        self._address = address
        self.life = ""  # the node's incarnation for which QEMUs are started
        self._machines: dict[str, ModelMachine] = {}

    async def listen(self, peer: str) -> Listener:
        self._site.ports += 1
        port = self._site.ports
        self._site.doors[(self._address, port)] = _Door(self._node, peer)
        return Listener(self._address, port, peer)

    async def listen_again(self, machine: Machine, listener: Listener) -> None:
        where, qemu = (self._address, listener.port), self._site.qemu(machine.copy)
        if where in self._site.doors:
            raise HypervisorError(f"port {listener.port} is not to be had")
        self._site.doors[where] = _Door(self._node, qemu.peer, qemu)

    async def unlisten(self, listener: Listener) -> None:
        door = self._site.doors.get((listener.address, listener.port))
        if door is not None and door.qemu is None:
            del self._site.doors[(listener.address, listener.port)]

    async def launch(
        self,
        copy: str,
        spec: MachineSpec,
        incoming: Listener | None = None,
        share: Share | None = None,
    ) -> Machine:
        site = self._site
        if copy in site.qemus and site.qemus[copy].alive:
            raise HypervisorError(f"{copy} runs already")
        if self._node in site.refuse_launch:
            raise HypervisorError(site.refuse_launch[self._node])
        gate = site.gates.get(self._node)
        if gate is not None and (refusal := gate(self.life)):
            raise HypervisorError(refusal)
        version = spec.firmware if spec.firmware in site.firmware else site.firmware[0]
        spec = replace(spec, firmware=version)
        qemu = ModelQemu(copy, spec, self._node, site.ledger, site.locks, self.life)
        site.qemus[copy] = qemu
        machine = self._open(qemu)
        try:
            if incoming is None:
                qemu.lock_disks()
            else:
                qemu.state = RunState.INMIGRATE
            await site.clock.sleep(_LAUNCH_S)
            machine.require_alive()
            if incoming is not None:
                self._await_copy(qemu, incoming)
        except HypervisorError:
            qemu.end(LOAD_FAILED_STATUS)
            raise
        return machine

    def _await_copy(self, qemu: ModelQemu, incoming: Listener) -> None:
        door = self._site.doors.get((incoming.address, incoming.port))
        if door is None or door.qemu is not None:
            raise HypervisorError(f"the listener on port {incoming.port} is closed")
        qemu.peer = door.peer
        door.qemu = qemu

    def _open(self, qemu: ModelQemu) -> ModelMachine:
        machine = ModelMachine(self._site, qemu)
        self._machines[qemu.copy] = machine
        return machine

    async def adopt(self) -> list[Machine]:
        await self._site.clock.sleep(_ANSWER_S)
        machines: list[Machine] = []
        for qemu in self._site.living(self._node):
            known = self._machines.get(qemu.copy)
            machines.append(known if known and known.alive else self._open(qemu))
        return machines

    async def was_made(self, copy: str) -> bool:
        return copy in self._site.qemus

    async def forget(self, copy: str) -> None:
        self._machines.pop(copy, None)
        # Also one that was not adopted yet: its files would go, and with them all hold of it.
        lives = any(qemu.copy == copy for qemu in self._site.living(self._node))
        require(not lives, f"{copy} lives and cannot be forgotten")


class ModelMachine:
    """One agent's hold on a process."""

    def __init__(self, site: Site, qemu: ModelQemu) -> None:
        self._site = site
        self._qemu = qemu
        self._events: asyncio.Queue[MachineEvent] = asyncio.Queue(_EVENTS_MAX)
        qemu.listeners.append(self._on_event)

    def _on_event(self, event: MachineEvent) -> None:
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(event)

    @property
    def copy(self) -> str:
        return self._qemu.copy

    @property
    def spec(self) -> MachineSpec:
        return self._qemu.spec

    @property
    def alive(self) -> bool:
        return self._qemu.alive

    async def events(self) -> AsyncIterator[MachineEvent]:
        while True:
            event = await self._events.get()
            yield event
            if event.name == "EXIT":
                return

    def require_alive(self) -> None:
        if not self._qemu.alive:
            raise MachineGone(f"{self.copy} has ended")

    async def _ask(self, limit_s: float = _SILENCE_S) -> None:
        """A command reaches QEMU. Raises as the port says; what follows happens at once."""
        self.require_alive()
        await self._site.clock.sleep(_ANSWER_S)
        if self._qemu.hung:
            await self._site.clock.sleep(limit_s)
            if self._qemu.alive and self._qemu.hung:
                raise MonitorSilent(f"{self.copy}: no answer in {limit_s} s")
        self.require_alive()

    async def status(self) -> RunState:
        await self._ask()
        return self._qemu.state

    async def migration(self) -> MigrationInfo:
        await self._ask()
        return self._qemu.migration

    async def standing(self) -> tuple[MigrationInfo, RunState]:
        return await self.migration(), await self.status()

    def guest_end(self) -> str:
        return self._qemu.noted_end

    async def cont(self) -> None:
        await self._ask()
        self._qemu.cont()

    async def announce(self) -> None:
        await self._ask()

    async def migrate(self, options: MigrationOptions) -> None:
        await self._ask()
        last = self._qemu.transfer
        if last is not None and last.source is self._qemu and not last.over():
            raise HypervisorError("There's a migration process in progress")
        if self._qemu.state is RunState.INMIGRATE:
            raise HypervisorError("Guest is waiting for an incoming migration")
        if self._qemu.node in self._site.refuse_copy:
            raise HypervisorError(self._site.refuse_copy[self._qemu.node])
        door = self._site.doors.get((options.address, options.port))
        other = door.node if door else options.peer
        link = self._site.link(self._qemu.node, other)
        transfer = Transfer(self._site.clock, link, self._qemu, options)
        self._qemu.transfer = transfer
        transfer.begin()
        self._spawn(self._site.connect(transfer, options), f"transfer of {self.copy}")

    async def allow_downtime(self, limit_ms: int) -> None:
        await self._ask()
        if self._qemu.transfer is not None:
            self._qemu.transfer.allow_downtime(limit_ms)

    async def cancel(self) -> None:
        try:
            await self._ask(_CANCEL_LIMIT_S)
        except MonitorSilent:
            if self._qemu.frozen:
                raise
        if self._qemu.transfer is not None and self._qemu.transfer.source is self._qemu:
            self._qemu.transfer.cancel()

    async def powerdown(self) -> None:
        await self._ask()
        if self._qemu.guest.obeys_power_button:
            self._spawn(self._press(), f"powerdown of {self.copy}")

    async def guest_agent(self) -> bool:
        return self._qemu.state is RunState.RUNNING and not self._qemu.hung

    async def _press(self) -> None:
        await self._site.clock.sleep(self._qemu.guest.powerdown_s)
        self._qemu.guest_poweroff()

    async def kill(self) -> None:
        await self._site.clock.sleep(_REAP_S)
        self._qemu.end(SIGKILL_STATUS)

    def _spawn(self, work: object, name: str) -> None:
        with self._site.process("qemu"):
            self._site.scope.spawn(work, name)  # type: ignore[arg-type]

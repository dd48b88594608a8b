"""The doors between the agent's logic and the world: Hypervisor, Network, Seeds, Journal.

Real implementations: ``agent.qemu``, ``agent.net``, ``agent.journal``. Second ones:
``sim.hypervisor`` and its neighbours. One contract suite per port runs against both. A *copy* is
one QEMU process of one VM, keyed by the uid of its Pod; during a migration a VM has two copies, of
which at most one may run.

Errors: ``HypervisorError`` and its kinds are operating errors. A monitor that does not answer in
time raises ``MonitorSilent``: the state is then *unknown*, and callers must not guess.
"""

# Long module: all doors of the agent, with what each promises.

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


class HypervisorError(Exception):
    """QEMU refused or failed; ``str()`` is its own word."""


class MonitorSilent(HypervisorError):
    """No answer within the limit. Nothing is known about what happened."""


class MachineGone(HypervisorError):
    """The QEMU process has ended and is reaped."""


class ImageLocked(HypervisorError):
    """QEMU could not take the lock of a disk image: somebody else holds it. A safety event, never
    routine.
    """


class DiskUnavailable(HypervisorError):
    """QEMU could not open a disk image, or it is none."""


class HostError(Exception):
    """The host itself failed: a full disk, no memory. ``str()`` says what and why; trying again may help."""


@contextmanager
def host_errors(what: str) -> Iterator[None]:
    """Errors of the operating system become HostErrors that say what was wanted."""
    try:
        yield
    except OSError as error:
        raise HostError(f"{what}: {error.strerror or error}") from error


@dataclass(frozen=True)
class Disk:
    """One block device. ``path`` is absolute in the node's mount namespace; ``name`` is stable
    (guest serial).
    """

    name: str
    path: str
    format: str = "qcow2"
    read_only: bool = False
    boot_order: int = 0  # 0: not bootable


@dataclass(frozen=True)
class MachineSpec:
    """All that is needed to run a VM. Comes from the Pod's machine annotation; equal on both ends
    of a move.
    """

    vm: str  # namespace/name
    vm_uid: str
    cores: int
    memory_bytes: int
    mac: str
    ip: str
    gateway: str
    prefix: int
    disks: tuple[Disk, ...] = ()
    cpu_model: str = "Nehalem"
    machine_type: str = "pc-q35-7.2"
    firmware: str = ""  # bundle version; empty: the node's default
    seed_secret: str = ""  # Secret with key userData; empty: no user data
    grace_s: int = 60
    display: bool = False  # a VGA adapter, shown by VNC
    uefi_vars: str = ""  # the file with the guest's EFI variables; empty: it boots by BIOS


@dataclass(frozen=True)
class Share:
    """What a copy may take of its node: CPU by weight when others want it, memory at most; as its Pod asks for it."""

    cpu_milli: int
    cores: int
    memory_bytes: int


class RunState(enum.StrEnum):
    """QEMU's own run states, as far as drover tells them apart."""

    RUNNING = "running"
    PAUSED = "paused"
    PRELAUNCH = "prelaunch"
    INMIGRATE = "inmigrate"
    FINISH_MIGRATE = "finish-migrate"
    POSTMIGRATE = "postmigrate"
    IO_ERROR = "io-error"
    SHUTDOWN = "shutdown"
    PANICKED = "guest-panicked"
    OTHER = "other"


class MigrationState(enum.StrEnum):
    """QEMU's migration status."""

    NONE = "none"
    SETUP = "setup"
    ACTIVE = "active"
    DEVICE = "device"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


MOVING = (
    MigrationState.SETUP,
    MigrationState.ACTIVE,
    MigrationState.DEVICE,
    MigrationState.CANCELLING,
)


@dataclass(frozen=True)
class MigrationInfo:
    """One look at a migration (``query-migrate``)."""

    state: MigrationState
    total_bytes: int = 0
    transferred_bytes: int = 0
    remaining_bytes: int = 0
    dirty_bytes_per_second: int = 0
    iteration: int = 0
    mbps: float = 0.0
    throttle_percent: int = 0
    downtime_ms: int = 0
    total_ms: int = 0
    error: str = ""


NO_MIGRATION = MigrationInfo(MigrationState.NONE)


@dataclass(frozen=True)
class MigrationOptions:
    """What the source asks of QEMU. ``peer`` is the name in the target's certificate."""

    address: str
    port: int
    peer: str
    auto_converge: bool = False
    downtime_limit_ms: int = 10
    bandwidth_bytes_per_second: int = 640 * 2**20


# Of the time in which a guest that may be slowed down is kept from running.
MOST_THROTTLE_PERCENT = 99


@dataclass(frozen=True)
class MachineEvent:
    """An event of QEMU's monitor, or ``EXIT`` when the process has ended and is reaped (data:
    status).

    ``SHUTDOWN`` carries QEMU's reason (guest-shutdown, guest-reset, guest-panic, host-qmp-quit,
    host-signal). Events between a lost and a new connection are lost: always query the state too.
    """

    name: str  # SHUTDOWN RESET STOP RESUME GUEST_PANICKED BLOCK_IO_ERROR MIGRATION EXIT, RECONNECTED after a gap
    data: dict[str, object] = field(default_factory=dict)


class Machine(Protocol):
    """One copy, living or adopted. Every call is bounded in time. All raise MachineGone once the
    process ended.
    """

    @property
    def copy(self) -> str: ...

    @property
    def spec(self) -> MachineSpec: ...

    @property
    def alive(self) -> bool:
        """False once the process has ended *and is reaped*."""
        ...

    def events(self) -> AsyncIterator[MachineEvent]:
        """Events from now on; ends after EXIT. One consumer."""
        ...

    async def status(self) -> RunState: ...

    async def migration(self) -> MigrationInfo:
        """A source says ``completed`` a moment before its totals are there: they are 0 then."""
        ...

    async def standing(self) -> tuple[MigrationInfo, RunState]:
        """Both, looked at in this order: a migration that completes in between shows as "not yet", never as failed."""
        ...

    def guest_end(self) -> str:
        """Why the guest ended, as QEMU noted it although no agent may have listened: its reason of SHUTDOWN, or
        ``guest-panic``. Empty: nothing is noted.
        """
        ...

    async def cont(self) -> None:
        """Let the guest run. Callers go through ``agent.resume`` only (safety rule 6)."""
        ...

    async def announce(self) -> None:
        """Tell the network where the guest's address is now."""
        ...

    async def migrate(self, options: MigrationOptions) -> None:
        """Begin to copy to the peer; returns at once. Progress by ``migration()``, changes as
        MIGRATION events.
        """
        ...

    async def allow_downtime(self, limit_ms: int) -> None:
        """Let a copy in progress stop the guest for longer, so that it can come to its end."""
        ...

    async def cancel(self) -> None:
        """Stop copying, also when the monitor hangs in switchover. Harmless when none runs. Ends as ``cancelled``, or
        ``failed`` for an agent that came later.
        """
        ...

    async def powerdown(self) -> None:
        """Press the ACPI power button (and ask the guest agent); returns at once."""
        ...

    async def guest_agent(self) -> bool:
        """Whether an agent inside the guest answers now."""
        ...

    async def kill(self) -> None:
        """SIGKILL and reap. Returns when the process is gone. Idempotent, never raises MachineGone."""
        ...


@dataclass(frozen=True)
class Listener:
    """A listening socket that was opened before QEMU is up (early publishing). ``peer`` may
    connect: its name.
    """

    address: str
    port: int
    peer: str
    fd: int = -1  # simulation has none


class Hypervisor(Protocol):
    async def listen(self, peer: str) -> Listener:
        """Open a migration listener on the node's address, for the node called ``peer`` alone."""
        ...

    async def listen_again(self, machine: Machine, listener: Listener) -> None:
        """An adopted QEMU waits still, and its listener was closed with its agent: open it on the same port. Raises
        HypervisorError when the port is taken.
        """
        ...

    async def unlisten(self, listener: Listener) -> None:
        """Close a listener that ``launch`` never got. Idempotent; ``launch`` takes it over, also
        when it fails.
        """
        ...

    async def launch(
        self,
        copy: str,
        spec: MachineSpec,
        incoming: Listener | None = None,
        share: Share | None = None,
    ) -> Machine:
        """Start QEMU stopped (``-S``), held to ``share`` where the host can. With ``incoming`` it waits for a copy.
        Raises HypervisorError, ImageLocked. The caller lets it run with ``cont``. When it raises, no
        process is left, except with MonitorSilent; HostError: none was made. Idempotent per copy
        only through ``adopt``.
        """
        ...

    async def adopt(self) -> list[Machine]:
        """Every copy whose process lives on this node, after a restart of the agent. Includes
        stopped ones.
        """
        ...

    async def was_made(self, copy: str) -> bool:
        """Whether a process was ever made for this copy. After a mark that it may have been, and a crash."""
        ...

    async def forget(self, copy: str) -> None:
        """Remove the logs and files that an ended copy left. Idempotent; never for a living one."""
        ...


class Network(Protocol):
    async def attach(self, copy: str, spec: MachineSpec) -> None:
        """Tap and DHCP entry of a copy; idempotent. The tap's name is ``tap_name(copy)``."""
        ...

    async def detach(self, copy: str) -> None:
        """Undo attach; idempotent."""
        ...


class Seeds(Protocol):
    async def write(self, copy: str, spec: MachineSpec, user_data: bytes) -> Disk:
        """The cloud-init NoCloud seed as a read-only disk; the same content on both ends of a
        move. Raises HostError.
        """
        ...

    async def remove(self, copy: str) -> None: ...


class Journal(Protocol):
    """Marks that must survive a crash of agent or node: ``put`` returns after fsync (file and
    directory). All raise HostError.
    """

    def put(self, copy: str, mark: str, value: str = "") -> None: ...

    def get(self, copy: str, mark: str) -> str | None: ...

    def drop(self, copy: str, mark: str) -> None:
        """Take a mark back. Idempotent."""
        ...

    def forget(self, copy: str) -> None: ...

    def copies(self) -> list[str]: ...


def tap_name(copy: str) -> str:
    """Kernel interface names have 15 characters at most."""
    return "tap" + copy.replace("-", "")[:12]

"""A model of one QEMU process and of its guest: states, events, locks, ends. Migration is
``sim.transfer``.

What it imitates, dangerous sides included (each was seen on real QEMU, and the contract suite holds
both to it): ``cont`` is accepted in ``inmigrate`` and lets the guest run as soon as it has arrived;
an incoming copy takes the locks of its disks at ``cont``; a guest that resets or powers off stays
as ``shutdown``, one that panics as ``guest-panicked``, and neither can be continued by a target; a
process that dies tells nobody but who waits for it.

Everything happens on the given clock. Tasks belong to the hardware, not to the agent that asked for
the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drover.agent.ports import (
    HypervisorError,
    MachineEvent,
    MachineSpec,
    MigrationInfo,
    MigrationState,
    RunState,
)
from drover.sim.ledger import ImageLocks, WriterLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from drover.sim.transfer import Transfer

SIGKILL_STATUS = -9
CRASH_STATUS = -6
LOAD_FAILED_STATUS = 1


@dataclass
class Guest:
    """What the guest does; tests and worlds change it at any time."""

    used_bytes: int = 64 << 20  # to be copied at least once
    dirty_bytes_per_second: int = 1 << 20
    obeys_power_button: bool = True
    powerdown_s: float = 2.0


class ModelQemu:
    """One process."""

    def __init__(
        self,
        copy: str,
        spec: MachineSpec,
        node: str,
        ledger: WriterLedger,
        locks: ImageLocks,
        life: str = "",
    ) -> None:
        self.copy = copy
        self.life = life  # the node's incarnation for which it was started
        self.spec = spec
        self.node = node
        self.guest = Guest()
        self.state = RunState.PRELAUNCH
        self.migration = MigrationInfo(MigrationState.NONE)
        self.transfer: Transfer | None = None
        self.frozen = False  # fault: the process answers nothing (SIGSTOP, a dead disk)
        self.exit_status: int | None = None
        self.listeners: list[Callable[[MachineEvent], None]] = []
        self.peer = ""  # of an incoming copy: the node that may send it
        self.noted_end = ""  # what QEMU wrote down of the guest's end, for agents that are away
        self.disks_fail = False  # fault: reads and writes give errors
        self._autostart = False
        self._ledger = ledger
        self._locks = locks

    @property
    def alive(self) -> bool:
        return self.exit_status is None

    @property
    def hung(self) -> bool:
        """The monitor does not answer, nor let anybody in."""
        return self.frozen or (self.transfer is not None and self.transfer.holds_monitor(self))

    def emit(self, name: str, **data: object) -> None:
        for listener in list(self.listeners):
            listener(MachineEvent(name, dict(data)))

    # --- running and stopping ---

    def lock_disks(self) -> None:
        """Raises ImageLocked."""
        self._locks.take(self.copy, self.spec.disks)

    def unlock_disks(self) -> None:
        self._locks.release(self.copy)

    def cont(self) -> None:
        """As QEMU does it: without a thought for who else runs. Raises HypervisorError,
        ImageLocked.
        """
        if self.state is RunState.RUNNING:
            return
        if self.state is RunState.FINISH_MIGRATE:
            raise HypervisorError("Migration is not finalized yet")
        if self.state is RunState.SHUTDOWN:
            raise HypervisorError("Resetting the Virtual Machine is required")
        self.lock_disks()
        if self.state is RunState.INMIGRATE:
            self._autostart = True
        else:
            self.run()

    def run(self) -> None:
        self.state = RunState.RUNNING
        self.emit("RESUME")
        self._ledger.run(self.spec.vm, self.copy)
        if self.disks_fail:
            self.disk_error()

    def stop(self, state: RunState) -> None:
        """The guest's CPUs stand still; the process lives."""
        if self.state is RunState.RUNNING:
            self.emit("STOP")
        self.state = state
        self._ledger.stop(self.spec.vm, self.copy)

    def arrive(self, state: RunState) -> None:
        """All of the guest is here; ``state`` is what the source ran in."""
        self._set_migration(MigrationState.COMPLETED)
        if state is not RunState.RUNNING:
            self.state = state
            return
        self.state = RunState.PAUSED
        if self._autostart:
            self.cont()

    def _set_migration(self, state: MigrationState) -> None:
        self.migration = MigrationInfo(state)
        self.emit("MIGRATION", status=state.value)

    def say_migration(self, info: MigrationInfo) -> None:
        """A change of state is an event; progress is not."""
        changed = info.state is not self.migration.state
        self.migration = info
        if changed:
            self.emit("MIGRATION", status=info.state.value)

    # --- what guests and hosts do to it ---

    def guest_poweroff(self) -> None:
        self._guest_ends("guest-shutdown")

    def guest_reset(self) -> None:
        self._guest_ends("guest-reset")

    def guest_panic(self) -> None:
        if self.alive and self.state is RunState.RUNNING:
            self.emit("GUEST_PANICKED", action="pause")
            self.noted_end = "guest-panic"
            self.stop(RunState.PANICKED)

    def _guest_ends(self, reason: str) -> None:
        if self.alive and self.state is RunState.RUNNING:
            self.emit("SHUTDOWN", guest=True, reason=reason)
            self.noted_end = reason
            self.stop(RunState.SHUTDOWN)

    def disk_error(self) -> None:
        """A read or write failed; the guest stands still until it is told to try again."""
        self.disks_fail = True
        if self.alive and self.state is RunState.RUNNING:
            self.emit("BLOCK_IO_ERROR", action="stop", reason="No space left on device")
            self.stop(RunState.IO_ERROR)

    def crash(self) -> None:
        """QEMU aborts."""
        self.end(CRASH_STATUS)

    def end(self, status: int) -> None:
        """The process is gone and reaped. Idempotent."""
        if not self.alive:
            return
        self.exit_status = status
        self._ledger.stop(self.spec.vm, self.copy)
        self.unlock_disks()
        if self.transfer is not None:
            self.transfer.process_ended(self)
        self.emit("EXIT", status=status)

"""The one function that sends ``cont`` (safety rule 6).

QEMU accepts ``cont`` in states where it must never be sent (an incoming guest that is not complete runs on half a
memory; a source in postmigrate whose lease has left runs twice), so the grounds are checked here, at the last moment,
and the state is read again after.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable

from drover.agent.ports import HypervisorError, Machine, MigrationState, RunState


class Ground(enum.Enum):
    """Why a guest may run."""

    START = "start"  # a fresh QEMU, and a fresh read says the lease is ours
    ARRIVAL = "arrival"  # an incoming copy, complete, to which the lease was handed
    TAKEN_BACK = (
        "taken-back"  # an acknowledged write of our own says the lease is ours (safety rule 5)
    )
    DISK = "disk"  # it ran here and stands still since a disk failed
    NEVER_LEFT = "never-left"  # our hand-over provably never left this host (safety rule 19)


class NotAllowed(Exception):
    """The guest must not run now; ``str()`` says why. Nothing was sent."""


def went_on(state: RunState) -> bool:
    """True, or raises HypervisorError: the guest does not run though it was told to."""
    if state is not RunState.RUNNING:
        raise HypervisorError(f"QEMU says {state.value} after it was told to go on")
    return True


_STATES = {
    Ground.START: (RunState.PRELAUNCH, RunState.PAUSED),
    Ground.ARRIVAL: (RunState.PAUSED,),
    Ground.TAKEN_BACK: (RunState.POSTMIGRATE,),
    Ground.NEVER_LEFT: (RunState.POSTMIGRATE,),
    Ground.DISK: (RunState.IO_ERROR,),
}


async def resume(
    machine: Machine, ground: Ground, holds: Callable[[], Awaitable[bool]]
) -> RunState:
    """Let the guest run and return the state read afterwards.

    ``holds`` answers whether the lease is ours now. Raises NotAllowed, and the hypervisor's errors (after which the
    guest may run: the caller keeps the lease and looks again).
    """
    migration, state = await machine.standing()
    if state is RunState.RUNNING:
        return state
    if state not in _STATES[ground]:
        raise NotAllowed(f"QEMU says {state}, which is no ground for {ground.value}")
    if ground is Ground.ARRIVAL and migration.state is not MigrationState.COMPLETED:
        raise NotAllowed(f"the incoming migration is {migration.state}")
    if not await holds():
        raise NotAllowed("the VM lease does not name this copy")
    await machine.cont()
    return await machine.status()

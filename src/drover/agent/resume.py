"""The one function that sends ``cont`` (safety rule 6).

QEMU accepts ``cont`` in states where it must never be sent (an incoming guest that is not complete runs on half a
memory; a source in postmigrate whose lease has left runs twice), so the grounds are checked here, at the last moment,
and the state is read again after.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from drover.agent.ports import HypervisorError, Machine, MigrationState, RunState
from drover.api.kinds.node import RENEWALS_NEEDED
from drover.api.meta import version_of
from drover.api.wire import Object

if TYPE_CHECKING:
    from drover.agent.keeper import Keeper


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


async def last_word(keeper: Keeper, ground: Ground) -> Object | None:
    """The lease on which a guest may be let go on; None: not now. Raises what a read does.

    A start reads it. A guest that stands still waits for no API that may be away: once the lease was given to its copy
    only this node can give it away, or fencing, which ends this node first, or whoever rebuilds a lease that was lost
    from what the nodes report (rules 1 and 10). A copy that ran here is reported. An arrival is not, before its mark:
    what its cache says counts while fewer of our renewals than are waited for may have left it out since.
    """
    leases, node_lease = keeper.context.leases, keeper.context.node_lease
    if ground is not Ground.START:
        cached = leases.cached(keeper.vm)
        if cached is None or not keeper.incoming:
            return cached
        if node_lease.sent_since(version_of(cached)) < RENEWALS_NEEDED:
            return cached
    seq = node_lease.seq
    lease = await leases.fresh(keeper.vm)
    reported = not keeper.incoming or node_lease.seq - seq < RENEWALS_NEEDED
    return lease if reported else None

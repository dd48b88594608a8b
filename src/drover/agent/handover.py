"""The lease changes hands during a migration: hand over, take back, hand back.

All three are compare-and-swaps on the version read. Their outcomes: acknowledged, and then it is so; refused, and then
everything is looked at again; unanswered, and then *nothing is known* until another compare-and-swap is acknowledged.
No time-out and no read ever makes a guest run (safety rules 2, 5, 19).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drover.agent.ports import HostError
from drover.agent.resume import Ground, NotAllowed, resume, went_on
from drover.agent.view import HandOverState, LeaseState
from drover.agent.vmlease import Cas, Party
from drover.api import names, scheme, status
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.meta import is_deleting, uid_of, version_of
from drover.api.wire import Object
from drover.base.tasks import TaskScope

if TYPE_CHECKING:
    from drover.agent.keeper import Keeper


AHEAD_S = 1.0  # what was read of the target longer ago is read again
_RENEWAL_POLL_S = 0.01
_RENEWAL_POLLS = 100  # then everything is looked at again


async def hand_over(keeper: Keeper) -> bool:
    """The point of no return. The guest stands still in postmigrate while this runs."""
    context, memory, vmm = keeper.context, keeper.memory, keeper.vmm()
    lease = context.leases.cached(keeper.vm)
    if (
        vmm is None
        or context.leases.view(lease, keeper.copy).state is not LeaseState.MINE
        or lease is None
    ):
        return True  # it changed since the decision: look again
    memory.handover_uid = str(vmm["metadata"]["uid"])
    keeper.log.mark("evict.completed")
    target = await _looked_at(keeper, vmm)
    if target is None:
        memory.cancelled = memory.cancelled or "TargetGone"
        memory.handover = _not_sent(keeper)
        return True
    outcome = await context.leases.give(lease, target)
    keeper.log.mark("evict.hand-over", outcome=outcome.value, target=target.node)
    match outcome:
        case Cas.ACKED:
            memory.handover = HandOverState.DONE
        case Cas.UNSENT:
            memory.handover = _not_sent(keeper)
        case Cas.UNKNOWN:
            memory.handover = HandOverState.UNKNOWN
        case Cas.REFUSED:
            # Somebody wrote the lease: decide on what it says. Nobody did: we may not hand over.
            now = await context.leases.fresh(keeper.vm)
            if now is not None and version_of(now) == version_of(lease):
                memory.cancelled = memory.cancelled or "HandOverRefused"
                memory.handover = _not_sent(keeper)
    return True


def _not_sent(keeper: Keeper) -> HandOverState:
    """Only who began this copy itself knows that no earlier hand-over is under way."""
    memory = keeper.memory
    fresh = memory.began_here and memory.handover is HandOverState.NONE
    return HandOverState.UNSENT if fresh else HandOverState.UNKNOWN


@dataclass(frozen=True)
class LookedAhead:
    """The target is being looked at since ``since_s``, for the migration ``uid``."""

    uid: str
    since_s: float
    found: asyncio.Task[Party | None]


def look_ahead(keeper: Keeper, scope: TaskScope) -> LookedAhead:
    """The guest stands still for the switchover: what the hand-over has to know is read while QEMU sends the rest."""
    uid, now = keeper.memory.handover_uid, keeper.context.clock.monotonic()
    return LookedAhead(uid, now, scope.spawn(_ahead(keeper, uid), "receiver"))


async def _ahead(keeper: Keeper, uid: str) -> Party | None:
    try:
        vmm = keeper.vmm()
        return await _receiver(keeper, vmm) if vmm is not None and uid_of(vmm) == uid else None
    except HostError:
        return None
    except Exception as bug:  # it must not end the agent; the hand-over itself looks again
        keeper.log.bug(bug)
        return None


async def _looked_at(keeper: Keeper, vmm: Object) -> Party | None:
    """The target, as it was a moment ago; looked at now where that was not to be had."""
    ahead, keeper.receiver = keeper.receiver, None
    recent = ahead is not None and keeper.context.clock.monotonic() - ahead.since_s < AHEAD_S
    if ahead is not None and recent and ahead.uid == uid_of(vmm):
        found = await ahead.found
        if found is not None and not is_deleting(keeper.vmm() or vmm):
            return found
    return await _receiver(keeper, vmm)


async def _receiver(keeper: Keeper, vmm: Object) -> Party | None:
    """The target as the API knows it, or None."""
    try:
        return await _read_receiver(keeper, vmm)
    except (status.ApiError, status.Unanswered) as error:
        keeper.log.warn("the target could not be looked at before the hand-over", why=str(error))
        return None


async def _read_receiver(keeper: Keeper, vmm: Object) -> Party | None:
    """Read target Pod, migration and incarnation again (safety rule 19); None when the target is not to be had."""
    context = keeper.context
    namespace, name = vmm["metadata"]["namespace"], vmm["metadata"]["name"]
    node, pod_name = vmms.target_node(vmm), vmms.target_pod_name(vmm)
    async with TaskScope("receiver") as scope:
        reads = [
            scope.spawn(context.swift.get(scheme.VMM, name, namespace), "vmm"),
            scope.spawn(context.swift.get(scheme.POD, pod_name, namespace), "pod"),
            scope.spawn(context.swift.get(scheme.LEASE, node, names.NODE_LEASE_NAMESPACE), "lease"),
        ]
        now, pod, lease = [await read for read in reads]
    context.migrations.observe(
        now
    )  # what it says of the guest's end is decided on next (safety rule 7)
    target = vmms.target_report(now)
    incarnation = nodes.incarnation(lease)
    sound = (
        "deletionTimestamp" not in now["metadata"]
        and not vmms.final(now)
        and target.get("phase") == "Listening"
        and vmms.source_report(now).get("phase") != "Failed"
        and target.get("incarnation") == incarnation
        and pods.uid(pod) == vmms.target_pod_uid(vmm)
        and not pods.deleting(pod)
        and not pods.ended(pod)
    )
    return Party(pods.uid(pod), node, incarnation) if sound else None


async def _incarnation(keeper: Keeper, node: str) -> str:
    lease = await keeper.context.swift.get(scheme.LEASE, node, names.NODE_LEASE_NAMESPACE)
    return nodes.incarnation(lease)


async def take_back(keeper: Keeper) -> bool:
    """Settle who runs by an acknowledged write of our own, then let the source go on (safety rule 5)."""
    context, machine = keeper.context, keeper.machine
    lease = await context.leases.fresh(keeper.vm)
    if machine is None or lease is None:
        return lease is not None
    if context.leases.view(lease, keeper.copy).state is not LeaseState.MINE:
        return True  # it landed, or was broken: the new view decides
    if keeper.memory.handover is HandOverState.UNKNOWN and not await _not_of_the_past(keeper):
        return False
    if context.leases.view(lease, keeper.copy).state is not LeaseState.MINE:
        return True
    outcome = await context.leases.give(lease, context.leases.party(keeper.copy))
    keeper.log.mark("evict.take-back", outcome=outcome.value)
    if outcome is not Cas.ACKED:
        return False

    async def acknowledged() -> bool:
        return True

    try:
        state = await resume(machine, Ground.TAKEN_BACK, acknowledged)
    except NotAllowed as refused:
        keeper.log.warn("the source was not let go on", why=str(refused))
        return False
    keeper.log.mark("resumed", ground=Ground.TAKEN_BACK.value, state=state.value)
    await machine.announce()
    return went_on(state)


async def _not_of_the_past(keeper: Keeper) -> bool:
    """What was read is no restored backup, in which a hand-over that landed is forgotten (safety rule 10): a renewal
    of the node's Lease that is sent now would tell."""
    node_lease, since_s = keeper.context.node_lease, keeper.context.clock.monotonic()
    node_lease.hurry()
    for _ in range(_RENEWAL_POLLS):
        if node_lease.acked_at is not None and node_lease.acked_at >= since_s:
            return True
        await keeper.context.clock.sleep(_RENEWAL_POLL_S)
    return False


async def hand_back(keeper: Keeper) -> bool:
    """Our incoming copy is reaped and never ran: the source may have its VM again (safety rule 4)."""
    context, vmm = keeper.context, keeper.vmm()
    lease = await context.leases.fresh(keeper.vm)
    if lease is None or vmm is None or keeper.machine is not None:
        return False
    if context.leases.view(lease, keeper.copy).state not in (
        LeaseState.MINE,
        LeaseState.MINE_BEFORE,
    ):
        return True
    incarnation = str(vmms.source_report(vmm).get("incarnation", ""))
    if not incarnation:
        # It never reported. Its present life will do: if that is a new one, it releases the lease.
        incarnation = await _incarnation(keeper, vmms.source_node(vmm))
    source = Party(vmms.source_pod_uid(vmm), vmms.source_node(vmm), incarnation)
    outcome = await context.leases.give(lease, source)
    keeper.log.mark("evict.hand-back", outcome=outcome.value)
    return outcome is Cas.ACKED

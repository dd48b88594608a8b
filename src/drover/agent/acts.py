"""The effects of a copy's steps. Each returns True when done, False to be tried again after a pause.

The order inside an act is the safety of the system: marks reach the disk before what they announce, a process is
reaped before its lease is released, the lease is released before the Pod says that it ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.agent import handover, launching, report, steps
from drover.agent.ports import (
    HostError,
    HypervisorError,
    MigrationOptions,
    RunState,
)
from drover.agent.publisher import Subject
from drover.agent.resume import Ground, NotAllowed, last_word, resume, went_on
from drover.agent.view import CopyView, LeaseState
from drover.agent.vmlease import Cas
from drover.api import scheme, status
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.names import LastReason
from drover.api.wire import Object

if TYPE_CHECKING:
    from drover.agent.keeper import Keeper


async def act(keeper: Keeper, step: steps.Step, view: CopyView) -> bool:
    """Carry out one step."""
    match step:
        case steps.Launch() | steps.LaunchIncoming() if not keeper.context.may_launch():
            return False  # its group is fenced and the node not armed (yet)
        case steps.Launch():
            return await launching.launch(keeper)
        case steps.LaunchIncoming():
            return await launching.launch_incoming(keeper)
        case steps.Resume():
            return await _resume(keeper, view)
        case steps.AskLease():
            keeper.memory.asked_at = keeper.context.clock.monotonic()
            await keeper.context.leases.fresh(keeper.vm)
            return True
        case steps.ListenAgain():
            return await _listen_again(keeper)
        case steps.TryDisk():
            return await _try_disk(keeper)
        case steps.StartCopy():
            return await _start_copy(keeper)
        case steps.AllowDowntime(limit_ms):
            return await _allow_downtime(keeper, limit_ms)
        case steps.CancelCopy(reason):
            keeper.memory.cancelled = keeper.memory.cancelled or reason
            keeper.log.mark("evict.cancel", why=reason)
            machine = keeper.machine
            if machine is not None:
                await machine.cancel()
            return True
        case steps.HandOver():
            return await handover.hand_over(keeper)
        case steps.TakeBack():
            return await handover.take_back(keeper)
        case steps.HandBack():
            return await handover.hand_back(keeper)
        case steps.Powerdown():
            return await _powerdown(keeper)
        case steps.Kill(ended):
            return await _kill(keeper, ended)
        case steps.Release(reason):
            return await _release(keeper, reason)
        case steps.FinishPod(reason):
            return await _finish_pod(keeper, reason)
        case steps.DropPod():
            return await _drop_pod(keeper)
    raise AssertionError(step)


async def _resume(keeper: Keeper, view: CopyView) -> bool:
    context, machine = keeper.context, keeper.machine
    if machine is None or view.machine is None:
        return True
    ground = Ground.START
    if view.is_target:
        ground = Ground.ARRIVAL
    elif view.machine.state is RunState.POSTMIGRATE:  # a source, which may have arrived here before
        ground = Ground.NEVER_LEFT
    elif view.marks.resuming:
        ground = Ground.ARRIVAL

    async def holds() -> bool:
        lease = await last_word(keeper, ground)
        ours = context.leases.view(lease, keeper.copy, not view.is_target).state is LeaseState.MINE
        if ours and lease is not None and view.is_target:
            # All grounds are given, and `cont` is next (safety rule 4). Not sooner: the mark says that it may have run.
            context.journal.put(keeper.copy, "resuming", context.leases.epochs.mark(lease))
        return ours

    try:
        state = await resume(machine, ground, holds)
    except NotAllowed as refused:
        keeper.log.warn("the guest was not let go on", why=str(refused))
        return False
    keeper.log.mark("resumed", ground=ground.value, state=state.value)
    if ground is Ground.ARRIVAL:
        await machine.announce()
    return went_on(state)


async def _listen_again(keeper: Keeper) -> bool:
    machine, listener = keeper.machine, keeper.memory.listener
    if machine is None or listener is None:
        return True
    try:
        await keeper.context.hypervisor.listen_again(machine, listener)
    except HypervisorError as error:
        keeper.log.warn("the target cannot be reached any more", why=str(error))
        return await _kill(keeper, steps.MOVE_FAILED)
    keeper.memory.hears = True
    keeper.log.mark("evict.listening-again", port=listener.port)
    return True


async def _try_disk(keeper: Keeper) -> bool:
    context, machine = keeper.context, keeper.machine
    if machine is None:
        return True
    keeper.memory.disk_tried_at = context.clock.monotonic()

    async def holds() -> bool:  # as for an arrival: only this node can give it away
        lease = context.leases.cached(keeper.vm)
        return context.leases.view(lease, keeper.copy).state is LeaseState.MINE

    try:
        await resume(machine, Ground.DISK, holds)
    except NotAllowed as refused:
        keeper.log.warn("the guest was not let go on", why=str(refused))
    return True  # whether the disk is back shows at the next look


async def _start_copy(keeper: Keeper) -> bool:
    context, machine, vmm = keeper.context, keeper.machine, keeper.vmm()
    if machine is None or vmm is None:
        return True
    uid = str(vmm["metadata"]["uid"])
    target, limits = vmms.target_report(vmm), keeper.limits()
    options = MigrationOptions(
        address=str(target["address"]),
        port=int(target["port"]),
        peer=vmms.target_node(vmm),
        auto_converge=vmms.auto_converge(vmm),
        downtime_limit_ms=limits.downtime_limit_ms,
        bandwidth_bytes_per_second=limits.bandwidth_bytes_per_second,
    )
    context.journal.put(keeper.copy, "copying", uid)
    keeper.memory.begin_copy(uid, context.clock.monotonic(), limits)
    keeper.log.mark("evict.copy", target=options.peer)
    try:
        await machine.migrate(options)
    except (HypervisorError, HostError) as error:
        keeper.memory.not_begun = str(error)
        raise
    return True


async def _allow_downtime(keeper: Keeper, limit_ms: int) -> bool:
    machine = keeper.machine
    if machine is not None:
        keeper.log.mark("evict.allow-downtime", limit_ms=limit_ms)
        await machine.allow_downtime(limit_ms)
        keeper.memory.allowed_ms = limit_ms
    return True


async def _powerdown(keeper: Keeper) -> bool:
    machine = keeper.machine
    if machine is None:
        return True
    memory, now = keeper.memory, keeper.context.clock.monotonic()
    memory.pressed_at = now
    if memory.stop_at is None:
        memory.stop_at = now + machine.spec.grace_s
        keeper.log.mark("stop.powerdown", grace_s=machine.spec.grace_s)
    await machine.powerdown()
    return True


async def _kill(keeper: Keeper, ended: str) -> bool:
    if ended == steps.LEASE_LOST:
        keeper.log.mark("safety.lease-lost")
    try:
        keeper.context.journal.put(keeper.copy, "ended", ended)
    except HostError:
        if ended not in steps.NO_REASONS:
            raise  # a full disk must not make a stop look like a crash
    machine = keeper.machine
    if machine is not None:
        await machine.kill()
    keeper.log.mark("killed", why=ended)
    return True


async def _release(keeper: Keeper, reason: str) -> bool:
    leases = keeper.context.leases
    if reason == LastReason.POD_DELETED and await _learned_of_pod(keeper):
        return True  # look again
    lease = leases.cached(keeper.vm)
    if lease is None:
        lease = await leases.fresh(keeper.vm)
    if lease is None or leases.view(lease, keeper.copy).state not in (
        LeaseState.MINE,
        LeaseState.MINE_BEFORE,
    ):
        return True
    if not keeper.context.journal.get(keeper.copy, "ended"):
        keeper.context.journal.put(keeper.copy, "ended", reason)  # a Pod whose turn is over ends
    outcome = await leases.release(lease, reason)
    keeper.log.mark("released", why=reason, outcome=outcome.value)
    if outcome is not Cas.ACKED:
        await leases.fresh(keeper.vm)
    return outcome is Cas.ACKED


async def _finish_pod(keeper: Keeper, reason: str) -> bool:
    context, pod = keeper.context, keeper.pod
    if pod is None:
        return True
    if reason == steps.MOVE_FAILED and await _learned_of_move(keeper, pod):
        return True  # look again
    if not keeper.context.journal.get(keeper.copy, "ended"):
        keeper.context.journal.put(keeper.copy, "ended", reason)
    await context.network.detach(keeper.copy)
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    context.publisher.forget(Subject(scheme.POD, namespace, name, "pod"))
    patch = report.pod_ended(pod, reason, keeper.memory.message, context.clock.wall())
    try:
        answer = await context.client.patch(
            scheme.POD, name, namespace, patch, subresource="status"
        )
    except status.NotFound:
        return True
    context.pods.observe(answer)
    return True


async def _learned_of_pod(keeper: Keeper) -> bool:
    """Whether a Pod that was given a lease exists although our cache has not seen it yet."""
    context = keeper.context
    if keeper.pod is not None or context.journal.get(keeper.copy, "started") is not None:
        return False
    bound, _ = await context.client.list(scheme.POD, fields=f"spec.nodeName={context.node}")
    for pod in bound:
        if pods.uid(pod) == keeper.copy:
            context.pods.observe(pod)
    return keeper.pod is not None


async def _learned_of_move(keeper: Keeper, pod: Object) -> bool:
    """Whether the migration of a target Pod exists although our cache has not seen it yet."""
    name = pods.migration_name(pod)
    if not name or keeper.vmm() is not None:
        return False
    try:
        vmm = await keeper.context.client.get(scheme.VMM, name, pod["metadata"]["namespace"])
    except status.NotFound:
        return False
    keeper.context.migrations.observe(vmm)
    return keeper.vmm() is not None


async def _drop_pod(keeper: Keeper) -> bool:
    pod = keeper.pod
    if pod is None:
        return True
    meta = pod["metadata"]
    try:
        await keeper.context.client.delete(
            scheme.POD, meta["name"], meta["namespace"], uid=meta["uid"], grace_s=0
        )
    except status.NotFound:
        return True
    return False  # its disappearance wakes us; ask again if it does not


async def forget(keeper: Keeper) -> None:
    """Nothing is left: take away tap, seed and marks."""
    context = keeper.context
    await context.network.detach(keeper.copy)
    await context.seeds.remove(keeper.copy)
    if keeper.pod is None:
        await context.hypervisor.forget(keeper.copy)  # else its logs stay as long as its Pod
    context.journal.forget(keeper.copy)
    keeper.log.info("forgotten")

"""What to do next about one VM: ``decide(view) -> Decision``. Pure.

The order of reading: a VM that goes, then the memory of ``power``, then the lease. Each act is repeatable, and each is
guarded where it lands (by uid, by resourceVersion, by the finalizer), so acting on an old view does nothing wrong.
The decision's ``power`` is written to the VM before its acts are carried out.
"""

from __future__ import annotations

from dataclasses import replace

from drover.api import names, vmpod
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmm as vmms
from drover.api.kinds.vm import DeviceKind, RestartApproval
from drover.api.kinds.vml import RESTORE_LEAP
from drover.api.meta import has_finalizer, is_deleting, name_of, uid_of
from drover.api.wire import Object
from drover.controllers.vm import changes, needs
from drover.controllers.vm.intents import (
    Acquire,
    Act,
    Break,
    ClaimDisks,
    CreateLease,
    CreatePod,
    Decision,
    DeleteLease,
    DeletePod,
    DropFinalizer,
    FreeDisks,
    RebuildLease,
    StopPod,
    UpdatePod,
)
from drover.controllers.vm.power import CRASH_BACKOFF, DISCARDED, Happened, Power, advance
from drover.controllers.vm.view import VmView, requests_of, status_power, stop_wish

MOST_GONE = 8  # Pods that had their turn, remembered beyond those that are seen


def decide(view: VmView) -> Decision:
    memory = Power.load(status_power(view.vm))
    if view.deleting:
        power, _ = advance(memory, _happened(view, memory))
        return _dismantle(view, replace(power, wanted=False, stop=power.stop or "graceful"))
    power, notes = advance(memory, _happened(view, memory))
    power = _choose_starter(view, power)
    decision = _steps(view, power)
    return replace(decision, notes=tuple(notes))


def _happened(view: VmView, memory: Power | None) -> Happened:
    lease = view.own_lease
    automatic = vms.restart_approval(view.vm) is RestartApproval.AUTOMATIC
    return Happened(
        policy=vms.run_policy(view.vm),
        now_s=view.now_s,
        lease_uid=uid_of(lease) if lease is not None else "",
        holder=view.holder,
        epoch=vmls.epoch(lease) if lease is not None else -1,
        last_reason=vmls.last_reason(lease) if lease is not None else "",
        lived_s=None if view.started_s is None else view.now_s - view.started_s,
        failed_pod=_failed_starter(view, memory),
        starters=tuple(uid_of(pod) for pod in view.starters()),
        requests=requests_of(view),
        restart_for_changes=automatic and bool(changes.pending(view)) and not needs.unmet(view),
    )


def _failed_starter(view: VmView, memory: Power | None) -> str:
    """The newest Pod, if it failed and never held the lease."""
    candidates = [pod for pod in view.pods if not pods.migration_name(pod)]
    if memory is None or not candidates or not pods.ended(candidates[-1]):
        return ""
    uid = uid_of(candidates[-1])
    lease = view.own_lease
    had_turn = (
        uid in memory.starters and lease is not None and vmls.epoch(lease) > memory.starters[uid]
    )
    return "" if had_turn else uid


def _had_turn(view: VmView, power: Power, pod: Object) -> bool:
    lease = view.own_lease
    chosen_at = power.starters.get(uid_of(pod))
    if chosen_at is None:
        return False
    # Of a lease that vanished the memory still knows the epoch: its holder may run and is no candidate.
    epoch = power.top if lease is None else vmls.epoch(lease)
    return chosen_at == DISCARDED or epoch > chosen_at


def _candidates(view: VmView, power: Power) -> list[Object]:
    return [pod for pod in view.starters() if not _had_turn(view, power, pod)]


def _choose_starter(view: VmView, power: Power) -> Power:
    """Remember the lease and the Pod of the coming Acquire, and forget Pods that are long gone."""
    starters = _remembered(view, power.starters)
    lease = view.own_lease
    if not view.holder:
        # Never started: made anew from the spec as it is now. Its disks would not be those that are claimed.
        old = [pod for pod in _candidates(view, power) if changes.outdated(pod, view)]
        starters |= {uid_of(pod): DISCARDED for pod in old}
        power = replace(power, starters=starters)
    elif lease is not None:
        # Two leaders chose two Pods, and the other one was given the lease: this one never gets a turn.
        beaten = [uid for uid, epoch in starters.items() if vmls.epoch(lease) == epoch + 1]
        starters |= {uid: DISCARDED for uid in beaten if uid != view.holder}
    if lease is not None:
        starters |= _of_the_past(view, lease, starters)
        power = replace(power, lease=uid_of(lease))
        candidates = _candidates(view, power)
        if vmls.released(lease) and power.wanted and candidates:
            starters[uid_of(candidates[0])] = vmls.epoch(lease)
    return replace(power, starters=starters)


def _remembered(view: VmView, starters: dict[str, int]) -> dict[str, int]:
    """All that are there, and the last few others: a cache that is behind has not heard of a Pod yet, and whoever
    forgets that it had its turn gives it another one."""
    present = {uid_of(pod) for pod in view.pods}
    others = sorted((epoch, uid) for uid, epoch in starters.items() if uid not in present)
    kept = present | {uid for _, uid in others[-MOST_GONE:]}
    return {uid: epoch for uid, epoch in starters.items() if uid in kept}


def _of_the_past(view: VmView, lease: Object, starters: dict[str, int]) -> dict[str, int]:
    """Chosen before a restore, for a turn that nobody remembers: their nodes will never report their end."""
    last = vmls.epoch(lease) - RESTORE_LEAP
    past = [uid for uid, epoch in starters.items() if epoch <= last and uid != view.holder]
    return dict.fromkeys(past, DISCARDED)


def _steps(view: VmView, power: Power) -> Decision:
    lease = view.lease
    if lease is not None and not view.owns(lease):
        gone = vmls.released(lease) and not is_deleting(lease)
        return Decision(power, (DeleteLease(lease),) if gone else (), again_s=5.0)
    if view.holder:
        # Nobody tells us when the node of a Pod that is gone loses its Lease, or gets one.
        return Decision(power, _while_held(view, power), again_s=None if view.active_pod else 5.0)
    acts = _clear(view, power)
    if lease is None and power.lease:
        return _lease_lost(view, power, acts)
    if not power.wanted:
        return Decision(power, (*acts, *_free(view, set())))
    if lease is None:
        acts.append(CreateLease())
    return _start(view, power, acts)


def _clear(view: VmView, power: Power) -> list[Act]:
    """Pods that shall not start the VM; all of them while it is wanted off."""
    acts: list[Act] = [DeletePod(pod) for pod in view.starters() if _discarded(power, pod)]
    if not power.wanted:
        acts += [DeletePod(pod) for pod in _candidates(view, power)]
    return acts


def _lease_lost(view: VmView, power: Power, acts: list[Act]) -> Decision:
    """Absent is not released. Pods that wait for a start are given up: the new lease has an epoch of its own."""
    # Seen released when it was seen last: then nothing has ended that is not dealt with already.
    reason = _reason_of_last_pod(view) if power.top > power.epoch else ""
    given_up = {uid_of(pod): DISCARDED for pod in _candidates(view, power)}
    acts.append(RebuildLease(power.top, reason))
    power = replace(power, starters={**power.starters, **given_up})
    return Decision(power, tuple(acts), again_s=1.0)


def _discarded(power: Power, pod: Object) -> bool:
    return power.starters.get(uid_of(pod)) == DISCARDED


def _start(view: VmView, power: Power, acts: list[Act]) -> Decision:
    """Released (or no lease yet) and wanted on."""
    lease = view.own_lease
    wanted_disks = disk_names(view)
    acts += _free(view, set(wanted_disks))
    candidates = _candidates(view, power)
    acts += [DeletePod(pod) for pod in candidates[1:]]
    if candidates:
        pod = candidates[0]
        if lease is None or is_deleting(lease) or not pods.node_name(pod):
            return Decision(power, tuple(acts))
        claim = ClaimDisks(wanted_disks, vmls.epoch(lease) + 1)
        return Decision(power, (*acts, claim, Acquire(pod, lease, wanted_disks)))
    if needs.unmet(view):
        return Decision(power, tuple(acts), again_s=5.0 if view.secret_problem else None)
    wait_s = max(CRASH_BACKOFF.left_s(power.not_before_s, view.now_s), view.refusal_wait_s)
    if wait_s > 0:
        return Decision(power, tuple(acts), again_s=wait_s)
    if view.ahead:
        return Decision(power, tuple(acts), again_s=view.ahead_s)  # woken when it is our turn
    epoch = vmls.epoch(lease) + 1 if lease is not None else 1
    return Decision(power, (*acts, ClaimDisks(wanted_disks, epoch), CreatePod()))


def _while_held(view: VmView, power: Power) -> tuple[Act, ...]:
    active = view.active_pod
    if view.holder_dead and view.own_lease is not None:
        # Its Pod may have been bound after the fencing controller took that node's Pods away.
        return (
            *([DeletePod(active, lost=True)] if active is not None else []),
            Break(view.own_lease),
        )
    acts: list[Act] = []
    how = power.restart if power.wanted else (power.stop or "graceful")
    if active is not None and how and _stronger(how, stop_wish(active)):
        acts.append(StopPod(active, how))
    elif active is not None and not view.deleting:
        patch = vmpod.metadata_patch(view.vm, active)
        acts += [UpdatePod(active, patch)] if patch else []
    # A source after its hand-over is no stray: a hand back may follow, and its agent reports its end.
    sources = {vmms.source_pod_uid(move) for move in view.moves}
    lease = view.own_lease
    assert lease is not None
    # Its Acquire may be on its way, while the lease stands where it was chosen.
    chosen = {uid for uid, epoch in power.starters.items() if epoch + 1 >= vmls.epoch(lease)}
    spared = {view.holder, *sources, *chosen}
    acts += [DeletePod(pod) for pod in view.starters() if uid_of(pod) not in spared]
    acts += _free(view, {*disk_names(view), *vmls.disks(lease)})
    return tuple(acts)


def _stronger(how: str, present: str) -> bool:
    return how != present and present != "force"


def _dismantle(view: VmView, power: Power) -> Decision:
    """The VM is being deleted: stop, wait for the release, take the lease away, let go.

    ``power.lease`` is emptied before the lease is deleted: only then is its absence our own doing.
    """
    if not has_finalizer(view.vm, names.VM_FINALIZER):
        return Decision(power)
    lease = view.own_lease
    if lease is None and power.lease:
        return Decision(power, (RebuildLease(power.top, names.LastReason.CRASHED),), again_s=1.0)
    if view.holder:
        return Decision(power, _while_held(view, power))
    power = replace(power, lease="")
    acts: list[Act] = [DeletePod(pod) for pod in _candidates(view, power)]
    acts += _free(view, set())
    if lease is not None:
        return Decision(power, (*acts, *(() if is_deleting(lease) else (DeleteLease(lease),))))
    return Decision(power, (*acts, DropFinalizer()))


def _free(view: VmView, needed: set[str]) -> list[Act]:
    """Let go of disks that this VM holds and needs no more."""
    surplus = tuple(name_of(disk) for disk in view.held_disks if name_of(disk) not in needed)
    return [FreeDisks(surplus)] if surplus else []


def disk_names(view: VmView) -> tuple[str, ...]:
    """VirtualDisks of the VM, in name order: all VMs claim in one order, so two never wait for each other."""
    refs = vms.devices(view.vm)
    return tuple(sorted(ref.name for ref in refs if ref.kind is DeviceKind.DISK))


def _reason_of_last_pod(view: VmView) -> str:
    """What the newest ended Pod says about its end; Crashed when it says nothing."""
    for pod in reversed(view.pods):
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            ended = (status.get("state") or {}).get("terminated") or {}
            if ended.get("reason"):
                return str(ended["reason"])
    return names.LastReason.CRASHED

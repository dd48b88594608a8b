"""What a VM shows of its migrations. Pure.

The transfer begins for users when the phase becomes Migrating, and that very write is what lets the copy start, so
nobody can miss it. It ends when the target's Pod says that the guest runs there, or when the migration is over. The
active Pod is the one that holds the lease; nothing else tells which side the guest is on.
"""

from __future__ import annotations

from typing import Any

from drover.api import conditions as cond
from drover.api.evacuation import blocked_of, mark_of
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds.pod import PodPhase
from drover.api.kinds.vm import MigrationResult, VmCondition, VmPhase, VmReason
from drover.api.meta import is_deleting, name_of, uid_of
from drover.api.names import VmmPhase
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339, rfc3339
from drover.controllers.vm.view import VmView

# A move that is made ready within this time leaves no trace on the VM before its transfer: who watches a VM sees
# Running, Migrating, Running, and not every step of the preparation. One that hangs shows why.
QUIET_S = 3.0
# From the hand-over to the target's first word the guest stands still, and a write that tells of the one would take
# time from the other: it waits so long, and then is one with it.
ARRIVAL_S = 1.0
_TRANSFER = (VmmPhase.READY, VmmPhase.COPYING)
_REFUSED = "QuotaExceeded"  # vmm.status.reason: a quota keeps its target Pod from being made
_STORY = {
    VmmPhase.PENDING: (False, VmReason.PENDING, "Migration is awaiting start."),
    VmmPhase.SCHEDULING: (
        False, VmReason.IN_PROGRESS, "Migration is in progress: target pod is being scheduled.",
    ),
    VmmPhase.PREPARING: (
        False, VmReason.IN_PROGRESS, "Migration is in progress: preparing the migration target.",
    ),
}  # fmt: skip
_COPY = (
    True,
    VmReason.IN_PROGRESS,
    "Migration is in progress: source and target are being synchronized.",
)


def copying(view: VmView) -> bool:
    """The transfer goes on, from the permission to start until the guest runs on the target.

    A migration that is being aborted and has not begun to copy does not begin any more.
    """
    move = view.move
    if move is None or vmms.phase(move) not in _TRANSFER:
        return False
    if is_deleting(move) and vmms.phase(move) == VmmPhase.READY:
        return False
    pod = view.active_pod
    arrived = (
        pod is not None
        and uid_of(pod) == vmms.target_pod_uid(move)
        and pods.phase(pod) is PodPhase.RUNNING
    )
    return not arrived


def node_name(view: VmView) -> str:
    """Where the guest is: of the holder, but of the source until the target's Pod runs."""
    pod = view.active_pod
    before = str(vms.status(view.vm).get("nodeName", ""))
    if pod is None:
        return before if view.holder else ""
    if pods.migration_name(pod) and pods.phase(pod) is PodPhase.PENDING:
        return before or pods.node_name(pod)
    return pods.node_name(pod)


def migration_state(view: VmView, phase: VmPhase) -> dict[str, Any] | None:
    """The latest transfer. One that never began leaves no trace."""
    state = dict(vms.status(view.vm).get("migrationState") or {})
    now = rfc3339(view.now_s)
    open_before = bool(state.get("startTimestamp")) and not state.get("endTimestamp")
    move = view.move
    if phase is VmPhase.MIGRATING and move is not None:
        return {
            "startTimestamp": state["startTimestamp"] if open_before else now,
            "source": _source(move),
            "target": {"node": vmms.target_node(move), "pod": vmms.target_pod_name(move)},
            "result": "",
        }
    if open_before and phase is not VmPhase.MIGRATING:
        active = view.active_pod
        arrived = active is not None and name_of(active) == (state.get("target") or {}).get("pod")
        result = MigrationResult.SUCCEEDED if arrived else MigrationResult.FAILED
        return {**state, "endTimestamp": now, "result": str(result)}
    return state or None


def _source(move: Object) -> dict[str, str]:
    return {"node": vmms.source_node(move), "pod": vmms.source_pod_name(move)}


def quiet_s(view: VmView) -> float:
    """How much longer the present step before the transfer stays unmentioned, the wait for a slot or the preparation;
    0: it is to be told."""
    move = view.move
    if move is None or vmms.phase(move) in _TRANSFER:
        return 0.0
    targets = [pod for pod in view.pods if pods.migration_name(pod) == name_of(move)]
    since = parse_rfc3339([move, *targets][-1]["metadata"]["creationTimestamp"])
    return max(0.0, QUIET_S - (view.now_s - since))


def arriving(view: VmView) -> str:
    """The Pod (uid) to which the lease was handed over, and which has not said yet that the guest runs; empty: none."""
    pod = view.active_pod
    if pod is None or not pods.migration_name(pod) or not copying(view):
        return ""
    return view.holder if pods.phase(pod) is PodPhase.PENDING else ""


def shown_pods(view: VmView) -> list[Object]:
    """All Pods of the VM, but for the target of a move that is not told yet, and for one that was asked to leave its
    node when its guest has left it: that goes at once, and would be one more thing to tell."""
    hidden = quiet_s(view) > 0
    return [
        pod
        for pod in view.pods
        if uid_of(pod) == view.holder
        or not (_left(view, pod) or (hidden and pods.migration_name(pod) and not pods.ended(pod)))
    ]


def _left(view: VmView, pod: Object) -> bool:
    active = view.active_pod
    return mark_of(pod) is not None and active is not None and bool(pods.migration_name(active))


def condition(view: VmView) -> Object | None:
    """Present only while a migration goes on."""
    move = view.move
    if move is None or not view.holder:
        return None
    if quiet_s(view) > 0:
        return _still_queued(view)
    if vmms.phase(move) in _TRANSFER and not copying(view):
        return None  # it has arrived; that goes with the phase, in one write
    holds, reason, message = _STORY.get(vmms.phase(move), _COPY)
    said = vmms.status(move)
    if vmms.phase(move) == VmmPhase.PENDING and said.get("reason") == _REFUSED:
        message = f"Migration is pending: {said.get('message', '')}."
    return cond.condition(VmCondition.MIGRATING, holds, reason, message)


def _still_queued(view: VmView) -> Object | None:
    """What was said while the move waited for its slot."""
    before = cond.get_condition(view.vm, VmCondition.MIGRATING)
    return before if before is not None and before["reason"] == VmReason.PENDING else None


def eviction(view: VmView) -> list[Object]:
    """While the guest runs in a Pod that was asked to leave its node, and why it cannot leave, if it cannot."""
    pod = view.active_pod
    if pod is None or mark_of(pod) is None or pods.phase(pod) is not PodPhase.RUNNING:
        return []
    message = "VirtualMachine should be evicted from current node or restarted."
    found = [
        cond.condition(VmCondition.EVICTION_REQUIRED, True, VmReason.EVICTION_REQUIRED, message)
    ]
    blocked = blocked_of(pod)
    if blocked is not None:
        found.append(
            cond.condition(VmCondition.EVACUATION_BLOCKED, True, blocked.reason, blocked.message)
        )
    return found

"""What a copy tells the world: pure functions from a view to status patches.

The Pod's status is this agent's alone; of a vmm's status the source's agent writes ``source``, the target's ``target``.
"""

from __future__ import annotations

from drover.agent import steps
from drover.agent.decide import given_up
from drover.agent.ports import (
    MOVING,
    Listener,
    MigrationInfo,
    MigrationState,
    RunState,
)
from drover.agent.view import CopyView, LeaseState, MachineView, MoveView, Role
from drover.api import firmware, names
from drover.api.kinds import pod as pods
from drover.api.names import LastReason, VmmPhase
from drover.api.wire import Object
from drover.base.clock import rfc3339

CLEAN_ENDS = (LastReason.GUEST_SHUTDOWN, LastReason.GUEST_RESET, LastReason.STOPPED, LastReason.POD_DELETED,
              steps.MIGRATED)  # fmt: skip


# A monitor that says nothing for so long is shown (seconds).
SILENCE_SHOWN_S = 10.0
SILENCE_ENDS_MOVE_S = 30.0  # of a target that was let go on
MONITOR_SILENT = "MonitorSilent"
SILENCE_MESSAGE = "QEMU does not answer; its guest may run on and is left alone"


def running(view: CopyView) -> bool:
    """The guest runs here and may."""
    return (
        view.machine is not None
        and view.machine.state is RunState.RUNNING
        and view.lease.state in (LeaseState.MINE, LeaseState.ABSENT)
    )


def silent(view: CopyView, pod: Object) -> bool:
    """A guest that was running, and whose QEMU has said nothing for a while. It may run on; nobody knows."""
    machine = view.machine
    quiet = machine is not None and machine.silent_s >= SILENCE_SHOWN_S
    return quiet and pods.phase(pod) is pods.PodPhase.RUNNING


def says_silent(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c.get("reason") == MONITOR_SILENT for c in conditions)


def disk_failed(view: CopyView) -> bool:
    """QEMU has stopped the guest that runs here, since a disk failed."""
    machine = view.machine
    return (
        machine is not None
        and machine.state is RunState.IO_ERROR
        and view.lease.state in (LeaseState.MINE, LeaseState.ABSENT)
    )


def disk_message(why: str) -> str:
    reason = f" ({why})" if why else ""
    return (
        f"A disk of the VM failed{reason} and the guest stands still. It goes on by itself, with nothing lost, "
        "once the node can read and write its disks again"
    )


def pod_not_ready(pod: Object, reason: str, message: str, now_s: float) -> Object:
    """Merge patch: still running, not ready, and why."""
    ready = _condition("Ready", "False", now_s, pod, reason, message)
    return {"status": {"conditions": _merged(pod, [ready])}}


def pod_running(
    pod: Object, address: str, now_s: float, agent_ready: bool | None, qemu: str = ""
) -> Object:
    """Merge patch: the guest runs, on this version of QEMU. Keeps conditions of other writers and the first start
    time.
    """
    since = _started_at(pod) or rfc3339(now_s)
    ready = [
        _condition(kind, "True", now_s, pod) for kind in ("Initialized", "ContainersReady", "Ready")
    ]
    if agent_ready is not None:
        ready.append(_condition("drover.dev/AgentReady", str(agent_ready), now_s, pod))
    return {
        "status": {
            "phase": "Running",
            "startTime": since,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": _merged(pod, ready),
            "containerStatuses": [_container(pod, True, {"running": {"startedAt": since}}, qemu)],
        }
    }


def pod_waiting(pod: Object, reason: str, message: str, now_s: float) -> Object:
    """Merge patch: nothing runs yet, and why."""
    ready = [_condition(kind, "False", now_s, pod, reason) for kind in ("ContainersReady", "Ready")]
    waiting = {"waiting": {"reason": reason, "message": message}}
    return {
        "status": {
            "phase": "Pending",
            "conditions": _merged(pod, ready),
            "containerStatuses": [_container(pod, False, waiting)],
        }
    }


def pod_ended(pod: Object, reason: str, message: str, now_s: float) -> Object:
    """Merge patch: nothing runs any more. The VM lease was released or handed over before."""
    clean = reason in CLEAN_ENDS
    ended = {
        "exitCode": 0 if clean else 1,
        "reason": reason,
        "message": message,
        "finishedAt": rfc3339(now_s),
        "startedAt": _started_at(pod) or rfc3339(now_s),
    }
    ready = [_condition(kind, "False", now_s, pod, reason) for kind in ("ContainersReady", "Ready")]
    return {
        "status": {
            "phase": "Succeeded" if clean else "Failed",
            "reason": reason,
            "message": message,
            "conditions": _merged(pod, ready),
            "containerStatuses": [_container(pod, False, {"terminated": ended})],
        }
    }


def source_report(
    view: CopyView, incarnation: str, cancelled: str, not_begun: str, last: MigrationInfo
) -> Object | None:
    """The source's part of the vmm's status; None when there is nothing to say.

    ``not_begun``: why the copy never began, if it did not; then what QEMU says is of another one. ``last``: what QEMU
    said last of it; the end of a short one is known only when its QEMU is gone.
    """
    move, machine = view.move, view.machine
    if move is None or move.role is not Role.SOURCE:
        return None
    if view.marks.copying != move.uid:
        return _never_began(view, move)
    if view.lease.holder == move.target_copy:
        told = _counters(last) if last.state is MigrationState.COMPLETED else {}
        return {
            "phase": "Done" if machine is None else "HandedOver",
            "handOverEpoch": view.lease.epoch,
            "incarnation": incarnation,  # for a hand back: the copy may have been too short for a report
            **told,
        }
    if machine is None:
        return {
            "phase": "Failed",
            "reason": "SourceGone",
            "message": view.marks.ended or "QEMU is gone",
        }
    info = machine.migration
    counters: Object = {"incarnation": incarnation, **_counters(info)}
    back = machine.state in (RunState.RUNNING, RunState.IO_ERROR)  # to where it was, if not to run
    if back and info.state not in MOVING:
        reason = cancelled or "MigrationFailed"
        return {
            "phase": "Failed",
            "reason": reason,
            "message": not_begun or info.error or _said(info.state),
            **counters,
        }
    if given_up(view):
        return _stands_still(machine)
    if move.source_phase == "Failed":
        return None  # said already; it is being cancelled
    return {"phase": "Copying", "stalledSeconds": int(move.stalled_s), **counters}


def _never_began(view: CopyView, move: MoveView) -> Object | None:
    """A copy that is aborted before it began never begins: say so, the abort waits for our word. Nor does one whose
    target failed first, or whose guest stands still."""
    if view.lease.state is not LeaseState.MINE:
        return None
    if move.aborting:
        return {"phase": "Failed", "reason": "Aborted"}
    if move.phase == VmmPhase.COPYING and move.target_phase == "Failed":
        return {"phase": "Failed", "reason": "TargetFailed"}
    return _stands_still(view.machine) if view.machine is not None and given_up(view) else None


def _stands_still(machine: MachineView) -> Object:
    quiet = machine.state is RunState.OTHER and machine.silent_s
    said = "QEMU does not answer" if quiet else f"QEMU says {machine.state.value}"
    return {"phase": "Failed", "reason": "GuestNotRunning", "message": said}


def _counters(info: MigrationInfo) -> Object:
    return {
        "ramTotalBytes": info.total_bytes,
        "ramTransferredBytes": info.transferred_bytes,
        "ramRemainingBytes": info.remaining_bytes,
        "dirtyBytesPerSecond": info.dirty_bytes_per_second,
        "iteration": info.iteration,
        "mbps": round(info.mbps),
        "throttlePercent": info.throttle_percent,
        "downtimeMs": info.downtime_ms,
    }


def target_report(
    view: CopyView,
    listener: Listener | None,
    incarnation: str,
    failure: tuple[str, str] = ("", ""),
) -> Object | None:
    """The target's part of the vmm's status. ``failure``: cause and words of a QEMU that did not start."""
    move = view.move
    if move is None or move.role is not Role.TARGET:
        return None
    if view.marks.resuming and (running(view) or _arrived_and_silent(view)):
        return {"phase": "Running", "incarnation": incarnation}
    if view.machine is None and (view.marks.started or view.marks.ended):
        if move.final and move.target_phase == "Running":
            return None  # it arrived, and that is over: how the guest ended later is no part of it
        if listener is not None and not view.marks.ended:
            return listening(listener, incarnation)
        cause, why = failure if view.marks.ended == LastReason.START_FAILED else ("", "")
        return {
            "phase": "Failed",
            "reason": cause or view.marks.ended or "TargetGone",
            "message": why or "the incoming QEMU ended",
        }
    return listening(listener, incarnation) if listener is not None else None


def _arrived_and_silent(view: CopyView) -> bool:
    """It was let go on, and its monitor has said nothing for long. Its source can never go on again (safety rule 4), so
    the move is over, and keeps no slot; the Pod says that QEMU is silent."""
    machine = view.machine
    silent = machine is not None and machine.silent_s >= SILENCE_ENDS_MOVE_S
    return silent and view.lease.state is LeaseState.MINE


def listening(listener: Listener, incarnation: str) -> Object:
    """The target's report while it waits for the copy."""
    return {
        "phase": "Listening",
        "address": listener.address,
        "port": listener.port,
        "incarnation": incarnation,
    }


def _said(state: MigrationState) -> str:
    return "it did not begin" if state is MigrationState.NONE else f"QEMU says {state.value}"


def _container(pod: Object, ready: bool, state: Object, qemu: str = "") -> Object:
    image = pod["spec"]["containers"][0].get("image", "")
    version = qemu or firmware.running_on(pod)
    return {
        "name": names.COMPUTE_CONTAINER,
        "image": image,
        "imageID": f"{firmware.RUNNING_PREFIX}{version}" if version else image,
        "containerID": f"qemu://{pod['metadata']['uid']}",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
    }


def _started_at(pod: Object) -> str:
    return str((pod.get("status") or {}).get("startTime") or "")


def _condition(
    kind: str, status: str, now_s: float, pod: Object, reason: str = "", message: str = ""
) -> Object:
    for old in (pod.get("status") or {}).get("conditions") or []:
        same = old["type"] == kind and old["status"] == status
        if same and (not reason or old.get("reason") == reason):
            return dict(old)
    # With the null that the API server adds: what it stored must equal what is said next time, or it is said twice.
    made: Object = {"type": kind, "status": status, "lastProbeTime": None}
    made["lastTransitionTime"] = rfc3339(now_s)
    told = {"reason": reason, "message": message}
    return {**made, **{name: text for name, text in told.items() if text}}


def _merged(pod: Object, ours: list[Object]) -> list[Object]:
    kinds = [c["type"] for c in ours]
    old = (pod.get("status") or {}).get("conditions") or []
    return [dict(c) for c in old if c["type"] not in kinds] + ours

"""What to do next with one copy: ``decide(view) -> Step``. Pure; every branch of the agent's story is here.

The order of reading: a copy without a process, a guest that ended by itself, then by who holds the lease. Only
``Acknowledged`` facts move a guest: a lease that names us, a process that is reaped, a status that QEMU reported.
Time-outs decide when to *stop waiting and ask again*, never who runs.

    no process --launch--> prelaunch --resume--> running --(guest ends | stop)--> kill --> release --> Pod final
    source: running --start copy--> active --> postmigrate --hand over--> (target runs) --> kill
                                        \\--fails--> running      \\--take back--> running
    target: listen --> inmigrate --> paused/completed --(lease is ours)--> mark resuming --> running
                                             \\--(lease is ours, broken)--> kill --> hand back

Safety rules carried here (numbers of docs/safety.md): 1 absent is not released, 4 no hand back once resumed,
5 postmigrate goes on only after a write of our own, 7 a guest that ended during the copy, 14 leases not Pods,
19 copy only when the node's Lease is fresh.
"""

# Long module: the whole story of a copy, to be read in one go.

from __future__ import annotations

from drover.agent.ports import MOVING, MigrationState, RunState
from drover.agent.steps import (
    HANDED_BACK,
    LEASE_LOST,
    MIGRATED,
    MOVE_FAILED,
    NO_REASONS,
    AllowDowntime,
    AskLease,
    CancelCopy,
    Done,
    DropPod,
    FinishPod,
    HandBack,
    HandOver,
    Kill,
    Launch,
    LaunchIncoming,
    ListenAgain,
    Powerdown,
    Release,
    Resume,
    StartCopy,
    Step,
    TakeBack,
    TryDisk,
    Wait,
)
from drover.agent.view import CopyView, HandOverState, LeaseState, MachineView, Role
from drover.api.names import LastReason, VmmPhase

# How often a copy in transfer is looked at; QEMU itself updates its counters every 100 ms.
PROGRESS_INTERVAL_S = 0.2
# Between `completed` on the source and the end of loading on the target lie a few milliseconds.
SETTLE_POLL_S = 0.003
# An incoming copy that holds the lease and is still not complete after this is given up and handed back.
LOAD_LIMIT_S = 10.0
# A guest that QEMU refuses to let go on for so long (a disk that somebody else has locked) is given up.
RESUME_LIMIT_S = 30.0
# A copy that may begin and cannot (its guest stands still, its QEMU says nothing) holds slots of others.
BEGIN_LIMIT_S = 30.0
# A monitor that says nothing is asked again: that it answers once more is no event.
SILENT_POLL_S = 1.0

_SHUTDOWN_REASONS = {
    "guest-reset": LastReason.GUEST_RESET,
    "guest-shutdown": LastReason.GUEST_SHUTDOWN,
    "guest-panic": LastReason.GUEST_PANICKED,
}  # anything else, and nothing: it ended and nobody knows why, which is a crash


def decide(view: CopyView) -> Step:
    """The next act for this copy."""
    step = _decide(view)
    if isinstance(step, Resume | TakeBack) and view.refused_s > RESUME_LIMIT_S:
        return Kill(_why_it_never_went_on(view))
    silent = view.machine is not None and view.machine.state is RunState.OTHER
    return Wait(SILENT_POLL_S) if silent and step == Wait() else step


def _why_it_never_went_on(view: CopyView) -> str:
    if view.is_target:
        return HANDED_BACK  # not even the mark could be written that comes before `cont`
    fresh = view.machine is not None and view.machine.state is RunState.PRELAUNCH
    return LastReason.START_FAILED if fresh else LastReason.CRASHED


def _decide(view: CopyView) -> Step:
    if view.machine is None:
        return _without_machine(view)
    ended = _guest_end(view)
    if ended:
        return Kill(ended)
    match view.lease.state:
        case LeaseState.MINE:
            return _holding(view)
        case LeaseState.ABSENT:
            return _lease_absent(view)
        case _:
            return _not_holding(view)


def _without_machine(view: CopyView) -> Step:
    if view.lease.state in (LeaseState.MINE, LeaseState.MINE_BEFORE):
        return _lease_without_machine(view)
    pod, marks = view.pod, view.marks
    if pod is None or (pod.final and not pod.deleting):
        return Done()
    if pod.final:
        return DropPod()
    # A Pod that says Running ran here. A late report of that may land after its end.
    if marks.started or marks.ended or pod.running:
        # An incoming copy that never ran was no VM yet: its end is the move's, not the VM's.
        return FinishPod(marks.ended or (MOVE_FAILED if view.is_target else LastReason.CRASHED))
    if pod.deleting:
        return DropPod()
    move = view.move
    if pod.migration and move is not None and not move.final and not move.aborting:
        return LaunchIncoming() if move.source_copy == view.lease.holder else Wait()
    if pod.migration and (move is None or move.final):
        return FinishPod(MOVE_FAILED)
    return Wait()


def _lease_without_machine(view: CopyView) -> Step:
    """The lease names us and no process lives: start it, hand it back, or release it (safety rule 14)."""
    pod, marks = view.pod, view.marks
    before = view.lease.state is LeaseState.MINE_BEFORE
    # Marks outlive a boot. Without any, those of a former life may be lost, and it may have run there.
    known = marks.started or not before
    if _never_ran(view) and known and marks.ended != LastReason.RESET_DURING_MIGRATION:
        return HandBack()  # whatever ended its process
    if marks.ended and marks.ended not in NO_REASONS:
        return Release(marks.ended)
    if before:
        return Release(LastReason.NODE_RESTARTED)
    if marks.started:
        return Release(LastReason.CRASHED)
    if pod is None or pod.deleting:
        return Release(LastReason.POD_DELETED)
    if pod.stop:
        return Release(LastReason.STOPPED)
    return Release(LastReason.CRASHED) if pod.final else Launch()


def _never_ran(view: CopyView) -> bool:
    """A copy that was given the lease while it waited for its guest, or after it had given up and was forgotten."""
    move = view.move
    return view.is_target and move is not None and move.phase != VmmPhase.SUCCEEDED


def _guest_end(view: CopyView) -> str:
    """The reason when the guest ended by itself, or an incoming copy turned out to be of such a guest."""
    machine = view.machine
    assert machine is not None
    if view.marks.ended:
        return view.marks.ended  # decided before a crash of the agent; carry it out
    if view.is_target:
        # The source alone sees SHUTDOWN; its copy then says `shutdown` here. Neither may go on (safety rule 7).
        # Also before it holds the lease: the source's agent may have been away, and only this report tells it.
        died = machine.state in (RunState.SHUTDOWN, RunState.PANICKED)
        return LastReason.RESET_DURING_MIGRATION if died else ""
    if machine.state is RunState.PANICKED:
        return LastReason.GUEST_PANICKED
    if machine.state is RunState.SHUTDOWN or machine.shutdown:
        # That the button was pressed is forgotten with the agent; that it was to be, is not.
        stopped = view.must_stop or view.stop_left_s is not None
        if stopped and machine.shutdown != "guest-reset":
            return _stop_reason(view)
        return _SHUTDOWN_REASONS.get(machine.shutdown, LastReason.CRASHED)
    return ""


def _holding(view: CopyView) -> Step:
    machine = view.machine
    assert machine is not None
    if view.is_target:
        return _arriving(view)
    if machine.state is RunState.POSTMIGRATE:
        return _copied(view)
    if machine.state is RunState.IO_ERROR and machine.migration.state not in MOVING:
        return _disk_failed(view)
    if machine.state is RunState.PRELAUNCH or (
        machine.state is RunState.PAUSED and machine.migration.state not in MOVING
    ):
        return Kill(LastReason.POD_DELETED) if view.must_stop else Resume()
    moving = machine.migration.state in MOVING
    if moving and not view.is_source:
        return _cancel(view, "Superseded")
    if view.must_stop and not moving:
        return _stopping(view)
    return _source(view) if view.is_source else Wait()


def _disk_failed(view: CopyView) -> Step:
    """QEMU has stopped the guest; nothing of it is lost, and the disk may come back."""
    if view.must_stop:
        step = _stopping(view)
        if not isinstance(step, Wait):
            return step
    left_s = view.stop_left_s if view.stop_left_s is not None else view.disk_try_s
    return Wait(min(view.disk_try_s, left_s)) if view.disk_try_s > 0 else TryDisk()


def _arriving(view: CopyView) -> Step:
    """The lease was handed to this incoming copy."""
    machine = view.machine
    assert machine is not None
    unwanted = view.pod is None or view.pod.deleting
    if unwanted and _never_ran(view):
        return Kill(HANDED_BACK)  # somebody deleted the target, not the VM
    if machine.state is RunState.PAUSED and machine.migration.state is MigrationState.COMPLETED:
        return Resume()
    if machine.migration.state is MigrationState.FAILED or view.mine_for_s > LOAD_LIMIT_S:
        return Kill(HANDED_BACK)
    return Wait(SETTLE_POLL_S)


def _copied(view: CopyView) -> Step:
    """The source stands in postmigrate and holds the lease: hand over, or take back."""
    move = view.move
    if move is not None and move.guest_ended and move.uid == view.marks.copying:
        return Kill(LastReason.RESET_DURING_MIGRATION)  # what stands here is of a guest that ended
    if move is None or move.role is not Role.SOURCE or move.final or move.aborting:
        return TakeBack()
    if move.uid != view.marks.copying or "Failed" in (move.target_phase, move.source_phase):
        return TakeBack()  # who said once that it failed never hands over after all
    assert view.machine is not None
    if view.machine.migration.state in MOVING:
        return Wait(SETTLE_POLL_S)  # it was asked first, and has completed since
    if view.machine.migration.state is not MigrationState.COMPLETED:
        return TakeBack()  # a guest that stood still already when its copying failed
    match move.handover:
        case HandOverState.UNSENT:
            return Resume()
        case HandOverState.NONE:
            return HandOver()
        case _:  # no answer came, or the target handed back
            return TakeBack()


def _source(view: CopyView) -> Step:
    machine, move = view.machine, view.move
    assert machine is not None
    assert move is not None
    if machine.migration.state in MOVING and view.marks.copying:
        why = _why_cancel(view)
        if why:
            return _cancel(view, why)
        return AllowDowntime(move.allow_ms) if move.allow_ms else Wait(PROGRESS_INTERVAL_S)
    if machine.state is not RunState.RUNNING:
        return Wait(SETTLE_POLL_S)  # between `completed` and postmigrate
    if (
        view.marks.copying == move.uid
        or move.final
        or move.aborting
        or move.source_phase == "Failed"
        or given_up(view)
    ):
        return Wait()
    if move.phase == VmmPhase.COPYING and move.target_phase == "Listening":
        return StartCopy() if view.node_fresh else Wait(PROGRESS_INTERVAL_S)
    return Wait()


def given_up(view: CopyView) -> bool:
    """The copy does not begin, or nobody can say how it goes on. Once this was said it is never handed over."""
    move, machine = view.move, view.machine
    if move is None or machine is None or move.handover is not HandOverState.NONE:
        return False
    silent = view.marks.copying == move.uid and machine.state is RunState.OTHER
    return move.let_for_s > BEGIN_LIMIT_S or (silent and machine.silent_s > BEGIN_LIMIT_S)


def _why_cancel(view: CopyView) -> str:
    move = view.move
    assert move is not None
    if move.aborting or move.final:
        return "Aborted"
    if view.must_stop:
        return "PodDeleted"
    if move.target_phase == "Failed":
        return "TargetFailed"
    if move.source_phase == "Failed":
        return "MigrationFailed"
    if move.uid != view.marks.copying:
        return "Superseded"
    return move.overdue


def _stopping(view: CopyView) -> Step:
    if view.pod is not None and view.pod.stop == "force":
        return Kill(LastReason.STOPPED_FORCED)
    if view.stop_left_s is None:
        return Powerdown()
    if view.stop_left_s <= 0:
        return Kill(
            LastReason.STOPPED_FORCED if view.pod and view.pod.stop else LastReason.POD_DELETED
        )
    return Wait(min(view.stop_left_s, view.press_s)) if view.press_s > 0 else Powerdown()


def _stop_reason(view: CopyView) -> str:
    return LastReason.STOPPED if view.pod is not None and view.pod.stop else LastReason.POD_DELETED


def _not_holding(view: CopyView) -> Step:
    """A process lives here and the lease names somebody else, or nobody."""
    machine, move = view.machine, view.move
    assert machine is not None
    if view.is_target and machine.state is not RunState.RUNNING:
        wanted = (
            move is not None
            and not move.final
            and view.lease.holder == move.source_copy
            and view.pod is not None
            and not view.pod.deleting
            and machine.migration.state is not MigrationState.FAILED
            # Its agent died while it started, and nobody will ever reach it.
            and (view.marks.listening or machine.state is not RunState.INMIGRATE)
        )
        if not wanted:
            return Kill(MOVE_FAILED)
        waits = machine.state is RunState.INMIGRATE
        unreached = waits and machine.migration.state is MigrationState.NONE
        if unreached and not view.hears:
            return ListenAgain()
        return _asking(view)
    if view.is_source and move is not None and view.marks.copying == move.uid:
        # Only a source in postmigrate ever gave its lease to the target, so it stands, also when silent.
        still = machine.state in (RunState.POSTMIGRATE, RunState.OTHER)
        if still and view.lease.holder == move.target_copy and move.target_phase != "Running":
            return _asking(view)
        return Kill(MIGRATED)
    if view.marks.copying and machine.state is RunState.POSTMIGRATE:
        return Kill(MIGRATED)  # the migration's object is gone already
    return Kill(LEASE_LOST)


def stands_copied(machine: MachineView | None) -> bool:
    """Its memory is on both sides, and the lease alone says where it goes on."""
    if machine is None:
        return False
    complete = machine.migration.state is MigrationState.COMPLETED
    return machine.state is RunState.POSTMIGRATE or (machine.state is RunState.PAUSED and complete)


def _asking(view: CopyView) -> Step:
    """For the lease, once others may have given it to this copy: its watch may tell nothing for a minute."""
    if not stands_copied(view.machine):
        return Wait()
    return Wait(view.ask_s) if view.ask_s > 0 else AskLease()


def _lease_absent(view: CopyView) -> Step:
    """Nobody may conclude anything from absence; a running guest goes on and its node reports it (rule 1)."""
    machine, move = view.machine, view.move
    assert machine is not None
    gone = view.pod is None or view.pod.deleting
    if view.is_target and gone:
        return Kill(MOVE_FAILED)
    if move is not None and view.is_source and view.marks.copying == move.uid:
        # Two copies that are reported would keep the lease from being rebuilt.
        if machine.state is RunState.POSTMIGRATE and move.target_phase == "Running":
            return Kill(MIGRATED)
        if machine.migration.state in MOVING:
            return _cancel(view, "LeaseAbsent")
    return Wait()


def _cancel(view: CopyView, why: str) -> Step:
    """Once; what follows is waited for."""
    machine = view.machine
    assert machine is not None
    asked = machine.migration.state is MigrationState.CANCELLING
    return Wait(PROGRESS_INTERVAL_S) if asked else CancelCopy(why)

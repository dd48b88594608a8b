"""The agent's decisions about one copy: each line of the story, and what must never be decided."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from drover.agent import decide as d
from drover.agent import steps as s
from drover.agent.ports import MigrationInfo, MigrationState, RunState
from drover.agent.view import (
    CopyView,
    HandOverState,
    LeaseState,
    LeaseView,
    MachineView,
    Marks,
    MoveView,
    PodView,
    Role,
)
from drover.api.names import LastReason, VmmPhase

MINE = LeaseView(LeaseState.MINE, "copy", 3)
OTHER = LeaseView(LeaseState.OTHER, "stranger", 4)
TO_TARGET = LeaseView(LeaseState.OTHER, "target", 4)
AT_SOURCE = LeaseView(LeaseState.OTHER, "source", 3)
RELEASED = LeaseView(LeaseState.RELEASED, "", 5)
ABSENT = LeaseView(LeaseState.ABSENT)
POD = PodView("pod")
TARGET_POD = PodView("pod", migration="vmm")
STARTED = Marks(started=True)
COPYING = Marks(started=True, copying="move")


def machine(
    state: RunState, migration: MigrationState = MigrationState.NONE, shutdown: str = ""
) -> MachineView:
    return MachineView(state, MigrationInfo(migration), shutdown)


RUNNING = machine(RunState.RUNNING)
ACTIVE = machine(RunState.RUNNING, MigrationState.ACTIVE)
COPIED = machine(RunState.POSTMIGRATE, MigrationState.COMPLETED)
ARRIVED = machine(RunState.PAUSED, MigrationState.COMPLETED)
LOADING = machine(RunState.INMIGRATE, MigrationState.ACTIVE)


def source(**more: object) -> MoveView:
    move = MoveView("move", Role.SOURCE, VmmPhase.COPYING, False, False, "copy", "target")
    return replace(move, **({"target_phase": "Listening"} | more))  # type: ignore[arg-type]


def target(**more: object) -> MoveView:
    move = MoveView("move", Role.TARGET, VmmPhase.COPYING, False, False, "source", "copy")
    return replace(move, **more)  # type: ignore[arg-type]


def view(**more: object) -> CopyView:
    base = CopyView("copy", "ns/vm", MINE, POD)
    return replace(base, **more)  # type: ignore[arg-type]


CASES = {
    "a bound Pod whose lease is ours starts": (view(), s.Launch()),
    "a Pod without its lease waits": (view(lease=RELEASED), s.Wait()),
    "a lease of a former life is released": (
        view(lease=LeaseView(LeaseState.MINE_BEFORE, "copy", 3), marks=STARTED),
        s.Release(LastReason.NODE_RESTARTED),
    ),
    "a lease without Pod or process is released": (
        view(pod=None), s.Release(LastReason.POD_DELETED),
    ),
    "a process that died by itself is a crash": (view(marks=STARTED), s.Release(LastReason.CRASHED)),
    "the reason noted before the kill is the reason of the release": (
        view(marks=Marks(started=True, ended=LastReason.GUEST_RESET)),
        s.Release(LastReason.GUEST_RESET),
    ),
    "a released copy's Pod ends": (
        view(lease=RELEASED, marks=Marks(started=True, ended=LastReason.STOPPED)),
        s.FinishPod(LastReason.STOPPED),
    ),
    "an ended Pod that is deleted goes": (
        view(lease=RELEASED, pod=PodView("pod", deleting=True, final=True)), s.DropPod(),
    ),
    "nothing left": (view(lease=RELEASED, pod=None), s.Done()),
    "a fresh QEMU is let run": (view(machine=machine(RunState.PRELAUNCH), marks=STARTED), s.Resume()),
    "a running guest is left alone": (view(machine=RUNNING, marks=STARTED), s.Wait()),
    "an incoming copy that died is no crash of the VM": (
        view(lease=AT_SOURCE, pod=TARGET_POD, marks=STARTED, move=target()),
        s.FinishPod(s.MOVE_FAILED),
    ),
    "and if it was given the lease meanwhile, it hands it back, whatever it ended by": (
        view(pod=TARGET_POD, marks=Marks(started=True, ended=LastReason.CRASHED), move=target()),
        s.HandBack(),
    ),
    "an incoming copy that was given up stays so": (
        view(machine=ARRIVED, pod=TARGET_POD, move=target(),
             marks=Marks(started=True, ended=s.HANDED_BACK)),
        s.Kill(s.HANDED_BACK),
    ),
    "a monitor that says nothing is asked again": (
        view(machine=machine(RunState.OTHER), marks=STARTED), s.Wait(d.SILENT_POLL_S),
    ),
    "a deleted Pod presses the button": (
        view(machine=RUNNING, marks=STARTED, pod=PodView("pod", deleting=True)), s.Powerdown(),
    ),
    "a force-deleted Pod stops its guest gracefully": (
        view(machine=RUNNING, marks=STARTED, pod=None), s.Powerdown(),
    ),
    "the grace period is waited for": (
        view(machine=RUNNING, pod=PodView("pod", deleting=True), stop_left_s=7.0, press_s=9.0),
        s.Wait(7.0),
    ),
    "a guest that did not hear the button is pressed again": (
        view(machine=RUNNING, pod=PodView("pod", deleting=True), stop_left_s=27.0), s.Powerdown(),
    ),
    "and then it is killed": (
        view(machine=RUNNING, pod=PodView("pod", stop="graceful"), stop_left_s=0.0),
        s.Kill(LastReason.STOPPED_FORCED),
    ),
    "force kills at once": (
        view(machine=RUNNING, pod=PodView("pod", stop="force")), s.Kill(LastReason.STOPPED_FORCED),
    ),
    "guest poweroff": (
        view(machine=machine(RunState.SHUTDOWN, shutdown="guest-shutdown")),
        s.Kill(LastReason.GUEST_SHUTDOWN),
    ),
    "guest reboot": (
        view(machine=machine(RunState.SHUTDOWN, shutdown="guest-reset")),
        s.Kill(LastReason.GUEST_RESET),
    ),
    "guest panic": (view(machine=machine(RunState.PANICKED)), s.Kill(LastReason.GUEST_PANICKED)),
    "a stop that the guest obeyed": (
        view(
            machine=machine(RunState.SHUTDOWN, shutdown="guest-shutdown"),
            pod=PodView("pod", stop="graceful"), stop_left_s=3.0,
        ),
        s.Kill(LastReason.STOPPED),
    ),
    "a process without its lease dies": (view(machine=RUNNING, lease=OTHER), s.Kill(s.LEASE_LOST)),
    "so does one whose lease was broken": (view(machine=RUNNING, lease=RELEASED), s.Kill(s.LEASE_LOST)),
    "the guest's end, noted before the node lost power, is the reason": (
        view(lease=LeaseView(LeaseState.MINE_BEFORE, "copy", 3),
             marks=Marks(started=True, ended=LastReason.GUEST_SHUTDOWN)),
        s.Release(LastReason.GUEST_SHUTDOWN),
    ),
    "an end that is no reason of a release is a crash": (
        view(marks=Marks(started=True, ended=s.LEASE_LOST)), s.Release(LastReason.CRASHED),
    ),
    "a Pod that somebody else ended was not stopped by its owner": (
        view(pod=PodView("pod", final=True)), s.Release(LastReason.CRASHED),
    ),
    "a hand-over that lands when its target is gone and forgotten is handed back": (
        view(pod=None, move=target()), s.HandBack(),
    ),
    "but not when the guest had arrived": (
        view(pod=None, move=target(phase=VmmPhase.SUCCEEDED, final=True)),
        s.Release(LastReason.POD_DELETED),
    ),
    "a target whose node booted anew hands back what never ran there": (
        view(lease=LeaseView(LeaseState.MINE_BEFORE, "copy", 3), pod=TARGET_POD, move=target(),
             marks=STARTED),
        s.HandBack(),
    ),
    "unless its marks are lost": (
        view(lease=LeaseView(LeaseState.MINE_BEFORE, "copy", 3), pod=TARGET_POD, move=target()),
        s.Release(LastReason.NODE_RESTARTED),
    ),
    "or it may have run": (
        view(lease=LeaseView(LeaseState.MINE_BEFORE, "copy", 3), pod=TARGET_POD, move=target(),
             marks=Marks(started=True, resuming=True)),
        s.Release(LastReason.NODE_RESTARTED),
    ),
    "a target that is deleted with the lease in its hand gives it back": (
        view(pod=PodView("pod", deleting=True, migration="vmm"), move=target(), machine=ARRIVED,
             marks=STARTED),
        s.Kill(s.HANDED_BACK),
    ),
    "also when its Pod is gone": (
        view(pod=None, move=target(), machine=LOADING, marks=STARTED), s.Kill(s.HANDED_BACK),
    ),
    "who said that it failed does not hand over": (
        view(machine=COPIED, move=source(source_phase="Failed"), marks=COPYING), s.TakeBack(),
    ),
    "and stops copying": (
        view(machine=ACTIVE, move=source(source_phase="Failed"), marks=COPYING),
        s.CancelCopy("MigrationFailed"),
    ),
    "a copy whose counters are older than its state is looked at again": (
        view(machine=machine(RunState.POSTMIGRATE, MigrationState.DEVICE), move=source(), marks=COPYING),
        s.Wait(d.SETTLE_POLL_S),
    ),
    "a copy that failed is not handed over, though its guest stands in postmigrate": (
        view(machine=machine(RunState.POSTMIGRATE, MigrationState.FAILED), move=source(), marks=COPYING),
        s.TakeBack(),
    ),
    "a guest that may not go on is given up after a while": (
        view(machine=machine(RunState.PRELAUNCH), marks=STARTED, refused_s=d.RESUME_LIMIT_S + 1),
        s.Kill(LastReason.START_FAILED),
    ),
    "so is one that arrived": (
        view(pod=TARGET_POD, move=target(), machine=ARRIVED, marks=Marks(started=True, resuming=True),
             refused_s=d.RESUME_LIMIT_S + 1),
        s.Kill(LastReason.CRASHED),
    ),
    "and a source that cannot have its disks back": (
        view(machine=COPIED, marks=COPYING, refused_s=d.RESUME_LIMIT_S + 1),
        s.Kill(LastReason.CRASHED),
    ),
    "before that it is tried again": (
        view(machine=machine(RunState.PRELAUNCH), marks=STARTED, refused_s=d.RESUME_LIMIT_S - 1),
        s.Resume(),
    ),
    "a refusal that is over is no reason to end a running guest": (
        view(machine=RUNNING, marks=STARTED, refused_s=d.RESUME_LIMIT_S + 1), s.Wait(),
    ),
    "a stop is a stop, also when the agent that pressed the button is gone": (
        view(machine=machine(RunState.SHUTDOWN, shutdown="guest-shutdown"),
             pod=PodView("pod", deleting=True)),
        s.Kill(LastReason.POD_DELETED),
    ),
    "a guest ended by a signal did not shut down": (
        view(machine=machine(RunState.SHUTDOWN, shutdown="host-signal")), s.Kill(LastReason.CRASHED),
    ),
    "a guest that ended and nobody knows why has crashed": (
        view(machine=machine(RunState.SHUTDOWN)), s.Kill(LastReason.CRASHED),
    ),
    "a disk that failed is tried again": (
        view(machine=machine(RunState.IO_ERROR), marks=STARTED), s.TryDisk(),
    ),
    "a disk that failed is tried again now and then": (
        view(machine=machine(RunState.IO_ERROR), marks=STARTED, disk_try_s=3.0), s.Wait(3.0),
    ),
    "a guest without its disk is told to stop": (
        view(machine=machine(RunState.IO_ERROR), pod=PodView("pod", stop="graceful")),
        s.Powerdown(),
    ),
    "and its disk is tried again, so that it can": (
        view(machine=machine(RunState.IO_ERROR), pod=PodView("pod", stop="graceful"),
             stop_left_s=7.0, press_s=9.0),
        s.TryDisk(),
    ),
    "but not after the grace period": (
        view(machine=machine(RunState.IO_ERROR), pod=PodView("pod", stop="graceful"),
             stop_left_s=0.0),
        s.Kill(LastReason.STOPPED_FORCED),
    ),
    "without the lease a disk is not tried": (
        view(machine=machine(RunState.IO_ERROR), lease=OTHER, marks=STARTED),
        s.Kill(s.LEASE_LOST),
    ),
    "an adopted target that nobody can reach listens again": (
        view(lease=AT_SOURCE, pod=TARGET_POD, move=target(), machine=machine(RunState.INMIGRATE),
             marks=Marks(started=True, listening=True), hears=False),
        s.ListenAgain(),
    ),
    "one that is being copied to does not": (
        view(lease=AT_SOURCE, pod=TARGET_POD, move=target(),
             machine=machine(RunState.INMIGRATE, MigrationState.ACTIVE),
             marks=Marks(started=True, listening=True), hears=False),
        s.Wait(),
    ),
    "a guest that panicked while it was copied is not handed over": (
        view(machine=machine(RunState.POSTMIGRATE, MigrationState.COMPLETED, "guest-panic"),
             move=source(), marks=COPYING),
        s.Kill(LastReason.GUEST_PANICKED),
    ),
    "a Pod that says Running of a guest that is over and forgotten ends": (
        view(lease=RELEASED, pod=PodView("pod", running=True)), s.FinishPod(LastReason.CRASHED),
    ),
    "a copy of memory stops while nobody knows who may run": (
        view(machine=ACTIVE, lease=ABSENT, move=source(), marks=COPYING), s.CancelCopy("LeaseAbsent"),
    ),
    "and is asked to stop once": (
        view(machine=machine(RunState.RUNNING, MigrationState.CANCELLING), lease=ABSENT, move=source(),
             marks=COPYING),
        s.Wait(d.PROGRESS_INTERVAL_S),
    ),
    "a copy of no migration too": (
        view(machine=machine(RunState.RUNNING, MigrationState.CANCELLING), marks=COPYING),
        s.Wait(d.PROGRESS_INTERVAL_S),
    ),
    "a source whose guest runs elsewhere ends, lease or no lease": (
        view(machine=COPIED, lease=ABSENT, move=source(target_phase="Running"), marks=COPYING),
        s.Kill(s.MIGRATED),
    ),
    "one whose guest does not yet stands": (
        view(machine=COPIED, lease=ABSENT, move=source(), marks=COPYING), s.Wait(),
    ),
    "absent is not released": (view(machine=RUNNING, lease=ABSENT), s.Wait()),
    # the source's side
    "copying waits for the phase": (
        view(machine=RUNNING, move=source(phase=VmmPhase.READY)), s.Wait(),
    ),
    "copying begins": (view(machine=RUNNING, move=source()), s.StartCopy()),
    "not on a stale node": (
        view(machine=RUNNING, move=source(), node_fresh=False), s.Wait(d.PROGRESS_INTERVAL_S),
    ),
    "not when it is aborted": (view(machine=RUNNING, move=source(aborting=True)), s.Wait()),
    "not a second time": (view(machine=RUNNING, move=source(), marks=COPYING), s.Wait()),
    "a copy goes on": (
        view(machine=ACTIVE, move=source(), marks=COPYING), s.Wait(d.PROGRESS_INTERVAL_S),
    ),
    "one that does not end may pause the guest longer": (
        view(machine=ACTIVE, move=source(allow_ms=30), marks=COPYING), s.AllowDowntime(30),
    ),
    "an abort cancels it": (
        view(machine=ACTIVE, move=source(aborting=True), marks=COPYING), s.CancelCopy("Aborted"),
    ),
    "so does a failed target": (
        view(machine=ACTIVE, move=source(target_phase="Failed"), marks=COPYING),
        s.CancelCopy("TargetFailed"),
    ),
    "and a stall": (
        view(machine=ACTIVE, move=source(overdue="NoProgress"), marks=COPYING),
        s.CancelCopy("NoProgress"),
    ),
    "a copy of no migration is ended": (
        view(machine=ACTIVE, marks=COPYING), s.CancelCopy("Superseded"),
    ),
    "a finished copy is handed over": (view(machine=COPIED, move=source(), marks=COPYING), s.HandOver()),
    "not in device": (
        view(machine=machine(RunState.FINISH_MIGRATE, MigrationState.DEVICE), move=source(), marks=COPYING),
        s.Wait(d.PROGRESS_INTERVAL_S),
    ),
    "an unanswered hand-over is settled": (
        view(machine=COPIED, move=source(handover=HandOverState.UNKNOWN), marks=COPYING), s.TakeBack(),
    ),
    "one that never left needs no settling": (
        view(machine=COPIED, move=source(handover=HandOverState.UNSENT), marks=COPYING), s.Resume(),
    ),
    "one that came back is taken back": (
        view(machine=COPIED, move=source(handover=HandOverState.DONE), marks=COPYING), s.TakeBack(),
    ),
    "an aborted one too": (
        view(machine=COPIED, move=source(aborting=True), marks=COPYING), s.TakeBack(),
    ),
    "postmigrate without a migration is taken back, never continued after a read": (
        view(machine=COPIED, marks=COPYING), s.TakeBack(),
    ),
    "a guest that reset while it was copied is not handed over": (
        view(machine=machine(RunState.POSTMIGRATE, MigrationState.COMPLETED, "guest-reset"),
             move=source(), marks=COPYING),
        s.Kill(LastReason.GUEST_RESET),
    ),
    "after the hand-over the source stands": (
        view(machine=COPIED, lease=TO_TARGET, move=source(), marks=COPYING, ask_s=0.5), s.Wait(0.5),
    ),
    "and asks, should it have been handed back": (
        view(machine=COPIED, lease=TO_TARGET, move=source(), marks=COPYING), s.AskLease(),
    ),
    "until the target runs": (
        view(machine=COPIED, lease=TO_TARGET, move=source(target_phase="Running"), marks=COPYING),
        s.Kill(s.MIGRATED),
    ),
    "or the lease has gone on": (
        view(machine=COPIED, lease=RELEASED, move=source(), marks=COPYING), s.Kill(s.MIGRATED),
    ),
    "also when the migration's object is gone": (
        view(machine=COPIED, lease=TO_TARGET, marks=COPYING), s.Kill(s.MIGRATED),
    ),
    # the target's side
    "a target is made ready": (view(pod=TARGET_POD, lease=AT_SOURCE, move=target()), s.LaunchIncoming()),
    "not for an aborted migration": (
        view(pod=TARGET_POD, lease=AT_SOURCE, move=target(aborting=True)), s.Wait(),
    ),
    "it waits for the lease": (
        view(pod=TARGET_POD, lease=AT_SOURCE, move=target(), machine=ARRIVED, marks=STARTED, ask_s=0.5),
        s.Wait(0.5),
    ),
    "and asks, should its event be late": (
        view(pod=TARGET_POD, lease=AT_SOURCE, move=target(), machine=ARRIVED, marks=STARTED), s.AskLease(),
    ),
    "and goes when it has it": (
        view(pod=TARGET_POD, move=target(), machine=ARRIVED, marks=STARTED), s.Resume(),
    ),
    "never before it is complete": (
        view(pod=TARGET_POD, move=target(), machine=LOADING, marks=STARTED), s.Wait(d.SETTLE_POLL_S),
    ),
    "one that cannot complete is ended": (
        view(pod=TARGET_POD, move=target(), machine=LOADING, marks=STARTED, mine_for_s=11.0),
        s.Kill(s.HANDED_BACK),
    ),
    "and handed back": (
        view(pod=TARGET_POD, move=target(), marks=Marks(started=True, ended=s.HANDED_BACK)), s.HandBack(),
    ),
    "a target that died before it ran is handed back": (
        view(pod=TARGET_POD, move=target(), marks=STARTED), s.HandBack(),
    ),
    "one that may have run is released": (
        view(pod=TARGET_POD, move=target(), marks=Marks(started=True, resuming=True)),
        s.Release(LastReason.CRASHED),
    ),
    "a copy of a guest that reset is not continued": (
        view(pod=TARGET_POD, move=target(), machine=machine(RunState.SHUTDOWN, MigrationState.COMPLETED),
             marks=STARTED),
        s.Kill(LastReason.RESET_DURING_MIGRATION),
    ),
    "and its lease is released, not handed back": (
        view(pod=TARGET_POD, move=target(),
             marks=Marks(started=True, ended=LastReason.RESET_DURING_MIGRATION)),
        s.Release(LastReason.RESET_DURING_MIGRATION),
    ),
    "a target of a failed migration ends": (
        view(pod=TARGET_POD, lease=AT_SOURCE, move=target(final=True), machine=LOADING, marks=STARTED),
        s.Kill(s.MOVE_FAILED),
    ),
    "after its first cont a target is like any other": (
        view(pod=TARGET_POD, move=target(), machine=RUNNING, marks=Marks(started=True, resuming=True)),
        s.Wait(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_story(name: str) -> None:
    seen, step = CASES[name]
    assert d.decide(seen) == step


LEASES = (
    MINE,
    LeaseView(LeaseState.MINE_BEFORE, "copy", 3),
    OTHER,
    TO_TARGET,
    AT_SOURCE,
    RELEASED,
    ABSENT,
)
MACHINES = (None, *(machine(s, m) for s in RunState for m in MigrationState))
PODS = (None, POD, TARGET_POD, PodView("pod", deleting=True), PodView("pod", final=True))
MARKS = (
    Marks(),
    STARTED,
    COPYING,
    Marks(started=True, resuming=True),
    Marks(started=True, ended="Crashed"),
)
MOVES = (
    None,
    source(),
    source(aborting=True),
    source(handover=HandOverState.UNKNOWN),
    source(handover=HandOverState.UNSENT),
    source(final=True),
    target(),
    target(final=True),
)


def worlds() -> list[CopyView]:
    return [
        CopyView("copy", "ns/vm", lease, pod, machine, marks, move)
        for lease, machine, pod, marks, move in itertools.product(
            LEASES, MACHINES, PODS, MARKS, MOVES
        )
    ]


def test_every_view_has_a_step_that_is_safe() -> None:
    """All combinations: what is decided must be allowed by the safety rules, whatever led there."""
    for seen in worlds():
        step = d.decide(seen)
        alive = seen.machine is not None
        if isinstance(step, s.Launch | s.Resume | s.HandOver | s.TakeBack | s.StartCopy):
            assert seen.lease.state is LeaseState.MINE, (seen, step)
        if isinstance(step, s.Release | s.HandBack | s.FinishPod | s.DropPod | s.Done):
            assert not alive, (seen, step)
        if isinstance(step, s.HandBack):
            assert not seen.marks.resuming, (seen, step)
        if isinstance(step, s.HandOver):
            assert seen.machine is not None
            assert seen.machine.state is RunState.POSTMIGRATE, (seen, step)
        if isinstance(step, s.Resume) and seen.machine is not None:
            assert seen.machine.state in (RunState.PRELAUNCH, RunState.PAUSED, RunState.POSTMIGRATE)
            if seen.machine.state is RunState.POSTMIGRATE:
                assert seen.move is not None
                assert seen.move.handover is HandOverState.UNSENT, (seen, step)
        if seen.lease.state in (LeaseState.OTHER, LeaseState.RELEASED) and alive:
            assert isinstance(step, s.Kill | s.Wait | s.AskLease), (seen, step)
            if seen.machine is not None and seen.machine.state is RunState.RUNNING:
                assert isinstance(step, s.Kill), (seen, step)


def test_a_copy_that_does_not_begin_is_given_up_and_begins_no_more() -> None:
    held = CopyView("copy", "ns/vm", MINE, POD, RUNNING, STARTED, source(let_for_s=d.BEGIN_LIMIT_S))
    assert not d.given_up(held)
    assert d.decide(held) == s.StartCopy()
    late = replace(held, move=source(let_for_s=d.BEGIN_LIMIT_S + 1))
    assert d.given_up(late)
    assert d.decide(late) == s.Wait()


@pytest.mark.parametrize("handover", HandOverState)
def test_a_silent_copy_is_given_up_only_before_its_hand_over_may_be_under_way(
    handover: HandOverState,
) -> None:
    silent = replace(machine(RunState.OTHER), silent_s=d.BEGIN_LIMIT_S + 1)
    view = CopyView("copy", "ns/vm", MINE, POD, silent, COPYING, source(handover=handover))
    assert d.given_up(view) is (handover is HandOverState.NONE)

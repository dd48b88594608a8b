"""What to do next about one VM that was asked to leave its node: ``decide(view) -> intents``. Pure.

The retry counts from the end of the last failure and looks at objects alone, so a restart forgets nothing and repeats
nothing. Two ways end an evacuation before the VM has moved: its operation is deleted by a person, or the node that was
cordoned when the eviction came is uncordoned.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.evacuation import Blocked, BlockedReason
from drover.base.backoff import Backoff
from drover.controllers.evacuation.view import EvacuationView, Operation, Room

RETRY = Backoff(first_s=5, most_s=300)
STANDS_S = (
    10.0  # a VM that starts or stops is given so long before it is told that it cannot be moved
)
EARLY_S = 3.0  # a drain marks all Pods of a node within a moment


@dataclass(frozen=True)
class Intent:
    """One act of the controller."""


@dataclass(frozen=True)
class Unprotect(Intent):
    """Our finalizer is not needed any more."""

    operation: Operation


@dataclass(frozen=True)
class Unmark(Intent):
    """The eviction is called off."""

    why: str


@dataclass(frozen=True)
class ConfirmUncordoned(Intent):
    """The rest is done only if the node is uncordoned indeed: the view may be older than the mark."""


@dataclass(frozen=True)
class Withdraw(Intent):
    """Take our own operation back; that alone does not call the eviction off."""

    operation: Operation


@dataclass(frozen=True)
class Block(Intent):
    blocked: Blocked | None


@dataclass(frozen=True)
class Create(Intent):
    """``after``: uid of the failure before it; makes the name, so that creating it twice makes one."""

    after: str
    pin: str = ""
    lift: tuple[int, ...] = ()


@dataclass(frozen=True)
class LookAgain(Intent):
    after_s: float


def wants_room(view: EvacuationView) -> bool:
    """Whether the decision depends on where the VM could go."""
    op = view.unfinished
    if view.mark is None or _uncordoned(view):
        return False
    if op is not None:
        return bool(op.unschedulable)
    return view.running and view.migratable and not view.other and _wait_s(view) <= 0


def decide(view: EvacuationView) -> list[Intent]:
    """The next acts, in order. Empty: wait for a change."""
    intents: list[Intent] = []
    for op in view.operations:
        if op.protected and op.deleting and not op.finished:
            intents += [Unmark(f"{op.name} was deleted"), Unprotect(op)]
        elif op.protected and op.finished:
            intents.append(Unprotect(op))
    if intents or view.mark is None:
        return intents
    if _uncordoned(view):
        return _called_off(view)
    if view.unfinished is not None:
        return _under_way(view, view.unfinished)
    if not view.migratable:
        return _blocked(view, BlockedReason.NOT_MIGRATABLE, view.not_migratable_why)
    if view.other:
        return []  # it comes first, and its end wakes us
    if not view.running:
        return _stands(view)
    return _next_attempt(view)


def _uncordoned(view: EvacuationView) -> bool:
    return view.mark is not None and view.mark.cordoned and not view.cordoned


def _called_off(view: EvacuationView) -> list[Intent]:
    """A copy that is on its way ends as it ends; the mark goes with the source's Pod."""
    if view.copying:
        return []
    op = view.unfinished
    withdraw = [Withdraw(op)] if op is not None and not op.deleting else []
    return [ConfirmUncordoned(), *withdraw, Unmark(f"node {view.node} was uncordoned")]


def _under_way(view: EvacuationView, op: Operation) -> list[Intent]:
    if op.deleting or not op.unschedulable or view.room is None or view.room.nodes:
        return []
    # It would hold its slots for as long as nothing changes, and others could go meanwhile.
    return [*_blocked(view, BlockedReason.NO_ROOM, op.unschedulable), Withdraw(op)]


def _stands(view: EvacuationView) -> list[Intent]:
    """Its start, or its stop, comes first. One that does not come holds up a drain, so it is told."""
    wait_s = view.marked_s + STANDS_S - view.now_s
    if 0 < wait_s <= STANDS_S:
        return [LookAgain(wait_s)]
    return _blocked(view, BlockedReason.NOT_RUNNING, view.not_running_why)


def _wait_s(view: EvacuationView) -> float:
    failures = view.failures()
    if not failures:
        return 0.0
    return RETRY.left_s(failures[-1].ended_s + RETRY.delay_s(len(failures)), view.now_s)


def _next_attempt(view: EvacuationView) -> list[Intent]:
    failures, wait_s = view.failures(), _wait_s(view)
    if wait_s > 0:
        last = failures[-1]
        words = f"{len(failures)} attempts failed, the last one, {last.name}, with: {last.message}"
        if len(failures) == 1:
            words = f"{last.name} failed: {last.message}"
        return [*_blocked(view, BlockedReason.FAILED, words), LookAgain(wait_s)]
    room = view.room or Room(())
    if view.room is not None and not room.nodes:
        if room.early and view.now_s - view.marked_s < EARLY_S:
            return [LookAgain(1.0)]
        return _blocked(view, BlockedReason.NO_ROOM, room.refusals)
    create = Create(failures[-1].uid if failures else "", room.pin, room.lift)
    # The story of failures stays until one succeeds: then it goes with the Pod.
    waited = view.blocked is not None and view.blocked.reason != BlockedReason.FAILED
    return [Block(None), create] if waited else [create]


def _blocked(view: EvacuationView, reason: str, message: str) -> list[Intent]:
    blocked = Blocked(reason, message)
    return [] if view.blocked == blocked else [Block(blocked)]

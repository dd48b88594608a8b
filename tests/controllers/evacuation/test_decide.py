"""What the evacuation controller does next, without a world around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drover.api.evacuation import Blocked, BlockedReason, Mark, blocked_of, mark_of, mark_patch
from drover.api.kinds.vmop import VmopPhase
from drover.controllers.evacuation import decide as story
from drover.controllers.evacuation.decide import decide
from drover.controllers.evacuation.review import Next, judge
from drover.controllers.evacuation.view import EvacuationView, Operation, Room

MARKED = EvacuationView(
    now_s=1000,
    running=True,
    node="n1",
    cordoned=True,
    mark=Mark("1970-01-01T00:15:00Z", cordoned=True),
    marked_s=900,
)


def operation(name: str = "evacuation-1", **fields: Any) -> Operation:
    least: dict[str, Any] = {
        "name": name,
        "uid": f"uid-{name}",
        "phase": VmopPhase.IN_PROGRESS,
        "deleting": False,
        "protected": True,
        "born_s": 910,
        "ended_s": 0,
    }
    return Operation(**{**least, **fields})


def failed(name: str, ended_s: float, **fields: Any) -> Operation:
    done: dict[str, Any] = {"phase": VmopPhase.FAILED, "protected": False, "message": "no route"}
    return operation(name, **{**done, "ended_s": ended_s, "born_s": ended_s - 5, **fields})


def kinds(intents: list[story.Intent]) -> list[str]:
    return [type(intent).__name__ for intent in intents]


def test_a_marked_vm_gets_one_operation() -> None:
    assert decide(MARKED) == [story.Create("")]
    assert decide(replace(MARKED, operations=(operation(),))) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"mark": None},
        {"other": "evict-by-hand"},
        {"operations": (operation(phase=None),)},
        {"operations": (operation(phase=VmopPhase.TERMINATING, protected=False, deleting=True),)},
    ],
)
def test_no_operation_while_there_is_no_call_for_one(changed: Any) -> None:
    assert "Create" not in kinds(decide(replace(MARKED, **changed)))


def test_a_failed_one_is_tried_again_from_its_end_with_growing_pauses() -> None:
    """The reference platform never tries again while a failed operation is there."""
    ends, now_s, pauses = [], 1000.0, []
    for number in range(1, 10):
        ends.append(failed(f"evacuation-{number}", now_s))
        view = replace(MARKED, now_s=now_s, operations=tuple(ends))
        [again] = [i for i in decide(view) if isinstance(i, story.LookAgain)]
        assert "Create" not in kinds(decide(view))
        pauses.append(again.after_s)
        now_s += again.after_s
        later = replace(view, now_s=now_s)
        assert story.Create(ends[-1].uid) in decide(later)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_the_pause_counts_from_the_end_and_not_from_when_we_look() -> None:
    view = replace(MARKED, now_s=1003, operations=(failed("evacuation-1", 1000),))
    assert decide(view)[-1] == story.LookAgain(2)


def test_a_clock_that_was_set_back_holds_up_no_retry() -> None:
    """An hour ahead when it failed."""
    view = replace(MARKED, operations=(failed("one", 1000 + 3600),))
    assert decide(view) == [story.Create("uid-one")]


def test_failures_before_the_mark_count_for_nothing() -> None:
    old = failed("evacuation-0", 890)
    assert decide(replace(MARKED, operations=(old,))) == [story.Create("")]


def test_a_success_or_another_end_breaks_the_row() -> None:
    superseded = operation(
        "evacuation-2", phase=VmopPhase.SUPERSEDED, ended_s=960, protected=False, born_s=955
    )
    view = replace(MARKED, operations=(failed("evacuation-1", 950), superseded))
    assert decide(view) == [story.Create("")]


def test_a_finished_one_is_let_go_of() -> None:
    done = operation(phase=VmopPhase.COMPLETED, ended_s=999)
    assert decide(replace(MARKED, mark=None, operations=(done,))) == [story.Unprotect(done)]


def test_deleting_it_calls_the_eviction_off() -> None:
    op = operation(phase=VmopPhase.TERMINATING, deleting=True)
    intents = decide(replace(MARKED, operations=(op,)))
    assert kinds(intents) == ["Unmark", "Unprotect"]


def test_deleting_a_finished_one_calls_nothing_off() -> None:
    op = failed("evacuation-1", 999, protected=True, deleting=True)
    assert decide(replace(MARKED, operations=(op,))) == [story.Unprotect(op)]


def test_uncordon_calls_off_what_does_not_copy_yet() -> None:
    op = operation()
    view = replace(MARKED, cordoned=False, operations=(op,))
    assert kinds(decide(view)) == ["ConfirmUncordoned", "Withdraw", "Unmark"]
    assert decide(replace(view, copying=True)) == []
    waiting = replace(view, operations=(failed("evacuation-1", 999),))
    assert kinds(decide(waiting)) == ["ConfirmUncordoned", "Unmark"]


def test_an_eviction_from_a_node_in_service_is_not_called_off_by_that() -> None:
    mark = Mark("1970-01-01T00:15:00Z", cordoned=False)
    assert decide(replace(MARKED, mark=mark, cordoned=False)) == [story.Create("")]


def test_without_room_it_waits_with_the_reason_and_goes_when_there_is_some() -> None:
    none = Room((), "0/3 nodes are available: 2 Insufficient memory.")
    waits = decide(replace(MARKED, room=none))
    assert waits == [story.Block(Blocked(BlockedReason.NO_ROOM, none.refusals))]
    told = replace(MARKED, room=none, blocked=Blocked(BlockedReason.NO_ROOM, none.refusals))
    assert decide(told) == []
    assert decide(replace(told, room=Room(("n2",)))) == [story.Block(None), story.Create("")]


def test_one_that_does_not_run_is_told_and_moved_when_it_does() -> None:
    stands = replace(MARKED, running=False, not_running_why="it is Pause", now_s=905)
    assert decide(stands) == [story.LookAgain(5)]
    told = Blocked(BlockedReason.NOT_RUNNING, "it is Pause")
    assert decide(replace(stands, now_s=910)) == [story.Block(told)]
    assert decide(replace(stands, now_s=910, blocked=told)) == []
    assert decide(replace(MARKED, blocked=told)) == [story.Block(None), story.Create("")]


def test_an_operation_that_no_node_can_take_gives_its_slots_back() -> None:
    op = operation(unschedulable="0/3 nodes are available")
    view = replace(MARKED, operations=(op,))
    assert story.wants_room(view)
    assert decide(replace(view, room=Room(("n2",)))) == []
    assert kinds(decide(replace(view, room=Room(())))) == ["Block", "Withdraw"]


def test_a_vm_that_cannot_move_is_told_apart() -> None:
    view = replace(MARKED, migratable=False, not_migratable_why="its disk is local")
    assert decide(view) == [story.Block(Blocked(BlockedReason.NOT_MIGRATABLE, "its disk is local"))]


@pytest.mark.parametrize("text", ["", "null", "[]", '{"at":', "yes"])
def test_a_mark_that_cannot_be_read_still_is_one(text: str) -> None:
    notes = {"drover.dev/eviction-requested": text, "drover.dev/evacuation-blocked": text}
    pod = {"metadata": {"annotations": notes}}
    assert mark_of(pod) == Mark("", cordoned=False)
    assert blocked_of(pod) == Blocked("", "")


def test_a_mark_reads_as_it_was_written() -> None:
    mark = Mark("2026-01-02T03:04:05Z", cordoned=True)
    assert mark_of(mark_patch(mark)) == mark


@pytest.mark.parametrize(
    ("changes", "holder", "answer"),
    [
        ({}, "u1", Next.MARK),
        ({"phase": "Succeeded"}, "u1", Next.ALLOW),
        ({"phase": "Failed"}, "", Next.ALLOW),
        ({"phase": "Pending"}, "", Next.MARK),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, "u1", Next.WAIT),
        ({"migration": "m"}, "u0", Next.REFUSE),
        ({"migration": "m"}, "u1", Next.MARK),
        ({"uid": "u2"}, "u2", Next.AGAIN),
    ],
)
def test_only_a_pod_that_has_ended_may_go(changes: Any, holder: str, answer: Next) -> None:
    meta: dict[str, Any] = {"uid": changes.get("uid", "u1"), "annotations": {}}
    if "migration" in changes:
        meta["annotations"]["drover.dev/migration"] = changes["migration"]
    if "deletionTimestamp" in changes:
        meta["deletionTimestamp"] = changes["deletionTimestamp"]
    pod = {"metadata": meta, "status": {"phase": changes.get("phase", "Running")}}
    assert judge(pod, "u1", holder) is answer
    assert judge(None, "u1", holder) is Next.ALLOW

"""The rollout's decisions: few at a time, failures tried again and counted, obstacles named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drover.api.kinds.vmop import VmopPhase
from drover.controllers.firmware import decide as story
from drover.controllers.firmware.decide import Create, LookAgain, Reason, Report, decide
from drover.controllers.firmware.view import Attempt, FirmwareView, OutdatedVm, Rollout

NEW = "10.0.2"
NOW = 1000.0


def vm(name: str, node: str = "n1", **more: object) -> OutdatedVm:
    return OutdatedVm(f"default/{name}", node, "7.2.22", **more)  # type: ignore[arg-type]


def view(*outdated: OutdatedVm, **more: object) -> FirmwareView:
    base = FirmwareView(NOW, NEW, rollout=Rollout(NEW, "", 1), outdated=outdated, current=1)
    return replace(base, **more)  # type: ignore[arg-type]


def attempt(name: str, phase: VmopPhase | None, ended_s: float = 0.0, number: int = 1) -> Attempt:
    return Attempt(
        f"default/{name}", f"op-{name}-{number}", f"{name}{number}", phase, ended_s, "no"
    )


FAILED, COMPLETED = VmopPhase.FAILED, VmopPhase.COMPLETED


def creates(found: FirmwareView) -> list[str]:
    return [intent.vm for intent in decide(found) if isinstance(intent, Create)]


def report(found: FirmwareView) -> Report:
    (said,) = [intent for intent in decide(found) if isinstance(intent, Report)]
    return said


def test_a_new_wish_begins_a_rollout_and_nothing_else() -> None:
    fresh = view(vm("a"), rollout=None)
    assert decide(fresh) == [story.Begin(Rollout(NEW, "", 1))]
    other = view(vm("a"), rollout=Rollout("7.2.22", "", 4))
    assert decide(other) == [story.Begin(Rollout(NEW, "", 5))]
    again = view(vm("a"), token="later", rollout=Rollout(NEW, "sooner", 5))
    assert decide(again) == [story.Begin(Rollout(NEW, "later", 6))]


def test_as_many_at_once_as_the_limit_allows() -> None:
    many = [vm(name) for name in "abcde"]
    assert len(creates(view(*many, most=2))) == 2
    one_moves = (attempt("a", VmopPhase.IN_PROGRESS),)
    assert creates(view(*many, most=2, attempts=one_moves)) == ["default/b"]
    assert creates(view(*many, most=1, attempts=one_moves)) == []


def test_nodes_take_turns() -> None:
    many = [vm("a", "n1"), vm("b", "n1"), vm("c", "n2"), vm("d", "n3")]
    assert creates(view(*many, most=3)) == ["default/a", "default/c", "default/d"]
    going = (attempt("a", None),)
    assert creates(view(*many, most=2, attempts=going)) == ["default/c"]


def test_who_is_busy_or_cannot_move_is_left_alone_and_named() -> None:
    found = view(vm("a", busy=True), vm("b", obstacle="no other node offers it"))
    assert creates(found) == []
    assert report(found).reason == Reason.IN_PROGRESS
    stuck = report(view(vm("b", obstacle="no other node offers it")))
    assert (stuck.done, stuck.reason) == (False, Reason.BLOCKED)
    assert "default/b: no other node offers it" in stuck.message
    assert "1 of 2 running VMs" in stuck.message


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 5), (2, 10)])
def test_a_failure_is_tried_again_after_a_while(failures: int, wait_s: float) -> None:
    done = attempt("z", COMPLETED, 10.0)
    tried = [attempt("a", FAILED, 100.0 + n, n) for n in range(failures)]
    early = view(vm("a"), attempts=(done, *tried), now_s=tried[-1].ended_s + wait_s - 1)
    assert creates(early) == []
    assert LookAgain(1.0) in decide(early)
    assert report(early).reason == Reason.IN_PROGRESS
    assert "op-a-" in report(early).message
    late = replace(early, now_s=early.now_s + 1)
    assert Create("default/a", tried[-1].uid) in decide(late)


def test_the_wait_doubles_to_five_minutes() -> None:
    # Others succeed in between, so that the rollout goes on.
    tried: list[Attempt] = []
    for n in range(9):
        tried += [attempt("a", FAILED, 10.0 + n, n), attempt("z", COMPLETED, 10.5 + n, n)]
    found = view(vm("a"), attempts=tuple(tried), now_s=20.0)
    assert LookAgain(pytest.approx(18.0 + 300 - 20)) in decide(found)  # type: ignore[arg-type]


def test_three_failures_in_a_row_stop_it_and_it_says_so() -> None:
    tried = tuple(attempt(name, FAILED, 10.0 + n) for n, name in enumerate("abc"))
    found = view(*[vm(name) for name in "abcd"], attempts=tried)
    (said,) = decide(found)
    assert isinstance(said, Report)
    assert (said.done, said.reason) == (False, Reason.STOPPED)
    assert "op-c-1 of default/c: no" in said.message
    assert "firmware set 10.0.2" in said.message
    # One that succeeds breaks the row, a superseded one does not count.
    done = attempt("z", COMPLETED, 11.5)
    assert report(view(vm("a"), attempts=(*tried[:2], done, tried[2]))).reason != Reason.STOPPED
    gone = attempt("y", VmopPhase.SUPERSEDED, 11.5)
    row = (*tried[:2], gone, tried[2])
    assert report(view(vm("a"), attempts=row)).reason == Reason.STOPPED


def test_one_vm_alone_stops_it_too() -> None:
    tried = tuple(attempt("a", FAILED, 10.0 + n, n) for n in range(3))
    assert report(view(vm("a"), attempts=tried)).reason == Reason.STOPPED


def test_a_move_that_changes_nothing_is_a_failure() -> None:
    moved = tuple(attempt("a", COMPLETED, NOW - 1 - 100 * n, n) for n in (2, 1, 0))
    assert creates(view(vm("a"), attempts=moved[-1:])) == []  # the news may be on its way
    assert report(view(vm("a"), attempts=moved[:2])).reason == Reason.IN_PROGRESS
    stopped = replace(view(vm("a"), attempts=moved), now_s=NOW + 100)
    assert report(stopped).reason == Reason.STOPPED


def test_done_and_off() -> None:
    assert report(view()) == Report(
        True, Reason.UP_TO_DATE, "1 of 1 running VMs are on QEMU 10.0.2"
    )
    off = view(vm("a"), enabled=False)
    assert creates(off) == []
    assert (report(off).done, report(off).reason) == (False, Reason.DISABLED)
    none = view(wanted="", rollout=Rollout("", "", 2))
    assert report(none) == Report(True, Reason.NO_VERSION, "")


def test_many_obstacles_do_not_flood_the_message() -> None:
    many = [vm(f"v{n:03}", obstacle="full") for n in range(200)]
    said = report(view(*many)).message
    assert "and 190 more" in said
    assert len(said) < 1000

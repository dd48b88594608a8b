"""The story of a rebalancing, branch by branch: settle, propose, step by step, an early end, a word to people."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drover.api.kinds.rebalance import Mode, PlanPhase, StepState
from drover.api.kinds.vmop import VmopPhase
from drover.controllers.rebalance.decide import (
    LOOK_S,
    STALL_S,
    Ask,
    Begin,
    End,
    LookAgain,
    Make,
    Note,
    Propose,
    Reason,
    Report,
    Withdraw,
    decide,
)
from drover.controllers.rebalance.policy import Policy
from drover.controllers.rebalance.view import Operation, PlanView, RebalanceView, Step, StepView
from drover.controllers.settings import Problem
from drover.planner import Impossible, Load, Move, Plan, Rule, State

ON = Policy(enabled=True)
CALM = RebalanceView(1000.0, ON)
TROUBLE = replace(CALM, overloaded=("n1",), ripe=True)
STATE = State(("n1",), {}, (), {}, {})
MOVE = Move("default/p", "n1", "n2", Rule.OVERLOAD, "why", 1, 1, (Load("n1", {}, {}),) * 2)
DRAFT = Plan((MOVE,), 1, (), STATE, STATE)
STUCK = replace(DRAFT, moves=(), impossible=(Impossible("n1", Rule.OVERLOAD, "", ("cpu",), "x"),))


def acts(view: RebalanceView) -> list[Any]:
    *found, last = decide(view)
    assert isinstance(last, Report)
    return found


def told(view: RebalanceView) -> Report:
    last = decide(view)[-1]
    assert isinstance(last, Report)
    return last


def step(number: int, state: StepState | None = None, phase: VmopPhase | None = None) -> StepView:
    """Moving with an operation in ``phase``; None with state Moving: the operation is gone."""
    made = Operation(f"default/op-{number}", f"u{number}", phase, "boom") if phase else None
    where = Step(f"default/vm{number}", "n1", "n2", Rule.OVERLOAD)
    return StepView(number, where, "why", state, f"u{number}" if state else "", made)


def executing(*steps: StepView, **more: Any) -> RebalanceView:
    mode = more.pop("mode", Mode.AUTOMATIC)
    approved = more.pop("approved", mode is Mode.AUTOMATIC)
    same = more.pop("same_policy", True)
    plan = PlanView("rebalance-1", PlanPhase.EXECUTING, mode, approved, steps, same)
    return replace(TROUBLE, plan=plan, **more)


MOVES = (StepState.MOVING, VmopPhase.IN_PROGRESS)


def test_nothing_is_done_where_nothing_is_wrong_or_the_module_is_off() -> None:
    assert acts(CALM) == []
    assert told(CALM).balanced is True
    off = replace(TROUBLE, policy=Policy())
    assert acts(off) == []
    assert told(off).reason == Reason.DISABLED


def test_trouble_must_have_stood_for_a_while() -> None:
    early = replace(TROUBLE, ripe=False, ripe_in_s=20.0)
    assert acts(early) == [LookAgain(20.0)]
    assert told(early).reason == Reason.SETTLING
    assert acts(TROUBLE) == [Ask()]
    assert acts(replace(TROUBLE, draft=DRAFT)) == [Propose()]


def test_where_no_move_helps_it_says_so_and_looks_again() -> None:
    stuck = replace(TROUBLE, draft=STUCK)
    assert acts(stuck) == [LookAgain(LOOK_S)]
    assert told(stuck).reason == Reason.IMPOSSIBLE
    rested = replace(stuck, resting_s=4.0)
    assert acts(rested) == [LookAgain(4.0)]
    assert told(rested).reason == Reason.WAITING


def test_steps_begin_in_order_and_beside_each_other() -> None:
    assert acts(executing(step(0), step(1))) == [Begin(0)]
    assert acts(executing(step(0, *MOVES), step(1))) == [Begin(1)]


def test_the_operation_of_a_noted_step_is_made_before_anything_else() -> None:
    unmade = replace(step(0, StepState.MOVING), uid="")
    assert acts(executing(unmade, step(1))) == [Make(0)]


@pytest.mark.parametrize(
    ("phase", "state", "words"),
    [
        (VmopPhase.COMPLETED, StepState.DONE, ""),
        (VmopPhase.FAILED, StepState.FAILED, "boom"),
        (VmopPhase.SUPERSEDED, StepState.FAILED, "boom"),
        (None, StepState.STOPPED, "its operation was deleted"),
    ],
)
def test_the_end_of_a_step_is_noted(phase: Any, state: StepState, words: str) -> None:
    assert acts(executing(step(0, StepState.MOVING, phase), step(1))) == [Note(0, state, words)]


@pytest.mark.parametrize(
    "wait",
    [{"hindrance": "others go first"}, {"objection": "no room yet"}],
)
def test_the_next_step_waits(wait: dict[str, str]) -> None:
    view = executing(step(0, *MOVES), step(1), **wait)
    assert acts(view) == [LookAgain(LOOK_S)]


def test_no_more_moves_than_an_hour_may_have() -> None:
    view = executing(step(0), budget_in_s=77.0)
    assert acts(view) == [LookAgain(77.0)]
    assert told(view).reason == Reason.WAITING


@pytest.mark.parametrize(
    ("steps", "more", "why"),
    [
        ((step(0), step(1)), {"objection": "node n2 is gone"}, "node n2 is gone"),
        ((step(0, StepState.FAILED, VmopPhase.FAILED), step(1)), {}, "ended as Failed: boom"),
        ((step(0, StepState.STOPPED), step(1)), {}, "ended as Stopped"),
        ((step(0), step(1)), {"same_policy": False}, "settings were changed"),
        ((step(0),), {"overloaded": ()}, "nothing is overloaded"),
    ],
)
def test_a_plan_that_is_not_right_any_more_is_over_once_nothing_moves(
    steps: tuple[StepView, ...], more: Any, why: str
) -> None:
    [end] = acts(executing(*steps, **more))
    assert isinstance(end, End)
    assert end.phase is PlanPhase.SUPERSEDED
    assert why in end.message
    busy = executing(*steps, step(9, *MOVES), **more)
    assert not any(isinstance(act, End | Begin) for act in acts(busy))


def test_a_plan_whose_moves_have_all_arrived_is_done() -> None:
    done = step(0, StepState.DONE)
    [end] = acts(executing(done, overloaded=()))
    assert end == End(PlanPhase.DONE, "all 1 moves have arrived")
    assert acts(executing(done, step(1, *MOVES))) == []


def test_a_plan_waits_for_a_persons_word() -> None:
    asked = executing(step(0), mode=Mode.APPROVE)
    assert acts(asked) == [LookAgain(LOOK_S)]
    assert told(asked).reason == Reason.APPROVAL
    assert told(replace(asked, idle_s=STALL_S)).stalled == ""
    assert acts(executing(step(0), mode=Mode.APPROVE, approved=True)) == [Begin(0)]
    old = executing(step(0), mode=Mode.APPROVE, objection="node n2 is gone")
    assert acts(old) == [End(PlanPhase.SUPERSEDED, "node n2 is gone")]


def test_operations_of_no_open_plan_are_taken_back() -> None:
    stray = Operation("default/rebalance-x", "u", VmopPhase.PENDING)
    assert acts(replace(CALM, strangers=(stray,))) == [Withdraw(stray)]


@pytest.mark.parametrize("policy", [Policy(), replace(ON, problems=(Problem("x", "is bad"),))])
def test_switched_off_it_ends_what_it_began(policy: Policy) -> None:
    moving = replace(executing(step(0, *MOVES), step(1)), policy=policy)
    assert acts(moving) == []
    arrived = replace(executing(step(0, StepState.MOVING, VmopPhase.COMPLETED)), policy=policy)
    assert acts(arrived) == [Note(0, StepState.DONE, "")]
    [end] = acts(replace(executing(step(0)), policy=policy))
    assert end.phase is PlanPhase.SUPERSEDED


def test_bad_settings_move_nothing_and_are_told() -> None:
    bad = replace(TROUBLE, policy=replace(ON, problems=(Problem("x", "is bad"),)))
    assert acts(bad) == []
    assert told(bad).reason == Reason.INVALID
    assert "x: is bad" in told(bad).message


def test_a_rebalancing_without_effect_is_told() -> None:
    assert told(replace(TROUBLE, draft=STUCK)).stalled == ""
    assert "nothing has come of it" in told(replace(TROUBLE, draft=STUCK, idle_s=STALL_S)).stalled

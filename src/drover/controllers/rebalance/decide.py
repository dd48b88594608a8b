"""What to do next about the balance of the cluster: ``decide(view) -> intents``. Pure.

An open plan is followed to its end before anything else is planned. It ends early, as soon as nothing of it moves any
more, when a step failed, the next one is not right any more, or the policy is another one.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.kinds.rebalance import PlanPhase, StepState
from drover.api.kinds.vmop import VmopPhase
from drover.base.words import some_of
from drover.controllers.rebalance.view import Operation, PlanView, RebalanceView, StepView

LOOK_S = 30.0  # how often trouble is looked at, besides changes
STALL_S = 900.0  # without effect for so long, somebody should know


class Reason:
    """Of the condition Balanced."""

    DISABLED = "Disabled"
    INVALID = "InvalidSettings"
    BALANCED = "Balanced"
    SETTLING = "Settling"
    WAITING = "Waiting"
    APPROVAL = "WaitingForApproval"
    REBALANCING = "Rebalancing"
    IMPOSSIBLE = "Impossible"


@dataclass(frozen=True)
class Intent:
    """One act of the controller."""


@dataclass(frozen=True)
class Withdraw(Intent):
    """Take an operation of ours back that no open plan asks for."""

    operation: Operation


@dataclass(frozen=True)
class Ask(Intent):
    """Ask the planner, and decide again with what it says."""


@dataclass(frozen=True)
class Propose(Intent):
    """Write the draft down as a plan."""


@dataclass(frozen=True)
class Note(Intent):
    """What became of a step."""

    number: int
    state: StepState
    message: str = ""


@dataclass(frozen=True)
class Begin(Intent):
    """Note in the plan that this step moves. Its operation is made next, by ``Make``."""

    number: int


@dataclass(frozen=True)
class Make(Intent):
    """The operation of a step that was noted. Made twice, it is one."""

    number: int


@dataclass(frozen=True)
class End(Intent):
    """The plan is over."""

    phase: PlanPhase
    message: str


@dataclass(frozen=True)
class Report(Intent):
    """``balanced`` None: it cannot be told. ``stalled``: why somebody should look; empty: it goes well."""

    balanced: bool | None
    reason: str
    message: str
    stalled: str = ""


@dataclass(frozen=True)
class LookAgain(Intent):
    after_s: float


def decide(view: RebalanceView) -> list[Intent]:
    """The next acts, in order; the report is among them always."""
    acts: list[Intent] = [Withdraw(one) for one in view.strangers]
    if not view.policy.enabled or view.policy.problems:
        acts += _switched_off(view)
    elif view.plan is not None:
        acts += _follow(view, view.plan)
    else:
        acts += _propose(view)
    return [*acts, report(view)]


def _switched_off(view: RebalanceView) -> list[Intent]:
    why = "the settings are not valid" if view.policy.enabled else "the module is switched off"
    plan = view.plan
    if plan is None:
        return []
    noted = _noted(plan)
    return noted or ([] if plan.moving else [End(PlanPhase.SUPERSEDED, why)])


def _propose(view: RebalanceView) -> list[Intent]:
    if not view.trouble:
        return []
    if not view.ripe:
        return [LookAgain(view.ripe_in_s)]
    if view.draft is None:
        return [Ask()]
    if view.draft.moves:
        return [Propose()]
    return [LookAgain(min(view.resting_s or LOOK_S, LOOK_S))]


def _follow(view: RebalanceView, plan: PlanView) -> list[Intent]:
    acts = _noted(plan) or [Make(one.number) for one in plan.moving if not one.uid]
    if acts:
        return acts  # they change the plan, and that wakes us
    over = _over(view, plan)
    if over:
        return [] if plan.moving else [End(PlanPhase.SUPERSEDED, over)]
    step = plan.next
    if step is None:
        return [] if plan.moving else [End(PlanPhase.DONE, _done(plan))]
    if not plan.approved:
        return [LookAgain(LOOK_S)]
    if view.hindrance:
        return [LookAgain(LOOK_S)]
    if view.budget_in_s > 0:
        return [LookAgain(view.budget_in_s)]
    return [Begin(step.number)] if not view.objection else [LookAgain(LOOK_S)]


def _noted(plan: PlanView) -> list[Intent]:
    """The ends of steps that the plan does not tell yet."""
    found: list[Intent] = []
    for one in plan.moving:
        if one.operation is None and one.uid:
            found.append(Note(one.number, StepState.STOPPED, "its operation was deleted"))
        elif one.operation is not None and one.operation.finished:
            arrived = one.operation.phase is VmopPhase.COMPLETED
            words = "" if arrived else one.operation.message or str(one.operation.phase)
            state = StepState.DONE if arrived else StepState.FAILED
            found.append(Note(one.number, state, words))
    return found


def _over(view: RebalanceView, plan: PlanView) -> str:
    """Why the rest of the plan is not to be made; empty: it is."""
    for one in plan.steps:
        if one.state in (StepState.FAILED, StepState.STOPPED):
            why = one.operation.message if one.operation is not None else ""
            return f"the move of {one.step.vm} ended as {one.state}" + (f": {why}" if why else "")
    if not plan.same_policy:
        return "the settings were changed"
    if not view.trouble and plan.next is not None:
        return "nothing is overloaded or broken any more"
    if view.objection and not plan.moving:
        return view.objection
    return ""


def _done(plan: PlanView) -> str:
    rest = f"; {plan.rest} more are planned anew" if plan.rest else ""
    return f"all {len(plan.steps)} moves have arrived{rest}"


def report(view: RebalanceView) -> Report:
    """What people are told now."""
    if not view.policy.enabled:
        return Report(None, Reason.DISABLED, "drover rebalance on switches it on")
    if view.policy.problems:
        words = "; ".join(str(one) for one in view.policy.problems)
        return Report(None, Reason.INVALID, f"nothing is moved: {words}")
    if not view.trouble and (view.plan is None or not view.plan.moving):
        return Report(True, Reason.BALANCED, "no node is over a threshold and no rule is broken")
    reason, words = _now(view)
    stalled = ""
    if view.idle_s >= STALL_S and reason != Reason.APPROVAL:
        stalled = f"for {view.idle_s / 60:.0f} min nothing has come of it: {words}"
    return Report(False, reason, f"{_trouble(view)}; {words}", stalled)


def _now(view: RebalanceView) -> tuple[str, str]:
    plan = view.plan
    if plan is None:
        return _unplanned(view)
    done = sum(one.state is StepState.DONE for one in plan.steps)
    progress = f"{plan.name}: {done} of {len(plan.steps)} moves done"
    if not plan.approved:
        words = f"{plan.name} has {len(plan.steps)} moves and waits for spec.approved"
        return Reason.APPROVAL, words
    if plan.moving:
        return Reason.REBALANCING, f"{progress}, {len(plan.moving)} on the way"
    if view.hindrance:
        return Reason.WAITING, f"{progress}; {view.hindrance}"
    if view.budget_in_s > 0:
        words = f"{view.policy.moves_per_hour} moves began within the last hour"
        return Reason.WAITING, f"{progress}; {words}"
    return Reason.REBALANCING, progress


def _unplanned(view: RebalanceView) -> tuple[str, str]:
    if not view.ripe:
        return Reason.SETTLING, f"moves begin when that lasts for {view.policy.settle_s} s"
    if view.draft is None or view.draft.moves:
        return Reason.REBALANCING, "a plan is being made"
    if view.resting_s > 0:
        return Reason.WAITING, "VMs that could be moved rest until then, after their last move"
    found = view.draft.impossible
    if not found:
        return Reason.IMPOSSIBLE, "no move would help"
    first = found[0]
    change = f"; {first.change}" if first.change else ""
    return Reason.IMPOSSIBLE, f"no move would help: {'; '.join(first.blocked_by)}{change}"


def _trouble(view: RebalanceView) -> str:
    told = []
    if view.overloaded:
        told.append(f"over a threshold: {some_of(view.overloaded)}")
    if view.broken:
        told.append(f"{view.broken} broken rules" if view.broken > 1 else "1 broken rule")
    return ", ".join(told) or "moves are on their way"


def step_words(one: StepView) -> str:
    """The text of the Event of a move."""
    return f"Moves from {one.step.source} to {one.step.target}: {one.why}"

"""What a decision about the next step of a rebalancing needs. No decisions here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drover.api.kinds.rebalance import Mode, PlanPhase, StepState
from drover.api.kinds.vmop import FINISHED, VmopPhase
from drover.controllers.rebalance.policy import Policy
from drover.planner import Plan, Rule


@dataclass(frozen=True)
class Step:
    """A move of an open plan."""

    vm: str
    source: str
    target: str
    rule: Rule

    @classmethod
    def of(cls, move: Mapping[str, Any]) -> Step:
        """Of ``spec.moves`` of a RebalancePlan. Raises ValueError for an unknown reason."""
        return cls(move["virtualMachine"], move["source"], move["target"], Rule(move["reason"]))


@dataclass(frozen=True)
class Operation:
    """One of ours, on the VM of a step."""

    name: str
    uid: str
    phase: VmopPhase | None
    message: str = ""
    version: str = ""  # resourceVersion, as it was seen

    @property
    def finished(self) -> bool:
        return self.phase in FINISHED


@dataclass(frozen=True)
class StepView:
    """A move of the open plan. ``state`` None: not begun."""

    number: int  # from 0, its place in the plan
    step: Step
    why: str = ""
    state: StepState | None = None
    uid: str = ""  # of its operation, once it was made
    operation: Operation | None = None  # as it is now; None: there is none


@dataclass(frozen=True)
class PlanView:
    """The one that is open."""

    name: str
    phase: PlanPhase
    mode: Mode
    approved: bool
    steps: tuple[StepView, ...]
    same_policy: bool = True  # it was made under the present one
    rest: int = 0  # moves beyond those that the object holds

    @property
    def moving(self) -> tuple[StepView, ...]:
        return tuple(one for one in self.steps if one.state is StepState.MOVING)

    def goes_on(self, vm: str) -> bool:
        """The plan has moved the VM once, and will do so again."""
        return any(one.step.vm == vm and one.state is StepState.DONE for one in self.steps)

    @property
    def next(self) -> StepView | None:
        return next((one for one in self.steps if one.state is None), None)


@dataclass(frozen=True)
class RebalanceView:
    now_s: float
    policy: Policy = field(default_factory=Policy)
    overloaded: tuple[str, ...] = ()
    broken: int = 0  # rules
    ripe: bool = False  # one of these has stood for the settling time
    ripe_in_s: float = 0.0  # until one has, when none has
    plan: PlanView | None = None
    strangers: tuple[Operation, ...] = ()  # unfinished ones of ours that belong to no open plan
    hindrance: str = ""  # why nothing new may begin now
    budget_in_s: float = 0.0  # until the hour has room for one more move; 0: it has
    objection: str = ""  # to the next step
    draft: Plan | None = None  # what the planner says now; None: it was not asked
    resting_s: float = 0.0  # until a VM that cools down or backs off may move again; 0: none does
    idle_s: float = 0.0  # for how long there has been trouble, and nothing has come of it

    @property
    def trouble(self) -> bool:
        return bool(self.overloaded) or self.broken > 0

"""What earlier moves say about the next ones: who cools down, who backs off, how many moves the hour has seen. Pure.

It is read from the operations themselves, which are kept for a day (the last ten of each VM), so a restart forgets
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from drover.api import conditions, names
from drover.api.kinds import rebalance as kinds
from drover.api.kinds import vmop as vmops
from drover.api.kinds.rebalance import StepState
from drover.api.kinds.vmop import Origin, VmopCondition, VmopPhase
from drover.api.meta import annotations_of, name_of
from drover.api.wire import Object
from drover.base.backoff import Backoff
from drover.base.clock import parse_rfc3339

RETRY = Backoff(first_s=60, most_s=3600)  # after a failed move of a VM
HOUR_S = 3600.0


def plan_name(vmop: Object) -> str:
    """The plan that an operation of ours belongs to; empty: it is none of ours."""
    ours = vmops.origin(vmop) is Origin.REBALANCE
    return annotations_of(vmop).get(names.REBALANCE_ANNOTATION, "") if ours else ""


def ended_s(vmop: Object) -> float:
    """When it was finished; 0: it is not."""
    completed = conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}
    at = completed.get("lastTransitionTime") if vmops.finished(vmop) else None
    return parse_rfc3339(str(at)) if at else 0.0


@dataclass(frozen=True)
class Rest:
    """Until when a VM stays where it is, and why."""

    until_s: float
    why: str


@dataclass(frozen=True)
class Past:
    rests: Mapping[str, Rest] = field(default_factory=dict)  # by VM; over ones are left out
    moves_of_hour: int = 0
    oldest_of_hour_s: float = 0.0  # when the first of them began


def read(operations: Iterable[Object], now_s: float, cooldown_s: float) -> Past:
    """``operations``: all that there are, of everybody."""
    of_vm: dict[str, list[Object]] = {}
    born: list[float] = []
    for vmop in operations:
        if not vmops.is_migration(vmop):
            continue
        if plan_name(vmop):
            born.append(parse_rfc3339(vmop["metadata"]["creationTimestamp"]))
        if vmops.finished(vmop):
            of_vm.setdefault(vmops.vm_key(vmop), []).append(vmop)
    rests = {key: _rest(ended, cooldown_s) for key, ended in sorted(of_vm.items())}
    recent = [at for at in born if now_s - at < HOUR_S]
    return Past(
        {key: rest for key, rest in rests.items() if rest is not None and rest.until_s > now_s},
        len(recent),
        min(recent, default=0.0),
    )


def _rest(ended: list[Object], cooldown_s: float) -> Rest | None:
    """A move by us or by a person is not undone at once; one of ours that failed is not repeated at once."""
    rest: Rest | None = None
    failures = 0
    for vmop in sorted(ended, key=lambda op: (ended_s(op), name_of(op))):
        phase, ours = vmops.phase(vmop), bool(plan_name(vmop))
        if phase is VmopPhase.COMPLETED:
            failures = 0
            if ours or vmops.origin(vmop) is Origin.PERSON:
                who = "the rebalancer" if ours else "a person"
                rest = Rest(ended_s(vmop) + cooldown_s, f"{who} has moved it lately")
        elif phase is VmopPhase.FAILED and ours:
            failures += 1
            until_s = ended_s(vmop) + RETRY.delay_s(failures)
            if rest is None or until_s > rest.until_s:
                rest = Rest(until_s, f"{failures} moves of it in a row failed")
    return rest


def stopped(plan: Object, cooldown_s: float) -> Iterable[tuple[str, float]]:
    """The VMs of a plan whose operation somebody deleted, and until when they stay."""
    for step in kinds.steps(plan):
        if step["state"] == StepState.STOPPED and step.get("endedAt"):
            yield str(step["virtualMachine"]), parse_rfc3339(str(step["endedAt"])) + cooldown_s

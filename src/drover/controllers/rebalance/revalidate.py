"""Is the next move of a plan still right, on the cluster as it is now? Pure.

Moves that are on their way count at both ends: room is needed on the target until they end, whatever their end. So a
move may have to wait for one before it, which will make its room; when nothing is on its way any more and it is not
right, the plan is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from drover.api.scheme import key_of
from drover.controllers.rebalance.problem import Problem
from drover.controllers.rebalance.view import Step
from drover.planner import Cluster, Rule, State, fit


@dataclass(frozen=True)
class Arrival:
    """A move of ours that is on its way. ``bound``: its target Pod takes room in the picture already."""

    vm: str
    source_pod: str
    target: str
    bound: bool


def objection(
    problem: Problem, step: Step, arrivals: Iterable[Arrival], goes_on: bool = False
) -> str:
    """Why the step must not be made now; empty: it is right. ``goes_on``: the VM is on a detour of this very plan, and
    its rest comes after."""
    guest = problem.guests.get(step.vm)
    if guest is None:
        return f"{step.vm} does not run, or is being moved"
    if guest.node != step.source:
        return f"{step.vm} is on {guest.node} and not on {step.source} any more"
    if guest.stays and not (guest.rests and goes_on):
        return f"{step.vm} stays: {guest.stays}"
    if step.target not in problem.cluster.nodes.row_of:
        return f"node {step.target} is gone"
    on_their_way = list(arrivals)
    full = _both_ends(problem.cluster, on_their_way)
    found = fit(full, guest.target)
    if step.target not in found.nodes:
        why = found.refusals.get(step.target, (found.conflict,))
        return f"{step.vm} does not fit on {step.target} any more: {', '.join(why)}"
    over = _over(problem, full, guest.target.requests, step.target)
    return over or _not_needed(problem, step, on_their_way)


def _both_ends(cluster: Cluster, arrivals: Iterable[Arrival]) -> Cluster:
    """With a Pod on the target for each move that has none there yet."""
    coming = [
        replace(cluster.pod(one.source_pod), name=f"{_name(one.source_pod)}~", node=one.target)
        for one in arrivals
        if not one.bound and one.source_pod in cluster.pods.row_of
    ]
    return cluster.with_pods(coming) if coming else cluster


def _name(key: str) -> str:
    return key.partition("/")[2]


def _over(problem: Problem, full: Cluster, requests: Mapping[str, int], target: str) -> str:
    row = full.nodes.row_of[target]
    for resource, ceiling in problem.goal.ceilings.items():
        whole = int(full.nodes.allocatable(resource)[row])
        comes = 1 if resource == "pods" else requests.get(resource, 0)
        after = whole - int(full.left(resource)[row]) + comes
        if comes and after * 100 > ceiling * whole:
            share = 100 * after / max(whole, 1)
            return f"{target} would be at {share:.0f} % {resource}, over its {ceiling:g} %"
    return ""


def _not_needed(problem: Problem, step: Step, arrivals: list[Arrival]) -> str:
    """What the step repairs may have passed, or be repaired by those on their way."""
    landed = _landed(problem, arrivals)
    if step.rule is Rule.OVERLOAD:
        passed = step.source not in landed.overloaded
        return f"{step.source} is not over its threshold any more" if passed else ""
    if step.rule in (Rule.ROOM, Rule.BALANCE):
        passed = not landed.overloaded and not landed.broken and step.rule is Rule.ROOM
        return "nothing needs that room any more" if passed else ""
    pod = key_of(problem.guests[step.vm].pod)
    passed = step.rule not in landed.broken.get(pod, ())
    return f"{step.vm} breaks no rule of {step.rule} any more" if passed else ""


def _landed(problem: Problem, arrivals: list[Arrival]) -> State:
    """How the cluster stands once all that is on its way has arrived."""
    if not arrivals:
        return problem.state
    full = _both_ends(problem.cluster, arrivals)
    gone = {one.source_pod: "" for one in arrivals if one.source_pod in full.pods.row_of}
    return replace(problem, cluster=full.moved(gone)).state

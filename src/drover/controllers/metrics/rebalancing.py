"""Gauges of rebalancing, from the Descheduler and the plans that are kept. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client.metrics_core import Metric

from drover.api import conditions
from drover.api.kinds import rebalance as kinds
from drover.api.kinds.rebalance import DeschedulerCondition, StepState
from drover.api.wire import Object
from drover.controllers.metrics.series import Gauges, seconds

PREFIX = "drover_rebalance_"
_HELP = {
    "overloaded_nodes": "Nodes above a threshold.",
    "broken_rules": "Placement rules that running virtual machines break.",
    "seconds_since_balanced": "0 while no node is above a threshold and no rule is broken.",
    "plan_age_seconds": "Age of the plan that is open.",
    "moves": "Moves of the plans that are kept, by their result.",
    "gain_per_move": "Percentage points of overload that each move took away, of the newest plan.",
}


def families(deschedulers: Iterable[Object], plans: Sequence[Object], now_s: float) -> list[Metric]:
    gauges = Gauges(PREFIX)
    for name, text in _HELP.items():
        gauges.declare(name, text)
    for found in deschedulers:
        _state(gauges, found, now_s)
    states = Counter(str(step["state"]) for plan in plans for step in kinds.steps(plan))
    for state in StepState:
        gauges.add("moves", {"result": str(state)}, states[str(state)])
    for plan in plans:
        if kinds.open_(plan):
            age_s = now_s - seconds(plan["metadata"]["creationTimestamp"])
            gauges.add("plan_age_seconds", {}, max(age_s, 0.0))
    moved = [plan for plan in plans if kinds.status(plan).get("done")]
    if moved:
        told = kinds.status(max(moved, key=kinds.number))
        gauges.add("gain_per_move", {}, float(told.get("gain", 0)) / int(told["done"]))
    return gauges.families()


def _state(gauges: Gauges, descheduler: Object, now_s: float) -> None:
    said = kinds.status(descheduler)
    gauges.add("overloaded_nodes", {}, float(said.get("overloadedNodes", 0)))
    gauges.add("broken_rules", {}, float(said.get("brokenRules", 0)))
    if conditions.is_true(descheduler, DeschedulerCondition.BALANCED):
        gauges.add("seconds_since_balanced", {}, 0.0)
    elif said.get("lastBalancedTime"):
        since_s = now_s - seconds(said["lastBalancedTime"])
        gauges.add("seconds_since_balanced", {}, max(since_s, 0.0))

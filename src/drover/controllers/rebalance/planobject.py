"""A plan as the spec of a RebalancePlan, for the controller and for the commands that show one. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from drover.api.kinds.rebalance import Mode
from drover.api.wire import Object
from drover.controllers.rebalance.problem import Problem
from drover.planner import Move, Plan
from drover.planner.plan import GIB

MOST_MOVES = 200  # of one object; the others are counted, and planned anew when these are made
MOST_LISTED = 50
MOST_WORDS = 1024


def spec_of(plan: Plan, problem: Problem, number: int, mode: Mode) -> Object:
    """Percentages have one decimal. A copy that may never end has no ``seconds``."""
    shown = plan.moves[:MOST_MOVES]
    subjects = [one for one in plan.impossible if _ours(one.subject, problem)]
    return {
        "number": number,
        "mode": str(mode),
        "approved": False,
        "hash": plan.digest,
        "moves": [_move(move, problem) for move in shown],
        "movesTotal": len(plan.moves) + plan.more,
        "lowerBound": plan.lower_bound,
        "proved": plan.proved,
        "bytesTotal": round(plan.gib * GIB),
        "secondsTotal": round(sum(m.seconds for m in plan.moves if math.isfinite(m.seconds)), 1),
        "overloaded": list(problem.state.overloaded[:MOST_LISTED]),
        "overload": round(problem.overload(plan.before.loads), 1),
        "brokenRules": sum(len(rules) for rules in problem.state.broken.values()),
        "impossible": [
            {
                "what": f"{problem.vm_of.get(one.subject, one.subject)}: {one.why}"[:MOST_WORDS],
                "blockedBy": "; ".join(one.blocked_by)[:MOST_WORDS],
                "change": one.change[:MOST_WORDS],
            }
            for one in subjects[:MOST_LISTED]
        ],
    }


def _ours(subject: str, problem: Problem) -> bool:
    """A node that is balanced, or a VM that the policy does not leave out."""
    vm = problem.vm_of.get(subject)
    return subject not in problem.closed if vm is None else problem.guests[vm].ours


def _move(move: Move, problem: Problem) -> Object:
    told: dict[str, Any] = {
        "virtualMachine": problem.vm_of[move.vm],
        "source": move.source,
        "target": move.target,
        "reason": str(move.rule),
        "why": move.why[:MOST_WORDS],
        "bytes": round(move.gib * GIB),
        "load": [
            {"node": one.node, "before": _percents(one.before), "after": _percents(one.after)}
            for one in move.loads
        ],
        "rejected": [{"node": one.node, "why": one.why[:MOST_WORDS]} for one in move.rejected[:3]],
    }
    if math.isfinite(move.seconds):
        told["seconds"] = round(move.seconds, 1)
    return told


def _percents(loads: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(share), 1) for name, share in sorted(loads.items())}

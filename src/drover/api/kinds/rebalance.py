"""Descheduler and RebalancePlan: the words of their API and read-only views.

A plan is ``Proposed``; a person's word makes it ``Approved`` where the mode asks for one; ``Executing`` from its first
move on; ``Done`` when all of its moves have arrived, ``Superseded`` when it ended otherwise. The last two are final.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

Obj = Mapping[str, Any]


class Mode(enum.StrEnum):
    """Whether a plan waits for a person."""

    AUTOMATIC = "Automatic"
    APPROVE = "Approve"


class PlanPhase(enum.StrEnum):
    PROPOSED = "Proposed"
    APPROVED = "Approved"
    EXECUTING = "Executing"
    DONE = "Done"
    SUPERSEDED = "Superseded"


FINAL = frozenset({PlanPhase.DONE, PlanPhase.SUPERSEDED})


class StepState(enum.StrEnum):
    MOVING = "Moving"
    DONE = "Done"
    FAILED = "Failed"
    STOPPED = "Stopped"  # somebody deleted its operation


class Strategy(enum.StrEnum):
    """Of a Descheduler; the last two are known and not served."""

    LOW_NODE_UTILIZATION = "lowNodeUtilization"
    NODE_AFFINITY = "removePodsViolatingNodeAffinity"
    INTER_POD = "removePodsViolatingInterPodAntiAffinity"
    HIGH_NODE_UTILIZATION = "highNodeUtilization"
    DUPLICATES = "removeDuplicates"


class DeschedulerCondition:
    BALANCED = "Balanced"  # no node is over a threshold, no rule is broken
    PROGRESSING = "Progressing"  # False: it is not, and for long nothing has come of it


def name_for(number: int) -> str:
    """One object per number, so that creating it twice is refused."""
    return f"rebalance-{number}"


def spec(plan: Obj) -> Obj:
    return plan["spec"]  # type: ignore[no-any-return]


def status(obj: Obj) -> Obj:
    return obj.get("status") or {}


def number(plan: Obj) -> int:
    return int(spec(plan)["number"])


def mode(plan: Obj) -> Mode:
    return Mode(spec(plan)["mode"])


def approved(plan: Obj) -> bool:
    """May it be carried out?"""
    return mode(plan) is Mode.AUTOMATIC or bool(spec(plan).get("approved", False))


def phase(plan: Obj) -> PlanPhase:
    """One that nobody has looked at yet is a proposal."""
    return PlanPhase(status(plan).get("phase") or PlanPhase.PROPOSED)


def open_(plan: Obj) -> bool:
    return phase(plan) not in FINAL


def moves(plan: Obj) -> list[Obj]:
    return list(spec(plan).get("moves") or [])


def steps(plan: Obj) -> list[Obj]:
    """The moves that were begun, in order."""
    return list(status(plan).get("steps") or [])

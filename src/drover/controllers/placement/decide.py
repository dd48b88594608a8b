"""What to do next about one VM's place: ``decide(view) -> intents``. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drover.base.backoff import Backoff
from drover.controllers.placement.view import PlacementView

RETRY = Backoff(first_s=5, most_s=300)
SETTLE_S = 60.0
LOOK_S = 30.0  # how often a VM that no node takes is looked at, besides changes of its own


@dataclass(frozen=True)
class Intent:
    """One act of the controller."""


@dataclass(frozen=True)
class Create(Intent):
    """``after``: uid of the failure before it; makes the name, so that creating it twice makes one."""

    why: str
    after: str


@dataclass(frozen=True)
class Tell(Intent):
    """It waits: for somebody who makes room, or until the next attempt."""

    message: str


@dataclass(frozen=True)
class LookAgain(Intent):
    after_s: float


def decide(view: PlacementView) -> list[Intent]:
    """The next acts, in order. Empty: wait for a change."""
    if not view.changed or not view.running or view.busy or not view.unsatisfied:
        return []
    if view.steady_s < SETTLE_S:
        return [LookAgain(SETTLE_S - view.steady_s)]
    if not view.migratable:
        return [Tell(f"{view.unsatisfied}; it cannot be moved: {view.not_migratable_why}")]
    if view.failures:
        last = view.failures[-1]
        wait_s = RETRY.left_s(last.ended_s + RETRY.delay_s(len(view.failures)), view.now_s)
        if wait_s > 0:
            return [Tell(f"{last.name} failed: {last.message}"), LookAgain(wait_s)]
    if not view.room:
        return [Tell(f"{view.unsatisfied}; {view.no_room}"), LookAgain(LOOK_S)]
    return [Create(view.unsatisfied, view.failures[-1].uid if view.failures else "")]

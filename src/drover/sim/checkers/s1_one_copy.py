"""S1: a VM never runs twice; and the second guard, the image locks, never has to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.sim.checkers.base import Checker

if TYPE_CHECKING:
    from drover.sim.scenario import Scenario


class OneCopy(Checker):
    name = "S1 one running copy"

    def on_step(self) -> str:
        violations = self.world.site.ledger.violations
        return violations[0] if violations else ""


class LocksNotNeeded(Checker):
    name = "S1 image locks not needed"

    def on_step(self) -> str:
        refusals = self.world.locks.refusals
        return f"an image lock was refused: {refusals[0]}" if refusals else ""


class NoWayBack(Checker):
    """A guest that went on elsewhere has left its old copy for good: that one is of the past."""

    name = "S1 no copy runs again after another"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._seen = 0
        self._past: dict[str, list[str]] = {}  # vm -> copies, in order of first runs

    def on_step(self) -> str:
        history = self.world.site.ledger.history
        for vm, copy in history[self._seen :]:
            self._seen += 1
            copies = self._past.setdefault(vm, [])
            if copy in copies[:-1]:
                return f"{copy} runs {vm} again, after {copies[-1]} did"
            if copy not in copies:
                copies.append(copy)
        return ""

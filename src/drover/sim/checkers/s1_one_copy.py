"""S1: a VM never runs twice; and the second guard, the image locks, never has to hold."""

from __future__ import annotations

from drover.sim.checkers.base import Checker


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

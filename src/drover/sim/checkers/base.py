"""What a checker is: it sees everything, and says in words what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drover.sim.api.store import Change
    from drover.sim.scenario import Scenario


class Checker:
    """All methods return what is broken, or an empty string. Nothing is changed by looking."""

    name = ""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = scenario.world

    def on_change(self, change: Change) -> str:
        """A write to the API."""
        return ""

    def on_step(self) -> str:
        """Something happened: a write, or a guest began to run."""
        return ""

    def at_rest(self) -> str:
        """The world was healed and had time. Asked again until it is satisfied or time is up."""
        return ""

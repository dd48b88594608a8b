"""S2: whoever runs is named by the VM lease. So nothing starts elsewhere before the old copy ended.

A lease that is absent proves nothing and allows nothing new, but a guest that runs goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.scheme import VML
from drover.sim.checkers.base import Checker

if TYPE_CHECKING:
    from drover.sim.api.store import Change
    from drover.sim.scenario import Scenario


class LeaseNamesTheRunning(Checker):
    name = "S2 the lease names who runs"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._seen = 0  # starts of guests looked at

    def on_step(self) -> str:
        ledger = self.world.site.ledger
        for vm, copy in ledger.history[self._seen :]:
            self._seen += 1
            if self._lease(vm) is None and not self._ran_before(vm, copy):
                return f"{copy} began to run {vm} without any lease"
        if self.world.settling:
            return ""  # the leases are of long ago, and nothing may be started by them (S1)
        for vm, copies in ledger.running.items():
            lease = self._lease(vm)
            strangers = [c for c in copies if lease is not None and c != lease["spec"]["holder"]]
            if strangers and lease is not None:
                return f"{strangers[0]} runs {vm}, and its lease names {lease['spec']['holder']!r}"
        return ""

    def on_change(self, change: Change) -> str:
        if change.kind != VML or change.old is None or change.new is None:
            return ""
        old, new = change.old["spec"], change.new["spec"]
        if old != new and new["epoch"] <= old["epoch"]:
            return f"the epoch of {change.new['metadata']['name']} did not rise: {old} {new}"
        return ""

    def _lease(self, vm: str) -> dict[str, dict[str, str]] | None:
        namespace, _, name = vm.partition("/")
        return self.world.find(VML, name, namespace)

    def _ran_before(self, vm: str, copy: str) -> bool:
        """A source that goes on by itself began before its lease vanished."""
        return self.world.site.ledger.history.count((vm, copy)) > 1

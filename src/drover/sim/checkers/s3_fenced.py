"""S3: a node is not called dead while its VMs still run, and nothing of a life that was called dead starts again.

What is proved by time is told at the condemnation already, K before it counts: a proof that is a little short shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence
from drover.api.scheme import LEASE, NODEFENCE
from drover.sim.checkers.base import Checker

if TYPE_CHECKING:
    from drover.sim.api.store import Change
    from drover.sim.scenario import Scenario


class FencedIsDead(Checker):
    name = "S3 what is called dead is dead"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._dead: dict[str, None] = {}  # lives that are proved to be over

    def on_change(self, change: Change) -> str:
        if change.kind == LEASE and change.new is not None:
            life = nodes.condemned(change.new)
            if life and life not in self._dead and not nodes.confirmed_off(change.new):
                self._dead[life] = None
        fence = change.new if change.kind == NODEFENCE else None
        if fence is not None and nodefence.proves_dead(fence):
            self._dead[nodefence.incarnation(fence)] = None
        return ""

    def on_step(self) -> str:
        if not self._dead:
            return ""
        for qemu in self.world.site.qemus.values():
            if qemu.alive and qemu.life in self._dead:
                return (
                    f"{qemu.node} is fenced, and its QEMU of {qemu.spec.vm} lives in {qemu.state}"
                )
        return ""

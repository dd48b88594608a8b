"""One evacuation at a time: no VM ever has two unfinished operations of the evacuation controller."""

from __future__ import annotations

from collections import Counter

from drover.api.kinds import vmop as vmops
from drover.api.names import EVACUATION_PREFIX
from drover.api.scheme import VMOP
from drover.sim.checkers.base import Checker


class OneEvacuation(Checker):
    name = "one evacuation at a time"

    def on_step(self) -> str:
        counts = Counter(
            vmops.vm_key(op)
            for op in self.world.api.store.all(VMOP)
            if op["metadata"]["name"].startswith(EVACUATION_PREFIX) and not vmops.finished(op)
        )
        twice = [vm for vm, number in counts.items() if number > 1]
        return f"{twice} have more than one" if twice else ""

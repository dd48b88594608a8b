"""S6: no transfer of memory begins beyond the limits.

Judged when one begins and nothing has broken for a while. Limits are kept by one living leader that sees what there
is: for as long as the writes of a dead or deaf one are still under way, they may be exceeded (``migration/slots``).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from drover.api import names
from drover.api.kinds import node as nodes
from drover.api.kinds import vmm as vmms
from drover.api.names import VmmPhase
from drover.api.scheme import MODULECONFIG, NODE, VMM
from drover.controllers import settings
from drover.sim.checkers.base import Checker

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.sim.api.store import Change

CALM_S = 30.0  # a request that was lost or late has landed or never will
_TRANSFER = (VmmPhase.READY, VmmPhase.COPYING)


class LimitsHold(Checker):
    name = "S6 limits hold"

    def on_change(self, change: Change) -> str:
        if change.kind != VMM or change.new is None or not _moves(change.new):
            return ""
        begins = change.old is None or not _moves(change.old)
        calm = self.world.loop.time() - self.world.struck_s > CALM_S
        return self._exceeded() if begins and calm else ""

    def _exceeded(self) -> str:
        most = settings.read(self.world.find(MODULECONFIG, names.MODULE_CONFIG))
        moving = [vmm for vmm in self.world.api.objects(VMM) if _moves(vmm) and self._counts(vmm)]
        leaving, coming = (
            Counter(map(vmms.source_node, moving)),
            Counter(map(vmms.target_node, moving)),
        )
        over = [f"{n} leave {node}" for node, n in leaving.items() if n > most.sync_per_node]
        over += [f"{n} come to {node}" for node, n in coming.items() if n > most.inbound_per_node]
        return f"too many transfers: {', '.join(over)}" if over else ""

    def _counts(self, vmm: Object) -> bool:
        """A move that a silent node takes part in keeps no slots."""
        ends = filter(None, (vmms.source_node(vmm), vmms.target_node(vmm)))
        found = [self.world.find(NODE, name) for name in ends]
        return all(node is not None and not nodes.away(node) for node in found)


def _moves(vmm: Object) -> bool:
    return vmms.phase(vmm) in _TRANSFER

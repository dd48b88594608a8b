"""S7: no Pod of a VM is bound to a node that is cordoned, or gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.kinds import pod as pods
from drover.api.scheme import NODE, POD
from drover.sim.checkers.base import Checker

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.sim.api.store import Change
    from drover.sim.scenario import Scenario

LAG_S = 2.0  # a scheduler that has chosen a node may not have heard of its cordon yet


class NothingLands(Checker):
    name = "S7 nothing lands on a cordoned node"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._cordoned_s: dict[str, float] = {}  # since when

    def on_change(self, change: Change) -> str:
        if change.kind == NODE:
            self._node((change.new or change.old or {})["metadata"]["name"], change.new)
        if change.kind != POD or change.new is None or not pods.is_vm(change.new):
            return ""
        node, before = pods.node_name(change.new), pods.node_name(change.old or {})
        return self._landed(change.new["metadata"]["name"], node) if node and not before else ""

    def _node(self, name: str, node: Object | None) -> None:
        if node is not None and not node.get("spec", {}).get("unschedulable"):
            self._cordoned_s.pop(name, None)
        else:
            self._cordoned_s.setdefault(name, self.world.loop.time())

    def _landed(self, pod: str, node: str) -> str:
        # A restore takes a cordon back without a write.
        self._node(node, self.world.find(NODE, node, ""))
        since_s = self._cordoned_s.get(node)
        known = since_s is not None and self.world.loop.time() - since_s > LAG_S
        return f"{pod} was bound to {node}" if known else ""

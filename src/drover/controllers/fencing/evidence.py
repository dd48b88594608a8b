"""A person's word, as evidence that a node's VMs are dead. Pure.

Evidence is a function that says what is still missing of it; None: nothing. ``decide`` tries each kind in turn, so
another one (a power switch that was read back) is one more function there. Whatever the evidence, a life is condemned
by a compare-and-swap on its newest renewal, so a node that has renewed since is never fenced by it.
"""

from __future__ import annotations

from collections.abc import Callable

from drover.api.kinds.nodefence import FenceReason
from drover.controllers.fencing.view import GroupView, NodeView

Missing = tuple[FenceReason, str]  # and a message
Evidence = Callable[[GroupView, NodeView, float], Missing | None]


def confirmed(node: NodeView) -> bool:
    """Somebody says that it was off after its newest renewal."""
    return node.seen is not None and node.seen.confirmed_off


def unconfirmed(view: GroupView, node: NodeView, extra_s: float) -> Missing | None:
    """Nobody knows better than a person who stands before it; but one that renews is alive, and what it had sent to
    its disks may land for ``extra_s`` more."""
    if not confirmed(node):
        return FenceReason.UNCONFIRMED, "nobody has confirmed that it is off"
    left_s = node.suspect_s + extra_s - node.still_s
    if left_s <= 0:
        return None
    return FenceReason.WAITING, f"it is confirmed to be off; {left_s:.1f} s more"

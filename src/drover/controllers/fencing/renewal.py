"""A node's newest renewal, as it was seen. Pure.

A renewal is told apart by its attempt and its life: other writes to the Lease (a label, the mark that condemns) change
its version and not the renewal.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.fencing import Evidence
from drover.api.kinds import node as nodes
from drover.api.wire import Object


@dataclass(frozen=True)
class Seen:
    """One node's newest renewal. ``lease`` is the Lease as it is now; a compare-and-swap goes against it."""

    lease: Object
    incarnation: str
    evidence: Evidence | None
    since_s: float
    since_wall_s: float

    @property
    def condemned(self) -> bool:
        return nodes.condemned(self.lease) == self.incarnation

    @property
    def renewal(self) -> str:
        """Its name: equal ones are the same renewal."""
        return nodes.renewal(self.lease)

    @property
    def confirmed_off(self) -> bool:
        """A person's word that the node was off after it."""
        return nodes.confirmed_off(self.lease)

"""Since when this process has seen each node's newest renewal. Nothing of it outlives the process: a restart or a new
leader begins every wait anew.

Other writes to the Lease than renewals (a label, the mark that condemns) do not end a wait. No remote clock is read:
``since_s`` is when the news arrived, which is never before it was committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from drover.api.kinds import node as nodes
from drover.api.meta import name_of
from drover.api.wire import Object
from drover.base.clock import Clock
from drover.controllers.fencing.renewal import Seen

SETTLED_RENEWALS = 2
STORM_S = 30.0  # the longest cool-down


@dataclass
class _Count:
    generation: int = 0
    renewals: int = 0


@dataclass
class Sight:
    """Fed by the informer of ``kube-node-lease``; see ``Seen``."""

    clock: Clock
    seen: dict[str, Seen] = field(default_factory=dict)
    _counts: dict[str, _Count] = field(default_factory=dict)

    def changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self.seen.pop(name_of(old), None)
                self._counts.pop(name_of(old), None)
            return
        name, incarnation = name_of(new), nodes.incarnation(new)
        if not incarnation:
            return
        now = self.clock
        fresh = Seen(new, incarnation, nodes.evidence(new), now.monotonic(), now.wall())
        before = self.seen.get(name)
        same = before is not None and before.renewal == fresh.renewal
        if before is not None and same and _uid(before.lease) == _uid(new):
            self.seen[name] = replace(before, lease=new)
            return
        self.seen[name] = fresh
        self._count(name, fresh)

    def _count(self, name: str, seen: Seen) -> None:
        generation = seen.evidence.roster if seen.evidence is not None else 0
        count = self._counts.setdefault(name, _Count())
        if count.generation != generation:
            self._counts[name] = _Count(generation, 1)
        else:
            count.renewals += 1

    def goes_by(self, name: str, generation: int) -> bool:
        """Two of its renewals named this roster: nothing of before can still be under way (C4)."""
        count = self._counts.get(name, _Count())
        return count.generation == generation and count.renewals >= SETTLED_RENEWALS


@dataclass
class Storm:
    """Too many nodes of a group were silent, from ``begun_s`` to ``last_s``."""

    begun_s: float
    last_s: float

    def left_s(self, now_s: float, least_s: float) -> float:
        """Of the cool-down, in which nodes may come back: as long as the storm lasted, from ``least_s`` to STORM_S."""
        lasted_s = self.last_s - self.begun_s
        return min(STORM_S, max(least_s, lasted_s)) - (now_s - self.last_s)


def _uid(lease: Object) -> str:
    return str(lease["metadata"].get("uid", ""))

"""Which of an agent's renewals are known to be committed, and what follows from that. Pure; ``nodelease`` fills it."""

from __future__ import annotations

from collections import deque

from drover.api.fencing import Evidence
from drover.api.kinds.node import RENEWALS_NEEDED
from drover.api.meta import version_of
from drover.api.wire import Object


class Acknowledged:
    """Of one agent. ``seq`` is that of the newest one; 0: none yet, or all are forgotten."""

    def __init__(self) -> None:
        self.seq = 0
        self._newest: Evidence | None = None
        self._versions: deque[tuple[int, int]] = deque(maxlen=RENEWALS_NEEDED)

    def note(self, evidence: Evidence, lease: Object) -> None:
        """It is committed: it was found in ``lease``."""
        self.seq, self._newest = evidence.seq, evidence
        self._versions.append((evidence.seq, version_of(lease)))

    def sent_since(self, version: int, newest_seq: int) -> int:
        """How many renewals, up to ``newest_seq``, may have been sent after something of that resourceVersion was
        written, at most. Versions are the store's revision, of Leases and of our own kinds alike; where an API server
        keeps Leases in another etcd this says nothing."""
        before = [seq for seq, committed in self._versions if committed < version]
        return newest_seq - max(before, default=0)

    def forgotten(self, said: Evidence, under_way: Evidence | None) -> bool:
        """What stands in the Lease is an earlier renewal of ours than the newest one: a backup was restored. Where a
        hand has changed the newest, or has written one that no agent did, nothing is forgotten; the next mends that."""
        newest = self._newest
        if newest is None or said.seq >= self.seq:
            return False
        ours = (said.boot, said.machine) == (newest.boot, newest.machine)
        known = {newest.attempt, *([under_way.attempt] if under_way is not None else [])}
        return ours and said.attempt not in known

    def rewind(self, seq: int) -> None:
        """The API has forgotten all that came after."""
        self.seq = seq

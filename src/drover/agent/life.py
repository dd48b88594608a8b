"""How long this node's VMs may live, and what it may promise others: the agent's half of the hold rule. Pure.

The rule in words, with the names that tests/proof gives its clauses:

- A2, A3. Life reaches to the greater of ``A`` after the instant *before* the newest acknowledged renewal was sent, and
  ``H`` after the instant before the newest completed hold round was begun. Arrivals count for nothing.
- A4. A round is completed by enough vouchers for its own nonce.
- P1. A voucher is noted before it is sent, and none is given against a promise.
- P2. What was noted is never cleared. After a restart of the agent all of it may have been given just before.
- P3. A promise outlives the agent.

All moments are of one clock, that of this process. Nothing here sends, waits or kills.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.api import fencing
from drover.api.fencing import Armed, Evidence, Timing
from drover.api.kinds.nodefence import Roster


@dataclass
class Life:
    """The deadline. ``acked_s`` is when the newest acknowledged renewal was about to be sent, ``held_s`` the same of
    the newest completed hold round."""

    timing: Timing
    acked_s: float
    held_s: float | None = None

    def acked(self, sent_s: float) -> None:
        self.acked_s = max(self.acked_s, sent_s)

    def held(self, begun_s: float) -> None:
        self.held_s = begun_s if self.held_s is None else max(self.held_s, begun_s)

    @property
    def deadline_s(self) -> float:
        """D."""
        by_renewal = self.acked_s + self.timing.age_s
        return (
            by_renewal if self.held_s is None else max(by_renewal, self.held_s + self.timing.hold_s)
        )

    def must_ask(self, now_s: float) -> bool:
        """Old enough to begin hold rounds."""
        return now_s - self.acked_s > self.timing.ask_s


@dataclass
class Word:
    """What the node's renewals say of its watchdog. ``now``: the next one; ``acked``: the newest acknowledged one."""

    now: Armed | None = None
    acked: Armed | None = None
    acked_seq: int = 0
    _said_seq: int = 0

    def say(self, armed: Armed | None, newest_seq: int) -> None:
        """From now on, in renewals after ``newest_seq``."""
        self.now, self._said_seq = armed, newest_seq

    def heard(self, evidence: Evidence) -> None:
        """It is acknowledged."""
        self.acked, self.acked_seq = evidence.armed, evidence.seq

    @property
    def stands(self) -> bool:
        """Acknowledged, and sent since it is said: no earlier word can be committed any more."""
        return self.acked == self.now and self.acked_seq > self._said_seq


@dataclass
class Round:
    """One hold round: asked of ``roster`` by ``me``, told apart by its nonce."""

    nonce: str
    begun_s: float
    me: str
    roster: Roster
    given: set[str] = field(default_factory=set)

    def voucher(self, node: str, nonce: str) -> None:
        """``node`` vouched. One for another round, or of a stranger, counts for nothing."""
        if nonce == self.nonce and node in self.roster.names and node != self.me:
            self.given.add(node)

    @property
    def complete(self) -> bool:
        members = self.roster.names
        if not members:
            return False
        return len(self.given) >= fencing.vouchers_needed(len(members), self.me in members)


class Vouching:
    """What this node said for others and promised against them. ``born_s``: since when this agent remembers."""

    def __init__(self, born_s: float, promises: Mapping[str, str]) -> None:
        self._born_s = born_s
        self._vouched: dict[str, float] = {}
        self._promises = dict(promises)

    def asked(self, node: str, now_s: float, silent: bool) -> bool:
        """Whether to vouch for ``node``; noted already when this is True. ``silent``: our own renewals fail too."""
        if not silent or node in self._promises:
            return False
        self._vouched[node] = now_s
        return True

    def promise(self, wanted: Mapping[str, str]) -> bool:
        """Take exactly these promises (inquest by node). True when that is a change, to be put on disk before it is
        told. ``wanted`` must be what the API says: a promise may go only when its inquest has gone."""
        changed = dict(wanted) != self._promises
        self._promises = dict(wanted)
        return changed

    @property
    def promises(self) -> dict[str, str]:
        return dict(self._promises)

    def life_s(self, now_s: float) -> float:
        return now_s - self._born_s

    def ages_s(self, now_s: float) -> dict[str, float]:
        """How old the last voucher for each node is."""
        return {node: now_s - at_s for node, at_s in self._vouched.items()}


class LifeEnded(Exception):
    """This life of the node is over: its VMs are dead or must be, and only a new life may begin. ``str()`` says why."""

"""The latch of a node's life: how long it may last, and that it never begins again. Pure, standard library only: the
node's first process keeps one, and the simulation the very same.

It kills nobody: who keeps it asks ``due`` and ends what must end.
"""

from __future__ import annotations

from collections.abc import Collection

ENDED_MAX = 256


class Deadline:
    """How long the present life of the node may last, and which lives are over. Times are of one clock, which counts
    suspended time.

    ``until_s`` only ever grows within a life. A life that is over stays over: that is the latch.
    """

    def __init__(self) -> None:
        self.life = ""  # empty: nobody asked for a deadline
        self.until_s = 0.0
        self.ended: list[str] = []

    def due(self, now_s: float) -> bool:
        """The present life has passed its deadline."""
        return bool(self.life) and now_s >= self.until_s

    def in_time(self, now_s: float, lives: Collection[str]) -> bool:
        """Nothing is overdue: a watchdog device may be fed. ``lives`` are those of the living QEMUs."""
        return not self.due(now_s) and not any(life in self.ended for life in lives)

    def end(self, life: str) -> None:
        """For good."""
        if life not in self.ended:
            self.ended.append(life)
            del self.ended[:-ENDED_MAX]
        if self.life == life:
            self.life = ""

    def refusal(self, life: str, now_s: float) -> str:
        """The reason to start nothing for this life, or empty."""
        if life in self.ended:
            return f"the life {life} of this node is over"
        if self.due(now_s):
            return "the deadline of this node has passed"
        if self.life and life != self.life:
            return f"this node lives its life {self.life}, not {life!r}"
        return ""

    def live(self, life: str, until_s: float, now_s: float, lives: Collection[str]) -> str:
        """Begin to hold a life to a deadline, or put it off. ``lives`` are those for which the living QEMUs were
        started. The reason not to, or empty."""
        if any(other != life for other in lives):
            return "QEMUs of another life are not reaped yet"
        refusal = self.refusal(life, now_s)
        if refusal:
            return refusal
        self.until_s = max(self.until_s, until_s) if self.life else until_s
        self.life = life
        return ""

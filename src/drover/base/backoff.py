"""Pure retry schedules: which attempt waits how long. Jitter comes in as an argument, so schedules repeat."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Doubling delays: ``first_s`` before the second attempt, never more than ``most_s``."""

    first_s: float
    most_s: float
    jitter: float = 0.0  # up to this share is added

    def delay_s(self, failures: int, chance: float = 0.0) -> float:
        """Seconds to wait after ``failures`` failures in a row (0 gives 0); ``chance`` in [0, 1)."""
        if failures <= 0:
            return 0.0
        doubled = self.first_s * 2.0 ** min(failures - 1, 60)
        return min(doubled, self.most_s) * (1.0 + self.jitter * chance)

    def left_s(self, due_s: float, now_s: float) -> float:
        """How much longer to wait for a time that was noted by wall clock. One that lies further ahead than the longest
        pause was noted by a clock that has been set back since: nobody waits for that."""
        left_s = due_s - now_s
        return left_s if 0 < left_s <= self.most_s * (1.0 + self.jitter) + 1.0 else 0.0

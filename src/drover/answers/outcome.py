"""What would be: the answer to a ``whatif``. Values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class How(enum.StrEnum):
    """What happens to a VM."""

    MOVE = "move"  # live, while it runs
    RESTART = "restart"  # anew, since its node is lost
    START = "start"  # it waits for room, or is new


@dataclass(frozen=True, slots=True)
class Step:
    """One VM and its new place; ``source`` empty: it is nowhere now. ``together``: VMs that go only with it."""

    vm: str
    how: How
    source: str
    target: str
    why: str = ""
    together: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "vm": self.vm,
            "how": str(self.how),
            "source": self.source,
            "target": self.target,
            "why": self.why,
            "together": list(self.together),
        }


@dataclass(frozen=True, slots=True)
class Stuck:
    """A VM that would find no place, or would stay off by its own wish (then ``unwanted``)."""

    vm: str
    why: str
    way_out: str = ""
    unwanted: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"vm": self.vm, "why": self.why, "wayOut": self.way_out, "unwanted": self.unwanted}


@dataclass(frozen=True, slots=True)
class Outcome:
    """``steps`` in their order. ``seconds``: how long it may take; None: nobody can tell. ``notes``: sentences on what
    the outcome rests on, without a full stop."""

    question: str
    steps: tuple[Step, ...] = ()
    stuck: tuple[Stuck, ...] = ()
    seconds: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def homeless(self) -> tuple[Stuck, ...]:
        return tuple(one for one in self.stuck if not one.unwanted)

    def as_json(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "steps": [one.as_json() for one in self.steps],
            "stuck": [one.as_json() for one in self.stuck],
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "notes": list(self.notes),
        }

"""What of a node's life its next agent must know when it cannot ask the API: by which times it lives, and who vouches.

Kept in the journal from when the node is armed until it is disarmed. With it, and with the deadline that the watchdog
holds still, an agent that is started anew while the API is away goes on to hold where the former one stopped. Nothing
is promised by it that was not promised before: the deadline is the watchdog's own, the roster the former agent's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from drover.api.fencing import IO_S, Timing
from drover.api.kinds.nodefence import Member, Roster


@dataclass(frozen=True)
class Remembered:
    """Of the life ``life`` (an incarnation)."""

    life: str
    timing: Timing
    roster: Roster

    def dump(self) -> str:
        members = [[member.node, member.address, member.port] for member in self.roster.members]
        timing = self.timing
        return json.dumps(
            {
                "life": self.life,
                "timeout": timing.timeout_s,
                "kick": timing.kick_s,
                "io": timing.io_s,
                "generation": self.roster.generation,
                "members": members,
            }
        )

    @staticmethod
    def load(text: str) -> Remembered | None:
        """None for anything that this version did not write: then nobody is held."""
        try:
            said = json.loads(text)
            members = tuple(Member(str(n), str(a), int(p)) for n, a, p in said["members"])
            return Remembered(
                str(said["life"]),
                Timing(
                    float(said["timeout"]), float(said["kick"]), io_s=float(said.get("io", IO_S))
                ),
                Roster(int(said["generation"]), members),
            )
        except (ValueError, KeyError, TypeError):
            return None

"""The acts that ``decide`` may ask for, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.kinds.nodefence import FenceEvidence, FencePhase, FenceReason, Roster
from drover.api.wire import Object
from drover.controllers.fencing.view import NodeView


@dataclass(frozen=True)
class Intent:
    """One thing to do."""


@dataclass(frozen=True)
class KeepRoster(Intent):
    roster: Roster


@dataclass(frozen=True)
class Suspect(Intent):
    """Make its NodeFence, with an inquest."""

    node: NodeView


@dataclass(frozen=True)
class OpenInquest(Intent):
    """Of a fence that an earlier process left open."""

    fence: Object
    inquest: str


@dataclass(frozen=True)
class Drop(Intent):
    """The suspicion is over, or the fence is of long ago."""

    fence: Object


@dataclass(frozen=True)
class Condemn(Intent):
    node: NodeView


@dataclass(frozen=True)
class Cordon(Intent):
    """Nothing shall be placed on a condemned node."""

    node: Object


@dataclass(frozen=True)
class Advance(Intent):
    """The fence's phase, with its evidence."""

    fence: Object
    phase: FencePhase
    evidence: FenceEvidence | None = None


@dataclass(frozen=True)
class Release(Intent):
    """Take its Pods and its Node object away."""

    node: NodeView


@dataclass(frozen=True)
class Restore(Intent):
    """Give a node that came back what it had."""

    node: NodeView
    fence: Object


@dataclass(frozen=True)
class Welcome(Intent):
    """Take the taint of one that comes back from a node that is back."""

    node: Object


@dataclass(frozen=True)
class Record(Intent):
    """Where the VMs of a fence were started again: the whole list."""

    fence: Object
    vms: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Tell(Intent):
    """Why nothing more is done about this fence now."""

    fence: Object
    reason: FenceReason
    message: str


@dataclass(frozen=True)
class Decision:
    """``active`` and the two words are the group's condition; ``storm``: too many are lost at once."""

    intents: tuple[Intent, ...] = ()
    active: bool = False
    reason: FenceReason = FenceReason.OFF
    message: str = ""
    storm: bool = False

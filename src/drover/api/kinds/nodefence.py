"""NodeFence: the fencing of one life of a node, and its evidence. NodeRoster: who may vouch. Read-only views."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Obj = Mapping[str, Any]


class FencePhase(enum.StrEnum):
    """In order. From Suspect a node comes back by renewing; from Condemned on only as a new life."""

    SUSPECT = "Suspect"
    CONDEMNED = "Condemned"
    FENCED = "Fenced"  # the evidence that all of this life's VMs are dead
    RELEASED = "Released"  # its Pods and Node object are gone
    REJOINED = "Rejoined"  # a later life of the node is Ready


class FenceReason(enum.StrEnum):
    """Why nothing more is done about a fence, or about the fencing of a group, just now."""

    OFF = "Off"  # fencing is not set
    WATCHING = "Watching"  # nothing is wrong
    NOTIFY = "Notify"
    UNSAFE_TIMES = "UnsafeTimes"
    # Brakes.
    PAUSED = "Paused"
    TOO_MANY_UNHEALTHY = "TooManyUnhealthy"
    STORM_COOL_DOWN = "StormCoolDown"
    # What of the proof is missing.
    NOT_ARMED = "NotArmed"
    WAITING = "Waiting"
    NO_ROSTER = "NoRoster"
    ROSTER_UNKNOWN = "RosterUnknown"
    PEERS_NEEDED = "PeersNeeded"
    UNCONFIRMED = "Unconfirmed"


QUIET = (FenceReason.OFF, FenceReason.WATCHING)  # of a group: nobody need be told


class FenceEvidence(enum.StrEnum):
    """What proved that a life's VMs are dead."""

    WATCHDOG_TIME = "WatchdogTime"
    CONFIRMED = "Confirmed"  # a person's word
    NEW_LIFE = "NewLife"  # a later life of the node joined, which it may only when this one is over


PROVED = (FencePhase.FENCED, FencePhase.RELEASED, FencePhase.REJOINED)


def name_for(node_name: str, life: str) -> str:
    """One object per life, so that creating it twice is refused."""
    return f"{node_name}-{life[:8]}"


def node(fence: Obj) -> str:
    return str(fence["spec"]["node"])


def incarnation(fence: Obj) -> str:
    return str(fence["spec"]["incarnation"])


def phase(fence: Obj) -> FencePhase:
    """A fence that says nothing yet is a suspicion."""
    return FencePhase((fence.get("status") or {}).get("phase") or FencePhase.SUSPECT)


def proves_dead(fence: Obj) -> bool:
    """Whether it is evidence that nothing of that life runs."""
    return phase(fence) in PROVED


def inquest(fence: Obj) -> str:
    """Peers that promise this give no voucher for the node; empty: none is open. It is over with the proof: a later
    life of the node, whose fence is another, needs vouchers again."""
    if proves_dead(fence):
        return ""
    return str(((fence.get("status") or {}).get("inquest") or {}).get("id", ""))


def lost_vms(fence: Obj) -> list[dict[str, str]]:
    """The VMs of that life: ``namespace`` and ``name``, and once they were started again ``restarted`` and ``node``."""
    return [dict(one) for one in (fence.get("status") or {}).get("virtualMachines") or []]


@dataclass(frozen=True)
class Member:
    """A node that may vouch."""

    node: str
    address: str
    port: int


@dataclass(frozen=True)
class Roster:
    """``previous`` are the members before the last change, until all members go by this generation."""

    generation: int
    members: tuple[Member, ...]
    previous: tuple[Member, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.node for member in self.members)

    @property
    def former(self) -> tuple[str, ...]:
        return tuple(member.node for member in self.previous)


def roster(obj: Obj) -> Roster:
    """The roster that a NodeRoster object holds."""
    spec = obj["spec"]
    return Roster(
        int(spec["generation"]),
        _members(spec.get("members")),
        _members(spec.get("previous")),
    )


def _members(said: Any) -> tuple[Member, ...]:
    return tuple(Member(str(m["node"]), str(m["address"]), int(m["port"])) for m in said or ())

"""One look at one NodeGroup, as frozen values. All waits are ages on this process's own clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.api import fencing
from drover.api.fencing import Armed
from drover.api.kinds import nodefence
from drover.api.kinds.nodefence import FencePhase, Member, Roster
from drover.api.kinds.nodegroup import FencingMode
from drover.api.meta import uid_of
from drover.api.wire import Object
from drover.controllers.fencing.renewal import Seen


@dataclass(frozen=True)
class NodeView:
    """A node of the group. ``node`` is its Node object, ``fence`` the NodeFence of the life that its Lease names,
    ``former`` those of earlier lives that are not closed."""

    name: str
    seen: Seen | None
    still_s: float = 0.0  # how long no new renewal was seen
    node: Object | None = None
    fence: Object | None = None
    former: tuple[Object, ...] = ()
    ready_s: float | None = None  # how long it has been Ready without a break; None: it is not
    paused: str = ""  # the annotation that pauses its fencing
    address: str = ""

    @property
    def armed(self) -> Armed | None:
        evidence = self.seen.evidence if self.seen is not None else None
        return evidence.armed if evidence is not None else None

    @property
    def suspect_s(self) -> float:
        """Without a renewal for so long it is silent: by its own word, since its group's may have changed."""
        armed = self.armed
        return armed.suspect_s() if armed is not None else fencing.UNARMED_SUSPECT_S

    def late_s(self, wanted: fencing.Timing) -> float:
        """K: what it promised, or what its group says by now if that is longer."""
        armed = self.armed
        return max(wanted.late_s, armed.late_s if armed is not None else 0.0)

    @property
    def phase(self) -> FencePhase | None:
        return nodefence.phase(self.fence) if self.fence is not None else None

    @property
    def proved_dead(self) -> bool:
        """The life that its Lease names is."""
        return self.phase in nodefence.PROVED

    @property
    def member(self) -> Member:
        return Member(self.name, self.address, fencing.PEER_PORT)


@dataclass(frozen=True)
class Holder:
    """Who may run a VM, as its lease says."""

    node: str
    life: str


@dataclass(frozen=True)
class GroupView:
    """``process`` names this life of the controller, so that an inquest of a former one is told apart."""

    name: str
    process: str
    now_wall_s: float
    mode: FencingMode | None
    timing: fencing.Timing
    nodes: tuple[NodeView, ...]
    problems: tuple[str, ...] = ()  # why the group's times may not be used
    paused: str = ""  # a sentence: what pauses the whole group
    max_unhealthy: int | None = None
    roster: Roster | None = None
    settled: bool = False  # every living node goes by this roster
    gathering_s: float = 0.0  # how long a node has been armed while there is no roster
    holders: Mapping[str, Holder] = field(default_factory=dict)  # by namespace/name of the VM
    storm_s: float = 0.0  # how long no new fencing is begun

    def inquest(self, node: NodeView, fence: Object) -> str:
        """One per renewal that stands still, life of this controller and *object*: peers that saw the object vanish
        owe its inquest nothing any more, so a later object asks for another promise."""
        assert node.seen is not None
        return f"{self.process}/{node.seen.renewal}/{uid_of(fence)}"

    def holds_any(self, life: str) -> bool:
        """A VM lease names it."""
        return any(holder.life == life for holder in self.holders.values())

    def node(self, name: str) -> NodeView | None:
        return next((node for node in self.nodes if node.name == name), None)

"""The nouns of rebalancing: what is wished (``Goal``), what may be spent (``Budget``), what comes of it (``Plan``).

Values only. Percentages are of what a node can allocate; GiB are of guest memory, the cost of moving it.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

MIB, GIB = 2**20, 2**30


class Rule(enum.StrEnum):
    """What a plan repairs. The first is a node's, the others a VM's."""

    OVERLOAD = "Overload"
    NODE_AFFINITY = "NodeAffinity"
    TAINT = "Taint"
    ANTI_AFFINITY = "AntiAffinity"
    AFFINITY = "Affinity"
    SPREAD = "Spread"
    BALANCE = "Balance"  # nothing is broken: the nodes become more alike
    ROOM = "Room"  # nothing is broken here: it makes room for a move that repairs


REPAIRS = frozenset(Rule) - {Rule.BALANCE, Rule.ROOM}


class BadGoal(ValueError):
    """The goal contradicts itself or names no percentage. The text says what and how to mend it."""


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM of the picture. ``pod``: the key of its running Pod there, which carries the VM's own rules, without
    what its last migration added to them. ``movable`` False: it stays, whatever the plan (opted out, selected by no
    selector, cooling down, moved by somebody else)."""

    pod: str
    memory_bytes: int
    dirty_bytes_s: float = 0.0
    movable: bool = True


@dataclass(frozen=True, slots=True)
class Goal:
    """``ceilings``: per resource the percentage of reservation that no node shall exceed; a resource that is not
    named is bounded by what the node has. ``repairs``: the kinds of faults that are mended; all rules hold for
    targets in any case. ``n_plus_one``: no move may leave more nodes than before whose VMs, were it lost, would find
    no room elsewhere. ``link_bytes_s``: what a migration gets of the network; ``around_s``: what it takes besides."""

    ceilings: Mapping[str, float] = field(default_factory=dict)
    repairs: frozenset[Rule] = REPAIRS
    n_plus_one: bool = True
    link_bytes_s: float = 1192 * MIB  # 10 Gbit/s
    around_s: float = 0.0

    def check(self) -> None:
        """Raises BadGoal."""
        for resource, percent in self.ceilings.items():
            if isinstance(percent, bool) or not isinstance(percent, int | float):
                raise BadGoal(f"the threshold of {resource} is {percent!r}: give a number, as 80")
            if not (math.isfinite(percent) and 0 < percent <= 100):
                raise BadGoal(f"the threshold of {resource} is {percent:g} %: give 1 to 100")
        if not self.repairs <= REPAIRS:
            raise BadGoal("only Overload and rules of VMs can be repaired")
        if not self.link_bytes_s > 0:
            raise BadGoal("a link that carries nothing moves nothing")


@dataclass(frozen=True, slots=True)
class Budget:
    """What a plan may cost. ``moves``: of the whole plan; the rest is counted in ``Plan.more``. ``improve_moves``:
    those that only balance, each worth at least ``gain_per_gib``: percentage points of the sum of both standard
    deviations (of CPU and memory over the nodes) per GiB copied. ``rounds``: of the exact solver, which is asked only
    when the plan found is not known to be the shortest; 0 for never. A round takes some tenths of a second where the
    model is as large as ``binaries`` allows; a larger one is not tried."""

    moves: int = 10_000
    improve_moves: int = 0
    gain_per_gib: float = 0.001
    rounds: int = 100
    binaries: int = 50_000


@dataclass(frozen=True, slots=True)
class Load:
    """A node before and after a move: percent of what it has, per resource."""

    node: str
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A target that was not taken. ``why``: a rule's words, or how it would have been worse."""

    node: str
    why: str


@dataclass(frozen=True, slots=True)
class Move:
    """One step. ``vm``: the key of its Pod. ``rule`` and ``why``: what it repairs, with the figures.
    ``seconds``: the pre-copy series over the link, and what is around it; infinity when the guest dirties faster than
    it copies."""

    vm: str
    source: str
    target: str
    rule: Rule
    why: str
    gib: float
    seconds: float
    loads: tuple[Load, Load]  # of the source and of the target
    rejected: tuple[Rejected, ...] = ()  # the three next-best targets, best first


@dataclass(frozen=True, slots=True)
class Impossible:
    """A fault that the plan leaves. ``subject``: the node or the VM. ``blocked_by``: the rules in the way of the
    move that comes closest, in kube-scheduler's words or ours. ``change``: the smallest change that would free it.
    ``certain``: the exact solver has shown that no set of moves repairs everything."""

    subject: str
    rule: Rule
    why: str
    blocked_by: tuple[str, ...]
    change: str
    certain: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """How a picture stands. ``unsafe``: the nodes whose loss would leave VMs without room. ``deviation``: standard
    deviation over the nodes of the percentages of cpu and memory."""

    overloaded: tuple[str, ...]
    broken: Mapping[str, tuple[Rule, ...]]  # by VM
    unsafe: tuple[str, ...]
    deviation: Mapping[str, float]
    loads: Mapping[str, Mapping[str, float]]  # by node, in percent


@dataclass(frozen=True, slots=True)
class Plan:
    """``moves`` in the order in which each is legal after those before it. ``lower_bound``: no plan that repairs as
    much has fewer moves; balancing moves do not count in it. ``proved``: the repair has just as many."""

    moves: tuple[Move, ...]
    lower_bound: int
    impossible: tuple[Impossible, ...]
    before: State
    after: State
    more: int = 0  # moves beyond the budget, not in the plan

    @property
    def repair_moves(self) -> int:
        return sum(move.rule is not Rule.BALANCE for move in self.moves)

    @property
    def proved(self) -> bool:
        return not self.more and self.repair_moves == self.lower_bound

    @property
    def gap(self) -> float:
        """How far the repair may be from the fewest moves: 0.05 is five percent more than the bound."""
        done = self.repair_moves + self.more
        return (done - self.lower_bound) / max(self.lower_bound, 1)

    @property
    def gib(self) -> float:
        return sum(move.gib for move in self.moves)

    @property
    def digest(self) -> str:
        """The same for the same moves in the same order, whoever computes it: 64 hexadecimal digits."""
        told = [[m.vm, m.source, m.target, m.rule.value, m.why] for m in self.moves]
        return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()


def precopy_seconds(memory_bytes: float, dirty_bytes_s: float, link_bytes_s: float) -> float:
    """How long a live migration takes: the memory, then what was written meanwhile, and so on, which sums to
    memory / (link - dirty). Infinity when the guest writes as fast as the link carries."""
    if dirty_bytes_s >= link_bytes_s:
        return math.inf
    return memory_bytes / (link_bytes_s - dirty_bytes_s)

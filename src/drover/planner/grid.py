"""A picture of a cluster as arrays for planning moves: VMs and nodes in the order of their names, so that the order
in which a caller lists them changes nothing.

``Grid`` stands still; ``Board`` is where the VMs are now, and says where each may go next. It judges selectors,
taints, cordons, requests and anti-affinity by counters. For the few VMs that affinity or spreading speaks of it asks
``fit`` and looks at all others of the rule, which is exact and a thousand times slower.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from drover.planner.apart import Apart, Counters
from drover.planner.cluster import PODS, Cluster
from drover.planner.faults import Bystanders, misplaced
from drover.planner.fit import CORDON, fit, selected, tainted, tolerates
from drover.planner.model import Pod
from drover.planner.plan import Goal, Rule, Vm
from drover.planner.tables import Bools, Ints

Floats = npt.NDArray[np.float64]
PASSING = "node.kubernetes.io/"  # the taints of node life


class Grid:
    """Rows of VMs and nodes are ranks of their names. ``limit``: what a move may fill a node up to; ``ceiling``: what
    must not be exceeded where overload is repaired (very large where nobody asks)."""

    def __init__(self, cluster: Cluster, vms: Iterable[Vm], goal: Goal) -> None:
        self.cluster, self.goal = cluster, goal
        order = sorted(range(len(cluster.nodes)), key=cluster.nodes.names.__getitem__)
        self.order = np.array(order, dtype=np.int64)  # rank -> row of the cluster
        self.names = tuple(cluster.nodes.names[row] for row in order)
        rank = np.full(len(order) + 1, -1, dtype=np.int64)
        rank[self.order] = np.arange(len(order))
        self.rank = rank  # row of the cluster -> rank; the last for nowhere
        self.vms = tuple(
            vm
            for vm in sorted(vms, key=lambda vm: vm.pod)
            if cluster.where[cluster.pods.row_of[vm.pod]] >= 0
        )
        self.pods = tuple(cluster.pod(vm.pod) for vm in self.vms)
        self.rows = np.array([cluster.pods.row_of[vm.pod] for vm in self.vms], dtype=np.int64)
        self.home = rank[cluster.where[self.rows]]
        self.movable = np.array([vm.movable for vm in self.vms], dtype=np.bool_)
        self.gib = np.array([vm.memory_bytes for vm in self.vms], dtype=np.float64) / 2**30
        self._measure()
        self._classify()
        self.apart = Apart.of(cluster, self.rows, self.order)
        self.bystanders = Bystanders.of(cluster, self.rows)
        ruled = [
            bool(self.apart.holds[vm] or self.apart.refused[vm] or pod.affinity or pod.spread)
            for vm, pod in enumerate(self.pods)
        ]
        self.ruled = np.array(ruled, dtype=np.bool_)  # somebody else's place matters to it

    def _measure(self) -> None:
        cluster = self.cluster
        asked = {name for pod in self.pods for name, amount in pod.requests.items() if amount > 0}
        self.resources = (*sorted(asked | set(self.goal.ceilings)), PODS)
        sizes = [[pod.requests.get(name, 0) for name in self.resources[:-1]] for pod in self.pods]
        size = np.array(sizes, dtype=np.int64).reshape(len(self.pods), len(self.resources) - 1)
        self.size = np.hstack([size, np.ones((len(self.pods), 1), dtype=np.int64)])
        columns = [cluster.nodes.allocatable(name)[self.order] for name in self.resources]
        self.capacity = np.stack(columns, axis=1)
        left = np.stack([cluster.left(name)[self.order] for name in self.resources], axis=1)
        self.used = self.capacity - left
        self.ceiling = np.full_like(self.capacity, np.iinfo(np.int64).max)
        for name, percent in self.goal.ceilings.items():
            column = self.resources.index(name)
            share = Fraction(percent) / 100
            amounts = [math.floor(int(whole) * share) for whole in self.capacity[:, column]]
            self.ceiling[:, column] = amounts
        self.limit = np.minimum(self.capacity, self.ceiling)
        self.usual = self.limit.mean(axis=0) if len(self.names) else self.limit.sum(axis=0)

    def _classify(self) -> None:
        """VMs with the same rules about nodes share a row of ``allowed`` (may come) and ``at_home`` (may stay)."""
        nodes = self.cluster.nodes
        groups: dict[tuple[object, ...], int] = {}
        rules: list[Pod] = []
        codes = []
        for pod in self.pods:
            key = (pod.node_selector, pod.node_terms, pod.tolerations)
            code = groups.setdefault(key, len(groups))
            if code == len(rules):
                rules.append(pod)
            codes.append(code)
        self.group = np.array(codes, dtype=np.int64)
        shape = (max(len(rules), 1), len(nodes))
        self.chosen, self.clear = np.ones(shape, np.bool_), np.ones(shape, np.bool_)
        self.at_home = np.ones(shape, np.bool_)
        self.open = np.ones(shape, np.bool_)
        for code, pod in enumerate(rules):
            self.chosen[code] = selected(nodes, pod)[self.order]
            self.clear[code] = ~tainted(nodes, pod)[self.order]
            self.at_home[code] = ~tainted(nodes, pod, apart_from=PASSING)[self.order]
            if not tolerates(pod, CORDON):
                self.open[code] = ~nodes.unschedulable[self.order]
        self.allowed = self.chosen & self.clear & self.open

    def related(self, vm: int) -> set[int]:
        """The movable VMs whose place matters to a rule of this one, or the other way round."""
        row = int(self.rows[vm])
        watched = {one for one, rows in self.bystanders.watching.items() if row in rows}
        return {one for one in (watched | self.apart.kin(vm)) - {vm} if self.movable[one]}

    def coming(self, vm: int) -> Pod:
        """The VM as a Pod that looks for a node."""
        return replace(self.pods[vm], node="")


class Board:
    """Where the VMs are. Copies are cheap; ``moved`` holds those that are not where they were at first."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.where = grid.home.copy()
        self.used = grid.used.copy()
        self.moved: dict[int, int] = {}
        self._apart: Counters = grid.apart.counters()

    def copy(self) -> Board:
        twin = Board.__new__(Board)
        twin.grid = self.grid
        twin.where, twin.used = self.where.copy(), self.used.copy()
        twin.moved, twin._apart = dict(self.moved), self._apart.copy()
        return twin

    def put(self, vm: int, node: int) -> None:
        """The VM is on ``node`` now, legal or not."""
        source = int(self.where[vm])
        self.used[source] -= self.grid.size[vm]
        self.used[node] += self.grid.size[vm]
        self.where[vm] = node
        self._apart.move(vm, source, node)
        if node == self.grid.home[vm]:
            self.moved.pop(vm, None)
        else:
            self.moved[vm] = node

    def picture(self) -> Cluster:
        """The same as a Cluster."""
        grid = self.grid
        return grid.cluster.moved({grid.vms[v].pod: grid.names[n] for v, n in self.moved.items()})

    def room(self, vm: int) -> Bools:
        """The nodes that stay within their limits with the VM on them."""
        size = self.grid.size[vm]
        fits: Bools = ((self.used + size <= self.grid.limit) | (size == 0)).all(axis=1)
        return fits

    def apart(self, vm: int) -> Bools:
        """The nodes that anti-affinity leaves to the VM, of its own rules and of others'."""
        return self._apart.allows(vm, len(self.grid.names))

    def apart_without(self, vm: int, lost: int, gone: Mapping[int, int]) -> Bools:
        """The same, were the VMs ``gone`` not on ``lost`` but each where it is mapped to (below zero: nowhere)."""
        return self._apart.allows(vm, len(self.grid.names), lost, gone)

    def plainly_apart(self, vm: int, node: int) -> bool:
        """Has the VM nothing against ``node``, nor any of its own kind where it is now, by anti-affinity? For the
        loss of its node; a rule about more than hosts is left to a closer look."""
        return self._apart.plainly(vm, int(self.where[vm]), node)

    def targets(self, vm: int) -> Bools:
        """The nodes that the VM may go to now: all rules of coming, and room with both ends reserved. Not its
        own node."""
        grid = self.grid
        found: Bools = self.room(vm) & grid.allowed[grid.group[vm]]
        found[self.where[vm]] = False
        if self._apart.speaks_of(vm):
            found &= self.apart(vm)
        if grid.bystanders.speaks_of(vm) and found.any():
            fits = fit(self.picture(), grid.coming(vm)).feasible[grid.order]
            np.logical_and(found, fits, out=found)
        return found

    def harmless(self, vm: int, node: int) -> bool:
        """Does nobody's affinity or spread break by the move? To be asked of the few targets that are considered."""
        grid = self.grid
        if not grid.bystanders.speaks_of(vm):
            return True
        names = grid.vms[vm].pod, grid.names[node]
        return grid.bystanders.harmless(self.picture(), vm, *names)

    def stands_against(self, vm: int) -> tuple[Rule, ...]:
        """The rules that the VM breaks where it is now. Taints that tell how a node fares (node.kubernetes.io) are
        none: fencing and drains mind them. Cordons neither."""
        grid, node = self.grid, int(self.where[vm])
        group = grid.group[vm]
        found = []
        if not grid.chosen[group, node]:
            found.append(Rule.NODE_AFFINITY)
        if not grid.at_home[group, node]:
            found.append(Rule.TAINT)
        if self.conflicts(vm):
            found.append(Rule.ANTI_AFFINITY)
        if grid.pods[vm].affinity or grid.pods[vm].spread:
            rule = misplaced(self.picture(), grid.pods[vm])
            found += [rule] if rule is not None else []
        return tuple(found)

    def conflicts(self, vm: int) -> int:
        """With how many others it is at odds by anti-affinity where it is."""
        return self._apart.conflicts(vm, int(self.where[vm]))

    def suspects(self) -> list[int]:
        """The VMs that may stand against a rule: all others have rules about nodes alone, and keep them."""
        grid = self.grid
        at = grid.group, self.where
        wrong = ~(grid.chosen[at] & grid.at_home[at]) | grid.ruled
        return [int(vm) for vm in np.flatnonzero(wrong)]

    def roominess(self, vm: int, nodes: Ints) -> Floats:
        """The share of its limit that each node would have left with the VM on it, of what it has least."""
        grid = self.grid
        left = grid.limit[nodes] - self.used[nodes] - grid.size[vm]
        shares = left[:, :-1] / np.maximum(grid.limit[nodes][:, :-1], 1)
        return np.asarray(shares.min(axis=1, initial=1.0), dtype=np.float64)

    def ranked(self, vm: int, targets: Bools, tight: bool = False) -> list[int]:
        """The targets of a VM, roomiest first, or fullest first when ``tight``."""
        rows = np.flatnonzero(targets)
        room = self.roominess(vm, rows)
        order: list[int] = rows[np.argsort(room if tight else -room, kind="stable")].tolist()
        return order

    def may_return(self, vm: int, within: Ints | None = None) -> bool:
        """Has its first node room for it again? ``within``: what each node may be filled up to, its limit unless told
        otherwise."""
        grid, home = self.grid, int(self.grid.home[vm])
        size, limit = grid.size[vm], (grid.limit if within is None else within)[home]
        return bool(((self.used[home] + size <= limit) | (size == 0)).all())

    def is_over(self, node: int) -> bool:
        return bool((self.used[node] > self.grid.ceiling[node]).any())

    def over(self) -> Bools:
        """The nodes above a ceiling."""
        return np.asarray((self.used > self.grid.ceiling).any(axis=1), dtype=np.bool_)

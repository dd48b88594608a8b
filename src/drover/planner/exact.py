"""The exact solver (HiGHS): which VMs go where, as an integer programme whose optimum no plan can beat.

One binary per VM and node that it may go to. Only the end is modelled: every node within its limits, every rule about
nodes and anti-affinity kept, as few VMs as can be somewhere else than now. What must hold on the way (room for both
copies, the loss of a node) and affinity and spreading are left out, so the optimum is a lower bound of all plans, and
a plan with just as many moves is proved. ``docs/planner.md`` writes the model as mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from drover.planner.bound import must_leave
from drover.planner.grid import Board, Floats, Grid
from drover.planner.model import HOSTNAME
from drover.planner.plan import Rule
from drover.planner.repair import PINNED, broken
from drover.planner.solver import Row, minimise
from drover.planner.tables import Bools, Ints


@dataclass(frozen=True, slots=True)
class Answer:
    """``targets``: where VMs go in the best solution found. ``bound``: no plan has fewer moves. ``infeasible``: no
    plan repairs all that was asked for."""

    targets: dict[int, int] | None
    bound: int
    infeasible: bool = False


def binaries(grid: Grid) -> int:
    """How large the model of a grid is."""
    return int(_columns(grid).sum())


def _columns(grid: Grid) -> Bools:
    """Which VM may end on which node: the rules, room on the empty node, no Pod there that stays and refuses it."""
    may = grid.allowed[grid.group] & grid.movable[:, None]
    for column in range(len(grid.resources)):
        size = grid.size[:, column]
        may &= (size[:, None] <= grid.limit[None, :, column]) | (size == 0)[:, None]
    may[np.arange(len(grid.vms)), grid.home] = False
    return may


class Model:
    """The programme of a grid. ``spared``: a board whose faults need not be repaired."""

    def __init__(self, grid: Grid, spared: Board | None = None) -> None:
        self.grid, self._spared = grid, spared
        self._vm, self._node = np.nonzero(_columns(grid))
        self._of_vm = np.searchsorted(self._vm, np.arange(len(grid.vms) + 1))
        self._by_node = np.argsort(self._node, kind="stable")
        ordered = self._node[self._by_node]
        self._of_node = np.searchsorted(ordered, np.arange(len(grid.names) + 1))

    def solve(self, start: Board | None, rounds: int) -> Answer:
        """``start``: a board that solves it, which makes it quicker."""
        given = None if start is None else self._values(start)
        ones = np.ones(len(self._vm))
        found = minimise(ones, self._rows(), given, rounds, gap=0.999)  # moves are whole
        bound = max(math.ceil(found.bound - 1e-6), 0)
        if found.values is None:
            return Answer(None, bound, found.infeasible)
        return Answer(self._targets(found.values), bound)

    def lightest(self, start: Board, rounds: int) -> dict[int, int] | None:
        """The targets of as many moves as ``start`` has, or fewer, with the least memory that is found."""
        every = np.arange(len(self._vm), dtype=np.int64)
        count = every, np.ones(len(every)), -np.inf, float(len(start.moved))
        costs = self.grid.gib[self._vm]
        found = minimise(costs, [*self._rows(), count], self._values(start), rounds, gap=0.5)
        return self._targets(found.values) if found.values is not None else None

    def _rows(self) -> list[Row]:
        return [*self._once(), *self._room(), *self._leaving(), *self._apart()]

    def _targets(self, values: Floats) -> dict[int, int]:
        chosen = np.flatnonzero(values > 0.5)
        return {int(self._vm[c]): int(self._node[c]) for c in chosen}

    def _values(self, board: Board) -> Floats:
        values = np.zeros(len(self._vm))
        for vm, node in board.moved.items():
            columns = self._of(vm)
            values[columns[self._node[columns] == node]] = 1.0
        return values

    def _of(self, vm: int) -> Ints:
        return np.arange(self._of_vm[vm], self._of_vm[vm + 1], dtype=np.int64)

    def _leave(self, node: int) -> Ints:
        """The columns of the VMs that are on ``node`` now."""
        there = np.flatnonzero(self.grid.home == node)
        return np.concatenate([np.zeros(0, np.int64), *(self._of(int(vm)) for vm in there)])

    def _once(self) -> Iterator[Row]:
        """A VM goes to one node or stays; it must go where a rule about nodes says so."""
        at_first = broken(self.grid, Board(self.grid))
        for vm in range(len(self.grid.vms)):
            columns = self._of(vm)
            leaves = bool(PINNED & set(at_first.get(vm, ())))
            if self._spared is not None and self._spared.where[vm] == self.grid.home[vm]:
                leaves = False
            if len(columns) or leaves:
                yield columns, np.ones(len(columns)), float(leaves), 1.0

    def _room(self) -> Iterator[Row]:
        """What is on a node, less what leaves, and what comes, is within its limits, in the largest whole unit."""
        grid = self.grid
        for node in range(len(grid.names)):
            coming = self._by_node[self._of_node[node] : self._of_node[node + 1]]
            leaving = self._leave(node)
            columns = np.concatenate([coming, leaving])
            for resource in range(len(grid.resources)):
                comes = grid.size[self._vm[coming], resource]
                goes = grid.size[self._vm[leaving], resource]
                left = int(self._limit(node, resource) - grid.used[node, resource])
                if comes.sum() <= left:
                    continue
                unit = int(np.gcd.reduce(np.concatenate([comes, goes])))
                sizes = np.concatenate([comes, -goes]) / unit
                kept = sizes != 0
                yield columns[kept], sizes[kept], -np.inf, float(left // unit)

    def _limit(self, node: int, resource: int) -> int:
        grid = self.grid
        limit, used = int(grid.limit[node, resource]), int(grid.used[node, resource])
        repaired = Rule.OVERLOAD in grid.goal.repairs and used > grid.ceiling[node, resource]
        if self._spared is not None and self._spared.is_over(node):
            repaired = False
        return limit if repaired else max(limit, used)

    def _leaving(self) -> Iterator[Row]:
        """The bound of each node, which the programme would find out much later."""
        for node, count in must_leave(self.grid, self._spared).items():
            columns = self._leave(node)
            yield columns, np.ones(len(columns)), float(count), np.inf

    def _apart(self) -> Iterator[Row]:
        """At most one in a domain of those that all refuse each other."""
        grid, rules = self.grid, self.grid.apart
        members: dict[int, list[int]] = {}
        for vm in np.flatnonzero(grid.ruled).tolist():
            for rule in set(rules.holds[vm]) & set(rules.named[vm]):
                members.setdefault(rule, []).append(vm)
        for rule, vms in sorted(members.items()):
            columns = np.concatenate([self._of(vm) for vm in vms])
            domains = rules.domain[rule][self._node[columns]]
            for domain in range(len(rules.members[rule])):
                here = [vm for vm in vms if rules.domain[rule][grid.home[vm]] == domain]
                if len(here) > 1 and not self._separable(rule, here):
                    continue
                signs = np.zeros(len(self._vm))
                signs[columns[domains == domain]] += 1
                for vm in here:
                    signs[self._of(vm)] -= 1
                used = np.flatnonzero(signs)
                if len(used) and (signs > 0).sum() + len(here) > 1:
                    yield used, signs[used], -np.inf, 1.0 - len(here)

    def _separable(self, rule: int, here: list[int]) -> bool:
        """Must those that are together now be apart in the end?"""
        if Rule.ANTI_AFFINITY not in self.grid.goal.repairs:
            return False
        if self._spared is None:
            return True
        codes = self.grid.apart.domain[rule]
        at = [int(codes[self._spared.where[vm]]) for vm in here]
        return len(at) == len(set(at)) and self.grid.apart.topology[rule] == HOSTNAME

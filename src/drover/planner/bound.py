"""How many moves no plan can do without, seen node by node: what must leave it by a rule, and the largest of the rest
until its ceilings hold. Cheap, and very often what a plan needs."""

from __future__ import annotations

import numpy as np

from drover.planner.grid import Board, Grid
from drover.planner.model import HOSTNAME
from drover.planner.plan import Rule
from drover.planner.repair import PINNED, broken


def lower_bound(grid: Grid, mended: Board | None = None) -> int:
    """For plans that end at least as well as ``mended``, or repair everything. Each node's leavers are other VMs, so
    the numbers add up."""
    return sum(must_leave(grid, mended).values())


def must_leave(grid: Grid, mended: Board | None = None) -> dict[int, int]:
    """How many VMs leave each node at least. A node that is still above a ceiling in ``mended``, or still has a VM
    against a rule, asks for nothing."""
    first = Board(grid)
    at_first = broken(grid, first)
    still: set[int] = set()
    over = np.zeros(len(grid.names), dtype=np.bool_)
    if mended is not None:
        still = {int(mended.where[vm]) for vm in broken(grid, mended)}
        over = mended.over()
    by_node: dict[int, list[int]] = {}
    for vm, rules in at_first.items():
        leaves = mended is None or int(mended.where[vm]) != grid.home[vm]
        if PINNED & set(rules) and leaves:
            by_node.setdefault(int(grid.home[vm]), []).append(vm)
    crowds = {} if Rule.ANTI_AFFINITY not in grid.goal.repairs else _crowds(grid, at_first)
    hot = first.over() if Rule.OVERLOAD in grid.goal.repairs else np.zeros_like(over)
    found = {}
    for node in sorted({*by_node, *crowds, *np.flatnonzero(hot).tolist()}):
        gone = by_node.get(node, [])
        heated = bool(hot[node]) and not over[node]
        found[node] = _from(grid, node, gone, [] if node in still else crowds.get(node, []), heated)
    return found


def _from(grid: Grid, node: int, gone: list[int], crowds: list[list[int]], hot: bool) -> int:
    """The least number of VMs that must leave ``node``: ``gone``, all but one of each crowd, and, while it is too full,
    the largest of what remains. Resource by resource, the largest of each crowd are taken for those that leave, which
    no choice can beat."""
    crowded = sum(len(crowd) - 1 for crowd in crowds)
    most = len(gone) + crowded
    if not hot:
        return most
    there = np.flatnonzero((grid.home == node) & grid.movable)
    there = there[~np.isin(there, gone)]
    used = grid.used[node] - grid.size[gone].sum(axis=0)
    for column in np.flatnonzero(used > grid.ceiling[node]).tolist():
        first = [
            vm
            for crowd in crowds
            for vm in sorted(crowd, key=lambda vm: int(grid.size[vm, column]))[1:]
        ]
        needed = int(used[column] - grid.ceiling[node, column] - grid.size[first, column].sum())
        if needed > 0:
            rest = np.sort(grid.size[there[~np.isin(there, first)], column])[::-1]
            others = min(int(np.searchsorted(np.cumsum(rest), needed) + 1), len(rest))
            most = max(most, len(gone) + crowded + others)
    return most


def _crowds(grid: Grid, at_first: dict[int, tuple[Rule, ...]]) -> dict[int, list[list[int]]]:
    """Per node: the sets of VMs that all refuse each other on one host. A VM counts once, and not when a rule about
    nodes takes it away anyway."""
    found: dict[tuple[int, int], list[int]] = {}
    for vm, rules in at_first.items():
        if Rule.ANTI_AFFINITY not in rules or PINNED & set(rules):
            continue
        for rule in sorted(set(grid.apart.holds[vm]) & set(grid.apart.named[vm])):
            if grid.apart.topology[rule] == HOSTNAME:
                found.setdefault((int(grid.home[vm]), rule), []).append(vm)
    crowds: dict[int, list[list[int]]] = {}
    taken: set[int] = set()
    for (node, _), vms in found.items():
        if len(vms) > 1 and not taken & set(vms):
            crowds.setdefault(node, []).append(vms)
            taken |= set(vms)
    return crowds

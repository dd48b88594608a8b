"""Repair by reason: every VM that stands against a rule, and as few as will do from every node above its ceiling.

Each goes to the place where it leaves the least waste, or the most room, whichever of the two ways of filling leaves
fewer faults. What finds no place stays; others (``chains``) make room for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from drover.planner.grid import Board, Grid
from drover.planner.plan import Rule


@dataclass(frozen=True, slots=True)
class Step:
    """Take ``vm`` from ``source`` to ``target``, because of ``rule``; rows of the grid. ``about``: the node that is
    too full, or -1."""

    vm: int
    source: int
    target: int
    rule: Rule


def broken(grid: Grid, board: Board) -> dict[int, tuple[Rule, ...]]:
    """The VMs that stand against rules which the goal repairs."""
    found = {}
    for vm in range(len(grid.vms)):
        rules = tuple(r for r in board.stands_against(vm) if r in grid.goal.repairs)
        if rules:
            found[vm] = rules
    return found


def repair(grid: Grid) -> tuple[Board, list[Step]]:
    """The better of both ways of filling."""
    tried = [_repair(grid, tight) for tight in (False, True)]
    return min(tried, key=lambda one: (_left(grid, one[0]), len(one[1]), _gib(grid, one[1])))


def _gib(grid: Grid, steps: list[Step]) -> float:
    return float(sum(grid.gib[step.vm] for step in steps))


def _left(grid: Grid, board: Board) -> int:
    return int(board.over().sum()) + len(broken(grid, board))


def _repair(grid: Grid, tight: bool) -> tuple[Board, list[Step]]:
    board = Board(grid)
    steps: list[Step] = []
    at_first = broken(grid, board)
    for vm in sorted(at_first, key=lambda vm: (_shared(at_first[vm]), grid.gib[vm], vm)):
        rules = [r for r in board.stands_against(vm) if r in grid.goal.repairs]
        if rules and grid.movable[vm]:
            steps += _go(board, vm, rules[0], tight)
    if Rule.OVERLOAD in grid.goal.repairs:
        leaving = [vm for node in np.flatnonzero(board.over()) for vm in leavers(board, int(node))]
        leaving.sort(key=lambda vm: (-_weight(grid, vm), vm))
        for vm in leaving:
            steps += _go(board, vm, Rule.OVERLOAD, tight)
    return board, steps


def _shared(rules: tuple[Rule, ...]) -> bool:
    """May the move of another VM mend it?"""
    return not {Rule.NODE_AFFINITY, Rule.TAINT} & set(rules)


def _weight(grid: Grid, vm: int) -> float:
    return float((grid.size[vm] / np.maximum(grid.limit.mean(axis=0), 1)).max())


def leavers(board: Board, node: int) -> list[int]:
    """As few movable VMs as bring the node below its ceilings, the ones that take most of the excess first."""
    grid = board.grid
    there = np.flatnonzero((board.where == node) & grid.movable)
    excess = np.maximum(board.used[node] - grid.ceiling[node], 0).astype(np.float64)
    chosen: list[int] = []
    while (excess > 0).any() and len(there):
        hot = excess > 0
        taken = np.minimum(grid.size[there][:, hot] / excess[hot], 1.0).sum(axis=1)
        best = np.lexsort((there, grid.gib[there], -taken))[0]
        chosen.append(int(there[best]))
        excess = np.maximum(excess - grid.size[there[best]], 0)
        there = np.delete(there, best)
    return chosen


def _go(board: Board, vm: int, rule: Rule, tight: bool) -> Iterator[Step]:
    """Move the VM to its best target, if there is one."""
    source = int(board.where[vm])
    for target in ranked(board, vm, tight):
        if board.harmless(vm, target):
            board.put(vm, target)
            yield Step(vm, source, target, rule)
            return


def ranked(board: Board, vm: int, tight: bool = False) -> list[int]:
    """The targets of a VM, roomiest first, or fullest first when ``tight``."""
    rows = np.flatnonzero(board.targets(vm))
    grid = board.grid
    left = (grid.limit[rows] - board.used[rows] - grid.size[vm]) / np.maximum(grid.limit[rows], 1)
    room = left[:, : len(grid.resources) - 1].min(axis=1, initial=1.0)
    return [int(row) for row in rows[np.lexsort((rows, room if tight else -room))]]

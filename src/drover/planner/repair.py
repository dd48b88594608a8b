"""Repair by reason: every VM that stands against a rule, and as few as will do from every node above its ceiling.

Several ways are tried and the best is kept: the target with the most room or with the least, the fewest GiB or the
smallest VM for the last step. What finds no place directly finds one by ``chains``. The result is where the VMs
shall be; ``ordering`` makes steps of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from drover.planner.chains import clear_out, lighten, make_room, take_home
from drover.planner.grid import Board, Floats, Grid
from drover.planner.plan import Rule
from drover.planner.tables import Ints

PINNED = frozenset({Rule.NODE_AFFINITY, Rule.TAINT})


@dataclass(frozen=True, slots=True)
class Way:
    """How to choose where several would do. ``tight``: the fullest target. ``small``: the smallest VM that suffices,
    instead of the one with the least memory. ``chains``: a larger VM that others must make room for (two moves) is
    preferred where one that fits would do less than half of it."""

    tight: bool
    small: bool
    chains: bool = False


WAYS = (
    Way(False, False),
    Way(True, False),
    Way(True, True),
    Way(True, False, True),
    Way(True, True, True),
)


@dataclass(frozen=True, slots=True)
class Step:
    """Take ``vm`` from ``source`` to ``target``, because of ``rule``; rows of the grid."""

    vm: int
    source: int
    target: int
    rule: Rule


def broken(
    grid: Grid, board: Board, vms: Iterable[int] | None = None
) -> dict[int, tuple[Rule, ...]]:
    """The VMs (of ``vms``, or all) that stand against rules which the goal repairs."""
    found = {}
    for vm in board.suspects() if vms is None else vms:
        rules = tuple(r for r in board.stands_against(vm) if r in grid.goal.repairs)
        if rules:
            found[vm] = rules
    return found


def repair(grid: Grid, way: Way) -> Board:
    """Where the VMs shall be."""
    board = Board(grid)
    _mend(board, way)
    if Rule.OVERLOAD in grid.goal.repairs:
        for node in _by_excess(board):
            _relieve(board, node, way)
    take_home(board)
    lighten(board)
    return board


def _by_excess(board: Board) -> list[int]:
    """The nodes above a ceiling, the worst first."""
    shares = (board.used / np.maximum(board.grid.ceiling, 1)).max(axis=1)
    return sorted(np.flatnonzero(board.over()).tolist(), key=lambda node: (-shares[node], node))


def _mend(board: Board, way: Way) -> None:
    """Take away the VMs that stand against a rule: first those that no other's move can help, large ones first; then,
    of those that are in each other's way, the ones that are in the way of most, that relieve a full node most, or have
    the least memory."""
    grid = board.grid
    at_first = broken(grid, board)
    pinned = [vm for vm, rules in at_first.items() if PINNED & set(rules)]
    others = [vm for vm in at_first if vm not in set(pinned)]
    pinned.sort(key=lambda vm: (-weight(grid, vm), vm))
    others.sort(key=lambda vm: (-board.conflicts(vm), -_relief(board, vm), grid.gib[vm], vm))
    for vm in (*pinned, *others):
        if grid.movable[vm] and broken(grid, board, [vm]) and not go(board, vm, way.tight):
            _ = make_room(board, vm, way.tight) or clear_out(board, vm, way.tight)


def _relief(board: Board, vm: int) -> float:
    """The share of its node's excess that leaves with it; 0 where the node has none."""
    grid, node = board.grid, int(board.where[vm])
    excess = board.used[node] - grid.ceiling[node]
    hot = excess > 0
    return float(np.minimum(grid.size[vm][hot] / excess[hot], 1.0).sum())


def weight(grid: Grid, vm: int) -> float:
    """How much of a usual node it takes."""
    return float((grid.size[vm] / np.maximum(grid.usual, 1)).max())


def go(board: Board, vm: int, tight: bool) -> bool:
    """Move the VM to its best target, if there is one."""
    for target in board.ranked(vm, board.targets(vm), tight):
        if board.harmless(vm, target):
            board.put(vm, target)
            return True
    return False


def _relieve(board: Board, node: int, way: Way) -> None:
    """Take VMs away until the node is below its ceilings: the largest that finds a place, until one suffices."""
    grid = board.grid
    there = np.flatnonzero((board.where == node) & grid.movable)
    there = there[grid.home[there] == node]
    while board.is_over(node) and len(there):
        excess = np.maximum(board.used[node] - grid.ceiling[node], 0).astype(np.float64)
        hot = excess > 0
        taken = np.minimum(grid.size[there][:, hot] / excess[hot], 1.0).sum(axis=1)
        enough = taken >= hot.sum()
        cost = grid.size[there][:, hot].sum(axis=1) if way.small else grid.gib[there]
        order = np.lexsort((there, np.where(enough, cost, 0), grid.gib[there], -taken))
        if way.small:
            order = np.lexsort((there, np.where(enough, cost, 0), -taken))
        gone = _first(board, there[order], taken[order], way)
        if gone is None:
            return
        there = there[there != gone]


def _first(board: Board, vms: Ints, taken: Floats, way: Way) -> int | None:
    """Move the first of ``vms`` that finds a place; by a chain where that does at least twice as much."""
    direct = next((i for i, vm in enumerate(vms.tolist()) if board.targets(vm).any()), None)
    worth = 2 * taken[direct] if direct is not None else 0.0
    for i, vm in enumerate(vms.tolist()):
        if i == direct or (direct is not None and (not way.chains or taken[i] < worth)):
            break
        if make_room(board, vm, way.tight):
            return int(vm)
    if direct is None:
        return next((vm for vm in vms.tolist()[:3] if clear_out(board, vm, way.tight)), None)
    return next((vm for vm in vms.tolist()[direct:] if go(board, vm, way.tight)), None)

"""Room by moving others: a VM that fits nowhere comes to a node from which another, smaller one goes away.

The other must find a place by itself. That is two moves for one, or just one where the other has to be moved anyway
and merely goes somewhere else. Where one other is not enough, up to three make room together.
"""

from __future__ import annotations

import numpy as np

from drover.planner.grid import Board
from drover.planner.tables import Ints

TRIED = 40  # others looked at for one VM
CLEARED = 12  # nodes from which several would have to go
LINKS = 3


def make_room(board: Board, vm: int, tight: bool) -> bool:
    """Move the VM after one other has made room for it. False: nothing was done."""
    source = int(board.where[vm])
    for other in _others(board, vm).tolist():
        node = int(board.where[other])
        for target in board.ranked(other, board.targets(other), tight)[:2]:
            if target == source or not board.harmless(other, target):
                continue
            board.put(other, target)
            if board.targets(vm)[node] and board.harmless(vm, node):
                board.put(vm, node)
                return True
            board.put(other, node)
    return False


def clear_out(board: Board, vm: int, tight: bool) -> bool:
    """Move the VM to a node from which several others go away. False: nothing was done."""
    grid, source = board.grid, int(board.where[vm])
    short = np.maximum(board.used + grid.size[vm] - grid.limit, 0)
    short[:, grid.size[vm] == 0] = 0
    lacking = (short / np.maximum(grid.usual, 1)).max(axis=1)
    open_ = grid.allowed[grid.group[vm]] & (board.used <= grid.limit).all(axis=1)
    if grid.ruled[vm]:
        open_ &= board.apart(vm)
    open_[source] = False
    rows = np.flatnonzero(open_)
    for node in rows[np.argsort(lacking[rows], kind="stable")][:CLEARED].tolist():
        gone = _cleared(board, vm, node, source, tight)
        if board.targets(vm)[node] and board.harmless(vm, node):
            board.put(vm, node)
            return True
        for other in reversed(gone):
            board.put(other, node)
    return False


def _cleared(board: Board, vm: int, node: int, source: int, tight: bool) -> list[int]:
    """Those that went away from ``node``: the smallest that suffices, else the largest, at most a few."""
    grid, gone = board.grid, list[int]()
    while len(gone) < LINKS:
        short = np.maximum(board.used[node] + grid.size[vm] - grid.limit[node], 0)
        hot = (short > 0) & (grid.size[vm] > 0)
        if not hot.any():
            break
        there = np.flatnonzero((board.where == node) & grid.movable)
        there = there[~grid.ruled[there]]
        taken = np.minimum(grid.size[there][:, hot] / short[hot], 1.0).sum(axis=1)
        weight = (grid.size[there] / np.maximum(grid.usual, 1)).max(axis=1)
        order = there[np.lexsort((there, weight, -taken))][:TRIED].tolist()
        for other in order:
            targets = board.targets(other)
            targets[source] = False
            ranked = board.ranked(other, targets, tight)[:1]
            if ranked and board.harmless(other, ranked[0]):
                board.put(other, ranked[0])
                gone.append(other)
                break
        else:
            break
    return gone


def _others(board: Board, vm: int) -> Ints:
    """Who could make room, best first: those that are on their way anyway, then small ones."""
    grid = board.grid
    short = np.maximum(board.used + grid.size[vm] - grid.limit, 0)
    short[:, grid.size[vm] == 0] = 0
    open_ = grid.allowed[grid.group[vm]] & (board.used <= grid.limit).all(axis=1)
    if grid.ruled[vm]:
        open_ &= board.apart(vm)
    open_[board.where[vm]] = False
    enough = (grid.size >= short[board.where]).all(axis=1)
    found = np.flatnonzero(enough & open_[board.where] & grid.movable)
    moved = board.where[found] != grid.home[found]
    weight = (grid.size[found] / np.maximum(grid.usual, 1)).max(axis=1)
    order = np.lexsort((found, weight, ~moved))
    return np.asarray(found[order][:TRIED], dtype=np.int64)


def take_home(board: Board) -> None:
    """VMs that need not have moved, since others did, go back, those with the most memory first."""
    grid = board.grid
    for vm in sorted(board.moved, key=lambda vm: (-grid.gib[vm], vm)):
        home, away = int(grid.home[vm]), int(board.where[vm])
        if not board.may_return(vm):
            continue
        board.put(vm, home)
        if board.stands_against(vm):
            board.put(vm, away)


def lighten(board: Board) -> None:
    """As many moves with less memory: instead of a VM another one leaves the same node, as long as that suffices."""
    grid = board.grid
    for vm in sorted(board.moved, key=lambda vm: (-grid.gib[vm], vm)):
        home, away = int(grid.home[vm]), int(board.where[vm])
        if not grid.at_home[grid.group[vm], home] or not grid.chosen[grid.group[vm], home]:
            continue
        if grid.ruled[vm]:
            continue
        room = grid.ceiling[home] - board.used[home] - grid.size[vm]
        there = np.flatnonzero((board.where == home) & grid.movable & (grid.gib < grid.gib[vm]))
        there = there[(grid.size[there] + room >= 0).all(axis=1)]
        board.put(vm, home)
        for other in there[np.lexsort((there, grid.gib[there]))].tolist():
            targets = board.targets(other)
            found = [away] if targets[away] else board.ranked(other, targets, True)[:1]
            if found and board.harmless(other, found[0]):
                board.put(other, found[0])
                break
        else:
            board.put(vm, away)

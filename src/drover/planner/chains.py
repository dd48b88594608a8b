"""Room by moving others: a VM that fits nowhere comes to a node from which another, smaller one goes away.

The other must find a place by itself. That is two moves for one, or just one where the other has to be moved anyway
and merely goes somewhere else. Where one other is not enough, up to three make room together.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from drover.planner.grid import Board
from drover.planner.tables import Bools, Ints

TRIED = 40  # others looked at for one VM
CLEARED = 12  # nodes from which several would have to go
LINKS = 3
LIGHTER = 20  # exchanges at one node
PAIRED = 500_000  # of these looked at for the best


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


def lighten(board: Board, most: int = 1) -> None:
    """As many moves with less memory: instead of one VM, or of ``most`` at a time, as many others leave the same node,
    as long as that suffices."""
    for node in sorted({int(board.grid.home[vm]) for vm in board.moved}):
        for _ in range(LIGHTER):
            if not any(_exchange(board, node, count) for count in range(1, most + 1)):
                break


def _exchange(board: Board, node: int, count: int) -> bool:
    """So many VMs come back to ``node`` and others leave it for them, with the most memory saved that finds places."""
    grid = board.grid
    free = grid.movable & (grid.home == node) & (grid.at_home & grid.chosen)[grid.group, node]
    gone = _sets(board, free & (board.where != node), count)
    there = _sets(board, free & (board.where == node), count)
    if not 0 < len(gone) * len(there) <= PAIRED:
        return False
    saved = grid.gib[gone].sum(axis=1)[:, None] - grid.gib[there].sum(axis=1)[None, :]
    room = grid.ceiling[node] - board.used[node]
    more = grid.size[gone].sum(axis=1)[:, None, :] - grid.size[there].sum(axis=1)[None, :, :]
    saved[(more > room).any(axis=2)] = 0.0
    order = np.argsort(-saved, axis=None, kind="stable")[:TRIED]
    return any(
        _exchanged(board, node, gone[row].tolist(), there[column].tolist())
        for row, column in zip(*np.unravel_index(order, saved.shape), strict=True)
        if saved[row, column] > 0
    )


def _sets(board: Board, among: Bools, count: int) -> Ints:
    """The sets of so many of them, one in each row. Those that affinity or spreading speaks of stay what they are."""
    speaks_of = board.grid.bystanders.speaks_of
    rows = [vm for vm in np.flatnonzero(among).tolist() if not speaks_of(vm)]
    return np.array(list(combinations(rows, count)), dtype=np.int64).reshape(-1, count)


def _exchanged(board: Board, node: int, back: list[int], leave: list[int]) -> bool:
    """False: somebody found no place, and nothing was done."""
    freed = [int(board.where[vm]) for vm in back]
    for vm in back:
        board.put(vm, node)
    if all(_leaves(board, vm, freed) for vm in leave) and not any(map(board.conflicts, back)):
        return True
    for vm in leave:
        board.put(vm, node)
    for vm, away in zip(back, freed, strict=True):
        board.put(vm, away)
    return False


def _leaves(board: Board, vm: int, freed: list[int]) -> bool:
    """Move the VM to where another has made room, or else to the fullest target."""
    targets = board.targets(vm)
    found = [one for one in freed if targets[one]] or board.ranked(vm, targets, True)[:1]
    if found:
        board.put(vm, found[0])
    return bool(found)

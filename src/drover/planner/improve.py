"""Balance: nodes become more alike in CPU and memory, by the moves that do most for it, each worth its cost.

The measure is the standard deviation over the nodes of the share of CPU in use, plus that of memory, in percentage
points. After the steepest descent, VMs that were moved for balance are put to better places, or left at home for
others, one by one: as many moves do more than descent alone finds.
"""

from __future__ import annotations

import numpy as np

from drover.planner.grid import Board, Floats
from drover.planner.tables import Ints

MEASURED = ("cpu", "memory")
LEAST = 1e-6  # percentage points: below that nothing has changed
ROUNDS = 3
TRIED = 50  # moves looked at before none is made
CELLS = 2_000_000


class Balance:
    """The measure of a board, and of each move on it."""

    def __init__(self, board: Board) -> None:
        grid = board.grid
        self.board, self.grid = board, grid
        self.columns = [grid.resources.index(n) for n in MEASURED if n in grid.resources]
        self.whole = np.maximum(grid.capacity[:, self.columns], 1).astype(np.float64)

    def shares(self) -> Floats:
        return np.asarray(100 * self.board.used[:, self.columns] / self.whole, dtype=np.float64)

    def score(self) -> float:
        """Percentage points; less is better."""
        return float(self.shares().std(axis=0).sum()) if len(self.whole) else 0.0

    def scores(self, vms: Ints) -> Floats:
        """What the score would be with each of the VMs on each of the nodes."""
        shares, count = self.shares(), len(self.whole)
        total, squares = shares.sum(axis=0), (shares**2).sum(axis=0)
        home = self.board.where[vms]
        result = np.zeros((len(vms), count))
        for number, column in enumerate(self.columns):
            size = 100.0 * self.grid.size[vms, column]
            whole, share = self.whole[:, number], shares[:, number]
            leaves = size / whole[home]
            comes = size[:, None] / whole[None, :]
            mean = (total[number] - leaves[:, None] + comes) / count
            square = (
                squares[number]
                + (leaves * (leaves - 2 * share[home]))[:, None]
                + comes * (comes + 2 * share[None, :])
            ) / count
            result += np.sqrt(np.maximum(square - mean**2, 0.0))
        return result


def retarget(board: Board, vms: list[int]) -> None:
    """Put VMs that move anyway where they make the nodes most alike: as many moves, as many GiB."""
    balance = Balance(board)
    for _ in range(ROUNDS):
        changed = False
        for vm in vms:
            row = balance.scores(np.array([vm]))[0]
            row[~board.targets(vm)] = np.inf
            node = int(np.argmin(row)) if len(row) else 0
            if row[node] < balance.score() - LEAST and board.harmless(vm, node):
                board.put(vm, node)
                changed = True
        if not changed:
            return


def balanced(board: Board, moves: int, gain_per_gib: float) -> dict[int, int]:
    """At most so many VMs, each to a node, that make the nodes most alike. ``board`` is left as it is."""
    board = board.copy()
    fixed = set(board.moved)
    chosen: dict[int, int] = {}
    while len(chosen) < moves and _best(board, chosen, fixed, gain_per_gib):
        pass
    for _ in range(ROUNDS):
        before = Balance(board).score()
        for vm in sorted(chosen):
            _replace(board, chosen, fixed, vm, gain_per_gib)
        if before - Balance(board).score() < LEAST:
            break
    return chosen


def _replace(
    board: Board, chosen: dict[int, int], fixed: set[int], vm: int, gain_per_gib: float
) -> None:
    """Undo one choice and make the best one instead, maybe the same."""
    node, before = chosen[vm], Balance(board).score()
    if not board.may_return(vm):
        return
    board.put(vm, int(board.grid.home[vm]))
    del chosen[vm]
    found = _best(board, chosen, fixed, gain_per_gib)
    if found is not None and Balance(board).score() < before - LEAST:
        return
    if found is not None:
        board.put(found, int(board.grid.home[found]))
        del chosen[found]
    board.put(vm, node)
    chosen[vm] = node


def _best(board: Board, chosen: dict[int, int], fixed: set[int], gain_per_gib: float) -> int | None:
    """Make the one move that does most for balance, if it is worth its GiB; the VM."""
    grid, balance = board.grid, Balance(board)
    vms = _candidates(board, fixed | set(chosen))
    if not len(vms):
        return None
    gains = balance.score() - balance.scores(vms)
    gains[~grid.allowed[grid.group[vms]]] = -np.inf
    for column in range(len(grid.resources)):
        after = board.used[None, :, column] + grid.size[vms, column][:, None]
        gains[
            (after > grid.limit[None, :, column]) & (grid.size[vms, column] > 0)[:, None]
        ] = -np.inf
    gains[np.arange(len(vms)), board.where[vms]] = -np.inf
    gains[gains < np.maximum(gain_per_gib * grid.gib[vms], LEAST)[:, None]] = -np.inf
    for _ in range(TRIED):
        flat = int(np.argmax(gains))
        row, node = divmod(flat, len(grid.names))
        if not np.isfinite(gains[row, node]):
            return None
        vm = int(vms[row])
        if board.targets(vm)[node] and board.harmless(vm, node):
            board.put(vm, node)
            chosen[vm] = node
            return vm
        gains[row, node] = -np.inf
    return None


def _candidates(board: Board, taken: set[int]) -> Ints:
    """Movable VMs, on large clusters only those of the fullest nodes and the emptiest, since a table of all would not
    fit."""
    grid = board.grid
    free = grid.movable.copy()
    free[sorted(taken)] = False
    if len(grid.vms) * len(grid.names) > CELLS:
        load = Balance(board).shares().sum(axis=1)
        many = max(CELLS // max(len(grid.vms) * 4, 1), 4)
        ends = np.zeros(len(grid.names), dtype=np.bool_)
        order = np.argsort(load, kind="stable")
        ends[order[-many:]] = ends[order[: many // 4]] = True
        free &= ends[board.where]
    found = np.flatnonzero(free)
    return np.asarray(found[: max(CELLS // max(len(grid.names), 1), 1)], dtype=np.int64)

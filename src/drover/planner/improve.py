"""Balance: nodes become more alike in CPU and memory, by the moves that do most for it, each worth its cost.

The measure is the standard deviation over the nodes of the share of CPU in use, plus that of memory, in percentage
points. It begins without the moves that relieve nodes, since others may do that and balance better. After the steepest
descent each move is taken back in turn and the best one made instead, then all moves of a node together: as many moves
do more than descent alone finds.
"""

from __future__ import annotations

import numpy as np

from drover.planner.grid import Board, Floats
from drover.planner.tables import Bools, Ints

MEASURED = ("cpu", "memory")
LEAST = 1e-6  # percentage points: below that nothing has changed
ROUNDS = 3
TRIED = 50  # moves looked at before none is made
CELLS = 2_000_000  # of a table of VMs and nodes
EFFORT = 50_000_000  # cells looked at before nothing is taken back any more: some two seconds


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
            share = shares[:, number]
            comes = 100.0 * self.grid.size[vms, column][:, None] / self.whole[:, number]
            leaves = comes[np.arange(len(vms)), home]
            stays = squares[number] + leaves * (leaves - 2 * share[home])
            mean = comes + (total[number] - leaves)[:, None]
            comes *= comes + 2 * share
            comes += stays[:, None]
            comes /= count
            mean *= mean
            mean /= count**2
            comes -= mean
            result += np.sqrt(np.maximum(comes, 0.0, out=comes), out=comes)
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


def balanced(
    board: Board, moves: int, gain_per_gib: float, settled: frozenset[int] = frozenset()
) -> dict[int, int]:
    """Where to put the VMs that ``board`` has moved, or others in their stead, and at most so many more, to make the
    nodes most alike; but for ``settled`` ones, which stay as they are. ``board`` is left as it is."""
    most = len(board.moved) + moves
    search = _Search(board.copy() if settled else _sent_home(board), gain_per_gib, settled)
    for _ in range(ROUNDS):
        before = search.score()
        search.descend(most)
        search.exchange()
        search.rebuild(most)
        if before - search.score() < LEAST:
            break
    return dict(search.board.moved)


def _sent_home(board: Board) -> Board:
    """Without the moves that relieve nodes, which balance may do otherwise."""
    board, grid = board.copy(), board.grid
    for vm in sorted(board.moved):
        node = int(board.where[vm])
        board.put(vm, int(grid.home[vm]))
        if board.stands_against(vm) or not board.may_return(vm, grid.capacity):
            board.put(vm, node)
    return board


class _Search:
    """A board on its way to balance. What is above a ceiling counts point by point, so that it goes first and never
    comes back."""

    def __init__(self, board: Board, gain_per_gib: float, settled: frozenset[int]) -> None:
        self.board, self.grid, self.balance = board, board.grid, Balance(board)
        self._worth = gain_per_gib * board.grid.gib
        self._settled = settled
        self._looked = 0  # cells
        self._free = board.grid.movable.copy()
        self._free[sorted(settled)] = False

    def descend(self, most: int) -> None:
        """As many moves as help, up to ``most``, the best first."""
        while len(self.board.moved) < most and self._step(self._candidates()):
            pass

    def exchange(self) -> None:
        """Each move for a better one."""
        for vm in sorted(set(self.board.moved) - self._settled):
            if self._looked < EFFORT:
                self._replace(vm)

    def rebuild(self, most: int) -> None:
        """All moves from and to a node at once, node by node, for better ones."""
        for node in range(len(self.grid.names)):
            if self._looked < EFFORT:
                self._rebuild(node, most)

    def score(self) -> float:
        return self.balance.score() + float(self._excess(self.board.used).sum())

    def _excess(self, used: Ints) -> Floats:
        """Per node: percentage points above its ceilings."""
        grid = self.grid
        over = np.maximum(used - grid.ceiling, 0) / np.maximum(grid.capacity, 1)
        return np.asarray(100 * over.sum(axis=1), dtype=np.float64)

    def _candidates(self) -> Ints:
        """Movable VMs that are at home, on large clusters only those of the fullest nodes and the emptiest, since a
        table of all would not fit."""
        grid = self.grid
        free = self._free & (self.board.where == grid.home)
        if len(grid.vms) * len(grid.names) > CELLS:
            load = self.balance.shares().sum(axis=1)
            many = max(CELLS // max(len(grid.vms) * 4, 1), 4)
            ends = np.zeros(len(grid.names), dtype=np.bool_)
            order = np.argsort(load, kind="stable")
            ends[order[-many:]] = ends[order[: many // 4]] = True
            free &= ends[self.board.where]
        found = np.flatnonzero(free)
        return np.asarray(found[: max(CELLS // max(len(grid.names), 1), 1)], dtype=np.int64)

    def _step(self, vms: Ints, least: Floats | None = None) -> bool:
        """Make the one move of ``vms`` that does most, if it gains ``least`` (for each VM; its GiB's worth unless told
        otherwise). False: there is none."""
        if not len(vms):
            return False
        board, grid = self.board, self.grid
        self._looked += len(vms) * len(grid.names)
        gains = self.balance.score() - self.balance.scores(vms)
        there = board.where[vms]
        relief = self._excess(board.used)[there] - self._excess_without(vms)
        gains += relief[:, None]
        if least is None:
            least = np.maximum(self._worth[vms], LEAST)
        gains[~self._open(vms) | (gains < least[:, None])] = -np.inf
        for _ in range(TRIED):
            row, node = divmod(int(np.argmax(gains)), len(grid.names))
            if not np.isfinite(gains[row, node]):
                return False
            vm = int(vms[row])
            if board.targets(vm)[node] and board.harmless(vm, node):
                board.put(vm, node)
                return True
            gains[row, node] = -np.inf
        return False

    def _excess_without(self, vms: Ints) -> Floats:
        """Of the node of each of them, were it gone."""
        board, grid = self.board, self.grid
        there = board.where[vms]
        over = np.maximum(board.used[there] - grid.size[vms] - grid.ceiling[there], 0)
        shares = 100 * over / np.maximum(grid.capacity[there], 1)
        return np.asarray(shares.sum(axis=1), dtype=np.float64)

    def _open(self, vms: Ints) -> Bools:
        """Which of them may go where, as far as rules about nodes and room go."""
        board, grid = self.board, self.grid
        found = grid.allowed[grid.group[vms]]
        for column in range(len(grid.resources)):
            size = grid.size[vms, column]
            room = grid.limit[:, column] - board.used[:, column]
            found &= (size[:, None] <= room[None, :]) | (size == 0)[:, None]
        found[np.arange(len(vms)), board.where[vms]] = False
        return found

    def _rebuild(self, node: int, most: int) -> None:
        """Take back all moves from and to a node, and make the best ones instead."""
        old, before = self.board.copy(), self.score()
        board, home = self.board, self.grid.home
        for vm in sorted(set(board.moved) - self._settled):
            there = int(board.where[vm])
            if node not in (there, home[vm]) or not board.may_return(vm, self.grid.capacity):
                continue
            board.put(vm, int(home[vm]))
            if board.stands_against(vm):
                board.put(vm, there)
        self.descend(most)
        if self.score() > before - LEAST:
            self.board = self.balance.board = old

    def _replace(self, vm: int) -> None:
        """Take one move back and make the best one instead, maybe the same. One whose own rule drives it away goes
        elsewhere, if anything."""
        board, grid = self.board, self.grid
        node, before = int(board.where[vm]), self.score()
        bound = not board.may_return(vm, grid.capacity)
        board.put(vm, int(grid.home[vm]))
        bound = bound or bool(board.stands_against(vm))
        vms = np.array([vm], dtype=np.int64) if bound else self._candidates()
        gained = before - self.score()  # less than nothing, mostly
        least = np.maximum(self._worth[vms] - self._worth[vm], LEAST) - gained
        if not self._step(vms, least):
            board.put(vm, node)

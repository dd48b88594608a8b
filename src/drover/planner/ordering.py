"""From where the VMs shall be to steps that are each legal when their turn comes.

Whoever may go now goes, those that repair before those that make room only where they can, until all are there or
none may. Then one of those that wait goes a detour by a third node, if the moves allow it; what still waits stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from drover.planner.grid import Board, Grid
from drover.planner.improve import LEAST, Balance
from drover.planner.plan import Rule
from drover.planner.repair import PINNED, Step, broken, weight
from drover.planner.spare import Spare

TRIED = 8  # targets of one VM
HELPED = 200  # steps of others looked at


class Walk:
    """A board on which steps are taken, each checked against all that must hold on the way."""

    def __init__(self, grid: Grid) -> None:
        self.board = Board(grid)
        self.steps: list[Step] = []
        self._spare = Spare(self.board) if grid.goal.n_plus_one else None
        self.unsafe_at_first = sorted(self._spare.unsafe) if self._spare is not None else []

    def step(self, vm: int, target: int, rule: Rule) -> bool:
        """Take it if it is legal."""
        board, source = self.board, int(self.board.where[vm])
        if not board.targets(vm)[target] or not board.harmless(vm, target):
            return False
        board.put(vm, target)
        if self._spare is not None and not self._spare.accept(
            vm, source, repairs=rule is not Rule.BALANCE
        ):
            board.put(vm, source)
            return False
        self.steps.append(Step(vm, source, target, rule))
        return True

    def go(self, targets: Mapping[int, int], rule_of: Callable[[Board, int], Rule]) -> list[int]:
        """Bring the VMs to their targets in whatever order works; those that could not get there."""
        waiting = self._sorted(targets)
        while waiting:
            left = [v for v in waiting if not self.step(v, targets[v], rule_of(self.board, v))]
            if len(left) == len(waiting) and not self._detour(left, rule_of):
                return left
            waiting = left
        return []

    def _sorted(self, targets: Mapping[int, int]) -> list[int]:
        """Out of the fullest nodes first, large ones first."""
        board, grid = self.board, self.board.grid
        share = (board.used / np.maximum(grid.ceiling, 1)).max(axis=1)
        size = (grid.size / np.maximum(grid.usual, 1)).max(axis=1)
        return sorted(targets, key=lambda v: (-share[board.where[v]], -size[v], v))

    def _detour(self, waiting: list[int], rule_of: Callable[[Board, int], Rule]) -> bool:
        """Let one of those that wait for each other go somewhere else first: the one with the least memory."""
        board = self.board
        for vm in sorted(waiting, key=lambda v: (board.grid.gib[v], v)):
            if board.where[vm] != board.grid.home[vm]:
                continue  # one detour each
            for target in board.ranked(vm, board.targets(vm))[:3]:
                if self.step(vm, target, rule_of(board, vm)):
                    return True
        return False

    def mop_up(self, rule_of: Callable[[Board, int], Rule]) -> None:
        """What is still wrong is repaired by whatever single steps are legal."""
        board, grid = self.board, self.board.grid
        for vm in broken(grid, board):
            if grid.movable[vm] and broken(grid, board, [vm]):
                self._anywhere(vm, rule_of(board, vm))
        if Rule.OVERLOAD not in grid.goal.repairs:
            return
        for node in np.flatnonzero(board.over()).tolist():
            there = np.flatnonzero((board.where == node) & grid.movable)
            for vm in sorted(there.tolist(), key=lambda v: (-weight(grid, v), v)):
                if not board.is_over(node):
                    break
                self._anywhere(vm, Rule.OVERLOAD)

    def improve(self, targets: Mapping[int, int], most: int, gain_per_gib: float) -> int:
        """Take the steps for balance, the best of them first, as long as each is worth its GiB; how many."""
        waiting, balance = dict(targets), Balance(self.board)
        for count in range(most):
            if not waiting:
                return count
            vms = np.array(sorted(waiting), dtype=np.int64)
            nodes = np.array([waiting[vm] for vm in vms.tolist()])
            gains = balance.score() - balance.scores(vms)[np.arange(len(vms)), nodes]
            worth = gains >= np.maximum(gain_per_gib * self.board.grid.gib[vms], LEAST)
            order = np.argsort(-gains, kind="stable").tolist()
            taken = next(
                (
                    int(vms[i])
                    for i in order
                    if worth[i] and self.step(int(vms[i]), int(nodes[i]), Rule.BALANCE)
                ),
                None,
            )
            if taken is None:
                return count
            del waiting[taken]
        return most

    def by_others(self) -> None:
        """VMs whose rule speaks of others may be helped by these: any step of one of them after which fewer VMs stand
        against a rule."""
        board, grid = self.board, self.board.grid
        left, tries = broken(grid, board), HELPED
        for vm, rules in list(left.items()):
            if PINNED & set(rules):
                continue
            for other in sorted(grid.related(vm)):
                if vm not in left or tries <= 0:
                    break
                for target in board.ranked(other, board.targets(other))[:TRIED]:
                    tries, source = tries - 1, int(board.where[other])
                    board.put(other, target)
                    better = len(broken(grid, board)) < len(left)
                    board.put(other, source)
                    if better and self.step(other, target, Rule.ROOM):
                        left = broken(grid, board)
                        break

    def _anywhere(self, vm: int, rule: Rule) -> bool:
        board = self.board
        ranked = board.ranked(vm, board.targets(vm))[:TRIED]
        return any(self.step(vm, target, rule) for target in ranked)

"""The fewest moves that mend a cluster, in an order that is safe at every step, with reasons.

    plan = rebalance(cluster, vms, Goal({"cpu": 80}), Budget())

``vms`` are the VMs of the picture (``Vm(pod_key, memory_bytes, dirty_bytes_s, movable)``); Pods that are not among
them stay where they are. ``Goal`` and ``Budget`` say what is wished and what it may cost; ``BadGoal`` is raised for one
that makes no sense. The ``Plan`` has ``moves`` in order (``Move``: vm, source, target, rule, why, gib, seconds, loads
before and after, rejected), ``lower_bound``, ``proved``, ``gap``, ``impossible`` (``Impossible``: subject, rule, why,
blocked_by, change), ``before`` and ``after`` (``State``), ``digest``. ``state(cluster, vms, goal)`` is a picture's
``State`` alone: what is overloaded or broken in it.

The same picture, in any order, gives the same plan: nothing here looks at a clock. It promises that each move, once
those before it are done, goes to a node that kube-scheduler's filters would take, that stays within its ceilings with
the VM on it while the source still counts too, and breaks nobody's rule. It does not promise that the world stands
still meanwhile: whoever executes a plan looks again before each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from drover.planner import explain
from drover.planner.bound import lower_bound
from drover.planner.chains import lighten
from drover.planner.cluster import Cluster
from drover.planner.exact import Model, binaries
from drover.planner.grid import Board, Grid
from drover.planner.improve import balanced, retarget
from drover.planner.ordering import Walk
from drover.planner.plan import Budget, Goal, Plan, Rule, State, Vm
from drover.planner.repair import WAYS, Step, broken, repair, weight
from drover.planner.resettle import resettle
from drover.planner.spare import Spare

PASSES = 4


def rebalance(
    cluster: Cluster, vms: Iterable[Vm], goal: Goal, budget: Budget | None = None
) -> Plan:
    """The plan. Raises BadGoal, and KeyError for a VM that is not in the picture."""
    budget = budget or Budget()
    goal.check()
    grid = Grid(cluster, vms, goal)
    first = Board(grid)
    walk, bound, certain = _repaired(grid, first, budget)
    steps, board, unsafe = list(walk.steps), walk.board, walk.unsafe_at_first
    for _ in range(PASSES):
        if not walk.steps or not _faults(grid, board):
            break
        # What is left may be possible from where the VMs are now; the solver has said all it can.
        again = Grid(board.picture(), grid.vms, goal)
        walk, _, _ = _repaired(again, Board(again), replace(budget, rounds=0))
        steps += walk.steps
        for step in walk.steps:
            board.put(step.vm, step.target)
        bound = min(lower_bound(grid, board), len(steps))
    if budget.improve_moves:
        walk.board.moved.update(board.moved)
        if len(steps) == len(walk.steps):
            steps, board = _improved(grid, walk, budget)
        else:
            already = len(walk.steps)
            _fill(walk, budget.improve_moves, budget.gain_per_gib)
            for step in walk.steps[already:]:
                steps.append(step)
                board.put(step.vm, step.target)
    kept = steps[: budget.moves]
    if len(kept) < len(steps):
        board = Board(grid)
        for step in kept:
            board.put(step.vm, step.target)
    before = _state(grid, first, unsafe)
    after = _state(grid, board) if kept else before
    return Plan(
        moves=explain.moves(grid, kept),
        lower_bound=bound,
        impossible=explain.impossible(grid, board, certain=certain),
        before=before,
        after=after,
        more=len(steps) - len(kept),
    )


def _repaired(grid: Grid, first: Board, budget: Budget) -> tuple[Walk, int, bool]:
    """The best way of repair, the bound for it, and whether it is certain that not all can be repaired."""
    at_first = broken(grid, first)
    if not at_first and not (first.over().any() and Rule.OVERLOAD in grid.goal.repairs):
        return Walk(grid), 0, False
    boards = _tried(grid)
    best, bound, certain = boards[0], lower_bound(grid, boards[0]), False
    exact = None
    if len(best.moved) > bound or _faults(grid, best):
        exact, bound, certain = _exactly(grid, best, bound, budget)
    rule_of = _reasons(grid, first, at_first)
    walks = []
    for board in [exact, *boards[:2]] if exact is not None else boards[:3]:
        alike = board.copy()
        retarget(alike, sorted(alike.moved))
        for one in (alike, board):  # what makes nodes alike may be a longer way
            walks.append(_walked(grid, one, rule_of))
            if _straight(grid, walks[-1], board):
                break
        if _straight(grid, walks[-1], board):
            break
    walk = min(walks, key=lambda one: (_faults(grid, one.board), len(one.steps)))
    if _faults(grid, walk.board) > _faults(grid, exact or best):
        bound = min(bound, lower_bound(grid, walk.board))
    return walk, min(bound, len(walk.steps)), certain


def _improved(grid: Grid, repaired: Walk, budget: Budget) -> tuple[list[Step], Board]:
    """As many moves as the repair and the balance may have together, chosen anew: a VM that would also do for the
    repair may balance better."""
    most = len(repaired.steps) + budget.improve_moves
    wished = balanced(repaired.board, budget.improve_moves, budget.gain_per_gib)
    first = Board(grid)
    at_first = broken(grid, first)
    walk = Walk(grid)
    walk.go(_repairing(first, at_first, wished), _reasons(grid, first, at_first))
    if _faults(grid, walk.board) > _faults(grid, repaired.board):
        walk = repaired
    alike = {vm: node for vm, node in wished.items() if vm not in walk.board.moved}
    walk.improve(alike, most - len(walk.steps), budget.gain_per_gib)
    _fill(walk, most - len(walk.steps), budget.gain_per_gib)
    return walk.steps, walk.board


def _fill(walk: Walk, moves: int, gain_per_gib: float) -> None:
    """Moves for balance, also instead of those that were not legal when their turn came."""
    for _ in range(PASSES):
        settled = frozenset(walk.board.moved)
        wished = balanced(walk.board, moves, gain_per_gib, settled)
        alike = {vm: wished[vm] for vm in wished.keys() - settled}
        done = walk.improve(alike, moves, gain_per_gib)
        moves -= done
        if not done or not moves:
            return


def _repairing(
    first: Board, at_first: Mapping[int, tuple[Rule, ...]], wished: Mapping[int, int]
) -> dict[int, int]:
    """Those of the wished moves that repair: of VMs that stand against a rule, and from each overloaded node the
    largest until they suffice."""
    board, grid = first.copy(), first.grid
    found = {vm: node for vm, node in wished.items() if vm in at_first}
    for vm, node in found.items():
        board.put(vm, node)
    for vm in sorted(wished.keys() - found.keys(), key=lambda vm: (-weight(grid, vm), vm)):
        if first.is_over(int(grid.home[vm])) and board.is_over(int(grid.home[vm])):
            found[vm] = wished[vm]
            board.put(vm, wished[vm])
    return found


def _walked(grid: Grid, board: Board, rule_of: Callable[[Board, int], Rule]) -> Walk:
    walk = Walk(grid)
    walk.go(board.moved, rule_of)
    walk.mop_up(rule_of)
    walk.by_others()
    return walk


def _straight(grid: Grid, walk: Walk, board: Board) -> bool:
    """Did the walk come to what was wished, without a detour?"""
    return _faults(grid, walk.board) <= _faults(grid, board) and len(walk.steps) <= len(board.moved)


def _tried(grid: Grid) -> list[Board]:
    """The boards of all ways, best first. Once two were tried and one cannot be beaten, the others need not be."""
    bound = lower_bound(grid)
    tried: list[tuple[tuple[int, int, float], int, Board]] = []
    for number, way in enumerate(WAYS):
        board = repair(grid, way)
        tried.append((_worth(grid, board), number, board))
        tried.sort(key=lambda one: one[:2])
        faults, moves, _ = tried[0][0]
        if number and not faults and moves == bound:
            break
    boards = [board for _, _, board in tried]
    lighten(boards[0], 2)
    return boards


def _faults(grid: Grid, board: Board) -> int:
    over = int(board.over().sum()) if Rule.OVERLOAD in grid.goal.repairs else 0
    return over + len(broken(grid, board))


def _worth(grid: Grid, board: Board) -> tuple[int, int, float]:
    """What to compare boards by: faults left, moves, GiB."""
    gib = float(sum(grid.gib[vm] for vm in sorted(board.moved)))
    return _faults(grid, board), len(board.moved), gib


def _exactly(grid: Grid, best: Board, bound: int, budget: Budget) -> tuple[Board | None, int, bool]:
    """The solver's board, its bound, and whether it is certain that not all can be repaired."""
    if not budget.rounds or not 0 < binaries(grid) <= budget.binaries:
        return None, bound, False
    faults = _faults(grid, best)
    settled = best.copy()
    resettle(settled)
    if not faults and len(settled.moved) == bound:
        return settled, bound, False
    model = Model(grid)
    answer = model.solve(None if faults else settled, budget.rounds)
    certain = answer.infeasible
    if certain:
        model = Model(grid, best)
        answer = model.solve(settled, budget.rounds)
    if answer.targets is None:
        return settled, max(bound, answer.bound) if not faults else bound, certain
    board = _put(grid, answer.targets)
    resettle(board)
    if _worth(grid, board)[:2] < _worth(grid, settled)[:2]:
        settled = board  # the solver minds moves alone: what it saved may have cost memory
        board = _put(grid, model.lightest(board, budget.rounds) or board.moved)
    return min(board, settled, key=lambda one: _worth(grid, one)), max(bound, answer.bound), certain


def _put(grid: Grid, targets: Mapping[int, int]) -> Board:
    board = Board(grid)
    for vm, node in targets.items():
        board.put(vm, node)
    return board


def _reasons(
    grid: Grid, first: Board, at_first: dict[int, tuple[Rule, ...]]
) -> Callable[[Board, int], Rule]:
    over = first.over()

    def rule_of(board: Board, vm: int) -> Rule:
        if vm in at_first and board.where[vm] == grid.home[vm]:
            return at_first[vm][0]
        if over[board.where[vm]] and Rule.OVERLOAD in grid.goal.repairs:
            return Rule.OVERLOAD
        return Rule.ROOM

    return rule_of


def state(cluster: Cluster, vms: Iterable[Vm], goal: Goal) -> State:
    """How a picture stands. Raises as ``rebalance``."""
    goal.check()
    grid = Grid(cluster, vms, goal)
    return _state(grid, Board(grid))


def _state(grid: Grid, board: Board, unsafe: list[int] | None = None) -> State:
    """``unsafe``: those nodes, where they are known."""
    shares = 100 * board.used / np.maximum(grid.capacity, 1)
    known = [name for name in ("cpu", "memory") if name in grid.resources and len(grid.names)]
    if unsafe is None:
        unsafe = sorted(Spare(board).unsafe) if grid.goal.n_plus_one else []
    return State(
        overloaded=tuple(grid.names[n] for n in np.flatnonzero(board.over())),
        broken={grid.vms[vm].pod: rules for vm, rules in broken(grid, board).items()},
        unsafe=tuple(grid.names[node] for node in unsafe),
        deviation={n: float(shares[:, grid.resources.index(n)].std()) for n in known},
        loads={
            name: explain.percents(grid, board.used[row], row)
            for row, name in enumerate(grid.names)
        },
    )

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

from collections.abc import Iterable

import numpy as np

from drover.planner import explain
from drover.planner.cluster import Cluster
from drover.planner.grid import Board, Grid
from drover.planner.plan import Budget, Goal, Plan, State, Vm
from drover.planner.repair import broken, repair


def rebalance(
    cluster: Cluster, vms: Iterable[Vm], goal: Goal, budget: Budget | None = None
) -> Plan:
    """The plan. Raises BadGoal, and KeyError for a VM that is not in the picture."""
    budget = budget or Budget()
    goal.check()
    grid = Grid(cluster, vms, goal)
    first = Board(grid)
    board, steps = repair(grid)
    kept = steps[: budget.moves]
    if len(kept) < len(steps):
        board = Board(grid)
        for step in kept:
            board.put(step.vm, step.target)
    return Plan(
        moves=explain.moves(grid, kept),
        lower_bound=0,
        impossible=explain.impossible(grid, board),
        before=_state(grid, first),
        after=_state(grid, board),
        more=len(steps) - len(kept),
    )


def state(cluster: Cluster, vms: Iterable[Vm], goal: Goal) -> State:
    """How a picture stands. Raises as ``rebalance``."""
    goal.check()
    grid = Grid(cluster, vms, goal)
    return _state(grid, Board(grid))


def _state(grid: Grid, board: Board) -> State:
    shares = 100 * board.used / np.maximum(grid.capacity, 1)
    known = [name for name in ("cpu", "memory") if name in grid.resources and len(grid.names)]
    return State(
        overloaded=tuple(grid.names[n] for n in np.flatnonzero(board.over())),
        broken={grid.vms[vm].pod: rules for vm, rules in broken(grid, board).items()},
        unsafe=(),
        deviation={n: float(shares[:, grid.resources.index(n)].std()) for n in known},
        loads={
            name: explain.percents(grid, board.used[row], row)
            for row, name in enumerate(grid.names)
        },
    )

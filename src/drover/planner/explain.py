"""Why each move, and why not elsewhere, in words that a user can check against the objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from drover.planner.cluster import PODS
from drover.planner.fit import fit
from drover.planner.grid import Board, Grid
from drover.planner.plan import Impossible, Load, Move, Rejected, Rule, precopy_seconds
from drover.planner.repair import Step, broken
from drover.planner.tables import Ints

REJECTED = 3
_WORDS = {
    Rule.NODE_AFFINITY: "its node selector or required node affinity excludes {source}",
    Rule.TAINT: "{source} has a taint that it does not tolerate",
    Rule.ANTI_AFFINITY: "anti-affinity forbids it to share {source} or its domain with a Pod there",
    Rule.AFFINITY: "required affinity wants it near Pods that are not near {source}",
    Rule.SPREAD: "its topology spread constraint is exceeded around {source}",
    Rule.BALANCE: "the nodes become more alike",
    Rule.ROOM: "makes room on {source}",
}


def percents(grid: Grid, used: Ints, node: int) -> Mapping[str, float]:
    """Of what the node has, to a tenth."""
    return {
        name: round(100 * int(used[column]) / max(int(grid.capacity[node, column]), 1), 1)
        for column, name in enumerate(grid.resources)
    }


def moves(grid: Grid, steps: Sequence[Step]) -> tuple[Move, ...]:
    """The steps, told one after another."""
    board, told = Board(grid), []
    for step in steps:
        vm = grid.vms[step.vm]
        rejected = _rejected(board, step)
        why = _why(board, step)
        before = board.used[[step.source, step.target]].copy()
        board.put(step.vm, step.target)
        source, target = (
            Load(
                grid.names[node],
                percents(grid, before[side], node),
                percents(grid, board.used[node], node),
            )
            for side, node in enumerate((step.source, step.target))
        )
        seconds = precopy_seconds(vm.memory_bytes, vm.dirty_bytes_s, grid.goal.link_bytes_s)
        told.append(
            Move(
                vm=vm.pod,
                source=source.node,
                target=target.node,
                rule=step.rule,
                why=why,
                gib=float(grid.gib[step.vm]),
                seconds=seconds,
                loads=(source, target),
                rejected=rejected,
            )
        )
    return tuple(told)


def _why(board: Board, step: Step) -> str:
    grid = board.grid
    source = grid.names[step.source]
    if step.rule is not Rule.OVERLOAD:
        return _WORDS[step.rule].format(source=source)
    return overload(board, step.source)


def overload(board: Board, node: int) -> str:
    """By how much a node is above its ceilings."""
    grid = board.grid
    found = []
    for name, percent in sorted(grid.goal.ceilings.items()):
        column = grid.resources.index(name)
        if board.used[node, column] > grid.ceiling[node, column]:
            share = 100 * board.used[node, column] / max(int(grid.capacity[node, column]), 1)
            found.append(
                f"{name} of {grid.names[node]} is reserved to {share:.1f} %, at most {percent:g} %"
            )
    return "; ".join(found)


def _rejected(board: Board, step: Step) -> tuple[Rejected, ...]:
    """The three best of the others: those that would have been legal first, then those that rules refuse."""
    grid = board.grid
    others = [
        node for node in board.ranked(step.vm, board.targets(step.vm)) if node != step.target
    ][:REJECTED]
    found = [
        Rejected(grid.names[node], "possible, but the plan fills another one") for node in others
    ]
    return tuple(found)


def impossible(grid: Grid, board: Board, *, certain: bool = False) -> tuple[Impossible, ...]:
    """What is still wrong, and what is in the way."""
    found = [
        Impossible(grid.names[node], Rule.OVERLOAD, overload(board, node), (), "")
        for node in np.flatnonzero(board.over()).tolist()
    ]
    for vm, rules in broken(grid, board).items():
        picture = board.picture()
        message = fit(picture, grid.coming(vm)).message
        source = grid.names[int(board.where[vm])]
        found.append(
            Impossible(
                grid.vms[vm].pod, rules[0], _WORDS[rules[0]].format(source=source), (message,), ""
            )
        )
    return tuple(found)


__all__ = ["PODS", "impossible", "moves", "overload", "percents"]

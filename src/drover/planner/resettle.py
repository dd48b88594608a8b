"""Fewer moves, then fewer GiB: the VMs of some twenty nodes are placed anew by the exact solver, all others stay.

Such a part has a few thousand binaries and takes some tenths of a second, where the whole has tens of thousands. The
parts are cut from the nodes in several orders, so that every two nodes meet sooner or later. What rules tie to other
VMs stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import gcd

import numpy as np

from drover.planner.grid import Board, Floats
from drover.planner.solver import Row, minimise
from drover.planner.tables import Ints

PART = 18  # nodes, about
STRIDES = (1, 3, 7, 9, 11, 13)
ROUNDS = 20  # of the solver, for one part


def resettle(board: Board) -> None:
    """Better places on ``board`` for its VMs: never more moves, never more GiB with as many."""
    for number, parts in enumerate(_cuts(len(board.grid.names))):
        before = _cost(board)
        for nodes in parts:
            _resettle(board, nodes)
        if number and _cost(board) == before:
            return


def _cost(board: Board) -> tuple[int, float]:
    return len(board.moved), float(board.grid.gib[sorted(board.moved)].sum())


def _cuts(count: int) -> Iterator[list[list[int]]]:
    parts = max(round(count / PART), 1)
    for stride in STRIDES:
        if gcd(stride, count) == 1:
            order = [stride * i % count for i in range(count)]
            ends = [part * count // parts for part in range(parts + 1)]
            yield [sorted(order[a:b]) for a, b in pairwise(ends)]


def _resettle(board: Board, nodes: list[int]) -> None:
    grid = board.grid
    vms = _free(board, nodes)
    vm, node = _columns(board, vms, np.array(nodes, dtype=np.int64))
    here, home = node == board.where[vm], node == grid.home[vm]
    if here[~home].sum() == 0:
        return  # no move to save
    scale = float(grid.gib[vms].sum()) + 1.0  # all GiB together are less than one move
    costs = np.where(home, 0.0, 1.0 + grid.gib[vm] / scale)
    rows = [*_once(vm, vms), *_room(board, vm, node, nodes)]
    start = here.astype(np.float64)
    found = minimise(costs, rows, start, ROUNDS, gap=0.5 / scale)
    if found.values is None or found.values @ costs >= start @ costs - 0.25 / scale:
        return
    for column in np.flatnonzero(found.values > 0.5).tolist():
        if not here[column]:
            board.put(int(vm[column]), int(node[column]))


def _free(board: Board, nodes: list[int]) -> Ints:
    """The VMs on these nodes that no other VM's place matters to, nor theirs to others."""
    grid = board.grid
    there = np.flatnonzero(np.isin(board.where, nodes) & grid.movable & ~grid.ruled)
    plain = [vm for vm in there.tolist() if not grid.bystanders.speaks_of(vm)]
    return np.array(plain, dtype=np.int64)


def _columns(board: Board, vms: Ints, nodes: Ints) -> tuple[Ints, Ints]:
    """Which VM may be on which node: where it is, where it may come, and at home if it need not leave it."""
    grid = board.grid
    group = grid.group[vms][:, None]
    size, limit = grid.size[vms][:, None, :], grid.limit[nodes][None, :, :]
    may = grid.allowed[group, nodes] & ((size <= limit) | (size == 0)).all(axis=2)
    home = nodes[None, :] == grid.home[vms][:, None]
    may = np.where(home, (grid.chosen & grid.at_home)[group, nodes], may)
    may |= nodes[None, :] == board.where[vms][:, None]
    row, column = np.nonzero(may)
    return vms[row], nodes[column]


def _once(vm: Ints, vms: Ints) -> Iterator[Row]:
    starts, ends = np.searchsorted(vm, vms), np.searchsorted(vm, vms, side="right")
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield np.arange(start, end, dtype=np.int64), np.ones(end - start), 1.0, 1.0


def _room(board: Board, vm: Ints, node: Ints, nodes: list[int]) -> Iterator[Row]:
    """Within the limits, or no fuller than now where they are exceeded; in the largest whole unit."""
    grid = board.grid
    here = node == board.where[vm]
    for one in nodes:
        columns = np.flatnonzero(node == one)
        stays = board.used[one] - grid.size[vm[columns[here[columns]]]].sum(axis=0)
        room = np.maximum(grid.limit[one], board.used[one]) - stays
        for resource in range(len(grid.resources)):
            sizes: Ints = grid.size[vm[columns], resource]
            if sizes.sum() > room[resource]:
                unit = int(np.gcd.reduce(sizes))
                asks = sizes > 0
                weights: Floats = (sizes[asks] // unit).astype(np.float64)
                yield columns[asks], weights, -np.inf, float(room[resource] // unit)

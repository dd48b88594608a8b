"""Parts of a repaired cluster placed anew: never a worse board, and sometimes a better one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench.rebalancing.instances import make
from bench.rebalancing.ours import GOAL, cluster_of

from drover.planner import Cluster, Node, Pod, Vm
from drover.planner.grid import Board, Grid
from drover.planner.repair import Way, broken, repair
from drover.planner.resettle import resettle

GI = 2**30


def repaired(family: str, nodes: int, seed: int) -> Board:
    cluster, vms = cluster_of(make(family, nodes, 20, seed))
    goal = replace(GOAL, n_plus_one=False)
    return repair(Grid(cluster, vms, goal), Way(tight=True, small=False))


def cost(board: Board) -> tuple[int, float]:
    return len(board.moved), float(sum(board.grid.gib[vm] for vm in board.moved))


@pytest.mark.parametrize(("family", "seed"), [("easy", 1), ("tight", 1), ("drain", 1)])
def test_no_rule_is_broken_and_no_node_filled_for_fewer_moves(family: str, seed: int) -> None:
    board = repaired(family, 6, seed)
    grid, before = board.grid, board.copy()
    resettle(board)
    assert cost(board) <= cost(before)
    assert set(broken(grid, board)) <= set(broken(grid, before))
    assert not (board.over() & ~before.over()).any()
    fuller = board.used > before.used
    assert not (fuller & (board.used > grid.limit)).any()


def test_the_vms_of_one_part_change_places_together() -> None:
    """Two moves of 12 GiB where one of 4 GiB does: that VM goes away as others come home."""
    nodes = [Node(n, {}, allocatable={"cpu": 10_000, "memory": 99 * GI, "pods": 9}) for n in "abc"]
    sizes = {"p": (4, 6, "a"), "q": (4, 6, "a"), "r": (2, 4, "a"), "s": (6, 4, "b")}
    pods = [
        Pod("ns", name, requests={"cpu": cores * 1000, "memory": gib * GI}, node=node)
        for name, (cores, gib, node) in sizes.items()
    ]
    vms = [Vm(pod.key, pod.requests["memory"]) for pod in pods]
    board = Board(Grid(Cluster.of(nodes, pods), vms, replace(GOAL, n_plus_one=False)))
    for vm in (0, 1):
        board.put(vm, 2)
    assert cost(board) == (2, 12)
    resettle(board)
    assert cost(board) == (1, 4)
    assert not board.over().any()

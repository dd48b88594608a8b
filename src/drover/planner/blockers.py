"""What keeps a VM off a node: all rules at once, in kube-scheduler's words where it has some, and what would help.

``fit`` names the first rule that refuses, as kube-scheduler does. Whoever wants to know the smallest change needs all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drover.planner.fit import (
    NODE_AFFINITY,
    POD_AFFINITY,
    POD_ANTI_AFFINITY,
    TAINTED,
    UNSCHEDULABLE,
    fit,
)
from drover.planner.grid import Board, Grid
from drover.planner.plan import GIB, Impossible, Rule
from drover.planner.repair import broken
from drover.planner.spreading import SPREAD
from drover.planner.tables import Ints

N_PLUS_ONE = "the VMs of a lost node would find no room"
PINNED_DOWN = "it may not be moved"
HARM = "another VM would stand against its affinity or spreading"
_SEARCHED = 200  # faults whose smallest change is looked for


@dataclass(frozen=True, slots=True)
class Blocker:
    """A rule in the way and the change that takes it away."""

    why: str
    change: str


def amount(resource: str, value: int) -> str:
    """As users write it."""
    if resource == "cpu":
        return f"{value}m cpu"
    return f"{value / GIB:.1f}Gi memory" if resource == "memory" else f"{value} {resource}"


def blockers(board: Board, vm: int, node: int) -> list[Blocker]:
    """All that keeps the VM off a node. Empty: it may go there, as far as these rules go."""
    grid, name = board.grid, board.grid.names[node]
    group = int(grid.group[vm])
    found = []
    if not grid.open[group, node]:
        found.append(Blocker(UNSCHEDULABLE, f"uncordon {name}"))
    if not grid.clear[group, node]:
        found.append(Blocker(TAINTED, f"remove the taint of {name}, or tolerate it"))
    if not grid.chosen[group, node]:
        found.append(Blocker(NODE_AFFINITY, f"allow {name} in its node selector or affinity"))
    found += _short(board, vm, node)
    if grid.ruled[vm] and not board.apart(vm)[node]:
        change = f"take away from {name} what it must be apart from"
        found.append(Blocker(POD_ANTI_AFFINITY, change))
    if grid.bystanders.speaks_of(vm):
        found += _neighbours(board, vm, node)
    return found


def _short(board: Board, vm: int, node: int) -> list[Blocker]:
    grid, name = board.grid, board.grid.names[node]
    found = []
    for column, resource in enumerate(grid.resources):
        size, limit = int(grid.size[vm, column]), int(grid.limit[node, column])
        after = int(board.used[node, column]) + size
        if not size or after <= limit:
            continue
        need = amount(resource, after - limit)
        if after > grid.capacity[node, column]:
            found.append(Blocker(f"Insufficient {resource}", f"free {need} on {name}"))
        else:
            share = 100 * after / int(grid.capacity[node, column])
            ceiling = grid.goal.ceilings[resource]
            why = f"{resource} would be reserved to {share:.1f} %, at most {ceiling:g} %"
            found.append(Blocker(why, f"free {need} on {name}"))
    return found


def _neighbours(board: Board, vm: int, node: int) -> list[Blocker]:
    refusals = fit(board.picture(), board.grid.coming(vm)).refusals.get(board.grid.names[node], ())
    found = [
        Blocker(why, "widen its affinity or spreading, or move the others of its group with it")
        for why in refusals
        if why == POD_AFFINITY or why.startswith(SPREAD)
    ]
    if not found and not board.harmless(vm, node):
        found.append(Blocker(HARM, "move it together with the others of its group"))
    return found


def _counts(board: Board, vm: int) -> tuple[Ints, Ints]:
    """Per node, quickly: how many rules are in the way, and by how much room is lacking (per mille of its limit)."""
    grid = board.grid
    group, size = grid.group[vm], grid.size[vm]
    over = np.where(size > 0, np.maximum(board.used + size - grid.limit, 0), 0)
    count = (
        (~grid.open[group]).astype(np.int64)
        + ~grid.clear[group]
        + ~grid.chosen[group]
        + (over > 0).sum(axis=1)
    )
    if grid.ruled[vm]:
        count = count + ~board.apart(vm)
    lacking = (1000 * over / np.maximum(grid.limit, 1)).sum(axis=1).astype(np.int64)
    count[board.where[vm]] = 1000
    return count, lacking


def _closest(board: Board, vm: int) -> tuple[int, int, int]:
    """The node that comes closest to taking the VM: rules in the way, room lacking, node."""
    count, lacking = _counts(board, vm)
    best = int(np.lexsort((np.arange(len(count)), lacking, count))[0])
    return int(count[best]), int(lacking[best]), best


def _way_out(board: Board, vm: int) -> tuple[tuple[str, ...], str]:
    """The rules in the way of the VM, and the change."""
    grid = board.grid
    if not grid.movable[vm]:
        return (PINNED_DOWN,), f"let {grid.vms[vm].pod} be moved"
    if len(grid.names) < 2:
        return ("there is no other node",), "add a node"
    node = _closest(board, vm)[2]
    found = blockers(board, vm, node)
    if not found:
        return (
            N_PLUS_ONE,
        ), f"add a node, or free room beside {grid.names[node]}, which would take it"
    return tuple(one.why for one in found), "; and ".join(one.change for one in found)


def impossible_vm(board: Board, vm: int, rule: Rule, why: str, certain: bool) -> Impossible:
    blocked, change = _way_out(board, vm)
    return Impossible(board.grid.vms[vm].pod, rule, why, blocked, change, certain)


def impossible_node(board: Board, node: int, why: str, certain: bool) -> Impossible:
    """The VM that comes closest to leaving tells what is in the way."""
    grid, name = board.grid, board.grid.names[node]
    there = np.flatnonzero((board.where == node) & grid.movable).tolist()
    if not there:
        change = f"let a VM on {name} be moved"
        return Impossible(name, Rule.OVERLOAD, why, ("no VM on it may be moved",), change, certain)
    hot = board.used[node] > grid.ceiling[node]
    useful = [vm for vm in there if (grid.size[vm][hot] > 0).any()] or there
    if len(grid.names) < 2:
        blocked, change = _way_out(board, useful[0])
        return Impossible(name, Rule.OVERLOAD, why, blocked, change, certain)
    vm = min(useful, key=lambda one: (*_closest(board, one)[:2], one))
    blocked, change = _way_out(board, vm)
    told = tuple(f"{grid.vms[vm].pod}: {one}" for one in blocked)
    return Impossible(name, Rule.OVERLOAD, why, told, change, certain)


def left_over(grid: Grid, board: Board) -> tuple[list[int], dict[int, tuple[Rule, ...]]]:
    """The nodes and VMs that are still not as they should be, as many as are explained."""
    over = np.flatnonzero(board.over()).tolist() if Rule.OVERLOAD in grid.goal.repairs else []
    nodes = over[:_SEARCHED]
    vms = dict(list(broken(grid, board).items())[:_SEARCHED])
    return nodes, vms

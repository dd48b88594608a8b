"""Why each move, and why not elsewhere, in words that a user can check against the objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drover.planner.blockers import blockers, impossible_node, impossible_vm, left_over
from drover.planner.grid import Board, Grid
from drover.planner.plan import Impossible, Load, Move, Rejected, Rule, precopy_seconds
from drover.planner.repair import Step
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
    later = [_later(steps[number + 1 :]) for number in range(len(steps))] if len(steps) < 50 else []
    for number, step in enumerate(steps):
        vm = grid.vms[step.vm]
        rejected = _rejected(board, step, later[number] if later else {})
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
                seconds=grid.goal.around_s + seconds,
                loads=(source, target),
                rejected=rejected,
            )
        )
    return tuple(told)


def _later(steps: Sequence[Step]) -> Mapping[int, int]:
    """Per node: the next VM that comes."""
    return {step.target: step.vm for step in reversed(steps)}


def _why(board: Board, step: Step) -> str:
    grid = board.grid
    source = grid.names[step.source]
    if step.rule is not Rule.OVERLOAD:
        return _WORDS[step.rule].format(source=source)
    return overload(board, step.source) or overload(Board(grid), step.source)


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


def _rejected(board: Board, step: Step, later: Mapping[int, int]) -> tuple[Rejected, ...]:
    """The three best of the others: those that would take it too first, then those that come closest. ``later``: the
    VM that the plan puts next on a node."""
    grid = board.grid
    open_ = board.targets(step.vm)
    taking = [node for node in board.ranked(step.vm, open_) if node != step.target][:REJECTED]
    found = [Rejected(grid.names[node], _lost(board, step, node, later)) for node in taking]
    if len(found) == REJECTED:
        return tuple(found)
    closed = ~open_
    closed[[step.source, step.target]] = False
    rest = board.ranked(step.vm, closed)[: REJECTED - len(found)]
    for node in rest:
        why = "; ".join(one.why for one in blockers(board, step.vm, node))
        found.append(Rejected(grid.names[node], why))
    return tuple(found)


def _lost(board: Board, step: Step, node: int, later: Mapping[int, int]) -> str:
    """Why a node that would take the VM, too, was not taken."""
    grid = board.grid
    here, there = (
        max(percents(grid, board.used[n] + grid.size[step.vm], n).items(), key=_by_share)
        for n in (step.target, node)
    )
    told = f"{there[0]} {there[1]:.1f} % with it, {here[0]} {here[1]:.1f} % on the one taken"
    if node in later:
        return f"takes {grid.vms[later[node]].pod} in this plan; {told}"
    return told if there[1] > here[1] else f"as good for the repair, its room is kept free; {told}"


def _by_share(one: tuple[str, float]) -> tuple[float, str]:
    return one[1], one[0]


def impossible(grid: Grid, board: Board, *, certain: bool = False) -> tuple[Impossible, ...]:
    """What is still wrong, and what is in the way."""
    nodes, vms = left_over(grid, board)
    found = [impossible_node(board, node, overload(board, node), certain) for node in nodes]
    for vm, rules in vms.items():
        why = _WORDS[rules[0]].format(source=grid.names[int(board.where[vm])])
        found.append(impossible_vm(board, vm, rules[0], why, certain))
    return tuple(found)

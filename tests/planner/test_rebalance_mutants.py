"""Each rule of a plan taken away by itself: the replayer hears of it within the first few hundred clusters.

So the thousand clusters of ``test_replayed`` hold what they say they hold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.planner.replayer import Replayer
from tests.planner.scenes import scene, values_of

from drover.planner import Budget, rebalance
from drover.planner.grid import Board, Grid
from drover.planner.spare import Spare
from drover.planner.tables import Bools

SEEDS = 300


def _everywhere(board: Board, *_: object) -> Bools:
    return np.ones(len(board.grid.names), dtype=np.bool_)


def _up_to_capacity(board: Board, vm: int) -> Bools:
    return np.asarray(
        (board.used + board.grid.size[vm] <= board.grid.capacity).all(axis=1), dtype=np.bool_
    )


def _yes(*_: object, **__: object) -> bool:
    return True


def _with(change: Callable[[Grid], None]) -> Callable[..., None]:
    made = Grid.__init__

    def begin(grid: Grid, *arguments: object) -> None:
        made(grid, *arguments)  # type: ignore[arg-type]
        change(grid)

    return begin


def _all_move(grid: Grid) -> None:
    grid.movable[:] = True


def _no_cordons(grid: Grid) -> None:
    grid.allowed = grid.chosen & grid.clear


def _no_taints(grid: Grid) -> None:
    grid.allowed = grid.chosen & grid.open


def _no_selectors(grid: Grid) -> None:
    grid.allowed = grid.clear & grid.open


# What is taken away -> where, what stands there instead, what must be heard.
MUTANTS: dict[str, tuple[type, str, Callable[..., object], str]] = {
    "room": (Board, "room", _everywhere, "no room"),
    "ceilings": (Board, "room", _up_to_capacity, "fills cpu above"),
    "overload never rises": (Board, "room", _everywhere, "the worst overload has risen"),
    "anti-affinity": (Board, "apart", _everywhere, "anti-affinity"),
    "bystanders": (Board, "harmless", _yes, "stands against a rule now"),
    "a lost node": (Spare, "accept", _yes, "finds no room now"),
    "opt-outs": (Grid, "__init__", _with(_all_move), "not to be moved"),
    "cordons": (Grid, "__init__", _with(_no_cordons), "cordoned"),
    "taints": (Grid, "__init__", _with(_no_taints), "tainted"),
    "selectors": (Grid, "__init__", _with(_no_selectors), "wrong zone"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_rule_less_is_heard_of(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, attribute, instead, words = MUTANTS[name]
    monkeypatch.setattr(where, attribute, instead)
    for seed in range(SEEDS):
        given = scene(seed)
        plan = rebalance(*values_of(given), Budget(rounds=0))
        moves = [(move.vm.removeprefix("ns/"), move.source, move.target) for move in plan.moves]
        if any(words in complaint for complaint in Replayer(given).complaints(moves)):
            return
    pytest.fail(f"nothing heard of {name} in {SEEDS} clusters")

"""A plan as an object: bounded in every part, and whole in what it counts."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from tests.controllers.rebalance.objects import ask, crowd, node

from drover.api.kinds.rebalance import Mode
from drover.api.scheme import REBALANCEPLAN
from drover.controllers.rebalance.planobject import MOST_LISTED, MOST_MOVES, spec_of
from drover.planner import Impossible, Rule
from drover.sim.api.schema import conform


def test_the_rest_of_a_long_plan_is_counted() -> None:
    problem = ask(**crowd(5))
    [move] = problem.plan().moves
    long = replace(problem.plan(), moves=(move,) * (MOST_MOVES + 7), more=5)
    spec = spec_of(long, problem, 1, Mode.AUTOMATIC)
    assert len(spec["moves"]) == MOST_MOVES
    assert spec["movesTotal"] == MOST_MOVES + 12
    assert spec["proved"] is False
    assert len(json.dumps(spec)) < 400_000  # of etcd's 1.5 MB
    assert conform(REBALANCEPLAN, {"metadata": {"name": "p"}, "spec": spec})["spec"] == spec


def test_a_copy_that_may_never_end_has_no_time() -> None:
    problem = ask(**crowd(5))
    plan = problem.plan()
    spec = spec_of(replace(plan, moves=(replace(plan.moves[0], seconds=math.inf),)), problem, 1,
                   Mode.APPROVE)  # fmt: skip
    assert "seconds" not in spec["moves"][0]
    json.dumps(spec, allow_nan=False)


def test_what_is_impossible_is_told_by_the_names_of_vms_and_without_those_left_out() -> None:
    problem = ask(**crowd(5), nodes=[node("n1")])
    [vm] = [one.pod for one in problem.vms][:1]
    found = Impossible(vm, Rule.TAINT, "is tainted", ("Insufficient cpu",), "free 1 core")
    spec = spec_of(
        replace(problem.plan(), impossible=(found,) * (MOST_LISTED + 1)), problem, 1, Mode.APPROVE
    )
    assert len(spec["impossible"]) == MOST_LISTED
    assert spec["impossible"][0] == {
        "what": "default/a: is tainted",
        "blockedBy": "Insufficient cpu",
        "change": "free 1 core",
    }


def test_each_move_tells_its_rule_its_loads_and_the_targets_that_lost() -> None:
    problem = ask(**crowd(5))
    [move] = spec_of(problem.plan(), problem, 1, Mode.AUTOMATIC)["moves"]
    assert (move["reason"], move["bytes"]) == ("Overload", 2**30)
    assert "n1" in move["why"]
    source, target = move["load"]
    assert (source["before"]["cpu"], source["after"]["cpu"]) == (100, 80)
    assert target["after"]["cpu"] == pytest.approx(20)
    assert len(move["rejected"]) == 1

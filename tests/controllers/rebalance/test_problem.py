"""Which VMs may move, what is overloaded, and what the planner is told of nodes that are not to be balanced."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.controllers.rebalance.objects import (
    NOW_S,
    ON,
    REQUIRED,
    ask,
    crowd,
    node,
    pod,
    three_nodes,
    vm,
    vmop,
)

from drover.api import names, placement, vmpod
from drover.controllers.rebalance.problem import Problem
from drover.planner import Rule, Selector
from drover.planner.model import Operator, Requirement


def moves(problem: Problem) -> list[tuple[str, str]]:
    return [(problem.vm_of[move.vm], move.source) for move in problem.plan().moves]


def movable(problem: Problem) -> set[str]:
    return {problem.vm_of[one.pod].removeprefix("default/") for one in problem.vms if one.movable}


def test_a_node_over_its_threshold_is_relieved_by_the_fewest_moves() -> None:
    problem = ask(**crowd(5))  # 10 of 10 cores
    assert problem.state.overloaded == ("n1",)
    assert len(moves(problem)) == 1
    assert problem.overload(problem.state.loads) == pytest.approx(20)


def test_it_works_although_no_node_is_under_half() -> None:
    others = ("n2", "n3", "n4")  # the loss of one must not become worse
    busy = [pod(f"f{n}", n, cpu="5") for n in others]
    given = crowd(5)
    nodes = [node(n) for n in ("n1", *others)]
    problem = ask(pods=[*given["pods"], *busy], vms=given["vms"], nodes=nodes)
    assert [source for _, source in moves(problem)] == ["n1"]


def test_at_the_threshold_nothing_moves() -> None:
    assert ask(**crowd(4)).plan().moves == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"phase": "Migrating"}, "it is Migrating"),
        ({"EvictionRequired": "True"}, "asked to leave"),
        ({"Migratable": "False"}, "cannot be migrated"),
    ],
)
def test_a_vm_that_others_see_to_stays(change: dict[str, str], why: str) -> None:
    given = crowd(5)
    given["vms"][0] = vm("a", "n1", **change)
    problem = ask(**given)
    assert why in problem.guests["default/a"].stays
    assert "a" not in movable(problem)
    assert len(movable(problem)) == 4


def test_a_vm_with_an_operation_stays() -> None:
    problem = ask(**crowd(5), vmops=[vmop("stop-a", "a", "InProgress", type="Stop")])
    assert "operation stop-a" in problem.guests["default/a"].stays


def test_a_vm_in_two_pods_is_no_vm_of_the_planner_and_takes_room_at_both_ends() -> None:
    given = crowd(5)
    given["pods"].append(pod("a", "n2", name="d8v-vm-a-target"))
    problem = ask(**given)
    assert "default/a" not in problem.guests
    assert problem.state.loads["n1"]["cpu"] == pytest.approx(100)
    assert problem.state.loads["n2"]["cpu"] == pytest.approx(20)


def test_a_vm_whose_wish_has_changed_is_the_placement_controllers() -> None:
    given = crowd(5)
    given["pods"][0] = pod("a", "n1", annotations={placement.DIGEST_ANNOTATION: "older"})
    assert "placement controller" in ask(**given).guests["default/a"].stays


@pytest.mark.parametrize(
    ("policy", "change"),
    [
        ({}, {"annotations": {names.PREFER_NO_EVICTION_ANNOTATION: ""}}),
        ({"priority_below": 1000}, {"priority": 1000}),
        ({"local_storage": False}, {"volumes": [{"name": "v", "emptyDir": {}}]}),
        ({"pods": Selector((Requirement("keep", Operator.DOES_NOT_EXIST),))},
         {"labels": {"keep": "yes"}}),
    ],
)  # fmt: skip
def test_who_is_left_out_stays_and_its_rules_are_nobodys_business(
    policy: dict[str, Any], change: dict[str, Any]
) -> None:
    given = crowd(5)
    given["pods"][0] = pod("a", "n1", nodeSelector={"disk": "ssd"}, **change)
    problem = ask(replace(ON, **policy), **given)
    assert not problem.guests["default/a"].ours
    assert movable(problem) == {"b", "c", "d", "e"}
    assert problem.state.broken == {}
    assert ask(**given).state.broken or "annotations" in change


def test_namespaces_are_selected_by_their_labels() -> None:
    other = Selector((Requirement("team", Operator.IN, ("b",)),))
    assert movable(ask(replace(ON, namespaces=other), **crowd(5))) == set()


def test_a_node_that_is_not_selected_neither_gives_nor_takes() -> None:
    selected = Selector((Requirement("pool", Operator.IN, ("vms",)),))
    nodes = [node("n1"), node("n2", labels={"pool": "vms"}), node("n3")]
    problem = ask(replace(ON, nodes=selected), **crowd(5), nodes=nodes)
    assert problem.state.overloaded == ()
    assert movable(problem) == set()
    nodes = [node("n1", labels={"pool": "vms"}), node("n2"), node("n3")]
    problem = ask(replace(ON, nodes=selected), **crowd(5), nodes=nodes)
    assert problem.state.overloaded == ("n1",)
    assert moves(problem) == []


def test_a_full_node_that_runs_no_vms_is_no_business_of_ours() -> None:
    control = node("master", cpu="1")
    control["spec"]["taints"] = []
    given = crowd(1)
    given["pods"].append({**pod("x", "master", cpu="1"), "metadata": _plain("busy")})
    assert ask(**given, nodes=[*three_nodes(), control]).state.overloaded == ()


def _plain(name: str) -> Any:
    return {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"}


@pytest.mark.parametrize(
    "state",
    [
        {"unschedulable": True},
        {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
        {"taints": [{"key": names.REJOINING_TAINT, "effect": "NoSchedule"}]},
    ],
)
def test_the_state_of_a_node_asks_nobody_to_leave_and_lets_nobody_in(state: Any) -> None:
    nodes = [node("n1"), node("n2", **state)]
    assert moves(ask(**crowd(5), nodes=nodes)) == []
    given = crowd(2, on="n2")
    assert ask(**given, nodes=nodes).state.broken == {}


def test_a_taint_of_somebodys_does() -> None:
    nodes = [node("n1", taints=[{"key": "gpu", "effect": "NoSchedule"}]), node("n2"), node("n3")]
    problem = ask(**crowd(1), nodes=nodes)
    assert [move.rule for move in problem.plan().moves] == [Rule.TAINT]


def test_the_vms_of_a_lost_node_stay() -> None:
    nodes = [node("n1", ready=False), node("n2")]
    assert movable(ask(**crowd(5), nodes=nodes)) == set()


def test_what_a_migration_added_to_a_pod_is_no_rule_of_its_vm() -> None:
    """Its last move wanted it off the node where it is now, say."""
    elsewhere = {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]}
    ]}  # fmt: skip
    affinity = {"nodeAffinity": {REQUIRED: elsewhere}}
    moved = pod("a", "n1", affinity=affinity)
    assert ask(pods=[moved], vms=[vm("a", "n1")]).state.broken
    moved["metadata"]["annotations"][vmpod.AFFINITY_ANNOTATION] = json.dumps({})
    assert not ask(pods=[moved], vms=[vm("a", "n1")]).state.broken


def test_rules_that_the_policy_does_not_repair_are_no_trouble() -> None:
    lonely = pod("a", "n1", nodeSelector={"disk": "ssd"})
    assert ask(pods=[lonely], vms=[vm("a", "n1")]).state.broken
    only_load = replace(ON, repairs=frozenset({Rule.OVERLOAD}))
    assert not ask(only_load, pods=[lonely], vms=[vm("a", "n1")]).state.broken


def test_a_node_whose_overload_may_pass_is_held() -> None:
    problem = ask(**crowd(5))
    assert movable(problem.holding(frozenset({"n1"}))) == set()
    assert len(movable(problem.holding(frozenset({"n2"})))) == 5


def test_the_same_objects_in_any_order_give_the_same_plan() -> None:
    given = crowd(6)
    turned = {name: list(reversed(found)) for name, found in given.items()}
    nodes = list(reversed(three_nodes()))
    assert ask(**given).plan().digest == ask(**turned, nodes=nodes).plan().digest


@pytest.mark.parametrize(
    "nodes",
    [[], [node("n1")], [node(n, unschedulable=True) for n in ("n1", "n2")]],
    ids=["none", "one", "all cordoned"],
)
def test_where_nothing_can_go_nothing_moves(nodes: list[Any]) -> None:
    assert ask(**crowd(5), nodes=nodes).plan().moves == ()


def test_a_vm_larger_than_any_node_moves_nothing() -> None:
    giant = pod("a", "n1", cpu="11")
    plan = ask(pods=[giant], vms=[vm("a", "n1")]).plan()
    assert plan.moves == ()
    assert plan.impossible


def test_a_moved_vm_rests() -> None:
    done = vmop("rebalance-1", "a", "Completed", NOW_S - 100, plan="rebalance-1")
    problem = ask(**crowd(5), vmops=[done])
    assert "moved it lately" in problem.guests["default/a"].stays
    assert problem.gone_s == NOW_S - 100 + 3600

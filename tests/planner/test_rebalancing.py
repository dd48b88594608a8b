"""Plans on clusters small enough to see through. What a user reads of them is compared word by word."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from drover.planner import (
    BadGoal,
    Budget,
    Cluster,
    Goal,
    Node,
    Operator,
    Plan,
    Pod,
    PodTerm,
    Requirement,
    Rule,
    Selector,
    Taint,
    Vm,
    rebalance,
)

GI = 2**30
HOST, ZONE = "kubernetes.io/hostname", "zone"
CPU80 = Goal({"cpu": 80})


def node(name: str, cores: int = 10, zone: str = "x", **fields: object) -> Node:
    room = {"cpu": cores * 1000, "memory": 64 * GI, "pods": 50}
    return Node(name, {HOST: name, ZONE: zone}, allocatable=room, **fields)  # type: ignore[arg-type]


def vm(name: str, on: str, cores: float = 1, gib: int = 1, **fields: object) -> Pod:
    requests = {"cpu": int(cores * 1000), "memory": gib * GI}
    return Pod("ns", name, requests=requests, node=on, **fields)  # type: ignore[arg-type]


def apart(value: str) -> tuple[PodTerm, ...]:
    return (PodTerm(HOST, Selector((Requirement("app", Operator.IN, (value,)),)), ("ns",)),)


def planned(
    nodes: list[Node], pods: list[Pod], goal: Goal = CPU80, budget: Budget | None = None
) -> Plan:
    vms = [Vm(pod.key, pod.requests["memory"]) for pod in pods]
    return rebalance(Cluster.of(nodes, pods), vms, goal, budget)


def steps(plan: Plan) -> list[tuple[str, str, str]]:
    return [(move.vm.removeprefix("ns/"), move.source, move.target) for move in plan.moves]


def test_a_node_over_its_ceiling_loses_one_vm() -> None:
    pods = [vm("big", "a", 4, 4), vm("mid", "a", 3, 2), vm("small", "a", 2), vm("other", "b", 1)]
    plan = planned([node("a"), node("b")], pods)
    assert steps(plan) == [("small", "a", "b")]
    assert plan.moves[0].why == "cpu of a is reserved to 90.0 %, at most 80 %"
    assert plan.moves[0].loads[0].after["cpu"] == 70.0
    assert plan.after.overloaded == ()


def test_a_calm_cluster_is_left_alone() -> None:
    plan = planned([node("a"), node("b")], [vm("one", "a", 8), vm("two", "b", 1)])
    assert plan.moves == ()
    assert plan.proved


def test_two_that_must_be_apart_are_separated_by_one_move() -> None:
    pods = [
        vm(name, "a", 1, gib, labels={"app": "db"}, anti_affinity=apart("db"))
        for name, gib in (("one", 4), ("two", 2))
    ]
    plan = planned([node("a"), node("b"), node("c")], pods)
    assert steps(plan) == [("two", "a", "b")]
    assert plan.moves[0].rule is Rule.ANTI_AFFINITY


def test_a_taint_empties_its_node() -> None:
    nodes = [node("a", taints=(Taint("t"),)), node("b"), node("c")]
    plan = planned(nodes, [vm("one", "a"), vm("two", "a")])
    assert [move.rule for move in plan.moves] == [Rule.TAINT, Rule.TAINT]


def test_what_stays_put_is_never_moved() -> None:
    cluster = Cluster.of([node("a"), node("b")], [vm("one", "a", 9)])
    plan = rebalance(cluster, [Vm("ns/one", GI, movable=False)], CPU80)
    assert plan.moves == ()
    assert [one.subject for one in plan.impossible] == ["a"]


def test_no_move_takes_the_room_that_the_loss_of_a_node_would_need() -> None:
    """Were c lost, its large VM would need the room on b that the move takes."""
    pods = [*(vm(f"v{i}", "a", 3) for i in range(3)), vm("large", "c", 8)]
    assert planned([node("a"), node("b"), node("c")], pods).moves == ()
    careless = replace(CPU80, n_plus_one=False)
    assert steps(planned([node("a"), node("b"), node("c")], pods, careless)) == [("v0", "a", "b")]


def test_the_order_of_the_input_changes_nothing() -> None:
    random = Random(3)
    nodes = [node(f"n{i}") for i in range(5)]
    pods = [
        vm(f"v{i}", f"n{i % 2}", random.choice((1, 2, 3)), random.randint(1, 8)) for i in range(12)
    ]
    expected = planned(nodes, pods).digest
    for _ in range(5):
        random.shuffle(nodes)
        random.shuffle(pods)
        assert planned(nodes, pods).digest == expected


def test_a_budget_cuts_the_plan_and_counts_the_rest() -> None:
    pods = [vm(f"v{i}", "a", 1) for i in range(10)]
    plan = planned([node("a"), node("b")], pods, budget=Budget(moves=1))
    assert len(plan.moves) == 1
    assert plan.more == 1


@pytest.mark.parametrize("percent", [0, -5, 101, float("nan"), "80", True])
def test_a_threshold_that_is_none_is_refused(percent: object) -> None:
    with pytest.raises(BadGoal, match="threshold of cpu"):
        planned([node("a")], [vm("one", "a")], replace(CPU80, ceilings={"cpu": percent}))  # type: ignore[dict-item]


def test_no_nodes_and_no_vms_are_no_fault() -> None:
    assert planned([], []).moves == ()
    assert planned([node("a")], []).moves == ()

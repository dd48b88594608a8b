"""Plans on clusters small enough to see through. What a user reads of them is compared word by word."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from bench.rebalancing.evaluator import judge
from bench.rebalancing.instances import FAMILIES, make
from bench.rebalancing.ours import GOAL, cluster_of

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


def test_the_one_that_refuses_many_goes_and_not_the_many() -> None:
    shy = vm("shy", "a", 1, 8, anti_affinity=apart("web"))
    pods = [shy, *(vm(f"web{i}", "a", 1, 1, labels={"app": "web"}) for i in range(3))]
    plan = planned([node("a"), node("b"), node("c")], pods)
    assert steps(plan) == [("shy", "a", "b")]


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


@pytest.mark.parametrize(
    ("nodes", "pods", "expected"),
    [
        pytest.param(
            [node("a"), node("b")],
            [vm(n, "a", labels={"app": "db"}, anti_affinity=apart("db")) for n in ("v0", "v1")],
            [("v0", "a", "b")],
            id="anti-affinity",
        ),
        pytest.param(
            [node("a", taints=(Taint("t"),)), node("b")], [vm("v0", "a")], [("v0", "a", "b")],
            id="taint",
        ),
        pytest.param(
            [node("a"), node("b", zone="y"), node("c")],
            [vm("v0", "a", node_selector=(Requirement(ZONE, Operator.IN, ("y",)),))],
            [("v0", "a", "b")],
            id="selector",
        ),
    ],
)  # fmt: skip
def test_where_the_rules_leave_one_node_no_loss_of_it_forbids_the_repair(
    nodes: list[Node], pods: list[Pod], expected: list[tuple[str, str, str]]
) -> None:
    """A cluster of two nodes, or a VM that is meant for one: no room elsewhere would help it."""
    assert steps(planned(nodes, pods)) == expected


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


def test_the_exact_solver_finds_the_swap_and_says_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """b has no room for the large VM of a before its own small one has gone to c."""
    pods = [vm("x", "a", 9), vm("y", "b", 2), vm("w", "c", 5)]
    nodes = [node("a", 10), node("b", 12), node("c", 10)]
    plan = planned(nodes, pods, replace(CPU80, n_plus_one=False), Budget(rounds=10))
    assert steps(plan) == [("y", "b", "c"), ("x", "a", "b")]
    assert [move.rule for move in plan.moves] == [Rule.ROOM, Rule.OVERLOAD]
    assert plan.proved
    assert plan.lower_bound == 2
    assert capfd.readouterr().out == ""


def test_three_make_room_together_where_one_is_not_enough() -> None:
    """x fits only on b, the one large node, and only when several small ones have left it."""
    small = [vm(f"s{number}", "b", 3) for number in range(4)]
    pods = [vm("x", "a", 12), *small, vm("y", "c", 2), vm("z", "d", 2)]
    nodes = [node("a", 14), node("b", 20), node("c", 10), node("d", 10)]
    plan = planned(nodes, pods, replace(CPU80, n_plus_one=False), Budget(rounds=0))
    assert not plan.after.overloaded
    assert [move.rule for move in plan.moves] == [Rule.ROOM] * (len(plan.moves) - 1) + [
        Rule.OVERLOAD
    ]
    assert steps(plan)[-1] == ("x", "a", "b")


def test_the_impossible_is_explained_with_a_way_out() -> None:
    plan = planned([node("a"), node("b", 8)], [vm("big", "a", 9), vm("other", "b", 2)])
    (told,) = plan.impossible
    assert told.subject == "a"
    assert told.why == "cpu of a is reserved to 90.0 %, at most 80 %"
    assert told.blocked_by == ("ns/big: Insufficient cpu",)
    assert told.change == "free 4600m cpu on b"
    assert told.certain


def test_rules_that_contradict_each_other_move_nothing_and_are_named() -> None:
    """It must share a host with what it must not share a host with; and a selector that no node has."""
    torn = vm("torn", "a", affinity=apart("db"), anti_affinity=apart("db"))
    lost = vm("lost", "b", node_selector=(Requirement(ZONE, Operator.IN, ("nowhere",)),))
    pods = [vm("db", "a", labels={"app": "db"}), torn, lost]
    stays = [Vm(pod.key, GI, movable=pod is not pods[0]) for pod in pods]
    nodes = [node("a"), node("b"), node("c")]
    plan = rebalance(Cluster.of(nodes, pods), stays, CPU80)
    assert plan.moves == ()
    told = {one.subject: one for one in plan.impossible}
    assert {"ns/torn", "ns/lost"} <= set(told)
    assert all(one.blocked_by and one.change for one in told.values())
    assert "node affinity/selector" in told["ns/lost"].blocked_by[0]


def test_a_vm_larger_than_any_node_is_left_alone() -> None:
    plan = planned([node("a"), node("b")], [vm("giant", "a", 100)])
    assert plan.moves == ()
    assert plan.impossible[0].blocked_by == ("ns/giant: Insufficient cpu",)


def test_one_node_alone_can_give_nothing_away() -> None:
    plan = planned([node("a")], [vm("one", "a", 9)])
    assert plan.impossible[0].change == "add a node"


def test_cordoned_nodes_take_nothing() -> None:
    plan = planned(
        [node("a"), node("b", unschedulable=True)], [vm("one", "a", 6), vm("two", "a", 3)]
    )
    assert plan.moves == ()
    assert plan.impossible[0].change == "uncordon b"


def test_three_next_best_targets_are_named_with_their_reason() -> None:
    nodes = [node("a"), node("b"), node("c"), node("d", 4), node("e", unschedulable=True)]
    pods = [vm("v1", "a", 5), vm("v2", "a", 4, 9), vm("r", "c", 2)]
    move = planned(nodes, pods).moves[0]
    assert (move.vm, move.target) == ("ns/v1", "b")
    assert [(one.node, one.why) for one in move.rejected] == [
        ("c", "cpu 70.0 % with it, cpu 50.0 % on the one taken"),
        ("e", "node(s) were unschedulable"),
        ("d", "Insufficient cpu"),
    ]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_the_benchmark_is_planned(family: str) -> None:
    """Judged by the benchmark's evaluator, on plain data: no bad step, nothing worse, all repaired or told."""
    instance = make(family, 8, 10, 1)
    cluster, vms = cluster_of(instance)
    plan = rebalance(cluster, vms, GOAL, Budget(rounds=0))
    before = judge(instance, [])
    after = judge(instance, [(m.vm.removeprefix("vms/"), m.target) for m in plan.moves])
    assert (after.illegal, after.filled) == (0, 0)
    assert len(plan.after.overloaded) == after.over <= before.over
    assert len(plan.after.broken) <= len(plan.before.broken)
    assert (after.over == 0 and not plan.after.broken) == (not plan.impossible)
    assert len(plan.moves) >= plan.lower_bound

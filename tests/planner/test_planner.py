"""The planner's verdicts, one rule at a time, on clusters small enough to see through."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drover.planner import (
    Cluster,
    Node,
    NodeTerm,
    Operator,
    Pod,
    PodTerm,
    Requirement,
    Selector,
    Spread,
    Taint,
    Toleration,
    fit,
    place,
    place_group,
)

ROOM = {"cpu": 4000, "memory": 8192, "pods": 10}


def node(name: str, **fields: object) -> Node:
    labels = {"kubernetes.io/hostname": name, **dict(fields.pop("labels", {}))}  # type: ignore[call-overload]
    return Node(name, labels, allocatable=fields.pop("allocatable", ROOM), **fields)  # type: ignore[arg-type]


def pod(name: str, on: str = "", **fields: object) -> Pod:
    return Pod("ns", name, node=on, **fields)  # type: ignore[arg-type]


def is_in(key: str, *values: str) -> Requirement:
    return Requirement(key, Operator.IN, values)


def near(key: str, value: str, topology: str = "kubernetes.io/hostname") -> PodTerm:
    return PodTerm(topology, Selector((is_in(key, value),)), ("ns",))


def refusal(nodes: list[Node], pods: list[Pod], coming: Pod) -> str:
    return fit(Cluster.of(nodes, pods), coming).message


def test_a_full_node_says_what_it_lacks() -> None:
    full = pod("old", "a", requests={"cpu": 3500, "memory": 8000})
    coming = pod("new", requests={"cpu": 1000, "memory": 200})
    found = fit(Cluster.of([node("a"), node("b")], [full]), coming)
    assert found.nodes == ("b",)
    assert found.refusals == {"a": ("Insufficient cpu", "Insufficient memory")}


def test_pods_and_extended_resources_are_counted() -> None:
    small = node("a", allocatable={"cpu": 1000, "pods": 1})
    coming = pod("new", requests={"example.com/gpu": 1})
    assert refusal([small], [pod("old", "a")], coming) == (
        "0/1 nodes are available: 1 Insufficient example.com/gpu, 1 Too many pods."
    )


def test_the_first_failed_filter_is_named() -> None:
    nodes = [
        node("a", unschedulable=True, taints=(Taint("t"),)),
        node("b", taints=(Taint("t"), Taint("soft", effect="PreferNoSchedule"))),
        node("c", taints=(Taint("soft", effect="PreferNoSchedule"),)),
        node("d"),
    ]
    coming = pod("new", node_selector=(is_in("disk", "ssd"),))
    assert refusal(nodes, [], coming) == (
        "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, "
        "2 node(s) didn't match Pod's node affinity/selector."
    )


@pytest.mark.parametrize(
    ("toleration", "covered"),
    [
        (Toleration("t", value="v"), True),
        (Toleration("t"), False),
        (Toleration("t", exists=True), True),
        (Toleration(exists=True), True),
        (Toleration(exists=True, effect="NoExecute"), False),
        (Toleration("u", exists=True), False),
        (Toleration(), False),
    ],
)
def test_tolerations(toleration: Toleration, covered: bool) -> None:
    found = fit(
        Cluster.of([node("a", taints=(Taint("t", "v"),))], []), pod("p", tolerations=(toleration,))
    )
    assert found.nodes == (("a",) if covered else ())


def test_who_tolerates_the_cordon_passes_it() -> None:
    cordon = Toleration("node.kubernetes.io/unschedulable", exists=True)
    cluster = Cluster.of([node("a", unschedulable=True)], [])
    assert fit(cluster, pod("p", tolerations=(cordon,))).nodes == ("a",)


@pytest.mark.parametrize(
    ("rule", "takers"),
    [
        (is_in("gen", "7"), "b"),
        (Requirement("gen", Operator.NOT_IN, ("7",)), "acd"),
        (Requirement("gen", Operator.EXISTS), "abd"),
        (Requirement("gen", Operator.DOES_NOT_EXIST), "c"),
        (Requirement("gen", Operator.GT, ("7",)), "a"),
        (Requirement("gen", Operator.LT, ("8",)), "b"),
        (is_in("gen", "7", "8"), "ab"),
        (is_in("gen", "9"), ""),
    ],
)
def test_operators_of_node_affinity(rule: Requirement, takers: str) -> None:
    nodes = [
        node(n, labels=labels)
        for n, labels in zip("abcd", ({"gen": "8"}, {"gen": "7"}, {}, {"gen": "old"}), strict=True)
    ]
    found = fit(Cluster.of(nodes, []), pod("p", node_terms=(NodeTerm((rule,)),)))
    assert "".join(found.nodes) == takers


def test_node_terms_are_alternatives_and_an_empty_one_is_none() -> None:
    cluster = Cluster.of([node("a"), node("b"), node("c")], [])
    off_a = NodeTerm(fields=(Requirement("metadata.name", Operator.NOT_IN, ("a",)),))
    host_c = NodeTerm((is_in("kubernetes.io/hostname", "c"),))
    assert fit(cluster, pod("p", node_terms=(off_a,))).nodes == ("b", "c")
    assert fit(cluster, pod("p", node_terms=(NodeTerm(), host_c))).nodes == ("c",)
    assert fit(cluster, pod("p", node_terms=(NodeTerm(),))).nodes == ()


def test_nodes_that_the_affinity_does_not_name_are_told_apart() -> None:
    cluster = Cluster.of([node("a", unschedulable=True), node("b")], [])
    only = NodeTerm(fields=(is_in("metadata.name", "a"),))
    assert fit(cluster, pod("p", node_terms=(only,))).message == (
        "0/2 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) were unschedulable."
    )
    both = NodeTerm(fields=(is_in("metadata.name", "a"), is_in("metadata.name", "b")))
    conflict = fit(cluster, pod("p", node_terms=(both,)))
    assert conflict.message == "0/2 nodes are available: pod affinity terms conflict."
    assert conflict.nodes == ()


def test_no_nodes_at_all() -> None:
    assert fit(Cluster.of([], []), pod("p")).message == "no nodes available to schedule pods"


def test_affinity_follows_and_the_first_goes_anywhere() -> None:
    nodes = [node("a"), node("b")]
    web = pod("p", labels={"app": "web"}, affinity=(near("app", "web"),))
    assert fit(Cluster.of(nodes, []), web).nodes == ("a", "b")
    assert fit(Cluster.of(nodes, [pod("q", "b", labels={"app": "web"})]), web).nodes == ("b",)
    stranger = replace(web, labels={})
    assert (
        refusal(nodes, [], stranger)
        == "0/2 nodes are available: 2 node(s) didn't match pod affinity rules."
    )


def test_affinity_terms_hold_for_one_pod_together() -> None:
    both = (near("app", "web"), near("tier", "gold"))
    nodes, halves = (
        [node("a")],
        [pod("q", "a", labels={"app": "web"}), pod("r", "a", labels={"tier": "gold"})],
    )
    assert fit(Cluster.of(nodes, halves), pod("p", affinity=both)).nodes == ()
    whole = pod("s", "a", labels={"app": "web", "tier": "gold"})
    assert fit(Cluster.of(nodes, [*halves, whole]), pod("p", affinity=both)).nodes == ("a",)


def test_anti_affinity_holds_both_ways() -> None:
    nodes = [node("a"), node("b")]
    apart, plain = near("app", "db"), {"app": "db"}
    with_rule = pod("q", "a", labels=plain, anti_affinity=(apart,))
    without = replace(with_rule, anti_affinity=())
    assert fit(Cluster.of(nodes, [without]), pod("p", anti_affinity=(apart,))).refusals == {
        "a": ("node(s) didn't match pod anti-affinity rules",)
    }
    assert fit(Cluster.of(nodes, [with_rule]), pod("p", labels=plain)).refusals == {
        "a": ("node(s) didn't satisfy existing pods anti-affinity rules",)
    }
    assert fit(Cluster.of(nodes, [with_rule]), pod("p", labels={"app": "web"})).nodes == ("a", "b")


def test_namespaces_are_named_or_selected() -> None:
    cluster = Cluster.of(
        [node("a"), node("b"), node("c")],
        [
            Pod("blue", "x", {"app": "db"}, node="a"),
            Pod("green", "x", {"app": "db"}, node="b"),
        ],
        {"blue": {"team": "sea"}, "green": {"team": "wood"}},
    )
    selector = Selector((is_in("app", "db"),))

    def away(*named: str, chosen: Selector | None = None) -> tuple[str, ...]:
        term = PodTerm("kubernetes.io/hostname", selector, named, chosen)
        return fit(cluster, pod("p", anti_affinity=(term,))).nodes

    assert away("ns") == ("a", "b", "c")
    assert away("blue") == ("b", "c")
    assert away("blue", chosen=Selector((is_in("team", "wood"),))) == ("c",)
    assert away(chosen=Selector()) == ("c",)


def test_a_namespace_selector_of_absent_labels_covers_all_for_who_asks() -> None:
    """As kube-scheduler has it: the random cases found out."""
    no_team = Selector((Requirement("team", Operator.DOES_NOT_EXIST),))
    term = PodTerm("kubernetes.io/hostname", Selector(), (), no_team)
    spaces = {"blue": {"team": "sea"}}
    there = Cluster.of([node("a")], [Pod("blue", "x", node="a")], spaces)
    assert fit(there, pod("p", anti_affinity=(term,))).nodes == ()
    holder = Cluster.of([node("a")], [pod("q", "a", anti_affinity=(term,))], spaces)
    assert fit(holder, Pod("blue", "p")).nodes == ("a",)


def test_a_selector_that_is_absent_selects_nothing_an_empty_one_everything() -> None:
    cluster = Cluster.of([node("a")], [pod("q", "a")])
    for selector, nodes in ((None, ("a",)), (Selector(), ())):
        term = PodTerm("kubernetes.io/hostname", selector, ("ns",))
        assert fit(cluster, pod("p", anti_affinity=(term,))).nodes == nodes


def zones(*names: str) -> list[Node]:
    return [node(f"n{i}", labels={"zone": zone}) for i, zone in enumerate(names)]


def test_spreading_counts_domains_that_the_pod_may_use() -> None:
    labels = {"app": "web"}
    rule = Spread("zone", 1, Selector((is_in("app", "web"),)))
    coming = pod("p", labels=labels, spread=(rule,))
    two = [pod("q", "n0", labels=labels), pod("r", "n0", labels=labels)]
    assert fit(Cluster.of(zones("x", "y"), two), coming).nodes == ("n1",)
    assert fit(Cluster.of(zones("x"), two), coming).nodes == ("n0",)
    only_x = replace(coming, node_selector=(is_in("zone", "x"),))
    assert fit(Cluster.of(zones("x", "y"), two), only_x).nodes == ("n0",)
    ignoring = replace(only_x, spread=(replace(rule, honor_affinity=False),))
    assert fit(Cluster.of(zones("x", "y"), two), ignoring).nodes == ()
    few = replace(coming, spread=(replace(rule, min_domains=3),))
    assert fit(Cluster.of(zones("x", "y"), two[:1]), few).nodes == ("n1",)


def test_spreading_skips_leaving_pods_and_refuses_unlabelled_nodes() -> None:
    labels = {"app": "web"}
    rule = Spread("zone", 1, Selector((is_in("app", "web"),)))
    leaving = pod("q", "n0", labels=labels, terminating=True)
    there = pod("r", "n0", labels=labels)
    cluster = Cluster.of([*zones("x", "y"), node("bare")], [leaving, there])
    found = fit(cluster, pod("p", labels=labels, spread=(rule,)))
    assert found.nodes == ("n1",)
    assert found.refusals["bare"] == (
        "node(s) didn't match pod topology spread constraints (missing required label)",
    )


def test_a_move_changes_the_picture_and_not_the_one_before() -> None:
    big = pod("big", "a", requests={"cpu": 4000})
    before = Cluster.of([node("a"), node("b")], [big])
    after = before.moved({"ns/big": "b"})
    one = pod("p", requests={"cpu": 1000})
    assert fit(before, one).nodes == ("b",)
    assert fit(after, one).nodes == ("a",)
    assert fit(after.moved({"ns/big": ""}), one).nodes == ("a", "b")
    assert (before.node_of("ns/big"), after.node_of("ns/big")) == ("a", "b")
    assert [p.name for p in after.on("b")] == ["big"]


def test_placing_one_after_another_takes_the_room_into_account() -> None:
    cluster = Cluster.of([node("a"), node("b")], [pod("old", "a", requests={"cpu": 2000})])
    new = [pod(f"p{i}", requests={"cpu": 2000}) for i in range(4)]
    placed = place(cluster, new)
    assert placed.nodes == {"ns/p0": "b", "ns/p1": "a", "ns/p2": "b"}
    assert placed.refused["ns/p3"].message == "0/2 nodes are available: 2 Insufficient cpu."


def test_a_group_moves_together_or_not_at_all() -> None:
    labels = {"group": "g"}
    pair = [
        pod(name, "a", labels=labels, affinity=(near("group", "g"),), requests={"cpu": 2000})
        for name in ("p", "q")
    ]
    off_a = NodeTerm(fields=(Requirement("metadata.name", Operator.NOT_IN, ("a",)),))
    coming = [replace(one, node="", node_terms=(off_a,)) for one in pair]
    half = pod("half", "b", requests={"cpu": 1000})
    cluster = Cluster.of([node("a"), node("b"), node("c")], [*pair, half])
    assert place(cluster, coming).nodes == {}
    assert place_group(cluster, coming).nodes == {"ns/p": "c", "ns/q": "c"}
    narrow = Cluster.of([node("a"), node("b")], [*pair, half])
    stuck = place_group(narrow, coming)
    assert stuck.nodes == {}
    assert "Insufficient cpu" in stuck.refused["ns/q"].message

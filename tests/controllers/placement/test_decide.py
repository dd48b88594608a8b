"""When a changed wish moves a VM: never if its node satisfies it, once it has stood still, and again after failures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drover.controllers.placement.decide import SETTLE_S, Create, LookAgain, Tell, decide
from drover.controllers.placement.gather import refusal
from drover.controllers.placement.view import Failure, PlacementView
from drover.planner import Cluster, Node, Pod, PodTerm, Selector, Taint

NOW = 1000.0
AFFINITY = "node(s) didn't match Pod's node affinity/selector"
MOVES = PlacementView(
    NOW,
    running=True,
    wished="new",
    made_from="old",
    steady_s=SETTLE_S,
    unsatisfied=AFFINITY,
    room=("n2",),
)


def failure(number: int, ended_s: float) -> Failure:
    return Failure(f"u{number}", f"op-{number}", ended_s, "no")


def test_an_unsatisfied_wish_moves_the_vm_once_it_stands() -> None:
    assert decide(MOVES) == [Create(AFFINITY, "")]
    early = replace(MOVES, steady_s=SETTLE_S - 20)
    assert decide(early) == [LookAgain(20.0)]


@pytest.mark.parametrize(
    "still",
    [
        {"unsatisfied": ""},  # the node it is on will do
        {"wished": "old"},
        {"made_from": ""},
        {"wished": ""},
        {"running": False},
        {"busy": True},
    ],
)
def test_nothing_moves_otherwise(still: dict[str, Any]) -> None:
    assert decide(replace(MOVES, **still)) == []


def test_who_cannot_move_says_so() -> None:
    (told,) = decide(replace(MOVES, migratable=False, not_migratable_why="local disk"))
    assert isinstance(told, Tell)
    assert "local disk" in told.message
    told, again = decide(replace(MOVES, room=(), no_room="0/3 nodes are available"))
    assert isinstance(told, Tell)
    assert "0/3 nodes are available" in told.message
    assert isinstance(again, LookAgain)


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 5), (2, 10), (3, 20), (9, 300)])
def test_failures_are_tried_again_ever_later(failures: int, wait_s: float) -> None:
    tried = tuple(failure(n, NOW - failures + 1 + n) for n in range(failures))
    waits = replace(MOVES, failures=tried)
    told, again = decide(waits)
    assert isinstance(told, Tell)
    assert again == LookAgain(wait_s)
    late = replace(waits, now_s=NOW + wait_s)
    assert decide(late) == [Create(AFFINITY, f"u{failures - 1}")]


# --- whether a node satisfies a wish ---

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "default", "uid": "u", "labels": {"app": "db"}},
    "spec": {
        "nodeName": "n1",
        "nodeSelector": {"zone": "old"},
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "100"}}}],
    },
}


def cluster(*others: Pod, cordoned: bool = False, taints: tuple[Taint, ...] = ()) -> Cluster:
    room = {"cpu": 1000, "pods": 10}
    nodes = [
        Node("n1", {"zone": "a", "kubernetes.io/hostname": "n1"}, taints, cordoned, room),
        Node("n2", {"zone": "b", "kubernetes.io/hostname": "n2"}, (), False, room),
    ]
    mine = Pod("default", "p", {"app": "db"}, {"cpu": 100_000}, "n1")
    return Cluster.of(nodes, [mine, *others], {})


def test_what_a_wish_is_judged_by() -> None:
    assert refusal(cluster(), POD, {"nodeSelector": {"zone": "a"}}) == ""
    assert refusal(cluster(), POD, {"nodeSelector": {"zone": "b"}}) == AFFINITY
    assert refusal(cluster(), POD, {}) == ""  # a full node is no reason


def test_the_state_of_a_node_is_no_reason_and_its_taints_are() -> None:
    assert refusal(cluster(cordoned=True), POD, {"nodeSelector": {"zone": "a"}}) == ""
    away = (Taint("node.kubernetes.io/unreachable"),)
    assert refusal(cluster(taints=away), POD, {}) == ""
    gpu = (Taint("gpu"),)
    assert refusal(cluster(taints=gpu), POD, {}) == "node(s) had untolerated taint(s)"
    tolerated = {"tolerations": [{"key": "gpu", "operator": "Exists"}]}
    assert refusal(cluster(taints=gpu), POD, tolerated) == ""


def anti(app: str) -> dict[str, Any]:
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": app}},
    }
    rules = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"affinity": {"podAntiAffinity": rules}}


def test_other_pods_count_and_it_itself_does_not() -> None:
    web = Pod("default", "w", {"app": "web"}, {}, "n1")
    assert refusal(cluster(web), POD, anti("db")) == ""
    assert refusal(cluster(web), POD, anti("web")) == (
        "node(s) didn't match pod anti-affinity rules"
    )
    assert refusal(cluster(), POD, anti("web")) == ""


def test_what_others_ask_for_moves_nobody() -> None:
    term = PodTerm("kubernetes.io/hostname", Selector(()), ("default",))
    hermit = Pod("default", "h", {"app": "x"}, {}, "n1", anti_affinity=(term,))
    assert refusal(cluster(hermit), POD, {}) == ""

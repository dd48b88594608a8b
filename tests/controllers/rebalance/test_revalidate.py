"""Each step is judged once more on what is there: a move on its way counts at both ends until it has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.controllers.rebalance.objects import NOW_S, ON, ask, crowd, node, pod, vm, vmop

from drover.controllers.rebalance.revalidate import Arrival, objection
from drover.controllers.rebalance.view import Step
from drover.planner import Rule

STEP = Step("default/a", "n1", "n2", Rule.OVERLOAD)
FULL = replace(ON, ceilings={"cpu": 80, "memory": 50})


def arrival(of: str, target: str, bound: bool = False) -> Arrival:
    return Arrival(f"default/{of}", f"default/d8v-vm-{of}-x", target, bound)


def with_more(*pods: Any, **more: Any) -> dict[str, Any]:
    given = crowd(5)
    return {**given, "pods": [*given["pods"], *pods], **more}


def test_what_is_still_right_is_made() -> None:
    assert objection(ask(**crowd(5)), STEP, []) == ""


def test_a_vm_that_went_elsewhere_or_is_somebody_elses() -> None:
    given = crowd(5)
    given["pods"][0] = pod("a", "n3")
    assert "is on n3 and not on n1" in objection(ask(**given), STEP, [])
    busy = [vmop("evict-a", "a", "Pending", type="Evict")]
    assert "operation evict-a" in objection(ask(**crowd(5), vmops=busy), STEP, [])
    assert "does not run" in objection(ask(**crowd(5)), replace(STEP, vm="default/z"), [])


def test_a_detour_of_the_plan_goes_on_and_another_vm_rests() -> None:
    done = [vmop("rebalance-1", "a", "Completed", NOW_S - 9, plan="rebalance-1")]
    assert "moved it lately" in objection(ask(**crowd(5), vmops=done), STEP, [])
    assert objection(ask(**crowd(5), vmops=done), STEP, [], goes_on=True) == ""
    busy = [*done, vmop("evict-a", "a", "Pending", type="Evict")]
    assert "operation evict-a" in objection(ask(**crowd(5), vmops=busy), STEP, [], goes_on=True)


def test_a_target_that_is_lost_cordoned_or_full() -> None:
    gone = ask(**crowd(5), nodes=[node("n1"), node("n3")])
    assert objection(gone, STEP, []) == "node n2 is gone"
    for state in ({"ready": False}, {"unschedulable": True}):
        closed = ask(**crowd(5), nodes=[node("n1"), node("n2", **state)])
        assert "does not fit on n2 any more" in objection(closed, STEP, [])
    full = with_more(pod("f", "n2", cpu="7"))
    assert "over its 80 %" in objection(ask(**full), STEP, [])


def test_a_rule_that_was_changed() -> None:
    loner = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    ]}}  # fmt: skip
    hermit = pod("f", "n2", cpu="1", affinity=loner)
    web = pod("a", "n1", labels={"app": "web"})
    given = with_more(hermit)
    given["pods"][0] = web
    assert "anti-affinity" in objection(ask(**given), STEP, [])


def test_moves_on_their_way_count_on_their_target_before_they_have_a_pod_there() -> None:
    crowded = with_more(pod("f", "n2", cpu="5"))
    assert objection(ask(**crowded), STEP, []) == ""
    assert "over its 80 %" in objection(ask(**crowded), STEP, [arrival("b", "n2")])


def test_and_once_only_when_they_have_one() -> None:
    target = pod("b", "n2", name="d8v-vm-b-target")
    given = with_more(pod("f", "n2", cpu="4"), target)
    assert objection(ask(**given), STEP, [arrival("b", "n2", bound=True)]) != ""
    given = with_more(pod("f", "n2", cpu="2"), target)
    given["vms"] += [vm("x", "n1"), vm("y", "n1")]
    given["pods"] += [pod("x", "n1"), pod("y", "n1")]
    assert objection(ask(**given), STEP, [arrival("b", "n2", bound=True)]) == ""


def test_other_thresholds_hold_for_targets_too() -> None:
    stuffed = pod("f", "n2", cpu="1")
    stuffed["spec"]["containers"][0]["resources"]["requests"]["memory"] = "50Gi"
    given = with_more(stuffed)
    assert objection(ask(**given), STEP, []) == ""
    assert "51 % memory" in objection(ask(FULL, **given), STEP, [])


def test_what_needs_no_repair_any_more_is_not_repaired() -> None:
    assert "not over its threshold" in objection(ask(**crowd(4)), STEP, [])
    on_its_way = [arrival("b", "n3")]
    assert "not over its threshold" in objection(ask(**crowd(5)), STEP, on_its_way)
    rule = replace(STEP, rule=Rule.NODE_AFFINITY)
    assert "breaks no rule" in objection(ask(**crowd(5)), rule, [])
    room = replace(STEP, rule=Rule.ROOM)
    assert "nothing needs" in objection(ask(**crowd(4)), room, [])

"""A node that is full gives one VM away, by the plan that was shown, while its guest runs on (D1, D4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.vms import Vm, make
from tests.support.lab import RunningLab, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

LARGE = {"cpu": {"cores": 4, "coreFraction": "100%"}}
FULL = {"cpu": {"cores": 3, "coreFraction": "100%"}}


@pytest.fixture
def home(lab: RunningLab) -> Iterator[str]:
    """The node that will be full: the others are closed while the VMs start."""
    nodes = [node["metadata"]["name"] for node in lab.get("nodes")["items"]]
    others = nodes[1:]
    lab.k("cordon", *others)
    yield nodes[0]
    lab.k("uncordon", *others)
    lab.k("delete", "moduleconfig", "descheduler", "--ignore-not-found")


def planned(lab: RunningLab) -> dict[str, Any]:
    said = lab.drover("rebalance", "plan", "-o", "json")
    assert said.code == 0, said.err
    return dict(json.loads(said.out))


def test_a_full_node_gives_one_vm_away_by_the_plan_that_was_shown(
    lab: RunningLab, home: str
) -> None:
    vms = [make(lab, "crowd-a", **LARGE), make(lab, "crowd-b", **FULL)]
    for vm in vms:
        assert vm.wait_booted()["nodeName"] == home
    lab.k("uncordon", *(n["metadata"]["name"] for n in lab.get("nodes")["items"]))
    shown = planned(lab)
    assert (shown["movesTotal"], shown["overloaded"], shown["proved"]) == (1, [home], True)
    moved = Vm(lab, shown["moves"][0]["virtualMachine"].partition("/")[2])
    boot = moved.begin_ledger()
    assert lab.drover("rebalance", "on", "--settle", "3").code == 0
    plan = eventually(lambda: next(iter(done(lab, shown["hash"])), None), 90)
    assert plan["status"]["done"] == 1
    eventually(lambda: moved.status["nodeName"] == shown["moves"][0]["target"], 20)
    assert planned(lab)["movesTotal"] == 0
    eventually(lambda: "Balanced: no node is" in lab.drover("rebalance", "status").out, 20)
    ledger = moved.ledger()
    assert (ledger.boots, ledger.duplicates, ledger.missing) == ([boot], 0, 0)
    moved.assert_runs_once()
    for vm in vms:
        vm.delete()


def done(lab: RunningLab, digest: str) -> list[dict[str, Any]]:
    found = lab.get("rebalanceplans")["items"]
    mine = [plan for plan in found if plan["spec"]["hash"] == digest]  # a new one says nothing yet
    return [plan for plan in mine if (plan.get("status") or {}).get("phase") == "Done"]

"""Rows: what the page is told of an object, and of one that is no such thing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drover.api import scheme
from drover.web import rows
from drover.web.about import facts
from drover.web.rows import MAKERS, row_of

META = {"name": "one", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}


def obj(spec: Any, status: Any = None, **meta: Any) -> dict[str, Any]:
    return {"metadata": {**META, **meta}, "spec": spec, "status": status or {}}


def test_a_vm() -> None:
    leave = {"type": "EvacuationBlocked", "status": "True", "message": "x" * 9_999}
    status = {
        "phase": "Running",
        "nodeName": "n1",
        "virtualMachinePods": [{"name": "old", "active": False}, {"name": "new", "active": True}],
        "conditions": [{"type": "EvictionRequired", "status": "False"}, leave],
    }
    row = row_of(scheme.VM, obj({}, status, resourceVersion="7"))
    told = {"phase": "Running", "node": "n1", "pod": "new", "asked": False, "version": "7"}
    assert row == {**told, "blocked": "x" * rows.MOST_MESSAGE}


def test_what_the_page_of_a_vm_shows_beside() -> None:
    spec = {"cpu": {"cores": 2, "coreFraction": "50%"}, "memory": {"size": "1Gi"}}
    told = facts(obj(spec, {"ipAddress": "10.66.10.10"}))
    assert (told["cores"], told["fraction"], told["memoryBytes"]) == (2, "50%", 2**30)
    assert (told["ip"], told["policy"]) == ("10.66.10.10", "AlwaysOnUnlessStoppedManually")


def test_a_copy_tells_of_itself_and_not_of_its_agents() -> None:
    spec = {"virtualMachineName": "vm", "operationName": "op", "sourceNode": "n1"}
    source = {"ramTotalBytes": 5, "incarnation": "secret", "handOverEpoch": 3, "downtimeMs": 70}
    row = row_of(scheme.VMM, obj(spec, {"phase": "Copying", "targetNode": "n2", "source": source}))
    assert row["copy"] == {"ramTotalBytes": 5, "downtimeMs": 70}
    assert (row["source"], row["target"], row["final"]) == ("n1", "n2", False)


def test_a_pod_reserves_what_its_containers_ask_for() -> None:
    spec = {
        "nodeName": "n1",
        "containers": [{"resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}}] * 2,
    }
    row = row_of(scheme.POD, obj(spec, {"phase": "Running"}))
    assert (row["cpuMilli"], row["memoryBytes"], row["vm"], row["ended"]) == (500, 2**31, "", False)


@pytest.mark.parametrize("kind", list(MAKERS), ids=lambda kind: kind.kind)
@pytest.mark.parametrize(
    "strange",
    [
        {"metadata": META},
        obj({"cpu": "many", "memory": 3, "type": None}, {"phase": "Odd", "conditions": [{}]}),
        obj({"containers": "none", "moves": 7, "number": "x"}, {"timeline": 3}),
    ],
    ids=["bare", "odd", "odder"],
)
def test_a_stranger_blinds_nobody(kind: scheme.Kind, strange: dict[str, Any]) -> None:
    row = row_of(kind, strange)
    json.dumps(row)

"""Rows: what the page is told of an object, and of one that is no such thing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drover.api import scheme
from drover.web import rows
from drover.web.rows import MAKERS, row_of

META = {"name": "one", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}


def obj(spec: Any, status: Any = None, **meta: Any) -> dict[str, Any]:
    return {"metadata": {**META, **meta}, "spec": spec, "status": status or {}}


def test_a_vm() -> None:
    spec = {"cpu": {"cores": 2, "coreFraction": "50%"}, "memory": {"size": "1Gi"}}
    status = {
        "phase": "Running",
        "nodeName": "n1",
        "ipAddress": "10.66.10.10",
        "virtualMachinePods": [{"name": "old", "active": False}, {"name": "new", "active": True}],
        "conditions": [{"type": "Running", "status": "True", "message": "x" * 9_999}],
    }
    row = row_of(scheme.VM, obj(spec, status))
    assert (row["ns"], row["name"], row["pod"], row["node"]) == ("default", "one", "new", "n1")
    assert (row["cores"], row["fraction"], row["memoryBytes"]) == (2, "50%", 2**30)
    assert len(row["conditions"][0]["message"]) == rows.MOST_MESSAGE


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
    assert row["name"] == "one"
    json.dumps(row)

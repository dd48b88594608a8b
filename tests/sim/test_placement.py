"""Where Pods fit: the scheduler's filters as a table, and its choice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from drover.api.scheme import NODE, POD
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run
from drover.sim.placement import Host, misfit
from drover.sim.scheduler import USER, Scheduler

HOSTNAME = "kubernetes.io/hostname"


def host(name: str = "n1", *pods: dict[str, Any], **spec: Any) -> Host:
    labels = {HOSTNAME: name, "zone": "a", "size": "4"}
    room = {"cpu": "2", "memory": "2Gi", "pods": "2"}
    node = {"metadata": {"name": name, "labels": labels}, "spec": spec}
    return Host({**node, "status": {"allocatable": room}}, pods)


def pod(name: str = "p", cpu: str = "1", memory: str = "1Gi", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    meta = {"name": name, "namespace": "default", "labels": {"app": name}}
    return {"metadata": meta, "spec": {"containers": [container], **spec}}


def node_affinity(kind: str, *expressions: dict[str, Any]) -> dict[str, Any]:
    terms = [{kind: list(expressions)}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"nodeAffinity": required}


def pod_affinity(side: str, app: str) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": HOSTNAME}
    return {side: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def rule(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


NOT_SELECTED = ["node(s) didn't match Pod's node affinity/selector"]
TAINT = {"key": "vm", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("wanted", "where", "reasons"),
    [
        (pod(), host(), []),
        (pod(cpu="3", memory="3Gi"), host(), ["Insufficient cpu", "Insufficient memory"]),
        (pod(cpu="1001m"), host("n1", pod("a")), ["Insufficient cpu"]),
        (pod(cpu="0", memory="0"), host("n1", pod("a"), pod("b")), ["Too many pods"]),
        (pod(), host(unschedulable=True), ["node(s) were unschedulable"]),
        (pod(), host(taints=[TAINT]), ["node(s) had untolerated taint(s)"]),
        (pod(), host(taints=[{**TAINT, "effect": "PreferNoSchedule"}]), []),
        (pod(tolerations=[{"key": "vm", "operator": "Exists"}]), host(taints=[TAINT]), []),
        (pod(tolerations=[{"operator": "Exists"}]), host(taints=[TAINT]), []),
        (
            pod(tolerations=[{"key": "vm", "value": "x"}]),
            host(taints=[TAINT]),
            ["node(s) had untolerated taint(s)"],
        ),
        (pod(nodeSelector={"zone": "b"}), host(), NOT_SELECTED),
        (pod(affinity=node_affinity("matchExpressions", rule("zone", "In", "a"))), host(), []),
        (
            pod(affinity=node_affinity("matchExpressions", rule("zone", "NotIn", "a"))),
            host(),
            NOT_SELECTED,
        ),
        (pod(affinity=node_affinity("matchExpressions", rule("size", "Gt", "3"))), host(), []),
        (
            pod(affinity=node_affinity("matchFields", rule("metadata.name", "NotIn", "n1"))),
            host(),
            NOT_SELECTED,
        ),
        (
            pod(affinity=pod_affinity("podAntiAffinity", "a")),
            host("n1", pod("a")),
            ["node(s) didn't match pod anti-affinity rules"],
        ),
        (
            pod("a"),
            host("n1", pod("b", affinity=pod_affinity("podAntiAffinity", "a"))),
            ["node(s) didn't satisfy existing pods anti-affinity rules"],
        ),
        (
            pod(affinity=pod_affinity("podAffinity", "a")),
            host(),
            ["node(s) didn't match pod affinity rules"],
        ),
        (pod(affinity=pod_affinity("podAffinity", "a")), host("n1", pod("a")), []),
        (pod("a", affinity=pod_affinity("podAffinity", "a")), host(), []),
    ],
)
def test_filters(wanted: dict[str, Any], where: Host, reasons: list[str]) -> None:
    assert misfit(wanted, where, [where]) == reasons


def spread(seed: int) -> list[str]:
    """Six Pods of one node's third each, on three nodes."""

    async def main() -> list[str]:
        clock = SimClock()
        api = ApiModel(clock, SeededIds(0))
        admin = Client(api.transport())
        for name in ("n1", "n2", "n3"):
            made = host(name).node
            made["status"]["allocatable"]["pods"] = "10"
            made["spec"] = {"taints": [TAINT]}
            await admin.create(NODE, made)
            await admin.patch(NODE, name, "", {"spec": {"taints": [TAINT]}})
        door = Client(api.transport(USER, ()))
        scheduler = Scheduler(door, clock, SeededIds(seed), Log(clock, lambda _: None))
        async with TaskScope("test") as scope:
            scope.guard(scheduler.run(), "scheduler")
            for number in range(6):
                tolerations = [{"operator": "Exists"}]
                body = pod(f"p{number}", "600m", "600Mi", tolerations=tolerations)
                await admin.create(POD, body)
                await asyncio.sleep(1)
        return [one["spec"].get("nodeName", "") for one in api.objects(POD)]

    return run(main())


def test_the_least_allocated_node_is_chosen_and_ties_by_seed() -> None:
    placed = spread(1)
    assert sorted(placed) == ["n1", "n1", "n2", "n2", "n3", "n3"]
    assert spread(1) == placed
    assert len({tuple(spread(seed)) for seed in range(6)}) > 1

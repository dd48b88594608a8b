"""Where the model scheduler puts Pods: the least allocated node that fits, by seed among equals; else it says why.

Which nodes fit is the planner's business and tested there.
"""

from __future__ import annotations

import asyncio
from typing import Any

from drover.api.scheme import NODE, POD
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run
from drover.sim.scheduler import USER, Scheduler

TAINT = {"key": "vm", "effect": "NoSchedule"}


def node(name: str) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name}
    room = {"cpu": "2", "memory": "2Gi", "pods": "10"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": room},
    }


def pod(name: str, cpu: str, memory: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    meta = {"name": name, "namespace": "default", "labels": {"app": name}}
    return {"metadata": meta, "spec": {"containers": [container], **spec}}


def placed(seed: int, pods: int = 6) -> list[dict[str, Any]]:
    """Pods of a third of a node each, on three nodes."""

    async def main() -> list[dict[str, Any]]:
        clock = SimClock()
        api = ApiModel(clock, SeededIds(0))
        admin = Client(api.transport())
        for name in ("n1", "n2", "n3"):
            await admin.create(NODE, node(name))
            await admin.patch(NODE, name, "", {"spec": {"taints": [TAINT]}})
        door = Client(api.transport(USER, ()))
        scheduler = Scheduler(door, clock, SeededIds(seed), Log(clock, lambda _: None))
        async with TaskScope("test") as scope:
            scope.guard(scheduler.run(), "scheduler")
            for number in range(pods):
                tolerations = [{"operator": "Exists"}]
                body = pod(f"p{number}", "600m", "600Mi", tolerations=tolerations)
                await admin.create(POD, body)
                await asyncio.sleep(1)
        return list(api.objects(POD))

    return run(main())


def spread(seed: int) -> list[str]:
    return [one["spec"].get("nodeName", "") for one in placed(seed)]


def test_the_least_allocated_node_is_chosen_and_ties_by_seed() -> None:
    first = spread(1)
    assert sorted(first) == ["n1", "n1", "n2", "n2", "n3", "n3"]
    assert spread(1) == first
    assert len({tuple(spread(seed)) for seed in range(6)}) > 1


def test_what_fits_nowhere_waits_and_says_why() -> None:
    waiting = [one for one in placed(1, pods=10) if not one["spec"].get("nodeName")]
    (condition,) = waiting[0]["status"]["conditions"]
    assert condition["type"] == "PodScheduled"
    assert condition["message"] == (
        "0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory."
    )

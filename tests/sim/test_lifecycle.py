"""What the models of Kubernetes' own controllers do, on virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drover.api.names import NODE_LEASE_NAMESPACE
from drover.api.scheme import LEASE, NODE, POD
from drover.base.clock import rfc3339_micro
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.lifecycle import Lifecycle
from drover.sim.loop import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from drover.api.wire import Object


class Cluster:
    """Two nodes, of which ``alive`` renew their Lease every two seconds, and a Pod on each."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.api = ApiModel(clock, SeededIds(0))
        self.admin = Client(self.api.transport())
        self.alive = {"n1": True, "n2": True}

    async def begin(self) -> None:
        for name in self.alive:
            ready = {"type": "Ready", "status": "True"}
            room = {"cpu": "2", "memory": "1Gi", "pods": "9"}
            status: Object = {"conditions": [ready], "allocatable": room}
            await self.admin.create(NODE, {"metadata": {"name": name}, "status": status})
            meta = {"name": name, "namespace": NODE_LEASE_NAMESPACE}
            await self.admin.create(LEASE, {"metadata": meta, "spec": {}})
            await self.pod(f"on-{name}", name)

    async def pod(self, name: str, node: str, **spec: object) -> None:
        body = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node, "containers": [], **spec},
        }
        await self.admin.create(POD, body)

    async def renew(self) -> None:
        while True:
            for name in [name for name, alive in self.alive.items() if alive]:
                patch = {"spec": {"renewTime": rfc3339_micro(self.clock.wall())}}
                await self.admin.patch(LEASE, name, NODE_LEASE_NAMESPACE, patch)
            await self.clock.sleep(2)

    def ready(self, name: str) -> str:
        node = self.api.store.get(NODE, "", name)
        assert node is not None
        return str(node["status"]["conditions"][0]["status"])

    def taints(self, name: str) -> list[str]:
        node = self.api.store.get(NODE, "", name)
        assert node is not None
        found = node["spec"].get("taints") or []
        return [
            f"{one['key'].removeprefix('node.kubernetes.io/')}:{one['effect']}" for one in found
        ]

    def marked(self, name: str) -> bool:
        pod = self.api.store.get(POD, "default", name)
        return pod is None or "deletionTimestamp" in pod["metadata"]


def story(act: Callable[[Cluster], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = SimClock()
        cluster = Cluster(clock)
        await cluster.begin()
        lifecycle = Lifecycle(cluster.api, clock, Log(clock, lambda _: None))
        async with TaskScope("test") as scope:
            scope.guard(cluster.renew(), "renew")
            scope.guard(lifecycle.run(), "lifecycle")
            await act(cluster)
            assert scope.failure is None

    run(main())


def test_a_silent_node_becomes_unknown_and_its_pods_go_after_their_patience() -> None:
    async def act(cluster: Cluster) -> None:
        await asyncio.sleep(5)
        assert cluster.taints("n1") == []  # not-ready, put at its birth, is taken off
        forever = {"key": "node.kubernetes.io/unreachable", "operator": "Exists"}
        await cluster.pod("patient", "n1", tolerations=[forever])
        cluster.alive["n1"] = False
        await asyncio.sleep(35)
        assert cluster.ready("n1") == "True"
        await asyncio.sleep(10)
        assert cluster.ready("n1") == "Unknown"
        assert cluster.taints("n1") == ["unreachable:NoSchedule", "unreachable:NoExecute"]
        await asyncio.sleep(290)
        assert not cluster.marked("on-n1")
        await asyncio.sleep(20)
        assert [cluster.marked(name) for name in ("on-n1", "patient", "on-n2")] == [
            True, False, False,
        ]  # fmt: skip

    story(act)


def test_while_no_node_is_ready_nobody_is_evicted() -> None:
    async def act(cluster: Cluster) -> None:
        cluster.alive = {"n1": False, "n2": False}
        await asyncio.sleep(1000)
        assert cluster.taints("n1") == ["unreachable:NoSchedule"]
        assert not cluster.marked("on-n1")

    story(act)


def test_cordon_is_a_taint() -> None:
    async def act(cluster: Cluster) -> None:
        await asyncio.sleep(3)
        await cluster.admin.patch(NODE, "n1", "", {"spec": {"unschedulable": True}})
        await asyncio.sleep(3)
        assert cluster.taints("n1") == ["unschedulable:NoSchedule"]
        await cluster.admin.patch(NODE, "n1", "", {"spec": {"unschedulable": None}})
        await asyncio.sleep(3)
        assert cluster.taints("n1") == []

    story(act)


def test_pods_of_a_vanished_node_are_collected_after_forty_seconds() -> None:
    async def act(cluster: Cluster) -> None:
        await cluster.admin.delete(NODE, "n1")
        await asyncio.sleep(35)
        assert not cluster.marked("on-n1")
        await asyncio.sleep(10)
        assert cluster.api.store.get(POD, "default", "on-n1") is None
        assert not cluster.marked("on-n2")

    story(act)

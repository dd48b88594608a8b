"""A small world for tests of controllers: the API model on virtual time, our controllers, and hands that play the
scheduler and the nodes' agents one write at a time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from drover.api import names, scheme
from drover.api.kinds import vml as vmls
from drover.api.names import CONTROLLERS_USER, NODE_LEASE_NAMESPACE
from drover.api.scheme import (
    CVIMAGE,
    LEASE,
    NODE,
    POD,
    PRIORITYCLASS,
    VDISK,
    VIMAGE,
    VM,
    VMCLASS,
    VMIP,
    VML,
    VMM,
)
from drover.api.status import NotFound
from drover.api.wire import Object
from drover.base.clock import rfc3339_micro
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope, wait_first
from drover.controllers.main import PACKED
from drover.runtime.client import Client
from drover.runtime.manager import Manager
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

NS = "default"
SMALL_VM = {
    "cpu": {"cores": 1},
    "memory": {"size": "1Gi"},
    "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
}
SOURCE = {"dataSource": {"type": "HTTP", "http": {"url": "https://images.test/linux.qcow2"}}}
LEAST = {VM: SMALL_VM, CVIMAGE: SOURCE, VIMAGE: SOURCE}
Story = Callable[["World"], Awaitable[None]]


class World:
    """One control plane. ``admin`` may do everything; ``node(name)`` is an agent's client."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = SimClock()
        self.ids = SeededIds(seed)
        self.api = ApiModel(self.clock, self.ids)
        self.admin = Client(self.api.stagehand())
        self.log: list[dict[str, Any]] = []
        controllers = self.api.transport(CONTROLLERS_USER, [CONTROLLERS_USER])
        log = Log(self.clock, self.log.append)
        client = Client(controllers)
        self.manager = Manager(client, self.clock, SeededIds(f"m{seed}"), log, packed=PACKED)

    def node(self, name: str) -> Client:
        return Client(self.api.transport(names.NODE_USER_PREFIX + name, [names.NODES_GROUP]))

    async def settle(self, seconds: float = 1.0) -> None:
        await self.clock.sleep(seconds)

    # What a user does.

    async def create(self, kind: scheme.Kind, name: str, spec: Any = None, **meta: Any) -> Object:
        """Of VMs and images ``spec`` may leave out what the schema demands."""
        namespaced = {"namespace": NS} if kind.namespaced else {}
        body: Object = {"metadata": {"name": name, **namespaced, **meta}}
        if spec is not None:
            body["spec"] = {**LEAST.get(kind, {}), **spec}
        return await self.admin.create(kind, body)

    async def get(self, kind: scheme.Kind, name: str) -> Object:
        return await self.admin.get(kind, name, NS if kind.namespaced else "")

    async def find(self, kind: scheme.Kind, name: str) -> Object | None:
        try:
            return await self.get(kind, name)
        except NotFound:
            return None

    async def patch(self, kind: scheme.Kind, name: str, patch: Object) -> Object:
        return await self.admin.patch(kind, name, NS if kind.namespaced else "", patch)

    async def set_status(self, kind: scheme.Kind, name: str, status: Object) -> Object:
        """As its owner, if the kind is one of ours: nobody else may."""
        who = self.manager.client if "." in kind.group else self.admin
        namespace = NS if kind.namespaced else ""
        return await who.patch(kind, name, namespace, {"status": status}, subresource="status")

    async def delete(self, kind: scheme.Kind, name: str) -> None:
        await self.admin.delete(kind, name, NS if kind.namespaced else "")

    async def lose_lease(self, vm: str) -> None:
        """The policies let nobody do this; a broken or restored etcd can."""
        self.api.store.remove(VML, await self.get(VML, vm))

    async def ask(self, vm: str, what: str, text: str) -> None:
        """What the vmop controller writes: a request on the VM."""
        patch = {"metadata": {"annotations": {f"drover.dev/{what}-requested": text}}}
        await self.patch(VM, vm, patch)

    # The things a VM needs, as their controllers would leave them.

    async def priority_class(self) -> None:
        """The one that VMs without one of their own get."""
        meta = {"name": names.VM_PRIORITY_CLASS}
        body = {"metadata": meta, "value": 1000, "preemptionPolicy": "Never"}
        await self.admin.create(PRIORITYCLASS, body)

    async def ready_class(self, name: str = "generic", spec: Any = None) -> None:
        await self.priority_class()
        default = {names.DEFAULT_CLASS_ANNOTATION: "true"}
        await self.create(
            VMCLASS,
            name,
            spec or {"cpu": {"type": "Model", "model": "Nehalem"}},
            annotations=default,
        )
        await self.set_status(VMCLASS, name, {"phase": "Ready"})

    async def ready_disk(self, name: str) -> None:
        await self.create(VDISK, name, {"persistentVolumeClaim": {"size": "1Gi"}})
        status = {"phase": "Ready", "capacity": "1Gi", "target": {"path": f"{name}.qcow2"}}
        await self.set_status(VDISK, name, status)

    async def ready_address(self, vm: str, ip: str = "10.66.10.14") -> None:
        await self.create(VMIP, vm, {"type": "Auto"})
        await self.set_status(
            VMIP, vm, {"phase": "Attached", "address": ip, "virtualMachineName": vm}
        )

    async def join(self, node: str, incarnation: str = "") -> None:
        """A node with its heartbeat Lease."""
        await self.create(
            NODE, node, {"taints": [{"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}]}
        )
        notes = {names.INCARNATION_ANNOTATION: incarnation or f"life-{node}"}
        meta = {"name": node, "namespace": NODE_LEASE_NAMESPACE, "annotations": notes}
        await self.admin.create(LEASE, {"metadata": meta, "spec": {"holderIdentity": node}})
        await self.renew(node, [])

    async def renew(self, node: str, machines: list[dict[str, str]] | None) -> None:
        """``None``: its agent has not looked yet what it runs."""
        told = None if machines is None else json.dumps(machines)
        patch = {
            "metadata": {"annotations": {names.MACHINES_ANNOTATION: told}},
            "spec": {"renewTime": rfc3339_micro(self.clock.wall())},
        }
        await self.admin.patch(LEASE, node, NODE_LEASE_NAMESPACE, patch)

    # What the scheduler and the agents do.

    async def pods(self, vm: str) -> list[Object]:
        found, _ = await self.admin.list(POD, NS, labels=f"{names.VM_NAME_LABEL}={vm}")
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    async def living_pod(self, vm: str) -> Object:
        alive = [
            pod
            for pod in await self.pods(vm)
            if pod.get("status", {}).get("phase", "Pending") not in ("Succeeded", "Failed")
            and "deletionTimestamp" not in pod["metadata"]
        ]
        assert len(alive) == 1, [pod["metadata"]["name"] for pod in alive]
        return alive[0]

    async def living_pod_of_lease(self, vm: str) -> Object:
        """The Pod that runs the guest, while another one may wait for it."""
        holder = vmls.holder(await self.get(VML, vm))
        return next(pod for pod in await self.pods(vm) if pod["metadata"]["uid"] == holder)

    async def bind(self, pod: Object, node: str) -> None:
        binding = {
            "metadata": {"name": pod["metadata"]["name"]},
            "target": {"kind": "Node", "name": node},
        }
        await self.admin.post(POD.path(NS, pod["metadata"]["name"], "binding"), binding)

    async def pod_status(self, pod: Object, node: str, status: Object) -> None:
        await self.node(node).patch(
            POD, pod["metadata"]["name"], NS, {"status": status}, subresource="status"
        )

    async def boot(self, vm: str, node: str) -> Object:
        """Scheduler and agent: from the created Pod to a running guest."""
        pod = await self.living_pod(vm)
        await self.bind(pod, node)
        await self.settle()
        lease = await self.get(VML, vm)
        assert vmls.holder(lease) == pod["metadata"]["uid"], lease
        await self.pod_status(pod, node, {"phase": "Running"})
        await self.settle()
        return pod

    async def release(
        self, vm: str, node: str, reason: str, phase: str = "Succeeded", gap_s: float = 0.0
    ) -> None:
        """The agent after its QEMU has gone: first the lease, then (``gap_s`` later) the Pod."""
        lease = await self.get(VML, vm)
        uid = vmls.holder(lease)
        meta = {**lease["metadata"], "finalizers": []}
        spec = {**lease["spec"], "holder": "", "epoch": vmls.epoch(lease) + 1, "lastReason": reason}
        await self.node(node).replace(VML, {**lease, "metadata": meta, "spec": spec})
        await self.settle(gap_s)
        for pod in await self.pods(vm):
            if pod["metadata"]["uid"] == uid:
                ended = {"state": {"terminated": {"reason": reason, "exitCode": 0}}}
                await self.pod_status(pod, node, {"phase": phase, "containerStatuses": [ended]})

    async def hand_over(self, vm: str, target: Object, node: str, source_node: str) -> None:
        lease = await self.get(VML, vm)
        spec = {
            **lease["spec"],
            "holder": target["metadata"]["uid"],
            "node": node,
            "nodeIncarnation": f"life-{node}",
            "epoch": vmls.epoch(lease) + 1,
        }
        await self.node(source_node).replace(VML, {**lease, "spec": spec})

    async def start_move(self, vm: str, source: Object, node: str, name: str = "move") -> Object:
        """A migration as the vmop controller writes it."""
        spec = {
            "virtualMachineName": vm,
            "operationName": name,
            "sourceNode": node,
            "sourcePod": {"name": source["metadata"]["name"], "uid": source["metadata"]["uid"]},
        }
        return await self.create(VMM, name, spec)

    async def phase(self, vm: str) -> str:
        return str((await self.get(VM, vm)).get("status", {}).get("phase", ""))


def play(story: Story, wire: Callable[[World], None], seed: int = 0) -> None:
    """Run one story on virtual time with the controllers that ``wire`` registers."""

    async def main() -> None:
        world = World(seed)
        wire(world)
        async with TaskScope("test") as scope:
            scope.guard(world.manager.run(), "manager")
            told = scope.spawn(story(world), "story")
            broken = scope.spawn(scope.wait_broken(), "watch")
            await wait_first(told, broken)
            if broken.done():
                raise broken.result()
            await told

    run(main(), seed=seed, limit_s=100_000)

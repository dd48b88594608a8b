"""A world of objects alone: nodes, VMs and Pods without agents and guests, and the rebalancer that looks at them.

Whoever plays a story on it moves Pods by hand. It is quick enough for hundreds of VMs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drover.api import names, scheme
from drover.api.kinds import vmop as vmops
from drover.base.clock import rfc3339
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.controllers.rebalance.controller import AtOnce, wire
from drover.runtime.client import Client
from drover.runtime.manager import Manager
from drover.sim.api import ApiModel
from drover.sim.checkers.judge import Broken
from drover.sim.clock import SimClock
from drover.sim.parts import Dice
from drover.sim.stories import Result

if TYPE_CHECKING:
    from drover.api.wire import Object

CORES = 64
NAMESPACE = "default"


class Bare:
    """Made inside the loop. A story says how it is furnished and what happens then."""

    def __init__(self, name: str, seed: int) -> None:
        self.dice = Dice(f"{name}-{seed}")
        self.clock = SimClock()
        self.api = ApiModel(self.clock, SeededIds(f"{name}-api-{seed}"))
        self.admin = Client(self.api.stagehand())
        user = names.CONTROLLERS_USER
        self.door = Client(self.api.transport(user, [user]))
        self.marks: Counter[str] = Counter()
        self._name, self._seed = name, seed
        self._trace: list[str] = []

    async def furnish(self) -> None:
        raise NotImplementedError

    async def happen(self, scope: TaskScope) -> None:
        """The story; raises Broken for what must not be."""
        raise NotImplementedError

    async def play(self) -> Result:
        broken: Broken | None = None
        try:
            async with TaskScope(self._name) as scope:
                await self._begin()
                await self.furnish()
                ids = SeededIds(f"{self._name}-{self._seed}")
                manager = Manager(self.door, self.clock, ids, Log(self.clock, self._took))
                wire(manager, AtOnce())
                scope.guard(manager.run(), "controllers")
                await self.happen(scope)
                if scope.failure is not None:
                    raise scope.failure
        except Broken as verdict:
            broken = verdict
        return Result(self._seed, broken, self.now_s, self._trace, dict(self.marks))

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _took(self, entry: dict[str, Any]) -> None:
        if entry["level"] == "mark":
            told = (f"{k}={v}" for k, v in sorted(entry.items()) if k not in ("t", "level"))
            self._trace.append(f"{self.now_s:11.1f} {' '.join(told)}")
            self.marks[entry["msg"]] += 1

    async def _begin(self) -> None:
        vm_class = {"cpu": {"type": "Model", "model": "Nehalem"}}
        note = {names.DEFAULT_CLASS_ANNOTATION: "true"}
        meta = {"name": "generic", "annotations": note}
        await self.admin.create(scheme.VMCLASS, {"metadata": meta, "spec": vm_class})
        module = {"metadata": {"name": names.REBALANCE_MODULE}, "spec": {"enabled": True}}
        await self.admin.create(scheme.MODULECONFIG, module)

    async def node(self, name: str) -> None:
        taint = {"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}
        labels = {names.HOSTNAME_LABEL: name, names.SCHEDULABLE_LABEL: "true"}
        await self.admin.create(
            scheme.NODE, {"metadata": {"name": name, "labels": labels}, "spec": {"taints": [taint]}}
        )
        room = {"cpu": str(CORES), "memory": "1Ti", "pods": "500"}
        ready = [{"type": "Ready", "status": "True"}]
        status = {"allocatable": room, "capacity": room, "conditions": ready}
        await self.admin.patch(scheme.NODE, name, "", {"status": status}, subresource="status")
        await self.admin.patch(scheme.NODE, name, "", {"spec": {"taints": [taint]}})

    async def vm(self, name: str, node: str, milli: int) -> None:
        spec = {
            "cpu": {"cores": 1},
            "memory": {"size": "1Gi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
        }
        meta = {"name": name, "namespace": NAMESPACE}
        await self.admin.create(scheme.VM, {"metadata": meta, "spec": spec})
        await self.says(name, node)
        await self.pod(f"d8v-vm-{name}-0", node, milli, {names.VM_NAME_LABEL: name})

    async def says(self, vm: str, node: str) -> None:
        status = {"status": {"phase": "Running", "nodeName": node}}
        await self.door.patch(scheme.VM, vm, NAMESPACE, status, subresource="status")

    async def pod(self, name: str, node: str, milli: int, labels: dict[str, str]) -> None:
        ask = {"requests": {"cpu": f"{milli}m", "memory": "1Gi"}}
        created_by = "kubevirt.internal.virtualization.deckhouse.io/created-by"
        tolerations = [{"key": names.VM_NODE_TAINT, "operator": "Exists"}]
        await self.admin.create(
            scheme.POD,
            {
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "labels": {**labels, created_by: name},
                    "ownerReferences": [],
                },
                "spec": {
                    "containers": [{"name": "c", "image": "i", "resources": ask}],
                    "tolerations": tolerations,
                    "nodeName": node,
                    "preemptionPolicy": "Never",
                },
            },
        )

    async def finish(self, vmop: Object, phase: str) -> None:
        """What the vmop controller says in the end: Completed or Failed."""
        completed = {
            "type": "Completed",
            "status": "True" if phase == "Completed" else "False",
            "reason": phase,
            "message": "",
            "lastTransitionTime": rfc3339(self.clock.wall()),
        }
        status = {"status": {"phase": phase, "conditions": [completed]}}
        name = vmop["metadata"]["name"]
        await self.door.patch(scheme.VMOP, name, NAMESPACE, status, subresource="status")

    async def open_operations(self) -> list[Object]:
        found, _ = await self.door.list(scheme.VMOP, NAMESPACE)
        return [vmop for vmop in found if not vmops.finished(vmop)]


@dataclass(frozen=True)
class BareStory:
    """One run of a world, which is made inside the loop. Of a plan the seed alone counts."""

    world: Callable[[int], Bare]
    seed: int

    async def play(self) -> Result:
        return await self.world(self.seed).play()

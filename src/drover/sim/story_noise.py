"""The story ``noise``: a day of 96 quarters of an hour, in each of which every node's reservation is another.

Here are no agents and no guests: nodes, VMs and Pods are objects only, and a *mover* carries operations out in half a
minute, or fails one in ten. What is judged is the rebalancer's patience: when the first hour has put things in order,
at most 2 % of the VMs move in a day, and none goes back where it came from.
"""

from __future__ import annotations

import asyncio
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
from drover.sim.stories import Plan, Result

if TYPE_CHECKING:
    from drover.api.wire import Object

NODES, VMS = 10, 200
CORES = 64
LOAD = (0.50, 0.72)  # of a node by its VMs, drawn for each; two are hot
HOT, HOT_LOAD = 2, 0.86
CYCLES, CYCLE_S = 96, 900.0
FIRST = 4  # cycles until it is in order
NOISE = 0.03  # of a node, up and down
COOLDOWN_S = 3600.0
MOVE_S = 30.0
FAILS = 0.1
MOST_MOVED = 0.02  # of the VMs, in the day
NAMESPACE = "default"


class NoiseStory:
    """One run. Of the plan the seed alone counts."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self._seed = seed

    async def play(self) -> Result:
        return await _Day(self._seed).play()


class _Day:
    """Made inside the loop."""

    def __init__(self, seed: int) -> None:
        self._dice = Dice(f"noise-{seed}")
        self._seed = seed
        self._clock = SimClock()
        self._api = ApiModel(self._clock, SeededIds(f"noise-api-{seed}"))
        self._admin = Client(self._api.stagehand())
        self._trace: list[str] = []
        self._marks: dict[str, int] = {}
        self._moves: list[tuple[float, str, str, str, str]] = []  # when, VM, source, target, plan

    async def play(self) -> Result:
        broken: Broken | None = None
        try:
            async with TaskScope("noise") as scope:
                await self._run(scope)
        except Broken as verdict:
            broken = verdict
        now_s = asyncio.get_running_loop().time()
        return Result(self._seed, broken, now_s, self._trace, self._marks)

    async def _run(self, scope: TaskScope) -> None:
        await self._furnish()
        user = names.CONTROLLERS_USER
        door = Client(self._api.transport(user, [user]))
        ids = SeededIds(f"noise-{self._seed}")
        manager = Manager(door, self._clock, ids, Log(self._clock, self._took))
        wire(manager, AtOnce())
        scope.guard(manager.run(), "controllers")
        scope.guard(self._mover(door), "mover")
        for cycle in range(CYCLES):
            await self._noise(cycle)
            await asyncio.sleep(CYCLE_S)
            if scope.failure is not None:
                raise scope.failure
        self._judge()

    def _took(self, entry: dict[str, Any]) -> None:
        if entry["level"] == "mark":
            words = " ".join(
                f"{k}={v}" for k, v in sorted(entry.items()) if k not in ("t", "level")
            )
            self._trace.append(f"{asyncio.get_running_loop().time():11.1f} {words}")
            self._marks[entry["msg"]] = self._marks.get(entry["msg"], 0) + 1

    # --- the world ---

    async def _furnish(self) -> None:
        vm_class = {"cpu": {"type": "Model", "model": "Nehalem"}}
        note = {names.DEFAULT_CLASS_ANNOTATION: "true"}
        meta = {"name": "generic", "annotations": note}
        await self._admin.create(scheme.VMCLASS, {"metadata": meta, "spec": vm_class})
        module = {"metadata": {"name": names.REBALANCE_MODULE}, "spec": {"enabled": True}}
        await self._admin.create(scheme.MODULECONFIG, module)
        for number in range(NODES):
            await self._node(f"n{number:02}")
        left = [HOT_LOAD if n < HOT else self._dice.between(*LOAD) for n in range(NODES)]
        for number in range(VMS):
            milli = self._dice.pick((500, 1000, 2000, 4000))
            at = max(range(NODES), key=lambda n: left[n])
            left[at] -= milli / (CORES * 1000)
            if left[at] >= 0:
                await self._vm(f"vm{number:03}", f"n{at:02}", milli)

    async def _node(self, name: str) -> None:
        taint = {"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}
        labels = {names.HOSTNAME_LABEL: name, names.SCHEDULABLE_LABEL: "true"}
        await self._admin.create(
            scheme.NODE, {"metadata": {"name": name, "labels": labels}, "spec": {"taints": [taint]}}
        )
        room = {"cpu": str(CORES), "memory": "1Ti", "pods": "500"}
        ready = [{"type": "Ready", "status": "True"}]
        status = {"allocatable": room, "capacity": room, "conditions": ready}
        await self._admin.patch(scheme.NODE, name, "", {"status": status}, subresource="status")
        await self._admin.patch(scheme.NODE, name, "", {"spec": {"taints": [taint]}})

    async def _vm(self, name: str, node: str, milli: int) -> None:
        spec = {
            "cpu": {"cores": 1},
            "memory": {"size": "1Gi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
        }
        meta = {"name": name, "namespace": NAMESPACE}
        await self._admin.create(scheme.VM, {"metadata": meta, "spec": spec})
        await self._says(name, node)
        await self._pod(f"d8v-vm-{name}-0", node, milli, {names.VM_NAME_LABEL: name})

    async def _says(self, vm: str, node: str) -> None:
        owner = Client(self._api.transport(names.CONTROLLERS_USER, [names.CONTROLLERS_USER]))
        status = {"status": {"phase": "Running", "nodeName": node}}
        await owner.patch(scheme.VM, vm, NAMESPACE, status, subresource="status")

    async def _pod(self, name: str, node: str, milli: int, labels: dict[str, str]) -> None:
        ask = {"requests": {"cpu": f"{milli}m", "memory": "1Gi"}}
        created_by = "kubevirt.internal.virtualization.deckhouse.io/created-by"
        tolerations = [{"key": names.VM_NODE_TAINT, "operator": "Exists"}]
        await self._admin.create(
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

    async def _noise(self, cycle: int) -> None:
        """What else runs on each node: a twentieth of it, and a little more or less in each cycle."""
        for number in range(NODES):
            share = 0.05 + self._dice.between(-NOISE, NOISE)
            node = f"n{number:02}"
            if cycle:
                await self._admin.delete(scheme.POD, f"other-{node}", NAMESPACE, grace_s=0)
            await self._pod(f"other-{node}", node, int(share * CORES * 1000), {})

    # --- the mover ---

    async def _mover(self, door: Client) -> None:
        """Carries the operations out, one after another."""
        while True:
            found, _ = await door.list(scheme.VMOP, NAMESPACE)
            for vmop in found:
                if not vmops.finished(vmop):
                    await asyncio.sleep(MOVE_S)
                    await self._carry_out(door, vmop)
            await asyncio.sleep(1.0)

    async def _carry_out(self, door: Client, vmop: Object) -> None:
        name, vm = vmop["metadata"]["name"], vmops.vm_name(vmop)
        failed = self._dice.happens(FAILS)
        if not failed:
            plan = vmop["metadata"]["annotations"][names.REBALANCE_ANNOTATION]
            await self._moved(vm, vmops.node_selector(vmop)[names.HOSTNAME_LABEL], plan)
        completed = {
            "type": "Completed",
            "status": "False" if failed else "True",
            "reason": "Failed" if failed else "Completed",
            "message": "",
            "lastTransitionTime": rfc3339(self._clock.wall()),
        }
        status = {"phase": "Failed" if failed else "Completed", "conditions": [completed]}
        await door.patch(scheme.VMOP, name, NAMESPACE, {"status": status}, subresource="status")

    async def _moved(self, vm: str, target: str, plan: str) -> None:
        label = f"{names.VM_NAME_LABEL}={vm}"
        [pod], _ = await self._admin.list(scheme.POD, NAMESPACE, labels=label)
        source, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
        asked = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        number = len(self._moves) + 1
        await self._admin.delete(scheme.POD, name, NAMESPACE, grace_s=0)
        await self._pod(
            f"d8v-vm-{vm}-{number}", target, int(asked.rstrip("m")), {names.VM_NAME_LABEL: vm}
        )
        await self._says(vm, target)
        self._moves.append((asyncio.get_running_loop().time(), vm, source, target, plan))

    # --- the judge ---

    def _judge(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if not self._moves:
            raise Broken("noise", "nothing was moved: the story says nothing", now_s)
        late = {vm for at, vm, *_ in self._moves if at > FIRST * CYCLE_S}
        if len(late) > MOST_MOVED * VMS:
            raise Broken("at most 2 % of VMs a day", f"{len(late)} of {VMS} moved", now_s)
        homes: dict[str, list[str]] = {}
        last: dict[str, tuple[float, str]] = {}
        for at, vm, source, target, plan in self._moves:
            before_s, by = last.get(vm, (-COOLDOWN_S, ""))
            if at - before_s < COOLDOWN_S and by != plan:
                raise Broken("each VM rests for its cooldown", f"{vm} moved again", at)
            last[vm] = (at, plan)
            been = homes.setdefault(vm, [source])
            if target in been:
                raise Broken("no way back", f"{vm} went {[*been, target]}", now_s)
            been.append(target)

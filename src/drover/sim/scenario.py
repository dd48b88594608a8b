"""What people do in a world and see of it, in the words of the stories.

Stories and named scenarios are written with these verbs, so that they read as scripts: *create a
VM, evict it, when its memory is copied kill the source's agent*. Users write as administrators and
without a network between; what breaks is ``faults``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from drover.api import scheme
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.names import VM_NAME_LABEL
from drover.api.status import Conflict, NotFound
from drover.sim.parts import Dice
from drover.sim.qemu_model import Guest, ModelQemu

if TYPE_CHECKING:
    from collections.abc import Callable

    from drover.api.wire import Object
    from drover.sim.world import World

NAMESPACE = "default"
MARK_LIMIT_S = 120.0


class Scenario:
    """A world with people in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dice = Dice(f"users-{world.seed}")
        self.guests: dict[str, Guest] = {}  # by VM name; every copy of a VM runs the same guest
        self._operations = 0
        told = world.site.ledger.on_run

        def on_run(copy: str, vm: str) -> None:
            qemu = world.site.qemu(copy)
            qemu.guest = self.guests.get(vm.partition("/")[2], qemu.guest)
            told(copy, vm)

        world.site.ledger.on_run = on_run

    # --- what users do ---

    async def create_vm(
        self, name: str, policy: str = "AlwaysOn", guest: Guest | None = None, **spec: Any
    ) -> None:
        """A VM with one disk of its own; not waited for."""
        self.guests[name] = guest or Guest()
        disk = {"persistentVolumeClaim": {"size": "1Gi"}}
        if self.world.find(scheme.VDISK, name) is None:
            await self._create(scheme.VDISK, name, disk)
        wanted = {
            "runPolicy": policy,
            "cpu": {"cores": 1},
            "memory": {"size": "512Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
            "terminationGracePeriodSeconds": 10,
        }
        await self._create(scheme.VM, name, {**wanted, **spec})

    async def running_vm(self, name: str, **options: Any) -> None:
        await self.create_vm(name, **options)
        await self.until(lambda: self.runs(name), f"{name} runs", 60)

    async def operate(self, kind: str, vm: str, **spec: Any) -> str:
        """Create an operation; its name."""
        self._operations += 1
        name = f"{kind.lower()}-{vm}-{self._operations}"
        await self._create(scheme.VMOP, name, {"type": kind, "virtualMachineName": vm, **spec})
        self.world.note(f"user: {kind} {vm} as {name}")
        return name

    async def evict(self, vm: str) -> str:
        return await self.operate("Evict", vm)

    async def abort(self, operation: str) -> None:
        """Delete an operation."""
        self.world.note(f"user: deletes {operation}")
        await self._delete(scheme.VMOP, operation)

    async def delete_vm(self, name: str) -> None:
        self.world.note(f"user: deletes VM {name}")
        await self._delete(scheme.VM, name)

    async def delete_pod(self, name: str, grace_s: int | None = None) -> None:
        self.world.note(f"user: deletes Pod {name}")
        await self._delete(scheme.POD, name, grace_s)

    async def _create(self, kind: scheme.Kind, name: str, spec: Object) -> None:
        meta = {"name": name, "namespace": NAMESPACE}
        await self.world.user.create(kind, {"metadata": meta, "spec": spec})

    async def _delete(self, kind: scheme.Kind, name: str, grace_s: int | None = None) -> None:
        try:
            await self.world.user.delete(kind, name, NAMESPACE, grace_s=grace_s)
        except (NotFound, Conflict):
            return  # it went by itself meanwhile

    # --- what can be seen ---

    def vm(self, name: str) -> Object | None:
        return self.world.find(scheme.VM, name)

    def vm_status(self, name: str) -> Object:
        return (self.vm(name) or {}).get("status") or {}

    def phase(self, name: str) -> str:
        return str(self.vm_status(name).get("phase", ""))

    def node_of(self, name: str) -> str:
        return str(self.vm_status(name).get("nodeName", ""))

    def operation(self, name: str) -> Object | None:
        return self.world.find(scheme.VMOP, name)

    def operation_phase(self, name: str) -> str:
        found = self.operation(name)
        return str(vmops.phase(found) or "") if found else "gone"

    def operation_reason(self, name: str) -> str:
        return self._of_completed(name, "reason")

    def operation_message(self, name: str) -> str:
        return self._of_completed(name, "message")

    def _of_completed(self, name: str, field: str) -> str:
        status = (self.operation(name) or {}).get("status") or {}
        for condition in status.get("conditions") or []:
            if condition["type"] == "Completed":
                return str(condition.get(field, ""))
        return ""

    def lease(self, vm: str) -> Object | None:
        return self.world.find(scheme.VML, vm)

    def lease_spec(self, vm: str) -> Object:
        return dict((self.lease(vm) or {}).get("spec") or {})

    def migration(self, vm: str) -> Object | None:
        """The newest migration of the VM."""
        found = [
            vmm
            for vmm in self.world.api.objects(scheme.VMM)
            if vmm["spec"]["virtualMachineName"] == vm
        ]
        return max(found, key=_age) if found else None

    def pods_of(self, vm: str) -> list[Object]:
        """Pods of the VM that have not ended."""
        return [
            pod
            for pod in self.world.api.objects(scheme.POD)
            if (pod["metadata"].get("labels") or {}).get(VM_NAME_LABEL) == vm
            and not pods.ended(pod)
        ]

    def running_copies(self, vm: str) -> list[str]:
        return list(self.world.site.ledger.running.get(f"{NAMESPACE}/{vm}", []))

    def living(self, vm: str) -> list[ModelQemu]:
        """Its QEMU processes, running or not."""
        key = f"{NAMESPACE}/{vm}"
        return [q for q in self.world.site.qemus.values() if q.alive and q.spec.vm == key]

    def runs(self, vm: str) -> bool:
        """Up, by what users see and by the hardware."""
        copies = self.running_copies(vm)
        held = [self.lease_spec(vm).get("holder")] == copies
        return self.phase(vm) == "Running" and len(copies) == 1 and held

    def source(self, vm: str) -> ModelQemu:
        """The copy that sends, of the VM's newest migration."""
        return self.world.site.qemu(vmms.source_pod_uid(self._migration(vm)))

    def target(self, vm: str) -> ModelQemu:
        return self.world.site.qemu(vmms.target_pod_uid(self._migration(vm)))

    def _migration(self, vm: str) -> Object:
        found = self.migration(vm)
        if found is None:
            raise LookupError(f"VM {vm} was never moved")
        return found

    # --- waiting ---

    async def until(self, condition: Callable[[], bool], what: str, limit_s: float) -> None:
        await self.world.until(condition, what, limit_s)

    async def at(self, mark: str, limit_s: float = MARK_LIMIT_S) -> dict[str, Any]:
        """Wait for the next mark of this name; returns its fields at the very moment."""
        reached: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def tell(name: str, entry: dict[str, Any]) -> None:
            if name == mark and not reached.done():
                reached.set_result(entry)

        self.world.on_mark.append(tell)
        try:
            async with asyncio.timeout(limit_s):
                return await reached
        except TimeoutError:
            raise TimeoutError(f"no mark {mark} within {limit_s:g} s") from None
        finally:
            self.world.on_mark.remove(tell)

    async def finished(self, operation: str, limit_s: float = 120.0) -> str:
        """Wait for the end of an operation; its phase."""
        ends = ("Completed", "Failed", "Superseded", "gone")
        await self.until(
            lambda: self.operation_phase(operation) in ends, f"{operation} ends", limit_s
        )
        return self.operation_phase(operation)


def _age(vmm: Object) -> tuple[str, bool, int]:
    """Timestamps have seconds only; of two of one second the later is still open."""
    meta = vmm["metadata"]
    return str(meta["creationTimestamp"]), not vmms.final(vmm), int(meta["resourceVersion"])

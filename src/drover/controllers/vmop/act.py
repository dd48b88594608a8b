"""The effects of an operation's intents, by compare-and-swap on the version that was decided on."""

from __future__ import annotations

import contextlib
from typing import Literal

from drover.api import conditions, names, scheme, status
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vmop import VmopCondition, VmopEvent, VmopPhase, VmopReason, VmopType
from drover.api.meta import (
    annotations_of,
    generation_of,
    has_finalizer,
    labels_of,
    owner_reference,
    uid_of,
    with_finalizer,
    without_finalizer,
)
from drover.api.wire import Object
from drover.controllers.vmop import intents as story
from drover.controllers.vmop.gather import (
    REQUESTS,
    SIGNAL_ANNOTATION,
    SIGNALLED_POD_ANNOTATION,
    Caches,
    migration_name,
)
from drover.runtime.manager import Manager

_VM_EVENTS = {
    VmopType.EVICT: vms.VmEvent.EVICTED,
    VmopType.MIGRATE: vms.VmEvent.MIGRATED,
}
_EVENTS: dict[VmopPhase, tuple[Literal["Normal", "Warning"], str]] = {
    VmopPhase.PENDING: ("Normal", VmopEvent.PENDING),
    VmopPhase.IN_PROGRESS: ("Normal", VmopEvent.IN_PROGRESS),
    VmopPhase.COMPLETED: ("Normal", VmopEvent.SUCCEEDED),
    VmopPhase.FAILED: ("Warning", VmopEvent.FAILED),
}


class Actor:
    """Carries out intents; each gives the vmop as it is then."""

    def __init__(self, manager: Manager, caches: Caches) -> None:
        self._manager = manager
        self._caches = caches

    async def carry_out(self, vmop: Object, intent: story.Intent) -> Object:
        match intent:
            case story.Accept():
                return await self._accept(vmop)
            case story.SetStatus():
                return await self._set_status(vmop, intent)
            case story.SendSignal():
                return await self._send_signal(vmop)
            case story.WithdrawSignal():
                return await self._withdraw_signal(vmop)
            case story.CreateMigration():
                return await self._create_migration(vmop, intent)
            case story.DeleteMigration():
                return await self._delete_migration(vmop)
            case story.DropFinalizer():
                kept = without_finalizer(vmop, names.VMOP_FINALIZER)
                return await self._patch_meta(vmop, {"finalizers": kept})
        raise AssertionError(intent)

    async def _accept(self, vmop: Object) -> Object:
        vm = self._caches.vms.get(vmops.vm_key(vmop))
        labels = {names.VM_UID_LABEL: uid_of(vm)} if vm is not None else {}
        if has_finalizer(vmop, names.VMOP_FINALIZER) and labels.items() <= labels_of(vmop).items():
            return vmop  # made so, by another of our controllers
        finalizers = with_finalizer(vmop, names.VMOP_FINALIZER)
        return await self._patch_meta(vmop, {"finalizers": finalizers, "labels": labels})

    async def _set_status(self, vmop: Object, wanted: story.SetStatus) -> Object:
        wall = self._manager.clock.wall()
        before = vmops.phase(vmop)
        failed = wanted.phase is VmopPhase.FAILED
        holds = "Unknown" if not wanted.done else ("False" if failed else "True")
        generation = generation_of(vmop)
        present: list[Object] = list((vmop.get("status") or {}).get("conditions") or [])
        completed = conditions.condition(
            VmopCondition.COMPLETED, holds, str(wanted.reason), wanted.message, generation
        )
        signal = VmopReason.SIGNAL_SENT_SUCCESS
        sent = conditions.condition(
            VmopCondition.SIGNAL_SENT,
            wanted.signalled,
            str(signal) if wanted.signalled else "NotSent",
        )
        listed = conditions.set_condition(present, completed, wall)
        listed = conditions.set_condition(listed, sent, wall)
        patch = {
            "status": {
                "phase": str(wanted.phase),
                "progress": f"{wanted.percent}%",
                "conditions": listed,
                "observedGeneration": generation,
            }
        }
        if patch["status"] == {**(vmop.get("status") or {})}:
            return vmop
        answer = await self._write(vmop, patch, "status")
        if before is not wanted.phase:
            self._tell(answer, wanted, before)
        return answer

    def _tell(self, vmop: Object, wanted: story.SetStatus, before: VmopPhase | None) -> None:
        recorder, kind = self._manager.recorder, vmops.type_of(vmop)
        self._manager.log.mark(f"vmop.{wanted.phase.lower()}", vmop=vmop["metadata"]["name"])
        if wanted.phase in _EVENTS:
            level, reason = _EVENTS[wanted.phase]
            recorder.event(vmop, level, str(reason), wanted.message)
        vm = self._caches.vms.get(vmops.vm_key(vmop))
        starts = before is None and wanted.phase is VmopPhase.PENDING
        if vm is not None and starts and kind in _VM_EVENTS:
            words = f"{kind} initiated with VirtualMachineOperation"
            recorder.event(vm, "Normal", _VM_EVENTS[kind], words)

    async def _send_signal(self, vmop: Object) -> Object:
        """First the operation notes its request, then the VM gets it. The text is the same however often that is tried:
        an answer that is lost must not restart the VM twice."""
        vm = self._caches.vms.get(vmops.vm_key(vmop))
        if vm is None:
            return vmop
        kind = vmops.type_of(vmop)
        forced = ";force" if vmops.force(vmop) else ""
        text = f"{vmop['metadata']['name']};{vmop['metadata']['creationTimestamp']}{forced}"
        lease = self._caches.leases.get(vmops.vm_key(vmop))
        held = vmls.holder(lease) if lease is not None else ""
        if annotations_of(vmop).get(SIGNAL_ANNOTATION) != text:
            noted = {SIGNAL_ANNOTATION: text, SIGNALLED_POD_ANNOTATION: held}
            vmop = await self._patch_meta(vmop, {"annotations": noted})
        await self._request(vm, REQUESTS[kind], text)
        return vmop

    async def _request(self, vm: Object, annotation: str, text: str) -> None:
        meta = vm["metadata"]
        # Not to a new VM of the same name.
        patch = {"metadata": {"uid": meta["uid"], "annotations": {annotation: text}}}
        await self._manager.client.patch(scheme.VM, meta["name"], meta["namespace"], patch)

    async def _withdraw_signal(self, vmop: Object) -> Object:
        """On the VM as it was seen: one that has taken the request in since refuses this, and is looked at again."""
        vm = self._caches.vms.get(vmops.vm_key(vmop))
        if vm is not None:
            meta = vm["metadata"]
            patch: Object = {"metadata": {"annotations": {REQUESTS[vmops.type_of(vmop)]: None}}}
            await self._manager.client.patch(
                scheme.VM, meta["name"], meta["namespace"], patch, version=vm
            )
        return vmop

    async def _create_migration(self, vmop: Object, wanted: story.CreateMigration) -> Object:
        meta, vm = vmop["metadata"], self._caches.vms.get(vmops.vm_key(vmop))
        lease = self._caches.leases.get(vmops.vm_key(vmop))
        if vm is None or lease is None:
            return vmop
        source = {"name": self._caches.pod_name(vmls.holder(lease)), "uid": vmls.holder(lease)}
        spec: Object = {
            "virtualMachineName": vmops.vm_name(vmop),
            "operationName": meta["name"],
            "sourceNode": vmls.node(lease),
            "sourcePod": source,
            "autoConverge": wanted.auto_converge,
            "origin": str(vmops.origin(vmop)),
        }
        if vmops.node_selector(vmop):
            spec["nodeSelector"] = vmops.node_selector(vmop)
        if vmops.plan(vmop):
            spec["plan"] = vmops.plan(vmop)
        made: Object = {
            "apiVersion": scheme.VMM.api_version,
            "kind": scheme.VMM.kind,
            "metadata": {
                "name": migration_name(meta["name"]),
                "namespace": meta["namespace"],
                "finalizers": [names.VMM_FINALIZER],
                "ownerReferences": [owner_reference(scheme.VMOP, vmop)],
            },
            "spec": spec,
        }
        with contextlib.suppress(status.AlreadyExists):
            self._caches.migrations.observe(await self._manager.client.create(scheme.VMM, made))
        words = (
            f"Migration settings for operation type {vmops.type_of(vmop)}: "
            f"liveMigrationPolicy {wanted.policy}, autoConverge {str(wanted.auto_converge).lower()}"
        )
        self._manager.recorder.event(vmop, "Normal", str(VmopEvent.STARTED), words)
        return vmop

    async def _delete_migration(self, vmop: Object) -> Object:
        vmm = self._caches.own_migration(vmop)
        if vmm is not None:
            meta = vmm["metadata"]
            with contextlib.suppress(status.NotFound, status.Conflict):
                await self._manager.client.delete(
                    scheme.VMM, meta["name"], meta["namespace"], uid=meta["uid"]
                )
        return vmop

    async def _patch_meta(self, vmop: Object, meta: dict[str, object]) -> Object:
        return await self._write(vmop, {"metadata": meta}, "")

    async def _write(self, vmop: Object, patch: Object, subresource: str) -> Object:
        meta = vmop["metadata"]
        answer = await self._manager.client.patch(
            scheme.VMOP,
            meta["name"],
            meta["namespace"],
            patch,
            subresource=subresource,
            version=vmop,
        )
        self._caches.vmops.observe(answer)
        return answer

"""Wiring of the vmop controller: gather a view, decide, carry out the intents by compare-and-swap."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

from drover.api import conditions, names, scheme, status
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vmop import VmopCondition, VmopEvent, VmopPhase, VmopReason, VmopType
from drover.api.meta import (
    annotations_of,
    generation_of,
    has_finalizer,
    is_deleting,
    owner_reference,
    with_finalizer,
    without_finalizer,
)
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339, rfc3339
from drover.controllers.vmop import decide as story
from drover.controllers.vmop import review, rules
from drover.controllers.vmop.view import Other, VmmView, VmopView, VmView
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.manager import Manager

# On the vmop: what it asked of the VM, and who held the VM's lease then.
SIGNAL_ANNOTATION = "drover.dev/signal"
SIGNALLED_POD_ANNOTATION = "drover.dev/signalled-pod"
REQUESTS = {
    VmopType.START: "drover.dev/start-requested",
    VmopType.STOP: "drover.dev/stop-requested",
    VmopType.RESTART: "drover.dev/restart-requested",
}
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


def migration_name(vmop_name: str) -> str:
    """One vmm per operation; the same for every attempt to create it."""
    return f"vmop-{vmop_name}"


def wire(manager: Manager) -> VmopController:
    """Register the controller with ``manager``."""
    made = VmopController(manager)
    controller = Controller("vmop", made.reconcile)
    controller.watch(made.vmops, lambda vmop: [scheme.key_of(vmop), *made.of_vm(_vm_key(vmop))])
    controller.watch(made.vms, lambda vm: made.of_vm(scheme.key_of(vm)))
    controller.watch(made.leases, lambda vml: made.of_vm(scheme.key_of(vml)))
    controller.watch(made.migrations, _of_migration)
    manager.add(controller)
    return made


def _of_migration(vmm: Object) -> list[str]:
    return [f"{vmm['metadata']['namespace']}/{vmms.operation_name(vmm)}"]


def _vm_key(vmop: Object) -> str:
    return f"{vmop['metadata']['namespace']}/{vmops.vm_name(vmop)}"


class VmopController:
    """One reconcile function and its informers."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self.vmops = manager.informer(scheme.VMOP)
        self.vms = manager.informer(scheme.VM)
        self.leases = manager.informer(scheme.VML)
        self.migrations = manager.informer(scheme.VMM)
        self.pods = manager.informer(scheme.POD, labels=names.VM_NAME_LABEL)
        self.pods.add_index("uid", lambda pod: [pods.uid(pod)])
        self.vmops.add_index("open", lambda vmop: [] if vmops.finished(vmop) else [_vm_key(vmop)])

    def of_vm(self, key: str) -> list[str]:
        return [scheme.key_of(vmop) for vmop in self.vmops.by_index("open", key)]

    def review(self, request: Mapping[str, Any]) -> str | None:
        """Why the operation under review is refused; None when it is not."""
        namespace = request.get("namespace", "")
        new = request.get("object") or {}
        key = f"{namespace}/{(new.get('spec') or {}).get('virtualMachineName', '')}"
        return review.refusal(request, self.vmops.by_index("open", key))

    async def reconcile(self, key: str) -> Outcome:
        vmop = self.vmops.get(key)
        if vmop is None:
            return Done()
        for intent in story.decide(self._view(vmop)):
            vmop = await self._act(vmop, intent)
        return Done()

    def _view(self, vmop: Object) -> VmopView:
        meta = vmop["metadata"]
        vm, vmm = self.vms.get(_vm_key(vmop)), self._own_migration(vmop)
        older, newer = self._others(vmop)
        me = Other(meta["name"], vmops.type_of(vmop), bool(vmops.force(vmop)))
        takers = [other for other in newer if rules.supersedes(other, me)]
        return VmopView(
            name=meta["name"],
            namespace=meta["namespace"],
            type=vmops.type_of(vmop),
            vm_name=vmops.vm_name(vmop),
            phase=vmops.phase(vmop),
            deleting=is_deleting(vmop),
            has_finalizer=has_finalizer(vmop, names.VMOP_FINALIZER),
            force=vmops.force(vmop),
            signal=annotations_of(vmop).get(SIGNAL_ANNOTATION, ""),
            signalled_pod=annotations_of(vmop).get(SIGNALLED_POD_ANNOTATION, ""),
            progress_percent=vmops.progress_percent(vmop),
            vm=self._vm(vm),
            vmm=self._vmm(vmm),
            older=tuple(older),
            superseded_by=takers[0] if takers else None,
            foreign_migration=self._foreign(vmop, vm),
        )

    def _others(self, vmop: Object) -> tuple[list[Other], list[Other]]:
        """Unfinished operations on the same VM, older and newer ones; ties by name."""
        older: list[Other] = []
        newer: list[Other] = []
        mine = _age(vmop)
        for other in self.vmops.by_index("open", _vm_key(vmop)):
            meta = other["metadata"]
            if meta["uid"] == vmop["metadata"]["uid"]:
                continue
            known = Other(meta["name"], vmops.type_of(other), bool(vmops.force(other)))
            if _age(other) < mine:
                older.append(known)
            elif not is_deleting(other):
                newer.append(known)
        return older, newer

    def _vm(self, vm: Object | None) -> VmView | None:
        if vm is None:
            return None
        lease = self.leases.get(scheme.key_of(vm))
        holder = vmls.holder(lease) if lease is not None else ""
        power = vms.status(vm).get("power") or {}
        return VmView(
            uid=vm["metadata"]["uid"],
            phase=str(vms.status(vm).get("phase", "")),
            run_policy=vms.run_policy(vm),
            live_migration_policy=vms.live_migration_policy(vm),
            node=str(vms.status(vm).get("nodeName", "")),
            deleting=is_deleting(vm),
            holder=holder,
            holder_pod=self._pod_name(holder),
            handled=tuple((power.get("handled") or {}).values()),
            restarting=bool(power.get("restart")),
        )

    def _pod_name(self, uid: str) -> str:
        found = self.pods.by_index("uid", uid) if uid else []
        return found[0]["metadata"]["name"] if found else ""

    def _own_migration(self, vmop: Object) -> Object | None:
        meta = vmop["metadata"]
        return self.migrations.get(f"{meta['namespace']}/{migration_name(meta['name'])}")

    def _vmm(self, vmm: Object | None) -> VmmView | None:
        if vmm is None:
            return None
        said, source = vmms.status(vmm), vmms.source_report(vmm)
        began = said.get("startTimestamp")
        now = self._manager.clock.wall()
        return VmmView(
            phase=vmms.phase(vmm),
            deleting=is_deleting(vmm),
            reason=str(said.get("reason", "")),
            message=str(said.get("message", "")),
            target_node=vmms.target_node(vmm),
            target_pod=f"{vmm['metadata']['namespace']}/{vmms.target_pod_name(vmm)}",
            source_said=str(source.get("phase", "")),
            target_said=str(vmms.target_report(vmm).get("phase", "")),
            total_bytes=int(source.get("ramTotalBytes", 0)),
            transferred_bytes=int(source.get("ramTransferredBytes", 0)),
            remaining_bytes=int(source.get("ramRemainingBytes", 0)),
            iteration=int(source.get("iteration", 0)),
            throttle_percent=int(source.get("throttlePercent", 0)),
            auto_converge=vmms.auto_converge(vmm),
            elapsed_s=now - parse_rfc3339(str(began)) if began else 0.0,
        )

    def _foreign(self, vmop: Object, vm: Object | None) -> bool:
        if vm is None:
            return False
        own = migration_name(vmop["metadata"]["name"])
        key = scheme.key_of(vm)
        return any(
            vmm["metadata"]["name"] != own and not vmms.final(vmm)
            for vmm in self.migrations.by_index("vm", key)
        )

    async def _act(self, vmop: Object, intent: story.Intent) -> Object:
        match intent:
            case story.Accept():
                return await self._accept(vmop)
            case story.SetStatus():
                return await self._set_status(vmop, intent)
            case story.SendSignal():
                return await self._send_signal(vmop)
            case story.CreateMigration(auto_converge):
                return await self._create_migration(vmop, auto_converge)
            case story.DeleteMigration():
                return await self._delete_migration(vmop)
            case story.DropFinalizer():
                kept = without_finalizer(vmop, names.VMOP_FINALIZER)
                return await self._patch_meta(vmop, {"finalizers": kept})
        raise AssertionError(intent)

    async def _accept(self, vmop: Object) -> Object:
        vm = self.vms.get(_vm_key(vmop))
        labels = {names.VM_UID_LABEL: vm["metadata"]["uid"]} if vm is not None else {}
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
        vm = self.vms.get(_vm_key(vmop))
        starts = before is None and wanted.phase is VmopPhase.PENDING
        if vm is not None and starts and kind in _VM_EVENTS:
            words = f"{kind} initiated with VirtualMachineOperation"
            recorder.event(vm, "Normal", _VM_EVENTS[kind], words)

    async def _send_signal(self, vmop: Object) -> Object:
        """First the operation remembers its request, then the VM gets it: a crash between repeats the same text."""
        vm = self.vms.get(_vm_key(vmop))
        if vm is None:
            return vmop
        kind = vmops.type_of(vmop)
        forced = ";force" if vmops.force(vmop) else ""
        text = f"{vmop['metadata']['name']};{rfc3339(self._manager.clock.wall())}{forced}"
        lease = self.leases.get(_vm_key(vmop))
        held = vmls.holder(lease) if lease is not None else ""
        await self._request(vm, REQUESTS[kind], text)
        noted = {SIGNAL_ANNOTATION: text, SIGNALLED_POD_ANNOTATION: held}
        return await self._patch_meta(vmop, {"annotations": noted})

    async def _request(self, vm: Object, annotation: str, text: str) -> None:
        meta = vm["metadata"]
        patch = {"metadata": {"annotations": {annotation: text}}}
        await self._manager.client.patch(scheme.VM, meta["name"], meta["namespace"], patch)

    async def _create_migration(self, vmop: Object, auto_converge: bool) -> Object:
        meta, vm = vmop["metadata"], self.vms.get(_vm_key(vmop))
        lease = self.leases.get(_vm_key(vmop))
        if vm is None or lease is None:
            return vmop
        source = {"name": self._pod_name(vmls.holder(lease)), "uid": vmls.holder(lease)}
        spec: Object = {
            "virtualMachineName": vmops.vm_name(vmop),
            "operationName": meta["name"],
            "sourceNode": vmls.node(lease),
            "sourcePod": source,
            "autoConverge": auto_converge,
        }
        if vmops.node_selector(vmop):
            spec["nodeSelector"] = vmops.node_selector(vmop)
        wanted: Object = {
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
            self.migrations.observe(await self._manager.client.create(scheme.VMM, wanted))
        policy = vms.live_migration_policy(vm)
        words = (
            f"Migration settings for operation type {vmops.type_of(vmop)}: "
            f"liveMigrationPolicy {policy}, autoConverge {str(auto_converge).lower()}"
        )
        self._manager.recorder.event(vmop, "Normal", str(VmopEvent.STARTED), words)
        return vmop

    async def _delete_migration(self, vmop: Object) -> Object:
        vmm = self._own_migration(vmop)
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
        self.vmops.observe(answer)
        return answer


def _age(vmop: Object) -> tuple[str, str]:
    meta = vmop["metadata"]
    return meta["creationTimestamp"], meta["name"]

"""Wiring of the evacuation controller, and the effects of its intents: by compare-and-swap on what was read."""

from __future__ import annotations

import contextlib
import json

from drover.api import names, scheme
from drover.api.evacuation import blocked_patch, mark_of, mark_patch
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.meta import has_finalizer, name_of, uid_of, without_finalizer
from drover.api.status import AlreadyExists, Conflict, NotFound
from drover.api.wire import Object
from drover.base.ids import derived_suffix
from drover.controllers.evacuation import decide as story
from drover.controllers.evacuation.gather import Caches, Finder
from drover.controllers.evacuation.room import RoomFinder
from drover.controllers.evacuation.view import Operation
from drover.controllers.pictures import ClusterPicture
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

_NAMES_TRIED = 5


def wire(manager: Manager, picture: ClusterPicture) -> EvacuationController:
    """Register the controller with ``manager``."""
    rooms = RoomFinder(manager, picture)
    made = EvacuationController(manager, rooms.find)
    caches = made.caches
    controller = Controller("evacuation", made.reconcile)
    controller.watch(caches.vms, lambda vm: [scheme.key_of(vm)])
    controller.watch(caches.leases, lambda vml: [scheme.key_of(vml)])
    controller.watch(caches.vmops, lambda vmop: [vmops.vm_key(vmop)])
    controller.watch(caches.migrations, lambda vmm: [vmms.vm_key(vmm)])
    controller.watch(caches.pods, lambda pod: [pods.vm_key(pod)])
    # Room may have become free, or a node was uncordoned.
    controller.watch(rooms.pods, lambda pod: caches.marked_vms())
    controller.watch(caches.nodes, lambda node: caches.marked_vms())
    manager.add(controller)
    return made


class EvacuationController:
    """One reconcile function over keys of VMs."""

    def __init__(self, manager: Manager, finder: Finder) -> None:
        self._manager = manager
        self.caches = Caches(manager, finder)

    async def reconcile(self, key: str) -> Outcome:
        outcome: Outcome = Done()
        for intent in story.decide(self.caches.view(key)):
            if isinstance(intent, story.LookAgain):
                outcome = After(max(intent.after_s, 0.01))
            elif not await self._act(key, intent):
                return After(1.0)
        return outcome

    async def _act(self, key: str, intent: story.Intent) -> bool:
        """False: what follows must wait for another look."""
        match intent:
            case story.Unprotect(operation):
                await self._unprotect(key, operation)
            case story.Withdraw(operation):
                await self._withdraw(key, operation)
            case story.ConfirmUncordoned():
                return await self._uncordoned(key)
            case story.Unmark(why):
                await self._unmark(key, why)
            case story.Block(blocked):
                await self._patch_pod(key, blocked_patch(blocked))
                if blocked is not None:
                    self._tell(key, "Warning", "EvacuationBlocked", blocked.message)
            case story.Create():
                await self._create(key, intent)
        return True

    async def _unprotect(self, key: str, operation: Operation) -> None:
        vmop = self._operation(key, operation)
        if vmop is None or not has_finalizer(vmop, names.EVACUATION_FINALIZER):
            return
        kept = without_finalizer(vmop, names.EVACUATION_FINALIZER)
        with contextlib.suppress(NotFound):
            answer = await self._manager.client.patch(
                scheme.VMOP,
                name_of(vmop),
                vmop["metadata"]["namespace"],
                {"metadata": {"finalizers": kept}},
                version=vmop,
            )
            self.caches.vmops.observe(answer)

    async def _withdraw(self, key: str, operation: Operation) -> None:
        """Without our finalizer first: a protected one that is deleted calls the eviction off."""
        await self._unprotect(key, operation)
        namespace, _ = scheme.split_key(key)
        with contextlib.suppress(NotFound, Conflict):
            await self._manager.client.delete(
                scheme.VMOP, operation.name, namespace, uid=operation.uid
            )

    async def _uncordoned(self, key: str) -> bool:
        pod = self.caches.active_pod(key)
        if pod is None:
            return False
        try:
            node = await self._manager.client.get(scheme.NODE, pods.node_name(pod))
        except NotFound:
            return False
        return not nodes.cordoned(node)

    async def _unmark(self, key: str, why: str) -> None:
        pod = self.caches.active_pod(key)
        if pod is None or mark_of(pod) is None:
            return
        await self._patch_pod(key, mark_patch(None))
        self._manager.log.mark("eviction.called-off", vm=key, why=why)
        self._tell(key, "Normal", "EvictionCancelled", f"The eviction was called off: {why}")

    async def _patch_pod(self, key: str, patch: Object) -> None:
        pod = self.caches.active_pod(key)
        if pod is None:
            return
        with contextlib.suppress(NotFound):
            answer = await self._manager.client.patch(
                scheme.POD, name_of(pod), pod["metadata"]["namespace"], patch, version=pod
            )
            self.caches.pods.observe(answer)

    async def _create(self, key: str, wish: story.Create) -> None:
        """The name follows from Pod, mark and the failure before; another VM may have it by chance."""
        pod = self.caches.active_pod(key)
        mark = mark_of(pod) if pod is not None else None
        if pod is None or mark is None:
            return
        namespace, vm = scheme.split_key(key)
        known = self.caches.vms.get(key)
        labels = {names.VM_UID_LABEL: uid_of(known)} if known is not None else {}
        for salt in range(_NAMES_TRIED):
            name = operation_name(uid_of(pod), mark.at, wish.after, salt)
            try:
                made = await self._manager.client.create(
                    scheme.VMOP, _operation(name, namespace, vm, wish, labels)
                )
            except AlreadyExists:
                made = await self._manager.client.get(scheme.VMOP, name, namespace)
            self.caches.vmops.observe(made)
            if vmops.vm_name(made) == vm:
                break
        self._manager.log.mark("evacuation.created", vm=key, vmop=name)
        self._tell(key, "Normal", "EvictionRequired", f"Evacuation began with {name}")

    def _operation(self, key: str, operation: Operation) -> Object | None:
        namespace, _ = scheme.split_key(key)
        vmop = self.caches.vmops.get(f"{namespace}/{operation.name}")
        return vmop if vmop is not None and uid_of(vmop) == operation.uid else None

    def _tell(self, key: str, kind: str, reason: str, message: str) -> None:
        vm = self.caches.vms.get(key)
        if vm is not None:
            self._manager.recorder.event(
                vm, "Warning" if kind == "Warning" else "Normal", reason, message
            )


def operation_name(pod_uid: str, at: str, after: str, salt: int) -> str:
    """The same for every attempt to create one attempt's operation."""
    return names.EVACUATION_PREFIX + derived_suffix(f"{pod_uid} {at} {after} {salt}")


def _operation(
    name: str, namespace: str, vm: str, wish: story.Create, labels: dict[str, str]
) -> Object:
    """With all that the vmop controller would add at first: a drain begins with one for each VM, and a write less for
    each is felt."""
    annotations = {names.EVACUATION_ANNOTATION: "true"}
    if wish.pin:
        plan = {"node": wish.pin, "liftedAffinityTerms": list(wish.lift)}
        annotations[names.PLAN_ANNOTATION] = json.dumps(plan)
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": annotations,
            "labels": labels,
            "finalizers": [names.EVACUATION_FINALIZER, names.VMOP_FINALIZER],
        },
        "spec": {"type": "Evict", "virtualMachineName": vm},
    }

"""Wiring of the vm controller: what wakes a VM, and one pass over it: gather, decide, write the memory, act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from drover.api import names
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds.vm import DeviceKind
from drover.api.merge import merge_patch
from drover.api.meta import (
    has_finalizer,
    is_deleting,
    name_of,
    namespace_of,
    uid_of,
)
from drover.api.scheme import MODULECONFIG, VM, key_of
from drover.api.wire import Object
from drover.controllers.current import CurrentSettings
from drover.controllers.settings import is_settings, read
from drover.controllers.vm import moves, status
from drover.controllers.vm.act import Actor, Settings
from drover.controllers.vm.decide import decide
from drover.controllers.vm.gather import (
    Caches,
    dead_life,
    gather,
    lost_index,
)
from drover.controllers.vm.intents import Break, CreatePod, Decision
from drover.controllers.vm.recovery import Recovery
from drover.controllers.vm.view import VmView
from drover.controllers.writes import Writer
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

WORKERS = 4
RETRY_S = 2.0  # a disk in other hands, a node that has not joined, a lease being searched for


class VmReconciler:
    """One pass over one VM."""

    def __init__(self, manager: Manager, caches: Caches, settings: Settings) -> None:
        self._manager = manager
        self._caches = caches
        self._actor = Actor(manager, caches, settings)
        self._cluster = CurrentSettings(manager)
        self._recovery = Recovery(manager, caches)
        self._arriving: dict[str, tuple[str, float]] = {}  # VM: Pod it arrives in, first seen so
        self.wake: Callable[[str], None] = lambda key: None
        self._writer = Writer(manager.client, manager.clock, caches.vms)

    async def reconcile(self, key: str) -> Outcome:
        vm = self._caches.vms.get(key)
        if vm is None:
            self._actor.lease_found(key)  # or not needed any more
            self._arriving.pop(key, None)
            return Done()
        if not is_deleting(vm) and not has_finalizer(vm, names.VM_FINALIZER):
            await self._writer.add_finalizer(vm, names.VM_FINALIZER)
            return Done()
        refusal = self._actor.refusals.get(uid_of(vm))
        wanted = self._cluster.now().firmware_version
        view = await gather(
            self._caches, self._manager.client, self._manager.clock, vm, refusal, wanted
        )
        if view.own_lease is not None:
            self._actor.lease_found(key)
        ahead, ahead_s = self._recovery.ahead(vm)
        view = replace(view, ahead=ahead, ahead_s=ahead_s, missing_room=self._missing_room(view))
        decision = decide(view)
        unsaid_s = self._unsaid_s(key, view)
        if unsaid_s > 0 and not decision.acts and not decision.notes:
            return After(min(unsaid_s, decision.again_s or unsaid_s))
        view = replace(view, vm=await self._write_status(view, decision))
        for note in decision.notes:
            self._manager.recorder.event(
                view.vm, "Warning" if note.warning else "Normal", note.reason, note.message
            )
        for act in decision.acts:
            if not await self._actor.carry_out(view, act):
                return After(min(RETRY_S, decision.again_s or RETRY_S))
            if isinstance(act, CreatePod | Break):
                self.wake(self._recovery.first())
        waits = [wait_s for wait_s in (decision.again_s, moves.quiet_s(view) or None) if wait_s]
        return After(min(waits)) if waits else Done()

    def _unsaid_s(self, key: str, view: VmView) -> float:
        """How much longer a hand-over waits for the target's first word before it is told without it; 0: no longer."""
        target, now_s = moves.arriving(view), self._manager.clock.monotonic()
        if not target:
            self._arriving.pop(key, None)
            return 0.0
        seen, since_s = self._arriving.get(key, ("", 0.0))
        if seen != target:
            since_s = now_s
            self._arriving[key] = (target, now_s)
        return max(0.0, since_s + moves.ARRIVAL_S - now_s)

    def _missing_room(self, view: VmView) -> str:
        lease = view.own_lease
        if lease is None or not lost_index(lease):
            return ""
        waiting = [pod for pod in view.starters() if pods.unschedulable(pod) is not None]
        return self._recovery.missing(waiting[-1]) if waiting else ""

    async def _write_status(self, view: VmView, decision: Decision) -> Object:
        wanted = status.build(view, decision)
        patch = merge_patch(dict(vms.status(view.vm)), wanted)
        if not patch:
            return view.vm
        answer = await self._manager.client.patch(
            VM,
            name_of(view.vm),
            namespace_of(view.vm),
            {"status": patch},
            subresource="status",
            version=view.vm,
        )
        self._caches.vms.observe(answer)
        return answer


def wire(manager: Manager, settings: Settings) -> None:
    """Register the vm controller."""
    caches = Caches.of(manager)
    reconciler = VmReconciler(manager, caches, settings)
    controller = Controller("vm", reconciler.reconcile, workers=WORKERS)
    reconciler.wake = lambda key: controller.add(key) if key else None
    controller.watch(caches.vms, lambda vm: [key_of(vm)])
    controller.watch(caches.leases, lambda lease: [key_of(lease)])
    controller.watch(caches.pods, lambda pod: [pods.vm_key(pod)])
    controller.watch(caches.moves, lambda move: [vmms.vm_key(move)])
    controller.watch(caches.claims, lambda claim: _keys(caches, "claim", key_of(claim)))
    controller.watch(caches.disks, lambda disk: _device_users(caches, DeviceKind.DISK, disk))
    controller.watch(caches.images, lambda image: _device_users(caches, DeviceKind.IMAGE, image))
    controller.watch(
        caches.cluster_images, lambda image: _device_users(caches, DeviceKind.CLUSTER_IMAGE, image)
    )
    controller.watch(
        caches.classes,
        lambda vmclass: _keys(caches, "class", name_of(vmclass)) + _keys(caches, "class", ""),
    )
    controller.watch(
        caches.fences,
        lambda fence: [
            key_of(lease)
            for life in dead_life(fence)
            for lease in caches.leases.by_index("life", life)
        ],
    )
    controller.watch(
        manager.informer(MODULECONFIG),
        lambda found: [key_of(vm) for vm in caches.vms.all()] if is_settings(found) else [],
        lambda found: (
            read(found).firmware_version
        ),  # not the word on a rollout, which each move changes
    )
    manager.add(controller)


def _keys(caches: Caches, index: str, value: str) -> list[str]:
    return [key_of(vm) for vm in caches.vms.by_index(index, value)]


def _device_users(caches: Caches, kind: DeviceKind, obj: Object) -> list[str]:
    return _keys(caches, "device", f"{kind}/{key_of(obj)}")

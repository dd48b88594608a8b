"""Wiring of the placement controller, by keys of VMs. A changed class wakes its VMs, a changed node those that wait."""

from __future__ import annotations

from drover.api import names, scheme
from drover.api.kinds import vm as vms
from drover.api.kinds import vmop as vmops
from drover.api.meta import name_of
from drover.api.status import AlreadyExists, Forbidden
from drover.api.wire import Object
from drover.base.ids import derived_suffix
from drover.controllers.pictures import ClusterPicture
from drover.controllers.placement import decide as story
from drover.controllers.placement.gather import WISH_ANNOTATION, Caches
from drover.controllers.placement.view import PlacementView
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

_NAMES_TRIED = 5


def wire(manager: Manager, picture: ClusterPicture) -> None:
    """Register the controller with ``manager``."""
    made = PlacementController(manager, picture)
    caches = made.caches
    controller = Controller("placement", made.reconcile)
    controller.watch(caches.vms, lambda vm: [scheme.key_of(vm)])
    controller.watch(caches.vmops, lambda vmop: [vmops.vm_key(vmop)])
    controller.watch(caches.classes, made.users)
    controller.watch(picture.nodes, lambda _: sorted(made.waiting))
    manager.add(controller)


class PlacementController:
    """One reconcile function over keys of VMs."""

    def __init__(self, manager: Manager, picture: ClusterPicture) -> None:
        self._manager = manager
        self.caches = Caches(manager, picture)
        self.waiting: dict[str, str] = {}  # VMs that cannot move now, and what was told of them

    def users(self, vmclass: Object) -> list[str]:
        """A VM without a class of its own has the default one."""
        name = name_of(vmclass)
        return [
            scheme.key_of(vm) for vm in self.caches.vms.all() if vms.class_name(vm) in (name, "")
        ]

    async def reconcile(self, key: str) -> Outcome:
        view = self.caches.view(key)
        if not view.wished:
            self.caches.forget(key)
        intents = story.decide(view)
        if not any(isinstance(intent, story.Tell) for intent in intents):
            self.waiting.pop(key, None)
        outcome: Outcome = Done()
        for intent in intents:
            match intent:
                case story.Tell(message):
                    self._tell(key, message)
                case story.Create(why, after):
                    await self._create(key, view, why, after)
                case story.LookAgain(after_s):
                    outcome = After(max(after_s, 0.01))
        return outcome

    def _tell(self, key: str, message: str) -> None:
        vm = self.caches.vms.get(key)
        if vm is not None and self.waiting.get(key) != message:
            self._manager.recorder.event(vm, "Warning", "NodePlacementNotMatched", message)
        self.waiting[key] = message

    async def _create(self, key: str, view: PlacementView, why: str, after: str) -> None:
        """The name follows from VM, wish, Pod and the failure before; another VM may have it by chance."""
        vm = self.caches.vms.get(key)
        if vm is None:
            return
        namespace, vm_name = scheme.split_key(key)
        for salt in range(_NAMES_TRIED):
            seed = f"{vm['metadata']['uid']} {view.made_from} {view.wished} {after} {salt}"
            wanted = _operation(_name(seed), namespace, vm_name, view.wished)
            try:
                made = await self._manager.client.create(scheme.VMOP, wanted)
            except AlreadyExists:
                made = await self._manager.client.get(scheme.VMOP, _name(seed), namespace)
            except Forbidden as denied:  # another operation came first; its end wakes us
                self._manager.log.info("no placement update now", vm=key, why=denied.message)
                return
            self.caches.vmops.observe(made)
            if vmops.vm_name(made) == vm_name and not vmops.finished(made):
                break
        self._manager.log.mark("placement.update", vm=key, vmop=name_of(made), why=why)
        words = f"Its node does not satisfy what is asked for now ({why}); it moves with {name_of(made)}"
        self._manager.recorder.event(vm, "Normal", "NodePlacementNotMatched", words)


def _name(seed: str) -> str:
    return names.PLACEMENT_UPDATE_PREFIX + derived_suffix(seed)


def _operation(name: str, namespace: str, vm: str, wished: str) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {
                names.WORKLOAD_UPDATE_ANNOTATION: "true",
                WISH_ANNOTATION: wished,
            },
        },
        "spec": {"type": "Evict", "virtualMachineName": vm},
    }

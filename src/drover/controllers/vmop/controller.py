"""Wiring of the vmop controller: gather a view, decide, carry out the intents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drover.api import scheme
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.wire import Object
from drover.controllers.vmop import decide as story
from drover.controllers.vmop import review
from drover.controllers.vmop.act import Actor
from drover.controllers.vmop.gather import Caches
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.manager import Manager


def wire(manager: Manager) -> VmopController:
    """Register the controller with ``manager``."""
    made = VmopController(manager)
    caches = made.caches
    controller = Controller("vmop", made.reconcile)
    controller.watch(
        caches.vmops, lambda vmop: [scheme.key_of(vmop), *caches.of_vm(vmops.vm_key(vmop))]
    )
    controller.watch(caches.vms, lambda vm: caches.of_vm(scheme.key_of(vm)))
    controller.watch(caches.leases, lambda vml: caches.of_vm(scheme.key_of(vml)))
    controller.watch(caches.migrations, _of_migration)
    manager.add(controller)
    return made


def _of_migration(vmm: Object) -> list[str]:
    return [f"{vmm['metadata']['namespace']}/{vmms.operation_name(vmm)}"]


class VmopController:
    """One reconcile function, and the admission of new operations."""

    def __init__(self, manager: Manager) -> None:
        self.caches = Caches(manager)
        self._actor = Actor(manager, self.caches)

    def review(self, request: Mapping[str, Any]) -> str | None:
        """Why the operation under review is refused; None when it is not."""
        namespace = request.get("namespace", "")
        new = request.get("object") or {}
        key = f"{namespace}/{(new.get('spec') or {}).get('virtualMachineName', '')}"
        return review.refusal(request, self.caches.vmops.by_index("open", key))

    async def reconcile(self, key: str) -> Outcome:
        vmop = self.caches.vmops.get(key)
        if vmop is None:
            return Done()
        for intent in story.decide(self.caches.view(vmop)):
            vmop = await self._actor.carry_out(vmop, intent)
        return Done()

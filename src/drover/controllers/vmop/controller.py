"""Wiring of the vmop controller: gather a view, decide, carry out the intents.

Several operations are worked on at once, but those on one VM one after another: each looks at what the others are and
do, and a migration that is just being created is not in the cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from drover.api import scheme
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.status import NotFound
from drover.api.wire import Object
from drover.controllers.vmop import decide as story
from drover.controllers.vmop import review
from drover.controllers.vmop.act import Actor
from drover.controllers.vmop.gather import Caches
from drover.controllers.vmop.intents import SetStatus
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

WORKERS = 12
PACE_S = 0.4  # between two words on the way of one operation


def wire(manager: Manager) -> VmopController:
    """Register the controller with ``manager``."""
    made = VmopController(manager)
    caches = made.caches
    controller = Controller("vmop", made.reconcile, workers=WORKERS, lane=caches.vm_of)
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
        self._client, self._clock = manager.client, manager.clock
        self._told_at: dict[str, float] = {}  # when each operation was told last

    def review(self, request: Mapping[str, Any]) -> str | None:
        """Why the operation under review is refused; None when it is not."""
        namespace = request.get("namespace", "")
        new = request.get("object") or {}
        key = f"{namespace}/{(new.get('spec') or {}).get('virtualMachineName', '')}"
        return review.refusal(request, self.caches.vmops.by_index("open", key))

    async def reconcile(self, key: str) -> Outcome:
        vmop = self.caches.vmops.get(key)
        if vmop is None or vmops.finished(vmop):
            self._told_at.pop(key, None)
        if vmop is None:
            return Done()
        if not vmops.finished(vmop):
            await self._look_for_vm(vmop)
        for intent in story.decide(self.caches.view(vmop)):
            if isinstance(intent, SetStatus):
                wait_s = self._wait_s(key, vmop, intent)
                if wait_s > 0:
                    return After(wait_s)
                self._told_at[key] = self._clock.monotonic()
            vmop = await self._actor.carry_out(vmop, intent)
        return Done()

    async def _look_for_vm(self, vmop: Object) -> None:
        """A VM and its operation may be applied in one breath, and told by two watches in any order: that there is no
        such VM is for the API to say."""
        if self.caches.vms.get(vmops.vm_key(vmop)) is None:
            namespace, name = vmop["metadata"]["namespace"], vmops.vm_name(vmop)
            with contextlib.suppress(NotFound):
                self.caches.vms.observe(await self._client.get(scheme.VM, name, namespace))

    def _wait_s(self, key: str, vmop: Object, wanted: SetStatus) -> float:
        """How long a word on the way is kept back: a short move would be told in a dozen writes, each of which takes
        the time of a processor from the copy. A new phase and the end are told at once."""
        told_at = self._told_at.get(key)
        if told_at is None or wanted.done or vmops.phase(vmop) is not wanted.phase:
            return 0.0
        return told_at + PACE_S - self._clock.monotonic()

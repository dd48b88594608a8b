"""Objects that each namespace with VMs has: made with its first VM, mended when changed, removed after its last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drover.api.meta import is_deleting, namespace_of, uid_of
from drover.api.scheme import VM, Kind
from drover.api.status import AlreadyExists, Conflict, NotFound
from drover.api.wire import Object
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.manager import Manager


@dataclass(frozen=True)
class Companion:
    """``wanted`` gives the object for a namespace; ``part`` is the field that is held to it."""

    kind: Kind
    name: str
    part: str
    wanted: Callable[[str], Object]


class Companions:
    """One pass over one namespace."""

    def __init__(self, manager: Manager, companion: Companion) -> None:
        self._client = manager.client
        self._companion = companion
        self.vms = manager.informer(VM)
        self.found = manager.informer(companion.kind, fields=f"metadata.name={companion.name}")
        self.vms.add_index("namespace", lambda vm: [namespace_of(vm)])

    async def reconcile(self, namespace: str) -> Outcome:
        kind, part = self._companion.kind, self._companion.part
        vms = self.vms.by_index("namespace", namespace)
        present = self.found.get(f"{namespace}/{self._companion.name}")
        wanted = self._companion.wanted(namespace)
        if present is None and not all(is_deleting(vm) for vm in vms):
            await self._create(wanted)
        elif present is not None and not vms:
            await self._delete(present)
        elif present is not None and present[part] != wanted[part]:
            answer = await self._client.replace(kind, {**present, part: wanted[part]})
            self.found.observe(answer)
        return Done()

    async def _create(self, wanted: Object) -> None:
        try:
            self.found.observe(await self._client.create(self._companion.kind, wanted))
        except AlreadyExists:
            return  # the watch will tell

    async def _delete(self, present: Object) -> None:
        namespace, uid = namespace_of(present), uid_of(present)
        try:
            await self._client.delete(
                self._companion.kind, self._companion.name, namespace, uid=uid
            )
        except (NotFound, Conflict):
            return


def wire(manager: Manager, label: str, companion: Companion) -> None:
    """Register a controller of this companion under that name."""
    made = Companions(manager, companion)
    controller = Controller(label, made.reconcile)
    controller.watch(made.vms, lambda vm: [namespace_of(vm)], is_deleting)
    controller.watch(made.found, lambda found: [namespace_of(found)])
    manager.add(controller)

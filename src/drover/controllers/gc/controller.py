"""Wiring of the gc controller: one pass per VM, woken by what ends, and again when the oldest gets too old."""

from __future__ import annotations

from drover.api.kinds import pod as pods
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmop as vmops
from drover.api.meta import is_deleting, name_of, namespace_of, uid_of
from drover.api.names import VM_NAME_LABEL
from drover.api.scheme import POD, VML, VMOP, Kind, key_of
from drover.api.status import Conflict, NotFound
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339
from drover.controllers.gc.decide import KEEP_OPERATIONS, KEEP_PODS, MOST_AGE_S, surplus
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager


class Collector:
    """One pass over the past of one VM."""

    def __init__(self, manager: Manager) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self.operations = manager.informer(VMOP)
        self.pods = manager.informer(POD, labels=VM_NAME_LABEL)
        self.leases = manager.informer(VML)
        self.operations.add_index("gc-finished", _finished_key)
        self.pods.add_index("gc-ended", _ended_key)

    async def reconcile(self, key: str) -> Outcome:
        await self._remove(POD, surplus(self._ended_pods(key), KEEP_PODS))
        finished = self.operations.by_index("gc-finished", key)
        await self._remove(VMOP, surplus(finished, KEEP_OPERATIONS))
        now_s = self._clock.wall()
        ages = {uid_of(vmop): now_s - _born_s(vmop) for vmop in finished}
        await self._remove(
            VMOP, [v for v in finished if ages[uid_of(v)] >= MOST_AGE_S and not is_deleting(v)]
        )
        younger = [age for age in ages.values() if age < MOST_AGE_S]
        return After(MOST_AGE_S - max(younger)) if younger else Done()

    def _ended_pods(self, key: str) -> list[Object]:
        """A Pod that ended and still holds the lease is about to be let go: not yet ours."""
        lease = self.leases.get(key)
        holder = vmls.holder(lease) if lease is not None else ""
        return [pod for pod in self.pods.by_index("gc-ended", key) if uid_of(pod) != holder]

    async def _remove(self, kind: Kind, objects: list[Object]) -> None:
        for obj in objects:
            try:
                await self._client.delete(kind, name_of(obj), namespace_of(obj), uid=uid_of(obj))
            except (NotFound, Conflict):
                continue


def _born_s(obj: Object) -> float:
    return parse_rfc3339(obj["metadata"]["creationTimestamp"])


def _finished_key(vmop: Object) -> list[str]:
    return [vmops.vm_key(vmop)] if vmops.finished(vmop) else []


def _ended_key(pod: Object) -> list[str]:
    return [pods.vm_key(pod)] if pods.ended(pod) else []


def wire(manager: Manager) -> None:
    """Register the gc controller."""
    made = Collector(manager)
    controller = Controller("gc", made.reconcile)
    controller.watch(made.operations, lambda vmop: [vmops.vm_key(vmop)])
    controller.watch(made.pods, lambda pod: [pods.vm_key(pod)])
    controller.watch(made.leases, lambda lease: [key_of(lease)])
    manager.add(controller)

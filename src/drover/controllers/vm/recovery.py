"""After the loss of a node: whose Pod is made first, and what is missing for those that find no room.

kube-scheduler takes the highest priority first, but only of the Pods that are there; what it has placed it does not
push away for a later one, for the Pods of VMs preempt nobody. So the Pods of lost VMs are made in the order of
priority, then age. One that cannot be made (a quota, a missing class) holds the others up for ``YIELD_S`` at most.
"""

from __future__ import annotations

from collections.abc import Iterator

from drover.api import names
from drover.api.kinds import nodefence
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds.nodefence import FencePhase
from drover.api.meta import is_deleting, uid_of
from drover.api.scheme import PRIORITYCLASS, key_of
from drover.api.wire import Object
from drover.controllers.forecast import missing_room, restart_rank
from drover.controllers.pictures import ClusterPicture
from drover.controllers.planning import pod_of
from drover.controllers.vm.gather import Caches, dead_life, lost_index
from drover.controllers.vm.power import starts_again
from drover.runtime.manager import Manager

YIELD_S = 5.0


class Recovery:
    """One per process; remembers only since when a VM has been held up."""

    def __init__(self, manager: Manager, caches: Caches) -> None:
        self._caches = caches
        self._clock = manager.clock
        self._priorities = manager.informer(PRIORITYCLASS)
        self._picture = ClusterPicture(manager)
        self._since_s: dict[str, float] = {}

    def first(self) -> str:
        """Of the lost VMs that still wait for a Pod, the one whose turn it is; empty: none waits."""
        waiting = [vm for vm in self._lost() if not self._has_pod(vm)]
        return key_of(min(waiting, key=self._rank)) if waiting else ""

    def ahead(self, vm: Object) -> tuple[str, float]:
        """The VM that ``vm``, if it is a lost one without a Pod, has to let go first, and for how long at most."""
        lease = self._caches.leases.get(key_of(vm))
        if lease is None or not lost_index(lease) or self._has_pod(vm):
            self._since_s.pop(uid_of(vm), None)
            return "", 0.0
        first = self.first()
        since_s = self._since_s.setdefault(uid_of(vm), self._clock.monotonic())
        left_s = since_s + YIELD_S - self._clock.monotonic()
        return (first, left_s) if first not in ("", key_of(vm)) and left_s > 0 else ("", 0.0)

    def _lost(self) -> Iterator[Object]:
        """VMs whose node was fenced and which shall run: their lease is broken, or will be in a moment."""
        caches = self._caches
        leases = [*caches.leases.by_index("lost", "yes")]
        for fence in caches.fences.all():
            if nodefence.proves_dead(fence):
                leases += caches.leases.by_index("life", dead_life(fence)[0])
        for lease in leases:
            vm = caches.vms.get(key_of(lease))
            if vm is None or is_deleting(vm):
                continue
            if starts_again(vms.run_policy(vm), names.LastReason.NODE_LOST):
                yield vm

    def _has_pod(self, vm: Object) -> bool:
        """One that may still start it."""
        lease = self._caches.leases.get(key_of(vm))
        if lease is not None and not vmls.released(lease):
            return False  # it holds its dead node's lease still
        own = self._caches.pods.by_index("vm", key_of(vm))
        dying = self._dying()
        return any(
            not pods.ended(pod) and not pods.deleting(pod) and pods.node_name(pod) not in dying
            for pod in own
        )

    def _dying(self) -> set[str]:
        """Nodes that are fenced, and whose Pods are about to be taken away one after the other."""
        fences = self._caches.fences.all()
        return {nodefence.node(f) for f in fences if nodefence.phase(f) is FencePhase.FENCED}

    def _rank(self, vm: Object) -> tuple[int, str, str]:
        found = self._priorities.get(vms.priority_class(vm) or names.VM_PRIORITY_CLASS)
        return restart_rank(vm, int(found.get("value", 0)) if found is not None else 0)

    def missing(self, pod: Object) -> str:
        """For a Pod that waits for room: ``n2 lacks 500m of cpu``. Empty: room is not what it waits for."""
        return missing_room(self._picture.now(), pod_of(pod, comes=True))

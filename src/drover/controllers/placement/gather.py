"""Reads the caches into a ``PlacementView``. The planner is asked only about VMs whose wish has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from drover.api import conditions, placement, scheme, vmpod
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vm import VmCondition, VmPhase
from drover.api.kinds.vmop import VmopCondition, VmopPhase
from drover.api.meta import annotations_of, is_deleting, name_of, namespace_of, uid_of
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339
from drover.controllers.pictures import ClusterPicture
from drover.controllers.placement.view import Failure, PlacementView
from drover.controllers.planning import pod_of, target_of
from drover.planner import Cluster, Toleration, fit
from drover.planner.fit import (
    NODE_AFFINITY,
    NOT_NAMED,
    POD_AFFINITY,
    POD_ANTI_AFFINITY,
    TAINTED,
)
from drover.runtime.manager import Manager

WISH_ANNOTATION = "drover.dev/placement"  # on an operation of ours: the wish it carries out

# What is asked for; a cordon, a lack of room and what other Pods ask for are no reasons to leave.
_REASONS = (TAINTED, NODE_AFFINITY, NOT_NAMED, POD_AFFINITY, POD_ANTI_AFFINITY)
# Taints by which Kubernetes tells of a node's state: they ask nobody to leave for ever.
_STATES = ("unschedulable", "not-ready", "unreachable")


class Caches:
    """The informers of the placement controller, and since when each wish stands."""

    def __init__(self, manager: Manager, picture: ClusterPicture) -> None:
        self._clock = manager.clock
        self._picture = picture
        self.vms = manager.informer(scheme.VM)
        self.vmops = manager.informer(scheme.VMOP)
        self.classes = manager.informer(scheme.VMCLASS)
        self.vmops.add_index("placement-vm", lambda vmop: [vmops.vm_key(vmop)])
        self._since: dict[str, tuple[str, float]] = {}

    def forget(self, key: str) -> None:
        self._since.pop(key, None)

    def view(self, key: str) -> PlacementView:
        """A VM that is gone, or does not run, has nothing to be decided."""
        view = PlacementView(self._clock.wall())
        vm = self.vms.get(key)
        pod = self._active_pod(vm) if vm is not None else None
        vmclass = classes.chosen(vms.class_name(vm), self.classes.all()) if vm else None
        if vm is None or pod is None or vmclass is None or is_deleting(vm) or pods.deleting(pod):
            return view
        wished = placement.digest(vm, vmclass)
        migratable = conditions.get_condition(vm, VmCondition.MIGRATABLE) or {}
        view = replace(
            view,
            running=vms.phase(vm) is VmPhase.RUNNING,
            busy=self._busy(key) or conditions.is_true(vm, VmCondition.EVICTION_REQUIRED),
            migratable=migratable.get("status") != conditions.FALSE,
            not_migratable_why=str(migratable.get("message", "")),
            wished=wished,
            made_from=annotations_of(pod).get(placement.DIGEST_ANNOTATION, ""),
            steady_s=self._steady_s(key, f"{wished} {uid_of(pod)}"),
        )
        if not view.changed or not view.running or view.busy:
            return view
        found = fit(self._picture.now(), target_of(pod, now=vmpod.Now(vm, vmclass)))
        return replace(
            view,
            unsatisfied=refusal(self._picture.now(), pod, placement.of(vm, vmclass)),
            room=found.nodes,
            no_room=found.message,
            failures=self._failures(key, wished),
        )

    def _steady_s(self, key: str, state: str) -> float:
        """Of the wish and of the VM's Pod, counted from when they were seen first; a restart counts anew."""
        now = self._clock.monotonic()
        seen, since = self._since.get(key, ("", now))
        if seen != state:
            since = now
        self._since[key] = (state, since)
        return now - since

    def _active_pod(self, vm: Object) -> Object | None:
        for entry in vms.status(vm).get("virtualMachinePods") or []:
            if entry.get("active"):
                return self._picture.pods.get(f"{namespace_of(vm)}/{entry['name']}")
        return None

    def _busy(self, key: str) -> bool:
        return any(not vmops.finished(op) for op in self.vmops.by_index("placement-vm", key))

    def _failures(self, key: str, wished: str) -> tuple[Failure, ...]:
        ours = [
            op
            for op in self.vmops.by_index("placement-vm", key)
            if vmops.origin(op) is vmops.Origin.PLACEMENT
            and annotations_of(op).get(WISH_ANNOTATION) == wished
        ]
        row: list[Failure] = []
        for op in sorted(ours, key=_end):
            row = [*row, _failure(op)] if vmops.phase(op) is VmopPhase.FAILED else []
        return tuple(row)


def refusal(cluster: Cluster, pod: Object, wish: Mapping[str, Any]) -> str:
    """Why the Pod's own node would not take it with this wish; empty: it would."""
    rest = {name: value for name, value in pod["spec"].items() if name not in placement.FIELDS}
    asks = pod_of({**pod, "spec": {**rest, **wish}}, comes=True)
    at_home = [Toleration(f"node.kubernetes.io/{state}", exists=True) for state in _STATES]
    asks = replace(asks, requests={}, spread=(), tolerations=(*asks.tolerations, *at_home))
    node = pods.node_name(pod)
    if asks.key in cluster.pods.row_of:
        cluster = cluster.moved({asks.key: ""})
    reasons = fit(cluster, asks).refusals.get(node, ())
    return "; ".join(why for why in reasons if why in _REASONS)


def _failure(vmop: Object) -> Failure:
    completed = conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}
    return Failure(uid_of(vmop), name_of(vmop), _end(vmop)[0], str(completed.get("message", "")))


def _end(vmop: Object) -> tuple[float, str]:
    completed = conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}
    ended = completed.get("lastTransitionTime") if vmops.finished(vmop) else None
    return parse_rfc3339(str(ended)) if ended else 0.0, name_of(vmop)

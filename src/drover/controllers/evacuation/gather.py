"""Reads the caches into an ``EvacuationView``. The mark counts on the Pod that holds the VM's lease: a Pod that has
handed it over, or never had it, is no concern of an evacuation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from drover.api import conditions, names, scheme
from drover.api.evacuation import blocked_of, mark_of
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vm import VmCondition, VmPhase
from drover.api.kinds.vmop import VmopCondition
from drover.api.meta import annotations_of, has_finalizer, is_deleting, name_of, namespace_of
from drover.api.names import VmmPhase
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339
from drover.controllers.evacuation import decide as story
from drover.controllers.evacuation.view import EvacuationView, Operation, Room
from drover.runtime.manager import Manager

Finder = Callable[[Object], Room]  # where a copy of this Pod could run


class Caches:
    """The informers of the evacuation controller, with their indices."""

    def __init__(self, manager: Manager, finder: Finder) -> None:
        self._clock = manager.clock
        self._finder = finder
        self.vms = manager.informer(scheme.VM)
        self.leases = manager.informer(scheme.VML)
        self.nodes = manager.informer(scheme.NODE)
        self.vmops = manager.informer(scheme.VMOP)
        self.migrations = manager.informer(scheme.VMM)
        self.pods = manager.informer(scheme.POD, labels=names.VM_NAME_LABEL)
        self.pods.add_index("uid", lambda pod: [pods.uid(pod)])
        self.pods.add_index("marked", _marked)
        self.vmops.add_index("evacuation-vm", lambda vmop: [vmops.vm_key(vmop)])
        self.migrations.add_index("evacuation-op", lambda vmm: [_operation_key(vmm)])

    def marked_vms(self) -> list[str]:
        """Keys of the VMs with a marked Pod: whose turn may come with any change of the cluster."""
        return [pods.vm_key(pod) for pod in self.pods.by_index("marked", "yes")]

    def active_pod(self, key: str) -> Object | None:
        """The Pod that holds the VM's lease."""
        lease = self.leases.get(key)
        holder = vmls.holder(lease) if lease is not None else ""
        found = self.pods.by_index("uid", holder) if holder else []
        return found[0] if found else None

    def doing(self, key: str) -> str:
        """The message of the evacuation that is under way."""
        unfinished = [op for op in self._operations(key) if not op.finished]
        return f"{unfinished[0].name}: {unfinished[0].message}" if unfinished else ""

    def view(self, key: str) -> EvacuationView:
        vm, pod = self.vms.get(key), self.active_pod(key)
        view = EvacuationView(
            now_s=self._clock.wall(), operations=self._operations(key), other=self._other(key)
        )
        if vm is None or pod is None or is_deleting(vm) or pods.ended(pod) or pods.deleting(pod):
            return view
        mark, node = mark_of(pod), self.nodes.get(pods.node_name(pod))
        condition = conditions.get_condition(vm, VmCondition.MIGRATABLE) or {}
        view = replace(
            view,
            running=vms.phase(vm) is VmPhase.RUNNING,
            not_running_why=_not_running(vm),
            copying=vms.phase(vm) is VmPhase.MIGRATING or self._copying(namespace_of(vm), view),
            migratable=condition.get("status") != conditions.FALSE,
            not_migratable_why=str(condition.get("message", "")),
            node=pods.node_name(pod),
            cordoned=node is None or nodes.cordoned(node),
            mark=mark,
            marked_s=parse_rfc3339(mark.at) if mark is not None and mark.at else 0.0,
            blocked=blocked_of(pod),
        )
        if story.wants_room(view):
            view = replace(view, room=self._finder(pod))
        return view

    def _operations(self, key: str) -> tuple[Operation, ...]:
        found = [op for op in self.vmops.by_index("evacuation-vm", key) if _is_ours(op)]
        return tuple(self._operation(op) for op in sorted(found, key=_age))

    def _operation(self, vmop: Object) -> Operation:
        completed = conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}
        ended = completed.get("lastTransitionTime") if vmops.finished(vmop) else None
        return Operation(
            name=name_of(vmop),
            uid=vmop["metadata"]["uid"],
            phase=vmops.phase(vmop),
            deleting=is_deleting(vmop),
            protected=has_finalizer(vmop, names.EVACUATION_FINALIZER),
            born_s=parse_rfc3339(vmop["metadata"]["creationTimestamp"]),
            ended_s=parse_rfc3339(str(ended)) if ended else 0.0,
            message=str(completed.get("message", "")),
            unschedulable=self._unschedulable(vmop),
        )

    def _unschedulable(self, vmop: Object) -> str:
        for vmm in self.migrations.by_index("evacuation-op", scheme.key_of(vmop)):
            said = vmms.status(vmm)
            if vmms.phase(vmm) == VmmPhase.SCHEDULING and said.get("reason") == _UNSCHEDULABLE:
                return str(said.get("message", ""))
        return ""

    def _copying(self, namespace: str, view: EvacuationView) -> bool:
        """Or past it: nothing that a word could call off."""
        op = view.unfinished
        moves = self.migrations.by_index("evacuation-op", f"{namespace}/{op.name}") if op else []
        return any(vmms.phase(vmm) in (VmmPhase.COPYING, VmmPhase.SUCCEEDED) for vmm in moves)

    def _other(self, key: str) -> str:
        """An unfinished operation on the VM that somebody else made."""
        for vmop in self.vmops.by_index("evacuation-vm", key):
            if not vmops.finished(vmop) and not _is_ours(vmop):
                return name_of(vmop)
        return ""


def _not_running(vm: Object) -> str:
    said = (conditions.get_condition(vm, VmCondition.RUNNING) or {}).get("message")
    return f"it is {vms.phase(vm)}, and can be moved once it runs" + (f": {said}" if said else "")


_UNSCHEDULABLE = "TargetUnschedulable"


def _operation_key(vmm: Object) -> str:
    return f"{namespace_of(vmm)}/{vmms.operation_name(vmm)}"


def _is_ours(vmop: Object) -> bool:
    return annotations_of(vmop).get(names.EVACUATION_ANNOTATION) == "true"


def _marked(pod: Object) -> list[str]:
    return ["yes"] if mark_of(pod) is not None and not pods.ended(pod) else []


def _age(vmop: Object) -> tuple[str, str]:
    return vmop["metadata"]["creationTimestamp"], name_of(vmop)

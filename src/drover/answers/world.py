"""One look at a cluster: the objects by kind, found by what they belong to. Read-only.

``missing`` names the kinds that could not be read (forbidden, or not installed): an answer that would need them is left
out, and who prints the answers says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from drover.api import names, scheme
from drover.api.kinds import nodefence
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.pod import PodPhase
from drover.api.kinds.vm import DeviceKind
from drover.api.meta import name_of, namespace_of, uid_of
from drover.api.scheme import Kind, key_of
from drover.api.wire import Object
from drover.controllers.planning import snapshot
from drover.controllers.settings import Settings, read
from drover.planner import Cluster

# What is read, in this order. Secrets are not among it.
KINDS: tuple[Kind, ...] = (
    scheme.VM, scheme.VMOP, scheme.VMM, scheme.VML, scheme.VMCLASS, scheme.VDISK, scheme.VIMAGE, scheme.CVIMAGE,
    scheme.VMIP, scheme.POD, scheme.NODE, scheme.NODEGROUP, scheme.NODEFENCE, scheme.NODEROSTER, scheme.MODULECONFIG,
    scheme.NAMESPACE, scheme.DESCHEDULER, scheme.REBALANCEPLAN, scheme.PRIORITYCLASS,
)  # fmt: skip
# What a block device of a VM refers to.
DEVICES: dict[DeviceKind, Kind] = {
    DeviceKind.DISK: scheme.VDISK,
    DeviceKind.IMAGE: scheme.VIMAGE,
    DeviceKind.CLUSTER_IMAGE: scheme.CVIMAGE,
}
_BY_NAME = {(kind.group, kind.kind): kind for kind in KINDS}


class NoSuch(LookupError):
    """What was asked about is not there. ``str()`` names it and the way out."""


@dataclass(frozen=True)
class World:
    """``now_s`` is wall time, for what waits until a moment."""

    objects: dict[Kind, dict[str, Object]]
    now_s: float
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Iterable[Object], now_s: float, missing: Iterable[str] = ()) -> World:
        """From objects that name their ``apiVersion`` and ``kind``; those of other kinds are passed over."""
        objects: dict[Kind, dict[str, Object]] = {kind: {} for kind in KINDS}
        for obj in found:
            group = str(obj.get("apiVersion", "")).rpartition("/")[0]
            kind = _BY_NAME.get((group, str(obj.get("kind", ""))))
            if kind is not None:
                objects[kind][key_of(obj)] = obj
        return cls(objects, now_s, tuple(missing))

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        return self.objects[kind].get(f"{namespace}/{name}" if kind.namespaced else name)

    def all(self, kind: Kind) -> list[Object]:
        """In the order of keys."""
        return [obj for _, obj in sorted(self.objects[kind].items())]

    # --- of a VM ---

    @property
    def leased(self) -> bool:
        """Whether the leases were read; without them the Pods tell where VMs are."""
        return scheme.VML.kind not in self.missing

    def vm(self, key: str) -> Object | None:
        return self.objects[scheme.VM].get(key)

    def lease(self, vm: Object) -> Object | None:
        """Its vml; one of a former VM of that name is none of its."""
        lease = self.objects[scheme.VML].get(key_of(vm))
        owners = [
            ref["uid"]
            for ref in (lease or {"metadata": {}})["metadata"].get("ownerReferences") or ()
        ]
        return lease if uid_of(vm) in owners else None

    def pods_of(self, vm: Object) -> list[Object]:
        """Oldest first."""
        return self._of_vm[scheme.POD].get(key_of(vm), [])

    def holder_pod(self, vm: Object) -> Object | None:
        """The Pod that runs the guest."""
        if not self.leased:
            running = [pod for pod in self.pods_of(vm) if _runs(pod)]
            return running[0] if running else None
        lease = self.lease(vm)
        holder = vmls.holder(lease) if lease is not None else ""
        return next((pod for pod in self.pods_of(vm) if uid_of(pod) == holder), None)

    def node_of(self, vm: Object) -> str:
        """The node that may run it; empty: none."""
        if not self.leased:
            pod = self.holder_pod(vm)
            return pods.node_name(pod) if pod is not None else ""
        lease = self.lease(vm)
        return vmls.node(lease) if lease is not None and not vmls.released(lease) else ""

    def operations_of(self, vm: Object) -> list[Object]:
        """Oldest first."""
        return self._of_vm[scheme.VMOP].get(key_of(vm), [])

    def moves_of(self, vm: Object) -> list[Object]:
        """Its vmms, oldest first."""
        return self._of_vm[scheme.VMM].get(key_of(vm), [])

    def move_of(self, vmop: Object) -> Object | None:
        """The vmm that carries an operation out."""
        moves = self._of_vm[scheme.VMM].get(vmops.vm_key(vmop), [])
        found = [move for move in moves if vmms.operation_name(move) == name_of(vmop)]
        return found[-1] if found else None

    @cached_property
    def _of_vm(self) -> dict[Kind, dict[str, list[Object]]]:
        """Pods, operations and migrations by their VM, oldest first."""
        named = {scheme.POD: pods.vm_name, scheme.VMOP: vmops.vm_name, scheme.VMM: vmms.vm_name}
        found: dict[Kind, dict[str, list[Object]]] = {}
        for kind, name_in in named.items():
            by_vm = found.setdefault(kind, {})
            for obj in sorted(self.objects[kind].values(), key=_age):
                by_vm.setdefault(f"{namespace_of(obj)}/{name_in(obj)}", []).append(obj)
        return found

    def class_of(self, vm: Object) -> Object | None:
        return classes.chosen(vms.class_name(vm), self.all(scheme.VMCLASS))

    def priority_of(self, vm: Object) -> int:
        found = self.get(scheme.PRIORITYCLASS, vms.priority_class(vm) or names.VM_PRIORITY_CLASS)
        return int(found.get("value", 0)) if found is not None else 0

    # --- of a node ---

    def fences_of(self, node: str) -> list[Object]:
        """Oldest first."""
        found = [fence for fence in self.all(scheme.NODEFENCE) if nodefence.node(fence) == node]
        return sorted(found, key=_age)

    def vms_on(self, node: str) -> list[Object]:
        """The VMs that a life of this node may run, in the order of keys."""
        return self._on_node.get(node, [])

    @cached_property
    def _on_node(self) -> dict[str, list[Object]]:
        found: dict[str, list[Object]] = {}
        for vm in self.all(scheme.VM):
            found.setdefault(self.node_of(vm), []).append(vm)
        return found

    # --- of all ---

    @property
    def config(self) -> Object | None:
        return self.get(scheme.MODULECONFIG, names.MODULE_CONFIG)

    @cached_property
    def settings(self) -> Settings:
        return read(self.config)

    @cached_property
    def picture(self) -> Cluster:
        """As the planner sees it."""
        return snapshot(self.all(scheme.NODE), self.all(scheme.POD), self.all(scheme.NAMESPACE))


def _runs(pod: Object) -> bool:
    arriving = bool(pods.migration_name(pod)) and pods.phase(pod) is PodPhase.PENDING
    return bool(pods.node_name(pod)) and not pods.ended(pod) and not arriving


def _age(obj: Object) -> tuple[str, str]:
    return str(obj["metadata"].get("creationTimestamp", "")), name_of(obj)

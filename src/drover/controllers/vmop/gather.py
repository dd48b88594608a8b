"""What the vmop controller sees: its caches, and the view of one operation made from them. No decisions here."""

from __future__ import annotations

from drover.api import names, scheme
from drover.api.conditions import FALSE, get_condition
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vm import VmCondition
from drover.api.kinds.vmop import VmopType
from drover.api.meta import annotations_of, has_finalizer, is_deleting
from drover.api.wire import Object
from drover.base.clock import Clock, parse_rfc3339
from drover.controllers.current import CurrentSettings
from drover.controllers.vmop import rules
from drover.controllers.vmop.view import Other, VmmView, VmopView, VmView
from drover.runtime.manager import Manager

# On the vmop: what it asked of the VM, and who held the VM's lease then.
SIGNAL_ANNOTATION = "drover.dev/signal"
SIGNALLED_POD_ANNOTATION = "drover.dev/signalled-pod"
# On the VM, by the kind of the operation.
REQUESTS = {
    VmopType.START: "drover.dev/start-requested",
    VmopType.STOP: "drover.dev/stop-requested",
    VmopType.RESTART: "drover.dev/restart-requested",
}


def migration_name(vmop_name: str) -> str:
    """One vmm per operation; the same for every attempt to create it."""
    return f"vmop-{vmop_name}"


class Caches:
    """The informers that the controller reads."""

    def __init__(self, manager: Manager) -> None:
        self._clock: Clock = manager.clock
        self.settings = CurrentSettings(manager)
        self.vmops = manager.informer(scheme.VMOP)
        self.vms = manager.informer(scheme.VM)
        self.leases = manager.informer(scheme.VML)
        self.migrations = manager.informer(scheme.VMM)
        self.pods = manager.informer(scheme.POD, labels=names.VM_NAME_LABEL)
        self.pods.add_index("uid", lambda pod: [pods.uid(pod)])
        self.vmops.add_index(
            "open", lambda vmop: [] if vmops.finished(vmop) else [vmops.vm_key(vmop)]
        )

    def vm_of(self, key: str) -> str:
        """The VM that an operation is about; of an unknown one, for which nothing is done, its own key."""
        vmop = self.vmops.get(key)
        return key if vmop is None else vmops.vm_key(vmop)

    def of_vm(self, key: str) -> list[str]:
        """Keys of the unfinished operations on a VM."""
        return [scheme.key_of(vmop) for vmop in self.vmops.by_index("open", key)]

    def view(self, vmop: Object) -> VmopView:
        meta = vmop["metadata"]
        vm, vmm = self.vms.get(vmops.vm_key(vmop)), self.own_migration(vmop)
        older, newer = self._others(vmop)
        me = Other(meta["name"], vmops.type_of(vmop), bool(vmops.force(vmop)))
        takers = [other for other in newer if rules.supersedes(other, me) and _fits(other, vm)]
        return VmopView(
            name=meta["name"],
            namespace=meta["namespace"],
            type=vmops.type_of(vmop),
            vm_name=vmops.vm_name(vmop),
            phase=vmops.phase(vmop),
            deleting=is_deleting(vmop),
            has_finalizer=has_finalizer(vmop, names.VMOP_FINALIZER),
            force=vmops.force(vmop),
            signal=annotations_of(vmop).get(SIGNAL_ANNOTATION, ""),
            signalled_pod=annotations_of(vmop).get(SIGNALLED_POD_ANNOTATION, ""),
            progress_percent=vmops.progress_percent(vmop),
            vm=self._vm(vm),
            vmm=self._vmm(vmm),
            older=tuple(older),
            superseded_by=takers[0] if takers else None,
            system_policy=self.settings.now().migration_policy,
            foreign_migration=self._foreign(vmop, vm),
        )

    def _others(self, vmop: Object) -> tuple[list[Other], list[Other]]:
        """Unfinished operations on the same VM, older and newer ones, each oldest first; ties by name."""
        older: list[Other] = []
        newer: list[Other] = []
        mine = _age(vmop)
        for other in sorted(self.vmops.by_index("open", vmops.vm_key(vmop)), key=_age):
            meta = other["metadata"]
            if meta["uid"] == vmop["metadata"]["uid"]:
                continue
            known = Other(meta["name"], vmops.type_of(other), bool(vmops.force(other)))
            if _age(other) < mine:
                older.append(known)
            elif not is_deleting(other):
                newer.append(known)
        return older, newer

    def _vm(self, vm: Object | None) -> VmView | None:
        if vm is None:
            return None
        lease = self.leases.get(scheme.key_of(vm))
        holder = vmls.holder(lease) if lease is not None else ""
        power = vms.status(vm).get("power") or {}
        return VmView(
            uid=vm["metadata"]["uid"],
            phase=str(vms.status(vm).get("phase", "")),
            run_policy=vms.run_policy(vm),
            live_migration_policy=vms.live_migration_policy(vm),
            node=str(vms.status(vm).get("nodeName", "")),
            deleting=is_deleting(vm),
            holder=holder,
            holder_pod=self.pod_name(holder),
            handled=tuple((power.get("handled") or {}).values()),
            requests=tuple(annotations_of(vm).get(name, "") for name in REQUESTS.values()),
            restarting=bool(power.get("restart")),
            wanted=bool(power.get("wanted", True)),
            last_reason=vmls.last_reason(lease) if lease is not None else "",
            migratable=(get_condition(vm, VmCondition.MIGRATABLE) or {}).get("status") != FALSE,
        )

    def pod_name(self, uid: str) -> str:
        found = self.pods.by_index("uid", uid) if uid else []
        return found[0]["metadata"]["name"] if found else ""

    def own_migration(self, vmop: Object) -> Object | None:
        meta = vmop["metadata"]
        return self.migrations.get(f"{meta['namespace']}/{migration_name(meta['name'])}")

    def _vmm(self, vmm: Object | None) -> VmmView | None:
        if vmm is None:
            return None
        said, source = vmms.status(vmm), vmms.source_report(vmm)
        began = said.get("startTimestamp")
        now = self._clock.wall()
        return VmmView(
            phase=vmms.phase(vmm),
            deleting=is_deleting(vmm),
            reason=str(said.get("reason", "")),
            message=str(said.get("message", "")),
            target_node=vmms.target_node(vmm),
            source_pod=vmms.source_pod_name(vmm),
            target_pod=f"{vmm['metadata']['namespace']}/{vmms.target_pod_name(vmm)}",
            source_said=str(source.get("phase", "")),
            target_said=str(vmms.target_report(vmm).get("phase", "")),
            total_bytes=int(source.get("ramTotalBytes", 0)),
            transferred_bytes=int(source.get("ramTransferredBytes", 0)),
            remaining_bytes=int(source.get("ramRemainingBytes", 0)),
            iteration=int(source.get("iteration", 0)),
            throttle_percent=int(source.get("throttlePercent", 0)),
            auto_converge=vmms.auto_converge(vmm),
            stalled_s=int(source.get("stalledSeconds", 0)),
            elapsed_s=now - parse_rfc3339(str(began)) if began else 0.0,
        )

    def _foreign(self, vmop: Object, vm: Object | None) -> bool:
        if vm is None:
            return False
        own = migration_name(vmop["metadata"]["name"])
        key = scheme.key_of(vm)
        return any(
            vmm["metadata"]["name"] != own and not vmms.final(vmm)
            for vmm in self.migrations.by_index("vm", key)
        )


def _fits(other: Other, vm: Object | None) -> bool:
    """An operation that will be refused takes nobody's place."""
    return vm is None or rules.run_policy_fits(other.type, vms.run_policy(vm))


def _age(vmop: Object) -> tuple[str, str]:
    meta = vmop["metadata"]
    return meta["creationTimestamp"], meta["name"]

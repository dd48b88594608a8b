"""Reads the caches into a ``FirmwareView``; says where a VM could go. Nothing is read while no version is wanted."""

from __future__ import annotations

from dataclasses import replace

from drover.api import conditions, firmware, names, scheme, vmpod
from drover.api import machine as machines
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vm import RunPolicy, VmCondition, VmPhase
from drover.api.kinds.vmop import VmopCondition
from drover.api.meta import annotations_of, name_of, namespace_of, uid_of
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339
from drover.controllers.current import CurrentSettings
from drover.controllers.firmware.view import Attempt, FirmwareView, OutdatedVm, Rollout
from drover.controllers.pictures import ClusterPicture
from drover.controllers.planning import target_of
from drover.planner import fit
from drover.runtime.manager import Manager

ROLLOUT_ANNOTATION = "drover.dev/firmware-rollout"  # on an operation: which rollout it belongs to
_ALIVE = (VmPhase.RUNNING, VmPhase.MIGRATING)


class Caches:
    """The informers of the firmware controller."""

    def __init__(self, manager: Manager, picture: ClusterPicture) -> None:
        self._clock = manager.clock
        self._picture = picture
        self.settings = CurrentSettings(manager)
        self.nodes = picture.nodes
        self.vms = manager.informer(scheme.VM)
        self.vmops = manager.informer(scheme.VMOP)
        self._classes = manager.informer(scheme.VMCLASS)
        self.vms.add_index("firmware-alive", _alive)
        self.vmops.add_index("unfinished-of-vm", _unfinished)
        self.vmops.add_index("firmware-rollout", _rollout_of)

    def module_config(self) -> Object | None:
        return self.settings.informer.get(names.MODULE_CONFIG)

    def view(self) -> FirmwareView | None:
        """None: there is no ModuleConfig, so nothing was ever wanted."""
        config = self.module_config()
        if config is None:
            return None
        settings, rollout = self.settings.now(), rollout_of(config)
        view = FirmwareView(
            now_s=self._clock.wall(),
            wanted=settings.firmware_version,
            token=annotations_of(config).get(firmware.SET_ANNOTATION, ""),
            enabled=settings.firmware_updates,
            most=settings.cluster_most(len(self.nodes.all())),
            rollout=rollout,
        )
        if not view.wanted or not view.begun or rollout is None:
            return view
        counts = self.vms.index_counts("firmware-alive")
        others = sorted(version for version in counts if version != view.wanted)
        outdated = [vm for version in others for vm in self.vms.by_index("firmware-alive", version)]
        return replace(
            view,
            current=counts.get(view.wanted, 0),
            outdated=tuple(
                self._outdated(vm, view.wanted) for vm in sorted(outdated, key=scheme.key_of)
            ),
            attempts=self._attempts(rollout_id(config, rollout)),
        )

    def _outdated(self, vm: Object, wanted: str) -> OutdatedVm:
        key = scheme.key_of(vm)
        evicted = conditions.is_true(vm, VmCondition.EVICTION_REQUIRED)  # that move brings it along
        pod = self.active_pod(vm)
        busy = (
            vms.phase(vm) is not VmPhase.RUNNING
            or vms.run_policy(vm) is RunPolicy.ALWAYS_OFF
            or bool(self.vmops.by_index("unfinished-of-vm", key))
            or evicted
            or pod is None
        )
        node = str(vms.status(vm).get("nodeName", ""))
        obstacle = "" if busy or pod is None else self._obstacle(vm, pod, node, wanted)
        return OutdatedVm(key, node, _version(vm), busy, obstacle)

    def _obstacle(self, vm: Object, pod: Object, node: str, wanted: str) -> str:
        """What can be told without asking the planner."""
        migratable = conditions.get_condition(vm, VmCondition.MIGRATABLE) or {}
        if migratable.get("status") == conditions.FALSE:
            return str(migratable.get("message") or "it cannot be migrated")
        machine_type = machine_type_of(pod)
        others = [n for n in self.nodes.all() if name_of(n) != node]
        if not any(firmware.can_run(other, wanted, machine_type) for other in others):
            return f"no other node offers QEMU {wanted} with machine type {machine_type}"
        return ""

    def no_room(self, key: str, wanted: str) -> str:
        """Why no node takes the VM now, in kube-scheduler's words; empty: one does, or that cannot be told."""
        vm = self.vms.get(key)
        pod = self.active_pod(vm) if vm is not None else None
        vmclass = classes.chosen(vms.class_name(vm), self._classes.all()) if vm else None
        if vm is None or pod is None or vmclass is None:
            return ""
        machine_type = machine_type_of(pod)
        without = [
            name_of(node)
            for node in self.nodes.all()
            if not firmware.can_run(node, wanted, machine_type)
        ]
        now = vmpod.Now(vm, vmclass, wanted, tuple(sorted(without)))
        return fit(self._picture.now(), target_of(pod, now=now)).message

    def active_pod(self, vm: Object) -> Object | None:
        for entry in vms.status(vm).get("virtualMachinePods") or []:
            if entry.get("active"):
                return self._picture.pods.get(f"{namespace_of(vm)}/{entry['name']}")
        return None

    def _attempts(self, rollout: str) -> tuple[Attempt, ...]:
        found = [_attempt(vmop) for vmop in self.vmops.by_index("firmware-rollout", rollout)]
        return tuple(sorted(found, key=lambda a: (not a.finished, a.ended_s, a.vm, a.name)))


def rollout_of(config: Object) -> Rollout | None:
    noted = (config.get("status") or {}).get("firmware")
    if not noted:
        return None
    return Rollout(
        str(noted.get("version", "")), str(noted.get("token", "")), int(noted.get("rollout", 0))
    )


def rollout_id(config: Object, rollout: Rollout) -> str:
    """A ModuleConfig that was made anew counts from one again."""
    return f"{rollout.number}-{uid_of(config)[:8]}"


def machine_type_of(pod: Object) -> str:
    return str(machines.decode(pods.machine_json(pod))["machine_type"])


def _version(vm: Object) -> str:
    return str((vms.status(vm).get("versions") or {}).get("qemu", ""))


def _alive(vm: Object) -> list[str]:
    """The version that its guest runs on; nothing of one that does not run."""
    version = _version(vm)
    return [version] if version and vms.phase(vm) in _ALIVE else []


def _unfinished(vmop: Object) -> list[str]:
    return [] if vmops.finished(vmop) else [vmops.vm_key(vmop)]


def _rollout_of(vmop: Object) -> list[str]:
    rollout = annotations_of(vmop).get(ROLLOUT_ANNOTATION)
    return [rollout] if rollout and vmops.origin(vmop) is vmops.Origin.FIRMWARE else []


def _attempt(vmop: Object) -> Attempt:
    completed = conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}
    ended = completed.get("lastTransitionTime") if vmops.finished(vmop) else None
    return Attempt(
        vm=vmops.vm_key(vmop),
        name=name_of(vmop),
        uid=uid_of(vmop),
        phase=vmops.phase(vmop),
        ended_s=parse_rfc3339(str(ended)) if ended else 0.0,
        message=str(completed.get("message", "")),
    )

"""What users see of a VM: ``build(view, decision) -> status``. Pure, and the whole of it: this controller is its one
writer. Phases and reasons are those of the reference platform, so that scripts and eyes find what they know.
"""

from __future__ import annotations

from typing import Any

from drover.api import conditions as cond
from drover.api import names
from drover.api.kinds import disk as vdisks
from drover.api.kinds import image as images
from drover.api.kinds import ip as ips
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds.pod import PodPhase
from drover.api.kinds.vm import DeviceKind, VmCondition, VmPhase, VmReason
from drover.api.meta import generation_of, name_of, uid_of
from drover.api.vmpod import resources_of
from drover.api.wire import Object
from drover.base import quantity
from drover.base.clock import rfc3339
from drover.controllers.vm import changes, moves, needs, stats
from drover.controllers.vm.intents import Decision
from drover.controllers.vm.power import Power
from drover.controllers.vm.view import Device, VmView, stop_wish

LEASE_LOST = (
    "The VirtualMachineLease is missing; it is rebuilt once every node has told what it runs"
)
_WITHOUT_FIRMWARE = (VmPhase.PENDING, VmPhase.STARTING, VmPhase.STOPPED)


def build(view: VmView, decision: Decision) -> dict[str, Any]:
    """The full status; ``power`` is the memory of the power decision."""
    before = vms.status(view.vm)
    power = decision.power
    phase = phase_of(view, power)
    status: dict[str, Any] = {
        "phase": str(phase),
        "observedGeneration": generation_of(view.vm),
        "power": power.save(),
        "lastHandledRequest": power.last_request,
        "stoppedManually": not power.wanted
        and power.policy == vms.RunPolicy.ALWAYS_ON_UNLESS_STOPPED_MANUALLY,
        "nodeName": before.get("nodeName") if _lease_lost(view, power) else moves.node_name(view),
        **_address(view, power),
        "blockDeviceRefs": [_device(view, device) for device in view.devices],
        "stats": stats.build(view, phase),
        "migrationState": moves.migration_state(view, phase),
        "virtualMachinePods": [
            {"name": name_of(pod), "active": uid_of(pod) == view.holder}
            for pod in moves.shown_pods(view)
        ],
        "resources": _resources(view),
        "restartAwaitingChanges": changes.pending(view),
        "conditions": _conditions(view, power, phase),
    }
    if view.qemu_version:
        status["versions"] = {"qemu": view.qemu_version}
    return {name: value for name, value in status.items() if value not in ("", None, {}, [])}


def _address(view: VmView, power: Power) -> dict[str, str]:
    """Of a guest that may run the one it was started with: nobody else gets that before it ends."""
    before = vms.status(view.vm)
    may_run = bool(view.holder) or (view.own_lease is None and bool(power.lease))
    if may_run and vms.ip_claim_in_use(view.vm):
        return {
            name: str(before.get(name, "")) for name in ("virtualMachineIPAddressName", "ipAddress")
        }
    if view.claim is None:
        return {}
    return {"virtualMachineIPAddressName": view.claim_name, "ipAddress": ips.address(view.claim)}


def phase_of(view: VmView, power: Power) -> VmPhase:
    if view.deleting:
        return VmPhase.TERMINATING
    if view.holder:
        return _phase_held(view, power)
    if _lease_lost(view, power):
        return vms.phase(view.vm) or VmPhase.PENDING
    if not power.wanted:
        leaving = any(
            pods.node_name(pod) and uid_of(pod) not in power.starters for pod in view.starters()
        )
        return VmPhase.STOPPING if leaving else VmPhase.STOPPED
    starter = _starter(view, power)
    if starter is not None:
        return VmPhase.PENDING if pods.unschedulable(starter) is not None else VmPhase.STARTING
    waiting = needs.unmet(view) or view.refusal or power.not_before_s > view.now_s
    return VmPhase.PENDING if waiting else VmPhase.STARTING


def _lease_lost(view: VmView, power: Power) -> bool:
    """The guest may well run on; until the nodes have spoken nothing new is known."""
    return view.lease is None and bool(power.lease) and not view.deleting


def _phase_held(view: VmView, power: Power) -> VmPhase:
    pod = view.active_pod
    if pod is None or pods.deleting(pod) or pods.ended(pod) or not power.wanted or stop_wish(pod):
        return VmPhase.STOPPING
    if moves.copying(view):
        return VmPhase.MIGRATING
    if pods.phase(pod) is PodPhase.RUNNING:
        paused = pods.trouble(pod)[0] == names.DISK_ERROR
        return VmPhase.PAUSE if paused else VmPhase.RUNNING
    # A target that holds the lease has not said yet that its guest runs.
    return VmPhase.MIGRATING if pods.migration_name(pod) else VmPhase.STARTING


def _starter(view: VmView, power: Power) -> Object | None:
    epoch = vmls.epoch(view.own_lease) if view.own_lease is not None else -1
    fresh = [pod for pod in view.starters() if power.starters.get(uid_of(pod), epoch) >= epoch]
    return fresh[0] if fresh else None


def _device(view: VmView, device: Device) -> dict[str, Any]:
    ref, obj = device.ref, device.obj
    entry: dict[str, Any] = {"kind": str(ref.kind), "name": ref.name, "attached": bool(view.holder)}
    if ref.boot_order:
        entry["bootOrder"] = ref.boot_order
    if obj is not None and ref.kind is DeviceKind.DISK and vdisks.capacity_bytes(obj):
        entry["size"] = quantity.bytes_text(vdisks.capacity_bytes(obj))
        lease = view.own_lease
        entry["attached"] = (
            bool(view.holder) and lease is not None and ref.name in vmls.disks(lease)
        )
    elif obj is not None and ref.kind is not DeviceKind.DISK and images.unpacked_bytes(obj):
        entry["size"] = quantity.bytes_text(images.unpacked_bytes(obj))
    return entry


def _resources(view: VmView) -> dict[str, Any]:
    """Of the class as it is now; without the class nothing can be said."""
    if view.vmclass is None or "cpu" not in vms.spec(view.vm):
        return dict(vms.status(view.vm).get("resources") or {})
    need = resources_of(view.vm, view.vmclass)
    sockets = vms.sockets_for(need.cores)
    return {
        "cpu": {
            "cores": need.cores,
            "coreFraction": f"{need.fraction_percent}%",
            "requestedCores": quantity.cpu_text(need.cpu_milli),
            "runtimeOverhead": "0",
            "topology": {"coresPerSocket": need.cores // sockets, "sockets": sockets},
        },
        "memory": {
            "size": quantity.bytes_text(need.memory_bytes),
            "runtimeOverhead": quantity.bytes_text(need.overhead_bytes),
        },
    }


def _conditions(view: VmView, power: Power, phase: VmPhase) -> list[Object]:
    generation = generation_of(view.vm)
    wanted = [
        cond.condition(f.condition, f.ok, f.reason, f.message, generation)
        for f in needs.findings(view)
    ]
    wanted.append(_running(view, power, phase))
    if view.holder:
        wanted.append(_agent_ready(view))
        wanted.append(_migratable(view))
    wanted += _awaiting_restart(view)
    wanted += moves.eviction(view)
    outdated = view.qemu_version and view.wanted_firmware not in ("", view.qemu_version)
    if outdated and phase not in _WITHOUT_FIRMWARE:
        wanted.append(_firmware(view))
    migrating = moves.condition(view)
    if migrating is not None:
        wanted.append(migrating)
    before = list(vms.status(view.vm).get("conditions") or [])
    types = {entry["type"] for entry in wanted}
    kept = [entry for entry in before if entry["type"] in types]
    for entry in wanted:
        kept = cond.set_condition(kept, entry, view.now_s)
    return kept


def _running(view: VmView, power: Power, phase: VmPhase) -> Object:
    kind = VmCondition.RUNNING
    if phase in stats.ALIVE:
        return cond.condition(kind, True, VmReason.RUNNING)
    if _lease_lost(view, power):
        return cond.condition(kind, False, VmReason.INTERNAL_ERROR, LEASE_LOST)
    pod = view.active_pod
    if view.holder_unknown and view.own_lease is not None:
        node = vmls.node(view.own_lease)
        message = f"Its VirtualMachineLease names node {node}, which has no Lease in {names.NODE_LEASE_NAMESPACE}: "
        message += "nobody can tell whether it runs there, and nobody will release it"
        return cond.condition(kind, False, VmReason.NODE_UNKNOWN, message)
    if view.holder and pod is None:
        message = "The Pod is gone; its node ends the guest and releases the VirtualMachineLease"
        return cond.condition(kind, False, VmReason.POD_NOT_FOUND, message)
    if view.holder and phase in (VmPhase.STOPPING, VmPhase.TERMINATING):
        return cond.condition(kind, False, VmReason.POD_TERMINATING)
    if view.holder:
        message = pods.trouble(pod)[1] if pod is not None else ""
        message = message or "The guest is being started"
        return cond.condition(kind, False, VmReason.GUEST_NOT_RUNNING, message)
    if not power.wanted:
        return cond.condition(kind, False, VmReason.NOT_RUNNING, _ended_message(view))
    return _to_be_started(view, power)


def _to_be_started(view: VmView, power: Power) -> Object:
    """Nobody holds the lease, and it shall run."""
    kind = VmCondition.RUNNING
    starter = _starter(view, power)
    why = pods.unschedulable(starter) if starter is not None else None
    if why is not None and view.missing_room:
        message = f"Its node was lost, and no other has room: {view.missing_room}. {why}"
        return cond.condition(kind, False, VmReason.NO_CAPACITY, message)
    if why is not None:
        message = f"Could not schedule the virtual machine: Unschedulable: {why}"
        return cond.condition(kind, False, VmReason.POD_NOT_STARTED, message)
    if view.refusal:
        message = f"Could not create the Pod: {view.refusal}"
        return cond.condition(kind, False, VmReason.POD_NOT_STARTED, message)
    if view.ahead:
        message = f"Its node was lost; {view.ahead} starts first"
        return cond.condition(kind, False, VmReason.NOT_RUNNING, message)
    if power.not_before_s > view.now_s:
        message = (
            f"Waiting after {power.failures} failures in a row until {rfc3339(power.not_before_s)}"
        )
        return cond.condition(kind, False, VmReason.NOT_RUNNING, message)
    return cond.condition(kind, False, VmReason.NOT_RUNNING)


def _ended_message(view: VmView) -> str:
    lease = view.own_lease
    reason = vmls.last_reason(lease) if lease is not None else ""
    return f"The last run ended with {reason}" if reason else ""


def _agent_ready(view: VmView) -> Object:
    pod = view.active_pod
    if pod is not None and cond.is_true(pod, stats.AGENT_READY):
        return cond.condition(VmCondition.AGENT_READY, True, VmReason.AGENT_READY)
    before = cond.get_condition(view.vm, VmCondition.AGENT_READY)
    arrived = pod is not None and bool(pods.migration_name(pod))
    if arrived and before is not None and cond.get_condition(pod or {}, stats.AGENT_READY) is None:
        # The guest has just arrived and was not asked yet: what was so before the move is so.
        return cond.condition(
            VmCondition.AGENT_READY, before["status"], before["reason"], before.get("message", "")
        )
    message = "Failed to connect to VM Agent."
    return cond.condition(VmCondition.AGENT_READY, False, VmReason.AGENT_NOT_READY, message)


def _migratable(view: VmView) -> Object:
    """All disks are in the shared directory, so every held VM can move."""
    return cond.condition(VmCondition.MIGRATABLE, True, VmReason.MIGRATABLE)


def _firmware(view: VmView) -> Object:
    """Present only when False."""
    message = (
        f"The virtual machine runs on QEMU {view.qemu_version}, and "
        f"QEMU {view.wanted_firmware} is wanted."
    )
    kind, reason = VmCondition.FIRMWARE_UP_TO_DATE, VmReason.FIRMWARE_OUT_OF_DATE
    return cond.condition(kind, False, reason, message)


def _awaiting_restart(view: VmView) -> list[Object]:
    if not view.holder:
        return []
    found = changes.pending(view)
    reason = VmReason.CHANGES_PENDING_RESTART if found else VmReason.NO_RESTART_REQUIRED
    message = (
        "Waiting for the user to restart in order to apply the configuration changes."
        if found
        else ""
    )
    applied = VmReason.CONFIGURATION_NOT_APPLIED if found else VmReason.CONFIGURATION_APPLIED
    return [
        cond.condition(VmCondition.AWAITING_RESTART, bool(found), reason, message),
        cond.condition(VmCondition.CONFIGURATION_APPLIED, not found, applied, message),
    ]

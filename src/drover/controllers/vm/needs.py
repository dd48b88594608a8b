"""Can the VM start? Pure checks of what a start needs; each finding becomes a condition users can read.

A start asks for: the class, a size its policies allow, every block device Ready and no disk in another VM's hands,
an address, the Secret with user data. A running VM is not stopped when one of them goes away.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.api import names
from drover.api.kinds import disk as vdisks
from drover.api.kinds import image as images
from drover.api.kinds import ip as ips
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds.vm import DeviceKind, VmCondition, VmReason
from drover.api.meta import name_of
from drover.api.wire import Object
from drover.base import quantity
from drover.controllers.vm.view import Device, VmView


@dataclass(frozen=True)
class Finding:
    """One condition: its type, whether it holds, and why."""

    condition: str
    ok: bool
    reason: str
    message: str = ""


def findings(view: VmView) -> list[Finding]:
    """All checks, in the order users read them."""
    return [_address(view), _class(view), _sizing(view), _devices(view), _provisioning(view)]


def unmet(view: VmView) -> list[Finding]:
    return [finding for finding in findings(view) if not finding.ok]


def _address(view: VmView) -> Finding:
    kind = VmCondition.IP_ADDRESS_READY
    if view.claim is None:
        message = f'VirtualMachineIPAddress "{view.claim_name}" does not exist yet'
        return Finding(kind, False, VmReason.IP_ADDRESS_NOT_READY, message)
    user = ips.attached_vm(view.claim)
    if user and user != name_of(view.vm):
        message = (
            f'VirtualMachineIPAddress "{view.claim_name}" is in use by VirtualMachine "{user}"'
        )
        return Finding(kind, False, VmReason.IP_ADDRESS_NOT_READY, message)
    if not ips.address(view.claim):
        message = (
            f'VirtualMachineIPAddress "{view.claim_name}" has no address yet: see its conditions'
        )
        return Finding(kind, False, VmReason.IP_ADDRESS_NOT_READY, message)
    if not user:
        message = f'VirtualMachineIPAddress "{view.claim_name}" is not attached yet'
        return Finding(kind, False, VmReason.IP_ADDRESS_NOT_READY, message)
    return Finding(kind, True, VmReason.IP_ADDRESS_READY)


def _class(view: VmView) -> Finding:
    kind = VmCondition.CLASS_READY
    if not view.class_name:
        message = (
            "spec.virtualMachineClassName is not set and no VirtualMachineClass is the default one"
        )
        return Finding(kind, False, VmReason.CLASS_NOT_EXISTS, message)
    if view.vmclass is None:
        message = f'VirtualMachineClass "{view.class_name}" does not exist'
        return Finding(kind, False, VmReason.CLASS_NOT_EXISTS, message)
    if classes.phase(view.vmclass) is not classes.ClassPhase.READY:
        message = f'VirtualMachineClass "{view.class_name}" is not Ready'
        return Finding(kind, False, VmReason.CLASS_NOT_READY, message)
    return Finding(kind, True, VmReason.CLASS_READY)


def _sizing(view: VmView) -> Finding:
    problem = "" if view.vmclass is None else sizing_problem(view.vm, view.vmclass)
    reason = VmReason.SIZING_POLICY_NOT_MATCHED if problem else VmReason.SIZING_POLICY_MATCHED
    return Finding(VmCondition.SIZING_POLICY_MATCHED, not problem, reason, problem)


def sizing_problem(vm: Object, vmclass: Object) -> str:
    """Why the class does not allow this size; empty when it does."""
    where = f'VirtualMachineClass "{name_of(vmclass)}"'
    cores = vms.cores(vm)
    policy = classes.sizing_policy(vmclass, cores)
    if policy is None:
        spans = ", ".join(
            f"{p['cores']['min']}-{p['cores']['max']}"
            for p in vmclass["spec"]["sizingPolicies"]
            if p.get("cores")
        )
        return f"{where} has no sizing policy for {cores} cores; it has some for {spans}"
    span = policy.get("cores") or {}
    step = int(span.get("step") or 1)
    if span and (cores - span["min"]) % step:
        return (
            f"{where} allows {span['min']} to {span['max']} cores in steps of {step}, not {cores}"
        )
    fraction, allowed = vms.core_fraction_percent(vm), classes.core_fractions_percent(policy)
    if fraction is not None and allowed and fraction not in allowed:
        words = ", ".join(f"{percent}%" for percent in allowed)
        return f"{where} allows coreFraction {words} for {cores} cores, not {fraction}%"
    return _memory_problem(where, vms.memory_bytes(vm), cores, policy.get("memory") or {})


def _memory_problem(where: str, memory: int, cores: int, rule: Object) -> str:
    per_core = rule.get("perCore") or {}
    for limits, value, what in (
        (rule, memory, "memory"),
        (per_core, memory // cores, "memory per core"),
    ):
        least, most, step = (limits.get(name) for name in ("min", "max", "step"))
        if least is not None and value < quantity.size_bytes(least):
            return f"{where} wants at least {least} of {what} for {cores} cores"
        if most is not None and value > quantity.size_bytes(most):
            return f"{where} allows at most {most} of {what} for {cores} cores"
        base = quantity.size_bytes(least) if least is not None else 0
        if step is not None and (value - base) % quantity.size_bytes(step):
            return f"{where} allows {what} in steps of {step} from {least or 0}"
    return ""


def _devices(view: VmView) -> Finding:
    problems = [
        text for text in (_device_problem(device, view.uid) for device in view.devices) if text
    ]
    if problems:
        message = "; ".join(problems)
        return Finding(
            VmCondition.BLOCK_DEVICES_READY, False, VmReason.BLOCK_DEVICES_NOT_READY, message
        )
    return Finding(VmCondition.BLOCK_DEVICES_READY, True, VmReason.BLOCK_DEVICES_READY)


def _device_problem(device: Device, vm_uid: str) -> str:
    what = f'{device.ref.kind} "{device.ref.name}"'
    if device.obj is None:
        return f"{what} does not exist"
    if device.obj["metadata"].get("deletionTimestamp"):
        return f"{what} is being deleted"
    if device.ref.kind is not DeviceKind.DISK:
        return "" if images.ready(device.obj) else f"{what} is not Ready: see its conditions"
    if not vdisks.ready(device.obj):
        return f"{what} is not Ready: see its conditions"
    holder = vdisks.held_by(device.obj)
    if holder is not None and holder[1] != vm_uid:
        return f'{what} is in use by VirtualMachine "{holder[0]}"'
    return ""


def _provisioning(view: VmView) -> Finding:
    kind, reason = VmCondition.PROVISIONING_READY, VmReason.PROVISIONING_NOT_READY
    if view.secret_problem:
        return Finding(kind, False, reason, view.secret_problem)
    why, message = pods.trouble(view.active_pod) if view.active_pod is not None else ("", "")
    if why == names.PROVISIONING_NOT_READY:
        return Finding(kind, False, reason, message)
    return Finding(VmCondition.PROVISIONING_READY, True, VmReason.PROVISIONING_READY)

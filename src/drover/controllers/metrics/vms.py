"""Gauges of VirtualMachines. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric

from drover.api import conditions
from drover.api.kinds import vm as vms
from drover.api.kinds.vm import RunPolicy, VmCondition, VmPhase
from drover.api.wire import Object
from drover.base import quantity
from drover.controllers.metrics.series import PREFIX, Gauges, Labels, flag, prefixed

_HELP = {
    "status_phase": "The phase of the virtual machine: 1 for the one that holds.",
    "cpu_cores": "Cores that the virtual machine has.",
    "configuration_cpu_cores": "Cores that its specification asks for.",
    "cpu_core_fraction": "Guaranteed share of each core that it has, in percent.",
    "configuration_cpu_core_fraction": "Guaranteed share that applies to its specification, in percent.",
    "configuration_cpu_runtime_overhead": "CPU that is reserved besides the guest's, in cores.",
    "configuration_memory_size_bytes": "Memory that its specification asks for.",
    "configuration_memory_runtime_overhead_bytes": "Memory that is reserved besides the guest's.",
    "awaiting_restart_to_apply_configuration": "1 while changes wait for a restart.",
    "configuration_applied": "1 while the guest runs with the configuration of its specification.",
    "configuration_run_policy": "The run policy: 1 for the one that holds.",
    "agent_ready": "1 while the guest agent answers.",
    "pod": "The Pods of the virtual machine: 1 for the one that runs it.",
    "labels": "The labels of the virtual machine.",
    "annotations": "The annotations of the virtual machine.",
    "firmware_up_to_date": "0 while the virtual machine runs on another firmware than the wanted one.",
    "info": "The class of the virtual machine.",
    "migratable": "1 while the virtual machine can be moved to another node alive.",
}
_NOT_SHOWN = "kubectl.kubernetes.io/last-applied-configuration"  # as long as the object itself


def families(all_vms: Iterable[Object]) -> list[Metric]:
    gauges = Gauges(f"{PREFIX}virtualmachine_")
    for name, text in _HELP.items():
        gauges.declare(name, text)
    for vm in all_vms:
        _add(gauges, vm)
    return gauges.families()


def _add(gauges: Gauges, vm: Object) -> None:
    meta, status = vm["metadata"], vms.status(vm)
    base: Labels = {
        "name": meta["name"],
        "namespace": meta["namespace"],
        "uid": meta["uid"],
        "node": str(status.get("nodeName", "")),
    }
    gauges.one_hot("status_phase", base, "phase", VmPhase, str(status.get("phase", "Pending")))
    policy = vms.run_policy(vm)
    gauges.one_hot("configuration_run_policy", base, "runPolicy", RunPolicy, policy)
    _add_resources(gauges, base, vm)
    outdated = conditions.get_condition(vm, VmCondition.FIRMWARE_UP_TO_DATE) or {}
    for name, value in (
        ("awaiting_restart_to_apply_configuration", flag(vm, VmCondition.AWAITING_RESTART)),
        ("configuration_applied", flag(vm, VmCondition.CONFIGURATION_APPLIED)),
        ("agent_ready", flag(vm, VmCondition.AGENT_READY)),
        ("migratable", flag(vm, VmCondition.MIGRATABLE)),
        ("firmware_up_to_date", float(outdated.get("status") != conditions.FALSE)),
    ):
        gauges.add(name, base, value)
    for pod in status.get("virtualMachinePods") or ():
        gauges.add("pod", {**base, "pod": pod["name"]}, float(bool(pod.get("active"))))
    annotations = dict(meta.get("annotations") or {})
    annotations.pop(_NOT_SHOWN, None)
    gauges.add("labels", {**base, **prefixed("label", meta.get("labels"))}, 1)
    gauges.add("annotations", {**base, **prefixed("annotation", annotations)}, 1)
    of_class = str(vms.spec(vm).get("virtualMachineClassName", ""))
    gauges.add("info", {**base, "virtualmachineclass": of_class}, 1)


def _add_resources(gauges: Gauges, base: Labels, vm: Object) -> None:
    spec, resources = vms.spec(vm), vms.status(vm).get("resources") or {}
    cpu, memory = resources.get("cpu") or {}, resources.get("memory") or {}
    fraction = str(cpu.get("coreFraction", "")).rstrip("%")
    wanted = vms.core_fraction_percent(vm)
    found: list[tuple[str, float | None]] = [
        ("cpu_cores", cpu.get("cores")),
        ("configuration_cpu_cores", (spec.get("cpu") or {}).get("cores")),
        ("cpu_core_fraction", float(fraction) if fraction else None),
        # Left out, it comes from the class; what came of that stands in the status.
        ("configuration_cpu_core_fraction", wanted or (float(fraction) if fraction else None)),
        ("configuration_cpu_runtime_overhead", _cores(cpu.get("runtimeOverhead"))),
        ("configuration_memory_size_bytes", _bytes((spec.get("memory") or {}).get("size"))),
        ("configuration_memory_runtime_overhead_bytes", _bytes(memory.get("runtimeOverhead"))),
    ]
    for name, value in found:
        if value is not None:
            gauges.add(name, base, float(value))


def _cores(text: object) -> float | None:
    return None if text is None else quantity.cpu_milli(str(text)) / 1000


def _bytes(text: object) -> float | None:
    return None if text is None else float(quantity.size_bytes(str(text)))

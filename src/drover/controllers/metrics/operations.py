"""Gauges of VirtualMachineOperations. Pure.

Unlike on the reference platform every finished operation has the time of its end, also one that was refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric

from drover.api import conditions
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vmop import VmopCondition, VmopPhase
from drover.api.wire import Object
from drover.controllers.metrics.series import PREFIX, Gauges, Labels, seconds

_HELP = {
    "status_phase": "The phase of the operation: 1 for the one that holds.",
    "created_timestamp_seconds": "When the operation was created.",
    "started_timestamp_seconds": "When the operation began to be carried out.",
    "finished_timestamp_seconds": "When the operation ended.",
}


def families(all_vmops: Iterable[Object]) -> list[Metric]:
    gauges = Gauges(f"{PREFIX}virtualmachineoperation_")
    for name, text in _HELP.items():
        gauges.declare(name, text)
    for vmop in all_vmops:
        _add(gauges, vmop)
    return gauges.families()


def _add(gauges: Gauges, vmop: Object) -> None:
    meta = vmop["metadata"]
    base: Labels = {
        "name": meta["name"],
        "namespace": meta["namespace"],
        "uid": meta["uid"],
        "type": str(vmop["spec"]["type"]),
        "virtualmachine": vmops.vm_name(vmop),
    }
    phase = vmops.phase(vmop) or VmopPhase.PENDING
    gauges.one_hot("status_phase", base, "phase", VmopPhase, phase)
    gauges.add("created_timestamp_seconds", base, seconds(meta["creationTimestamp"]))
    started = conditions.get_condition(vmop, VmopCondition.SIGNAL_SENT) or {}
    if started.get("status") == conditions.TRUE:
        gauges.add("started_timestamp_seconds", base, seconds(started["lastTransitionTime"]))
    ended = conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}
    if vmops.finished(vmop) and "lastTransitionTime" in ended:
        gauges.add("finished_timestamp_seconds", base, seconds(ended["lastTransitionTime"]))

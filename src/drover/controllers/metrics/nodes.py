"""Gauges of the nodes that carry VMs: what they offer, what is reserved of it, and how the lost ones stand. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client.metrics_core import Metric

from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence
from drover.api.kinds import pod as pods
from drover.api.kinds.nodefence import FencePhase
from drover.api.meta import name_of
from drover.api.wire import Object
from drover.base.quantity import cpu_milli, size_bytes
from drover.controllers.metrics.series import Gauges
from drover.controllers.planning import counts, requests

_HELP = {
    "ready": "1 while the node is Ready.",
    "unschedulable": "1 while the node is cordoned.",
    "allocatable_cpu_cores": "CPU that the node offers to Pods.",
    "allocatable_memory_bytes": "Memory that the node offers to Pods.",
    "reserved_cpu_cores": "CPU that the Pods of the node have reserved.",
    "reserved_memory_bytes": "Memory that the Pods of the node have reserved.",
    "fence_phase": "The phase of the newest NodeFence: 1 for the one that holds.",
}


def families(
    all_nodes: Iterable[Object], all_pods: Iterable[Object], fences: Iterable[Object]
) -> list[Metric]:
    gauges = Gauges("drover_node_")
    for name, text in _HELP.items():
        gauges.declare(name, text)
    reserved = _reserved(all_pods)
    for node in all_nodes:
        if nodes.for_vms(node):
            _add(gauges, node, reserved)
    newest = {}
    for fence in sorted(fences, key=lambda one: str(one["metadata"].get("creationTimestamp", ""))):
        newest[nodefence.node(fence)] = fence
    for name, fence in sorted(newest.items()):
        group = str(fence["spec"].get("group", ""))
        labels, now = {"node": name, "group": group}, nodefence.phase(fence)
        gauges.one_hot("fence_phase", labels, "phase", FencePhase, now)
    return gauges.families()


def _add(gauges: Gauges, node: Object, reserved: Counter[tuple[str, str]]) -> None:
    name, offers = name_of(node), nodes.allocatable(node)
    labels = {"node": name}
    gauges.add("ready", labels, float(nodes.ready(node)))
    gauges.add("unschedulable", labels, float(nodes.cordoned(node)))
    gauges.add("allocatable_cpu_cores", labels, cpu_milli(offers.get("cpu", "0")) / 1000)
    gauges.add("allocatable_memory_bytes", labels, size_bytes(offers.get("memory", "0")))
    gauges.add("reserved_cpu_cores", labels, reserved[name, "cpu"] / 1000)
    gauges.add("reserved_memory_bytes", labels, reserved[name, "memory"])


def _reserved(all_pods: Iterable[Object]) -> Counter[tuple[str, str]]:
    """By node and resource: thousandths of a CPU, bytes."""
    found: Counter[tuple[str, str]] = Counter()
    for pod in all_pods:
        if counts(pod):
            for resource, amount in requests(pod["spec"]).items():
                found[pods.node_name(pod), resource] += amount
    return found

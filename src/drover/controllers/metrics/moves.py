"""What the reference platform has no figures for: who waits to move and for how long, how long moves take, for how long
guests stand still, and how many VMs evictions have left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.metrics_core import HistogramMetricFamily, Metric

from drover.api import conditions
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vm import VmCondition
from drover.api.kinds.vmop import VmopCondition, VmopPhase
from drover.api.names import VmmPhase
from drover.api.wire import Object
from drover.controllers.metrics.series import PREFIX as REFERENCE_PREFIX
from drover.controllers.metrics.series import Gauges, seconds
from drover.runtime.histogram import Histogram

PREFIX = "drover_"
DURATIONS_S = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
DOWNTIMES_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


def waiting_families(all_vmops: Iterable[Object], now_s: float) -> list[Metric]:
    """Operations that move a VM and do not do so yet, by what they wait for and who made them."""
    gauges = Gauges(PREFIX)
    gauges.declare("migrations_waiting", "Migrations that wait, by reason and origin.")
    gauges.declare("migrations_oldest_waiting_seconds", "Age of the oldest that waits, by reason.")
    count: dict[tuple[str, str], int] = {}
    oldest: dict[str, float] = {}
    for vmop in all_vmops:
        if not vmops.is_migration(vmop) or vmops.phase(vmop) not in (None, VmopPhase.PENDING):
            continue
        reason = str(
            (conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}).get("reason", "")
        )
        key = (reason, str(vmops.origin(vmop)))
        count[key] = count.get(key, 0) + 1
        age_s = max(0.0, now_s - seconds(vmop["metadata"]["creationTimestamp"]))
        oldest[reason] = max(oldest.get(reason, 0.0), age_s)
    for (reason, origin), number in sorted(count.items()):
        gauges.add("migrations_waiting", {"reason": reason, "origin": origin}, number)
    for reason, age_s in sorted(oldest.items()):
        gauges.add("migrations_oldest_waiting_seconds", {"reason": reason}, age_s)
    return gauges.families()


def backlog_families(all_vms: Iterable[Object]) -> list[Metric]:
    """VMs that have to leave their node, and those of them that cannot."""
    gauges = Gauges(PREFIX)
    gauges.declare("evacuation_backlog", "Virtual machines that have to leave the node.")
    gauges.declare("evacuation_blocked", "Those of them that cannot leave now.")
    left: dict[str, list[int]] = {}
    for vm in all_vms:
        if conditions.is_true(vm, VmCondition.EVICTION_REQUIRED):
            counts = left.setdefault(str(vms.status(vm).get("nodeName", "")), [0, 0])
            counts[0] += 1
            counts[1] += conditions.is_true(vm, VmCondition.EVACUATION_BLOCKED)
    for node, (all_of_it, blocked) in sorted(left.items()):
        gauges.add("evacuation_backlog", {"node": node}, all_of_it)
        gauges.add("evacuation_blocked", {"node": node}, blocked)
    return gauges.families()


def copy_families(all_moves: Iterable[Object]) -> list[Metric]:
    """How far the copies of memory are, as the sources last told it."""
    gauges = Gauges(f"{REFERENCE_PREFIX}virtualmachine_migration_")
    gauges.declare("data_total_bytes", "Memory to be copied in the migration.")
    gauges.declare("data_processed_bytes", "Memory that was copied so far.")
    gauges.declare("data_remaining_bytes", "Memory that is still to be copied.")
    gauges.declare("dirty_memory_rate_bytes", "What the guest writes in a second.")
    gauges.declare("memory_transfer_rate_bytes", "What is copied in a second.")
    for move in all_moves:
        source = vmms.status(move).get("source") or {}
        if vmms.phase(move) in VmmPhase.FINAL or "ramTotalBytes" not in source:
            continue
        labels = {
            "name": vmms.vm_name(move),
            "namespace": move["metadata"]["namespace"],
            "node": vmms.source_node(move),
        }
        rate = source.get("mbps", 0) * 1_000_000 / 8
        for name, value in (
            ("data_total_bytes", source.get("ramTotalBytes", 0)),
            ("data_processed_bytes", source.get("ramTransferredBytes", 0)),
            ("data_remaining_bytes", source.get("ramRemainingBytes", 0)),
            ("dirty_memory_rate_bytes", source.get("dirtyBytesPerSecond", 0)),
            ("memory_transfer_rate_bytes", rate),
        ):
            gauges.add(name, labels, float(value))
    return gauges.families()


class Finished:
    """The two histograms. Each migration is taken in once, when a scrape first sees it finished."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._durations = {phase: Histogram(DURATIONS_S) for phase in VmmPhase.FINAL}
        self._downtimes = Histogram(DOWNTIMES_S)

    def families(self, moves: Sequence[Object]) -> list[Metric]:
        finished = [move for move in moves if vmms.phase(move) in VmmPhase.FINAL]
        for move in finished:
            if move["metadata"]["uid"] not in self._seen:
                self._take(move)
        self._seen = {move["metadata"]["uid"] for move in finished}
        durations = HistogramMetricFamily(
            f"{PREFIX}migration_duration_seconds",
            "From the creation of a migration to its end, by its result.",
            labels=["result"],
        )
        for result, histogram in self._durations.items():
            durations.add_metric([result], histogram.buckets(), histogram.total)
        downtimes = HistogramMetricFamily(
            f"{PREFIX}migration_downtime_seconds",
            "For how long the guest stood still in a migration.",
        )
        downtimes.add_metric([], self._downtimes.buckets(), self._downtimes.total)
        return [durations, downtimes]

    def _take(self, move: Object) -> None:
        status = vmms.status(move)
        if status.get("endTimestamp"):
            began = seconds(move["metadata"]["creationTimestamp"])
            self._durations[vmms.phase(move)].observe(seconds(status["endTimestamp"]) - began)
        downtime_ms = (status.get("source") or {}).get("downtimeMs")
        if vmms.phase(move) == VmmPhase.SUCCEEDED and downtime_ms is not None:
            self._downtimes.observe(downtime_ms / 1000)

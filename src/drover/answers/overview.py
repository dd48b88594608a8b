"""The whole installation on one page: nodes, VMs, moves that go on, and what needs a person. Pure.

What needs attention is said by the same answers as ``why``, one line for each thing that is wrong; what mends itself in
the usual time (a VM that starts, a move that runs) is not among it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from drover.answers import lost, moving, node, start
from drover.answers.because import Because, Ref, Topic
from drover.answers.world import World
from drover.api import conditions, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence
from drover.api.kinds import rebalance as plans
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.nodefence import FencePhase
from drover.api.kinds.rebalance import DeschedulerCondition
from drover.api.kinds.vm import VmCondition, VmPhase
from drover.api.kinds.vmop import VmopPhase
from drover.api.meta import name_of, namespace_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339

USUAL_S = 60.0  # a start or a stop that takes longer is told of
RECENT_S = 3600.0  # a failed operation is told of for so long
_AT_REST = (VmPhase.RUNNING, VmPhase.MIGRATING, VmPhase.STOPPED)


@dataclass(frozen=True, slots=True)
class NodeRow:
    """Percentages are of what the node offers to Pods."""

    name: str
    state: str  # Ready, NotReady, Cordoned, or the phase of its NodeFence
    vms: int
    cpu_percent: int
    memory_percent: int
    cpu_milli: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class MoveRow:
    """A move that was asked for and is not over. ``source`` and ``target`` are empty until they are known."""

    vm: str
    operation: str
    origin: str
    phase: str
    percent: int
    source: str = ""
    target: str = ""
    dirty_bytes_per_second: int | None = None
    remaining_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class VmRow:
    """``cpu_milli`` and ``memory_bytes`` are reserved; 0 while it has no Pod."""

    name: str
    node: str
    phase: str
    cores: int
    cpu_milli: int
    memory_bytes: int
    dirty_bytes_per_second: int | None = None


@dataclass(frozen=True)
class Overview:
    """Of one look."""

    world: World

    @cached_property
    def nodes(self) -> list[NodeRow]:
        gone = [nodefence.node(one) for one in self._open_fences.values()]
        known = [name_of(obj) for obj in self.world.all(scheme.NODE) if nodes.is_vm_node(obj)]
        return [self._node(name) for name in sorted({*known, *gone})]

    def _node(self, name: str) -> NodeRow:
        obj, cluster = self.world.get(scheme.NODE, name), self.world.picture
        fence, count = self._open_fences.get(name), len(self.world.vms_on(name))
        if obj is None:
            state = str(nodefence.phase(fence)) if fence is not None else "Gone"
            return NodeRow(name, state, count, 0, 0, 0, 0)
        row, amounts = cluster.nodes.row_of[name], []
        for whole_of, left_of in self._room:
            whole, used = int(whole_of[row]), int(whole_of[row] - left_of[row])
            amounts.append((used * 100 // whole if whole else 0, used))
        state = "Ready" if nodes.ready(obj) else "NotReady"
        state = "Cordoned" if nodes.cordoned(obj) and nodes.ready(obj) else state
        state = str(nodefence.phase(fence)) if fence is not None else state
        (cpu, cpu_milli), (memory, memory_bytes) = amounts
        return NodeRow(name, state, count, cpu, memory, cpu_milli, memory_bytes)

    @cached_property
    def _room(self) -> list[tuple[Any, Any]]:
        """(allocatable, left) by node, of CPU and memory."""
        cluster = self.world.picture
        return [
            (cluster.nodes.allocatable(resource), cluster.left(resource))
            for resource in ("cpu", "memory")
        ]

    @cached_property
    def _open_fences(self) -> dict[str, Object]:
        found = {}
        for fence in self.world.all(scheme.NODEFENCE):
            last = self.world.fences_of(nodefence.node(fence))[-1]
            if nodefence.phase(last) is not FencePhase.REJOINED:
                found[nodefence.node(fence)] = last
        return found

    @cached_property
    def phases(self) -> dict[str, int]:
        """How many VMs are in which phase."""
        found = Counter(str(vms.phase(vm) or "New") for vm in self.world.all(scheme.VM))
        return dict(sorted(found.items()))

    @cached_property
    def moves(self) -> list[MoveRow]:
        going = [op for op in self.world.all(scheme.VMOP) if not vmops.finished(op)]
        return [self._move(op) for op in going if vmops.is_migration(op)]

    def _move(self, vmop: Object) -> MoveRow:
        move = self.world.move_of(vmop)
        report = vmms.source_report(move) if move is not None else {}
        return MoveRow(
            vm=vmops.vm_key(vmop),
            operation=name_of(vmop),
            origin=str(vmops.origin(vmop)),
            phase=str(vmops.phase(vmop) or VmopPhase.PENDING),
            percent=vmops.progress_percent(vmop),
            source=vmms.source_node(move) if move is not None else "",
            target=vmms.target_node(move) if move is not None else "",
            dirty_bytes_per_second=report.get("dirtyBytesPerSecond"),
            remaining_bytes=report.get("ramRemainingBytes"),
        )

    @cached_property
    def vms(self) -> list[VmRow]:
        dirty = {move.vm: move.dirty_bytes_per_second for move in self.moves}
        return [self._vm(vm, dirty.get(key_of(vm))) for vm in self.world.all(scheme.VM)]

    def _vm(self, vm: Object, dirty: int | None) -> VmRow:
        pod, known = self.world.holder_pod(vm), self.world.picture.pods
        row = known.row_of.get(key_of(pod)) if pod is not None else None
        requests = known.pods[row].requests if row is not None else {}
        cpu, memory = requests.get("cpu", 0), requests.get("memory", 0)
        node_name, phase = self.world.node_of(vm), str(vms.phase(vm) or "New")
        return VmRow(key_of(vm), node_name, phase, vms.cores(vm), cpu, memory, dirty)

    @cached_property
    def attention(self) -> list[Because]:
        """What needs a person, or may need one: nodes first."""
        found: list[Because] = []
        for row in self.nodes:
            found += self._of_node(row)
        for vm in self.world.all(scheme.VM):
            found += self._of_vm(vm)
        for vmop in self.world.all(scheme.VMOP):
            found += self._of_operation(vmop)
        return [*found, *_rebalancing(self.world)]

    def _of_node(self, row: NodeRow) -> list[Because]:
        if row.state == "Ready":
            return []
        silent = lost.fencing(self.world, row.name)
        if silent:
            return silent
        return [one for one in node.explain(self.world, row.name) if one.way_out][:1]

    def _of_vm(self, vm: Object) -> list[Because]:
        said = []
        if vms.phase(vm) not in _AT_REST and self._long_so(vm):
            said = start.why_not_running(self.world, vm)
        elif conditions.is_true(vm, VmCondition.EVACUATION_BLOCKED):
            said = moving.asked(self.world, vm)
        elif conditions.is_true(vm, VmCondition.AWAITING_RESTART):
            said = [_awaits_restart(vm)]
        return [_named(one, vm) for one in said if one.way_out][:1]

    def _long_so(self, vm: Object) -> bool:
        """Whether it is in its phase for longer than a start takes."""
        changed = (conditions.get_condition(vm, VmCondition.RUNNING) or {}).get(
            "lastTransitionTime"
        )
        since = changed or vm["metadata"].get("creationTimestamp")
        return not since or self.world.now_s - parse_rfc3339(str(since)) > USUAL_S

    def _of_operation(self, vmop: Object) -> list[Because]:
        if vmops.phase(vmop) is not VmopPhase.FAILED or not self._last(vmop):
            return []
        said = conditions.get_condition(vmop, vmops.VmopCondition.COMPLETED) or {}
        since = said.get("lastTransitionTime") or vmop["metadata"].get("creationTimestamp")
        if since and self.world.now_s - parse_rfc3339(str(since)) > RECENT_S:
            return []
        name, space = name_of(vmop), namespace_of(vmop)
        words = f"{vmops.type_of(vmop)} {key_of(vmop)} of {vmops.vm_name(vmop)} failed"
        reason = ": ".join(str(said[key]) for key in ("reason", "message") if said.get(key))
        words += f": {reason.rstrip('.')}" if reason else ""
        rule = "an operation that failed is tried again only by who asked for it"
        way = f"`drover why {name} -n {space}` tells more"
        return [Because(Topic.OPERATION, words, rule, (Ref.of(scheme.VMOP, vmop),), way)]

    def _last(self, vmop: Object) -> bool:
        """Whether nothing was asked of its VM since."""
        vm = self.world.vm(vmops.vm_key(vmop))
        return vm is not None and self.world.operations_of(vm)[-1] is vmop

    def as_json(self) -> dict[str, Any]:
        return {
            "nodes": rows_json(self.nodes),
            "vms": {"total": sum(self.phases.values()), "phases": self.phases},
            "moves": rows_json(self.moves),
            "attention": [one.as_json() for one in self.attention],
        }


def rows_json(rows: Iterable[NodeRow | MoveRow | VmRow]) -> list[dict[str, Any]]:
    """With names as in the API (``cpuMilli``); what is not known is left out."""
    return [
        {_camel(name): value for name, value in asdict(row).items() if value is not None}
        for row in rows
    ]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _named(one: Because, vm: Object) -> Because:
    """With the VM's name in front: the answer will stand among those of others."""
    if key_of(vm) in one.says:
        return one
    return Because(one.about, f"{key_of(vm)}: {one.says}", one.rule, one.objects, one.way_out)


def _awaits_restart(vm: Object) -> Because:
    words = f"{key_of(vm)} runs with an earlier specification"
    rule = "what cannot be changed in a running guest is applied at its next start"
    way = f"`drover restart {name_of(vm)} -n {namespace_of(vm)}`"
    return Because(Topic.RESTART, words, rule, (Ref.of(scheme.VM, vm),), way)


def _rebalancing(world: World) -> list[Because]:
    found = []
    for plan in world.all(scheme.REBALANCEPLAN):
        if plans.open_(plan) and not plans.approved(plan):
            words = f"{name_of(plan)} waits for a person; moves in it: {len(plans.moves(plan))}"
            rule = "a plan in mode Approve waits for a person"
            way = f"`drover rebalance plan` shows it; set spec.approved of {name_of(plan)} to true"
            ref = Ref.of(scheme.REBALANCEPLAN, plan)
            found.append(Because(Topic.PLAN, words, rule, (ref,), way))
    for one in world.all(scheme.DESCHEDULER):
        said = conditions.get_condition(one, DeschedulerCondition.PROGRESSING) or {}
        if said.get("status") == conditions.FALSE:
            words = f"rebalancing gets nowhere: {said.get('message') or said.get('reason')}"
            rule = (
                "a node over a threshold is relieved by moves, as far as the rules of its VMs allow"
            )
            ref = Ref.of(scheme.DESCHEDULER, one)
            way = "`drover rebalance status` tells what is in the way"
            found.append(Because(Topic.PLAN, words.rstrip("."), rule, (ref,), way))
    return found

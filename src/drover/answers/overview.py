"""The whole installation on one page: nodes, VMs, moves that go on, and what needs a person. Pure.

``drover status`` and ``drover top`` show it. What needs attention is in attention.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from drover.answers.attention import needs_attention
from drover.answers.because import Because
from drover.answers.world import World
from drover.api import conditions, names, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence, nodegroup
from drover.api.kinds import rebalance as plans
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.nodefence import FencePhase
from drover.api.kinds.nodegroup import NodeGroupCondition
from drover.api.kinds.rebalance import StepState
from drover.api.kinds.vmop import VmopPhase
from drover.api.meta import name_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base.words import camel


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
    def fencing(self) -> dict[str, str]:
        """By NodeGroup: its mode, and what keeps it from being fenced though it should be; ``off``."""
        found = {}
        for group in self.world.all(scheme.NODEGROUP):
            said = conditions.get_condition(group, NodeGroupCondition.FENCING_ACTIVE) or {}
            mode, reason = nodegroup.mode(group), str(said.get("reason") or "")
            held = (
                f", {reason}" if mode is not None and said.get("status") != conditions.TRUE else ""
            )
            found[name_of(group)] = f"{mode or 'off'}{held if reason else ''}"
        return found

    @cached_property
    def rebalancing(self) -> str:
        """In a few words."""
        module = self.world.get(scheme.MODULECONFIG, names.REBALANCE_MODULE)
        if module is None or (module.get("spec") or {}).get("enabled") is not True:
            return "off"
        for plan in self.world.all(scheme.REBALANCEPLAN):
            if plans.open_(plan):
                done = [step for step in plans.steps(plan) if step.get("state") == StepState.DONE]
                count = f"{len(done)} of {len(plans.moves(plan))} moves done"
                return f"on, {name_of(plan)} is {plans.phase(plan)}, {count}"
        said = [plans.status(one) for one in self.world.all(scheme.DESCHEDULER)]
        over = sum(int(one.get("overloadedNodes", 0)) for one in said)
        broken = sum(int(one.get("brokenRules", 0)) for one in said)
        if not over and not broken:
            return "on, balanced"
        return f"on, nodes over a threshold: {over}, broken rules: {broken}"

    @cached_property
    def attention(self) -> list[Because]:
        """What needs a person, or may need one: nodes first."""
        closed = [row.name for row in self.nodes if row.state != "Ready"]
        return needs_attention(self.world, closed)

    def as_json(self) -> dict[str, Any]:
        return {
            "nodes": rows_json(self.nodes),
            "vms": {"total": sum(self.phases.values()), "phases": self.phases},
            "moves": rows_json(self.moves),
            "fencing": self.fencing,
            "rebalancing": self.rebalancing,
            "attention": [one.as_json() for one in self.attention],
        }


def rows_json(rows: Iterable[NodeRow | MoveRow | VmRow]) -> list[dict[str, Any]]:
    """With names as in the API (``cpuMilli``); what is not known is left out."""
    return [
        {camel(name): value for name, value in asdict(row).items() if value is not None}
        for row in rows
    ]

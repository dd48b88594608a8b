"""What a list of moves makes of an instance, counted on the plain data, step by step. It knows no planner.

A step is illegal when its target is above what it has with the VM on it, while the source still counts too.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from bench.rebalancing.instances import Instance

CEILING = 80
LINK_MIB_S = 1192


@dataclass
class Verdict:
    """After all moves; ``filled``: steps that took a target above the ceiling, ``illegal``: above what it has."""

    moves: int
    gib: float
    seconds: float
    over: int
    zone: int
    apart: int
    taint: int
    sd_cpu: float
    sd_memory: float
    filled: int
    illegal: int


def judge(instance: Instance, moves: Iterable[tuple[str, str]]) -> Verdict:
    """``moves``: VM and target, by name, in order."""
    number = {node.name: i for i, node in enumerate(instance.nodes)}
    vms = {vm.name: vm for vm in instance.vms}
    where = {vm.name: vm.node for vm in instance.vms}
    cpu, memory = _used(instance, where)
    count, gib, seconds, filled, illegal = 0, 0.0, 0.0, 0, 0
    for name, target in moves:
        vm, source, node = vms[name], where[name], number[target]
        if source == node:
            illegal += 1
        cpu[node] += vm.cpu
        memory[node] += vm.memory
        filled += 100 * cpu[node] > CEILING * instance.nodes[node].cpu
        whole = instance.nodes[node]
        illegal += cpu[node] > whole.cpu or memory[node] > whole.memory
        cpu[source] -= vm.cpu
        memory[source] -= vm.memory
        where[name] = node
        count += 1
        gib += vm.memory / 1024
        seconds += vm.memory / (LINK_MIB_S - vm.dirty_mib_s)
    nodes = instance.nodes
    groups = [(vm.group, where[vm.name]) for vm in instance.vms if vm.group >= 0]
    return Verdict(
        moves=count,
        gib=gib,
        seconds=seconds,
        over=sum(100 * cpu[i] > CEILING * node.cpu for i, node in enumerate(nodes)),
        zone=sum(vm.zone >= 0 and nodes[where[vm.name]].zone != vm.zone for vm in instance.vms),
        apart=len(groups) - len(set(groups)),
        taint=sum(nodes[where[vm.name]].tainted for vm in instance.vms),
        sd_cpu=statistics.pstdev(100 * cpu[i] / node.cpu for i, node in enumerate(nodes)),
        sd_memory=statistics.pstdev(100 * memory[i] / node.memory for i, node in enumerate(nodes)),
        filled=filled,
        illegal=illegal,
    )


def _used(instance: Instance, where: dict[str, int]) -> tuple[list[int], list[int]]:
    cpu, memory = [0] * len(instance.nodes), [0] * len(instance.nodes)
    for vm in instance.vms:
        cpu[where[vm.name]] += vm.cpu
        memory[where[vm.name]] += vm.memory
    return cpu, memory

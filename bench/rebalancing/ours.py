"""An instance as the planner's values."""

from __future__ import annotations

from bench.rebalancing.instances import Instance
from drover.planner import (
    Cluster,
    Goal,
    Node,
    Operator,
    Pod,
    PodTerm,
    Requirement,
    Selector,
    Taint,
    Vm,
)

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
MIB = 2**20
GOAL = Goal({"cpu": 80})


def cluster_of(instance: Instance) -> tuple[Cluster, list[Vm]]:
    nodes = [
        Node(
            node.name,
            {HOST: node.name, ZONE: f"zone-{node.zone}"},
            (Taint("maintenance"),) if node.tainted else (),
            allocatable={"cpu": node.cpu, "memory": node.memory * MIB, "pods": 250},
        )
        for node in instance.nodes
    ]
    pods, vms = [], []
    for vm in instance.vms:
        labels = {"group": f"g{vm.group}"} if vm.group >= 0 else {}
        chosen = Selector((Requirement("group", Operator.IN, (f"g{vm.group}",)),))
        terms = (PodTerm(HOST, chosen, ("vms",)),) if vm.group >= 0 else ()
        zone = (Requirement(ZONE, Operator.IN, (f"zone-{vm.zone}",)),) if vm.zone >= 0 else ()
        requests = {"cpu": vm.cpu, "memory": vm.memory * MIB}
        pod = Pod(
            "vms",
            vm.name,
            labels,
            requests,
            instance.nodes[vm.node].name,
            zone,
            anti_affinity=terms,
        )
        pods.append(pod)
        vms.append(Vm(pod.key, vm.memory * MIB, vm.dirty_mib_s * MIB))
    return Cluster.of(nodes, pods), vms

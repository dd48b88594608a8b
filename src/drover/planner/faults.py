"""VMs that affinity or topology spread speaks of, judged by ``fit`` itself.

A VM stands rightly when kube-scheduler, had it to place it anew with all others where they are, would take its node.
A move harms a bystander when that was so before and is not so afterwards: the last VM that others want to be near
goes away, or a domain is left behind by the others of a spread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from drover.planner.cluster import Cluster
from drover.planner.fit import near, rows_of, selected, tainted
from drover.planner.model import Pod
from drover.planner.plan import Rule
from drover.planner.spreading import Spreading
from drover.planner.tables import Ints


def misplaced(cluster: Cluster, pod: Pod) -> Rule | None:
    """The rule of affinity or spread that ``pod`` breaks where it is."""
    node = cluster.node_of(pod.key)
    if not node:
        return None
    row = cluster.nodes.row_of[node]
    away = cluster.moved({pod.key: ""})
    if pod.affinity and not near(away, pod)[row]:
        return Rule.AFFINITY
    if pod.spread:
        spreading = Spreading(away, pod, selected(cluster.nodes, pod), tainted(cluster.nodes, pod))
        for rule in pod.spread:
            if any(where[row] for _, where in spreading.refusals(rule)):
                return Rule.SPREAD
    return None


@dataclass(frozen=True)
class Bystanders:
    """Per VM that is spoken of: the rows of the Pods whose rules do. A VM with such rules is its own bystander."""

    watching: dict[int, tuple[int, ...]]

    @classmethod
    def of(cls, cluster: Cluster, vm_rows: Ints) -> Bystanders:
        vm_of = {int(row): vm for vm, row in enumerate(vm_rows)}
        found: dict[int, set[int]] = {}
        known: dict[object, tuple[int, ...]] = {}
        for row, pod in enumerate(cluster.pods.pods):
            if not pod.affinity and not pod.spread:
                continue
            key = (pod.namespace, pod.affinity, pod.spread)
            if key not in known:
                known[key] = tuple(_spoken_of(cluster, pod))
            for other in {*known[key], row}:
                if other in vm_of:
                    found.setdefault(vm_of[other], set()).add(row)
        return cls({vm: tuple(sorted(rows)) for vm, rows in found.items()})

    def speaks_of(self, vm: int) -> bool:
        return vm in self.watching

    def harmless(self, picture: Cluster, vm: int, key: str, node: str) -> bool:
        """Does nobody stand against a rule after the VM's move to ``node`` who did not before?"""
        pods = [picture.pods.pods[row] for row in self.watching.get(vm, ())]
        after = picture.moved({key: node})
        return all(not misplaced(after, pod) or misplaced(picture, pod) for pod in pods)


def _spoken_of(cluster: Cluster, pod: Pod) -> Iterator[int]:
    for term in pod.affinity:
        yield from rows_of(cluster, term).tolist()
    for rule in pod.spread:
        if rule.selector is not None:
            for row in cluster.pods.selected(rule.selector).tolist():
                if cluster.pods.pods[row].namespace == pod.namespace:
                    yield row

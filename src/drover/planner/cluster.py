"""A frozen picture of a cluster, and the pictures after moves.

Tables of nodes and Pods are shared by a picture and all that come of it; what a move changes is where Pods are and
what is left on the nodes, a few small arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from drover.planner.model import Node, Pod
from drover.planner.tables import Bools, Ints, NodeTable, PodTable

NOWHERE = -1
PODS = "pods"


class Cluster:
    """Make it with ``Cluster.of``; nothing of it is changed afterwards."""

    def __init__(
        self,
        nodes: NodeTable,
        pods: PodTable,
        namespaces: Mapping[str, Mapping[str, str]],
        where: Ints,
        free: Mapping[str, Ints],
    ) -> None:
        self.nodes = nodes
        self.pods = pods
        self.namespaces = namespaces
        self.where = where  # per Pod: the row of its node, or NOWHERE
        self.free = free  # per resource, "pods" among them: what is left on each node

    @classmethod
    def of(
        cls,
        nodes: Sequence[Node],
        pods: Iterable[Pod],
        namespaces: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Cluster:
        """``pods``: those that have not ended; where one names a node that is not here, it counts nowhere.

        ``namespaces``: labels by name; one that is missing has none.
        """
        table, present = NodeTable(nodes), PodTable(tuple(pods))
        rows = [table.row_of.get(pod.node, NOWHERE) for pod in present.pods]
        where = np.array(rows, dtype=np.int64)
        free = {name: table.allocatable(name) for name in (*table.resources, PODS)}
        placed = where != NOWHERE
        for name in free:
            wanted = np.ones(len(rows), dtype=np.int64) if name == PODS else present.requests(name)
            np.subtract.at(free[name], where[placed], wanted[placed])
        return cls(table, present, namespaces or {}, where, free)

    def pod(self, key: str) -> Pod:
        """By ``namespace/name``. KeyError when it is not here."""
        return self.pods.pods[self.pods.row_of[key]]

    def node_of(self, key: str) -> str:
        """Where a Pod is in this picture; empty: nowhere."""
        row = int(self.where[self.pods.row_of[key]])
        return "" if row == NOWHERE else self.nodes.names[row]

    def on(self, node: str) -> list[Pod]:
        """The Pods on ``node``. KeyError for an unknown node."""
        found = np.flatnonzero(self.where == self.nodes.row_of[node])
        return [self.pods.pods[row] for row in found.tolist()]

    def moved(self, moves: Mapping[str, str]) -> Cluster:
        """The picture after Pods (by key) went to nodes (by name; empty: away). KeyError for unknown ones."""
        where = self.where.copy()
        free = {name: left.copy() for name, left in self.free.items()}
        for key, node in moves.items():
            row = self.pods.row_of[key]
            before = int(where[row])
            after = self.nodes.row_of[node] if node else NOWHERE
            where[row] = after
            for name, left in free.items():
                amount = 1 if name == PODS else self.pods.pods[row].requests.get(name, 0)
                if before != NOWHERE:
                    left[before] += amount
                if after != NOWHERE:
                    left[after] -= amount
        return Cluster(self.nodes, self.pods, self.namespaces, where, free)

    def with_pods(self, pods: Iterable[Pod]) -> Cluster:
        """The picture with more Pods in it, or with Pods of the same key replaced. Builds the tables anew."""
        fresh = {pod.key: pod for pod in pods}
        kept = [self._as_placed(pod) for pod in self.pods.pods if pod.key not in fresh]
        return Cluster.of(self.nodes.nodes, [*kept, *fresh.values()], self.namespaces)

    def _as_placed(self, pod: Pod) -> Pod:
        node = self.node_of(pod.key)
        return pod if node == pod.node else replace(pod, node=node)

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        return self.namespaces.get(name, {})

    def left(self, resource: str) -> Ints:
        """What is free of a resource on each node; none where nobody has heard of it."""
        known = self.free.get(resource)
        return np.zeros(len(self.nodes), dtype=np.int64) if known is None else known

    def domains(self, topology: str, rows: Ints, among: Bools | None = None) -> Ints:
        """How many of the Pods ``rows`` are in each domain of ``topology``; only on nodes ``among`` when given."""
        column = self.nodes.column(topology)
        at = self.where[rows]
        at = at[at != NOWHERE]
        if among is not None:
            at = at[among[at]]
        codes = column.codes[at]
        return np.bincount(codes[codes >= 0], minlength=len(column.values)).astype(np.int64)

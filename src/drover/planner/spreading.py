"""Topology spread constraints that must hold, judged for all nodes at once.

Domains are counted over the nodes that carry the labels of all constraints and that the Pod could use, as the
constraint's policies say. An empty selector counts no Pod but lets the Pod itself count, as in kube-scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from drover.planner.cluster import Cluster
from drover.planner.model import Pod, Spread
from drover.planner.tables import Bools, Ints

SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = f"{SPREAD} (missing required label)"


class Spreading:
    """All constraints of one Pod. ``selected`` and ``tainted``: what its node rules say of each node."""

    def __init__(self, cluster: Cluster, pod: Pod, selected: Bools, tainted: Bools) -> None:
        self._cluster = cluster
        self._pod = pod
        self._selected = selected
        self._tainted = tainted
        self._labelled = np.ones(len(cluster.nodes), dtype=np.bool_)
        for rule in pod.spread:
            self._labelled &= cluster.nodes.column(rule.topology).codes >= 0

    def refusals(self, rule: Spread) -> Iterator[tuple[str, Bools]]:
        """The nodes that one constraint refuses."""
        column = self._cluster.nodes.column(rule.topology)
        yield SPREAD_LABEL, column.codes < 0
        eligible = self._labelled
        if rule.honor_affinity:
            eligible = eligible & self._selected
        if rule.honor_taints:
            eligible = eligible & ~self._tainted
        counts = self._cluster.domains(rule.topology, self._counted(rule), eligible)
        domains = np.unique(column.codes[eligible])
        fewest = int(counts[domains].min()) if len(domains) >= max(rule.min_domains, 1) else 0
        selects_itself = rule.selector is not None and rule.selector.matches(self._pod.labels)
        over = counts + int(selects_itself) - fewest > rule.max_skew
        yield SPREAD, np.append(over, False)[column.codes]

    def _counted(self, rule: Spread) -> Ints:
        pods = self._cluster.pods
        space = pods.namespaces.code_of.get(self._pod.namespace)
        if space is None or rule.selector is None or not rule.selector.requirements:
            return pods.all_rows[:0]
        rows = pods.selected(rule.selector)
        counted: Bools = (pods.namespaces.codes[rows] == space) & pods.settled[rows]
        return rows[counted]

"""Which nodes take a Pod, and why the others refuse it: kube-scheduler's filters, in its order and its words.

A node is refused by the first filter that it fails, as in kube-scheduler; only the filter of resources names several
reasons at once. Each filter below judges all nodes together and gives the reasons with the nodes they hold for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from drover.planner.cluster import PODS, Cluster
from drover.planner.model import Operator, Pod, PodTerm, Taint
from drover.planner.spreading import Spreading
from drover.planner.tables import Bools, Ints, NodeTable

UNSCHEDULABLE = "node(s) were unschedulable"
NODE_NAME = "node(s) didn't match the requested node name"
TAINTED = "node(s) had untolerated taint(s)"
NODE_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
NOT_NAMED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
TERMS_CONFLICT = "pod affinity terms conflict"
TOO_MANY_PODS = "Too many pods"
POD_AFFINITY = "node(s) didn't match pod affinity rules"
POD_ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
NO_NODES = "no nodes available to schedule pods"

CORDON = Taint("node.kubernetes.io/unschedulable")
BLOCKING = ("NoSchedule", "NoExecute")

Reasons = Iterator[tuple[str, Bools]]


@dataclass(frozen=True, slots=True)
class Fit:
    """The verdict on one Pod. Texts are made when asked for."""

    names: tuple[str, ...]
    feasible: Bools
    reasons: tuple[tuple[str, Bools], ...]
    conflict: str = ""  # the Pod contradicts itself: no node was looked at

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that take it."""
        return tuple(self.names[row] for row in np.flatnonzero(self.feasible).tolist())

    @property
    def refusals(self) -> Mapping[str, tuple[str, ...]]:
        """Why each other node does not."""
        found: dict[str, list[str]] = {}
        for reason, where in self.reasons:
            for row in np.flatnonzero(where).tolist():
                found.setdefault(self.names[row], []).append(reason)
        return {name: tuple(found[name]) for name in self.names if name in found}

    @property
    def counts(self) -> Mapping[str, int]:
        """How many nodes refuse for each reason."""
        total: Counter[str] = Counter()
        for reason, where in self.reasons:
            total[reason] += int(np.count_nonzero(where))
        return dict(total)

    @property
    def message(self) -> str:
        """What kube-scheduler writes when nothing fits: ``0/3 nodes are available: 1 Insufficient cpu, ...``.
        Empty when something does."""
        if self.feasible.any():
            return ""
        if not self.names:
            return NO_NODES
        head = f"0/{len(self.names)} nodes are available:"
        if self.conflict:
            return f"{head} {self.conflict}."
        return f"{head} {', '.join(sorted(f'{n} {why}' for why, n in self.counts.items()))}."


def fit(cluster: Cluster, pod: Pod) -> Fit:
    """The nodes that may take ``pod`` as one more; the same Pod, when it is there already, stays and counts."""
    names = cluster.nodes.names
    open_ = np.ones(len(names), dtype=np.bool_)
    asked = _asked_for(pod)
    if asked is not None and not asked:
        refused = ((TERMS_CONFLICT, open_),) if names else ()
        return Fit(names, ~open_, refused, TERMS_CONFLICT)
    reasons: list[tuple[str, Bools]] = []
    if asked is not None:
        others = np.array([name not in asked for name in names], dtype=np.bool_)
        _refuse(reasons, open_, NOT_NAMED, others)
    for reason, where in _of_node(cluster.nodes, pod):
        _refuse(reasons, open_, reason, where)
    lacking = [(why, where & open_) for why, where in _of_resources(cluster, pod)]
    reasons += [(why, where) for why, where in lacking if where.any()]
    for _, where in lacking:
        open_ &= ~where
    for reason, where in _of_others(cluster, pod):
        _refuse(reasons, open_, reason, where)
    return Fit(names, open_, tuple(reasons))


def _refuse(reasons: list[tuple[str, Bools]], open_: Bools, reason: str, where: Bools) -> None:
    """Close the nodes ``where`` that are still open."""
    closed = where & open_
    if closed.any():
        reasons.append((reason, closed))
        open_ &= ~closed


def _asked_for(pod: Pod) -> frozenset[str] | None:
    """The nodes that every term of the required affinity names; None when one of them names none."""
    if not pod.node_terms:
        return None
    names: frozenset[str] = frozenset()
    for term in pod.node_terms:
        wanted = [set(rule.values) for rule in term.fields if rule.operator is Operator.IN]
        if not wanted:
            return None
        names |= set.intersection(*wanted)
    return names


def tolerates(pod: Pod, taint: Taint) -> bool:
    return any(toleration.covers(taint) for toleration in pod.tolerations)


def tainted(nodes: NodeTable, pod: Pod, apart_from: str | None = None) -> Bools:
    """The nodes with a taint that keeps ``pod`` off, not looking at keys that begin with ``apart_from``."""
    verdicts = [
        any(
            taint.effect in BLOCKING
            and not tolerates(pod, taint)
            and (apart_from is None or not taint.key.startswith(apart_from))
            for taint in taints
        )
        for taints in nodes.taint_sets
    ]
    return np.array(verdicts, dtype=np.bool_)[nodes.taint_group]


def selected(nodes: NodeTable, pod: Pod) -> Bools:
    """The nodes that its node selector and required node affinity allow."""
    found = nodes.labelled(pod.node_selector)
    if pod.node_terms is None:
        return found
    any_term = np.zeros(len(nodes), dtype=np.bool_)
    for term in pod.node_terms:
        if term.labels or term.fields:
            any_term |= nodes.labelled(term.labels) & nodes.named(term.fields)
    return found & any_term


def _of_node(nodes: NodeTable, pod: Pod) -> Reasons:
    if not tolerates(pod, CORDON):
        yield UNSCHEDULABLE, nodes.unschedulable
    if pod.node:
        yield NODE_NAME, np.array([name != pod.node for name in nodes.names], dtype=np.bool_)
    yield TAINTED, tainted(nodes, pod)
    yield NODE_AFFINITY, ~selected(nodes, pod)


def _of_resources(cluster: Cluster, pod: Pod) -> Reasons:
    yield TOO_MANY_PODS, cluster.left(PODS) < 1
    for name, wanted in pod.requests.items():
        if wanted > 0:
            yield f"Insufficient {name}", cluster.left(name) < wanted


def _of_others(cluster: Cluster, pod: Pod) -> Reasons:
    if pod.spread:
        eligible = Spreading(
            cluster, pod, selected(cluster.nodes, pod), tainted(cluster.nodes, pod)
        )
        for rule in pod.spread:
            yield from eligible.refusals(rule)
    if pod.affinity:
        yield POD_AFFINITY, ~near(cluster, pod)
    for term in pod.anti_affinity:
        yield POD_ANTI_AFFINITY, _in_domains(cluster, term, rows_of(cluster, term))
    against = cluster.pods.refusing.against(pod, cluster.namespace_labels(pod.namespace))
    for term, rows in against:
        yield EXISTING_ANTI_AFFINITY, _in_domains(cluster, term, rows)


def rows_of(cluster: Cluster, term: PodTerm, *, asking: bool = True) -> Ints:
    """The Pods that ``term`` speaks of; ``asking``: as a rule of the Pod that comes, else of one that is there."""
    if term.selector is None:
        return cluster.pods.all_rows[:0]
    rows = cluster.pods.selected(term.selector)
    spaces = cluster.pods.namespaces
    if term.namespace_selector is None and len(term.namespaces) == 1:
        code = spaces.code_of.get(term.namespaces[0], len(spaces.values))
        named: Ints = rows[spaces.codes[rows] == code]
        return named
    covers = term.covers_asking if asking else term.covers
    covered = [covers(name, cluster.namespace_labels(name)) for name in spaces.values]
    return rows[np.array(covered, dtype=np.bool_)[spaces.codes[rows]]] if covered else rows


def _in_domains(cluster: Cluster, term: PodTerm, rows: Ints) -> Bools:
    """The nodes that share the term's topology with one of the Pods ``rows``."""
    counts = cluster.domains(term.topology, rows)
    codes = cluster.nodes.column(term.topology).codes
    return np.append(counts > 0, False)[codes]  # the last entry: nodes without the label


def near(cluster: Cluster, pod: Pod) -> Bools:
    """The nodes near Pods that satisfy all affinity terms together.

    The first of Pods that want to be near each other may go anywhere, when no Pod there satisfies the terms.
    """
    rows = rows_of(cluster, pod.affinity[0])
    for term in pod.affinity[1:]:
        rows = np.intersect1d(rows, rows_of(cluster, term), assume_unique=True)
    found = np.ones(len(cluster.nodes), dtype=np.bool_)
    labelled = np.ones(len(cluster.nodes), dtype=np.bool_)
    anywhere = False
    for term in pod.affinity:
        counts = cluster.domains(term.topology, rows)
        codes = cluster.nodes.column(term.topology).codes
        anywhere |= bool(counts.any())
        found &= np.append(counts > 0, False)[codes]
        labelled &= codes >= 0
    labels = cluster.namespace_labels(pod.namespace)
    itself = all(
        term.selector is not None
        and term.covers_asking(pod.namespace, labels)
        and term.selector.matches(pod.labels)
        for term in pod.affinity
    )
    return labelled if itself and not anywhere else found

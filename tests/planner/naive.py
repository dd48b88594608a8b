"""The same rules again, node by node and Pod by Pod, as plainly as they can be said.

A second opinion for the planner's arrays, and the yardstick of ``bench/plan_fit``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from drover.planner import Node, NodeTerm, Pod, PodTerm, Requirement, Selector, Spread, Taint

Space = Mapping[str, Mapping[str, str]]
Places = Mapping[str, Sequence[Pod]]


def verdicts(
    nodes: Sequence[Node], pods: Iterable[Pod], namespaces: Space, pod: Pod
) -> dict[str, tuple[str, ...]]:
    """Per node: why it refuses ``pod``; nothing: it takes it."""
    on: dict[str, list[Pod]] = {node.name: [] for node in nodes}
    for one in pods:
        if one.node in on:
            on[one.node].append(one)
    asked = _asked(pod)
    if asked == set():
        return {node.name: ("pod affinity terms conflict",) for node in nodes}
    return {
        node.name: _judge(node, nodes, on, namespaces, pod)
        if asked is None or node.name in asked
        else ("node(s) didn't satisfy plugin(s) [NodeAffinity]",)
        for node in nodes
    }


def _asked(pod: Pod) -> set[str] | None:
    names: set[str] = set()
    for term in pod.node_terms or ():
        wanted = [set(rule.values) for rule in term.fields if rule.operator == "In"]
        if not wanted:
            return None
        names |= set.intersection(*wanted)
    return names if pod.node_terms else None


def _judge(
    node: Node, nodes: Sequence[Node], on: Places, namespaces: Space, pod: Pod
) -> tuple[str, ...]:
    if node.unschedulable and not _tolerated(pod, Taint("node.kubernetes.io/unschedulable")):
        return ("node(s) were unschedulable",)
    if pod.node and pod.node != node.name:
        return ("node(s) didn't match the requested node name",)
    if _tainted(node, pod):
        return ("node(s) had untolerated taint(s)",)
    if not _selected(node, pod):
        return ("node(s) didn't match Pod's node affinity/selector",)
    lacking = ["Too many pods"] if len(on[node.name]) >= node.allocatable.get("pods", 0) else []
    for name, wanted in pod.requests.items():
        used = sum(one.requests.get(name, 0) for one in on[node.name])
        if wanted > 0 and wanted > node.allocatable.get(name, 0) - used:
            lacking.append(f"Insufficient {name}")
    if lacking:
        return tuple(lacking)
    return _of_spread(node, nodes, on, pod) or _of_pods(node, nodes, on, namespaces, pod)


def _tolerated(pod: Pod, taint: Taint) -> bool:
    return any(one.covers(taint) for one in pod.tolerations)


def _tainted(node: Node, pod: Pod) -> bool:
    return any(
        t.effect in ("NoSchedule", "NoExecute") and not _tolerated(pod, t) for t in node.taints
    )


def _hold(rules: Iterable[Requirement], labels: Mapping[str, str]) -> bool:
    return all(rule.accepts(labels.get(rule.key)) for rule in rules)


def _selected(node: Node, pod: Pod) -> bool:
    if not _hold(pod.node_selector, node.labels):
        return False
    return pod.node_terms is None or any(_term(term, node) for term in pod.node_terms)


def _term(term: NodeTerm, node: Node) -> bool:
    if not term.labels and not term.fields:
        return False
    return _hold(term.labels, node.labels) and _hold(term.fields, {"metadata.name": node.name})


def _of_spread(node: Node, nodes: Sequence[Node], on: Places, pod: Pod) -> tuple[str, ...]:
    words = "node(s) didn't match pod topology spread constraints"
    for rule in pod.spread:
        if rule.topology not in node.labels:
            return (f"{words} (missing required label)",)
        counts: dict[str, int] = {}
        for other in nodes:
            if _eligible(other, pod, rule):
                domain = other.labels[rule.topology]
                found = sum(_counted(rule, pod, one) for one in on[other.name])
                counts[domain] = counts.get(domain, 0) + found
        fewest = min(counts.values(), default=0) if len(counts) >= rule.min_domains else 0
        itself = int(rule.selector is not None and rule.selector.matches(pod.labels))
        if counts.get(node.labels[rule.topology], 0) + itself - fewest > rule.max_skew:
            return (words,)
    return ()


def _eligible(node: Node, pod: Pod, rule: Spread) -> bool:
    if any(other.topology not in node.labels for other in pod.spread):
        return False
    if rule.honor_affinity and not _selected(node, pod):
        return False
    return not (rule.honor_taints and _tainted(node, pod))


def _counted(rule: Spread, pod: Pod, other: Pod) -> bool:
    if rule.selector is None or rule.selector == Selector() or other.terminating:
        return False
    return other.namespace == pod.namespace and rule.selector.matches(other.labels)


def _of_pods(
    node: Node, nodes: Sequence[Node], on: Places, namespaces: Space, pod: Pod
) -> tuple[str, ...]:
    if pod.affinity and not _near(node, nodes, on, namespaces, pod):
        return ("node(s) didn't match pod affinity rules",)
    for term in pod.anti_affinity:
        for other in nodes:
            if _together(term, node, other) and any(
                _meant(term, one, namespaces) for one in on[other.name]
            ):
                return ("node(s) didn't match pod anti-affinity rules",)
    for other in nodes:
        for one in on[other.name]:
            for term in one.anti_affinity:
                if _together(term, node, other) and _meant(term, pod, namespaces, asking=False):
                    return ("node(s) didn't satisfy existing pods anti-affinity rules",)
    return ()


def _near(node: Node, nodes: Sequence[Node], on: Places, namespaces: Space, pod: Pod) -> bool:
    if any(term.topology not in node.labels for term in pod.affinity):
        return False

    def all_meant(one: Pod) -> bool:
        return all(_meant(term, one, namespaces) for term in pod.affinity)

    at = [other for other in nodes if any(all_meant(one) for one in on[other.name])]
    if all(any(_together(term, node, other) for other in at) for term in pod.affinity):
        return True
    counted = any(term.topology in other.labels for term in pod.affinity for other in at)
    return not counted and all_meant(pod)


def _meant(term: PodTerm, pod: Pod, namespaces: Space, *, asking: bool = True) -> bool:
    if term.selector is None or not term.selector.matches(pod.labels):
        return False
    covers = term.covers_asking if asking else term.covers
    return covers(pod.namespace, namespaces.get(pod.namespace, {}))


def _together(term: PodTerm, one: Node, other: Node) -> bool:
    here = one.labels.get(term.topology)
    return here is not None and here == other.labels.get(term.topology)

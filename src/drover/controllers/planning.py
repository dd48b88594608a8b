"""From API objects to the planner's values: the one place that knows both.

Pods that have ended, or were bound to no node yet, count nowhere, as for kube-scheduler. What the planner does not
know (preferred rules, ports, volumes) is left out. Selectors are taken as the API server stores them, with
``matchLabelKeys`` merged in; for a Pod that was not sent yet they are merged here.

An object that is no valid Node or Pod raises KeyError or ValueError: the API server lets none through.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from drover.api import vmpod
from drover.api.kinds import node as nodes_
from drover.api.kinds import pod as pods_
from drover.api.wire import Object
from drover.base.quantity import cpu_milli, size_bytes
from drover.planner import (
    Cluster,
    Node,
    NodeTerm,
    Operator,
    Pod,
    PodTerm,
    Requirement,
    Selector,
    Spread,
    Taint,
    Toleration,
)

MOST_AMOUNT = 2**50  # 1 PiB, or as many thousandths of a CPU: more than any node has
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def snapshot(
    nodes: Iterable[Object], pods: Iterable[Object], namespaces: Iterable[Object] = ()
) -> Cluster:
    """The cluster as these objects tell it."""
    read = [node_of(node) for node in nodes]
    return _picture(read, [pod_of(pod) for pod in pods if counts(pod)], namespaces)


class Snapshots:
    """Takes one picture after another and reads only the Pods that have changed since the last."""

    def __init__(
        self,
        read_pod: Callable[[Object], Pod] | None = None,
        read_node: Callable[[Object], Node] | None = None,
    ) -> None:
        self._read: dict[str, tuple[str, Pod]] = {}
        self._pod_of = read_pod or pod_of
        self._node_of = read_node or node_of

    def take(
        self, nodes: Iterable[Object], pods: Iterable[Object], namespaces: Iterable[Object] = ()
    ) -> Cluster:
        """As ``snapshot``."""
        read: dict[str, tuple[str, Pod]] = {}
        for pod in pods:
            if counts(pod):
                meta = pod["metadata"]
                known, version = self._read.get(meta["uid"]), meta.get("resourceVersion", "")
                same = known is not None and known[0] == version
                read[meta["uid"]] = known if known and same else (version, self._pod_of(pod))
        self._read = read
        hosts = [self._node_of(node) for node in nodes]
        return _picture(hosts, [pod for _, pod in read.values()], namespaces)


def _picture(nodes: list[Node], pods: list[Pod], namespaces: Iterable[Object]) -> Cluster:
    labels = {ns["metadata"]["name"]: dict(ns["metadata"].get("labels") or {}) for ns in namespaces}
    return Cluster.of(nodes, pods, labels)


def counts(pod: Object) -> bool:
    """Does it take room on a node?"""
    return bool(pods_.node_name(pod)) and not pods_.ended(pod)


def node_of(node: Object) -> Node:
    spec = node.get("spec") or {}
    taints = [Taint(t["key"], t.get("value") or "", t["effect"]) for t in spec.get("taints") or ()]
    return Node(
        name=node["metadata"]["name"],
        labels=nodes_.labels(node),
        taints=tuple(taints),
        unschedulable=nodes_.cordoned(node),
        allocatable=_amounts(nodes_.allocatable(node)),
    )


def pod_of(pod: Object, *, comes: bool = False) -> Pod:
    """``comes``: as a Pod that looks for a node, wherever it is now: a copy of it, or it after a move."""
    meta, spec = pod["metadata"], pod["spec"]
    labels = dict(meta.get("labels") or {})
    affinity = spec.get("affinity") or {}
    required = (affinity.get("nodeAffinity") or {}).get(_REQUIRED)
    namespace = meta["namespace"]
    return Pod(
        namespace=namespace,
        name=meta["name"],
        labels=labels,
        requests=requests(spec),
        node="" if comes else spec.get("nodeName") or "",
        node_selector=_pairs(spec.get("nodeSelector")),
        node_terms=None if required is None else _node_terms(required),
        tolerations=tuple(_toleration(one) for one in spec.get("tolerations") or ()),
        affinity=_pod_terms(affinity.get("podAffinity"), namespace, labels),
        anti_affinity=_pod_terms(affinity.get("podAntiAffinity"), namespace, labels),
        spread=tuple(
            _spread(one, labels)
            for one in spec.get("topologySpreadConstraints") or ()
            if one["whenUnsatisfiable"] == "DoNotSchedule"
        ),
        terminating=pods_.deleting(pod),
    )


def target_of(
    pod: Object,
    node_selector: Mapping[str, str] | None = None,
    now: vmpod.Now | None = None,
) -> Pod:
    """The Pod that would receive the guest of the VM Pod ``pod``, under the same key: never on the same node.

    ``node_selector``: what a Migrate operation asks for besides. ``now``: as ``vmpod.target_pod`` takes it.
    """
    move = {
        "metadata": {"name": "", "uid": ""},
        "spec": {"sourceNode": pods_.node_name(pod), "nodeSelector": dict(node_selector or {})},
    }
    return pod_of(vmpod.target_pod(pod, move, pod["metadata"]["name"], now), comes=True)


_MORE = ("initContainers", "resources", "overhead")  # of a Pod, besides its containers


def requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """What a Pod reserves: its containers together, or the greediest step of its start, and its overhead."""
    containers: Sequence[Mapping[str, Any]] = spec.get("containers") or ()
    if len(containers) == 1 and not any(map(spec.get, _MORE)):  # as every VM Pod
        return dict(sorted(_wanted(containers[0]).items()))
    total: dict[str, int] = {}
    for container in containers:
        _add(total, _wanted(container))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        wanted = _wanted(container)
        if container.get("restartPolicy") == "Always":
            _add(total, wanted)
            _add(sidecars, wanted)
            step = dict(sidecars)
        else:
            step = dict(sidecars)
            _add(step, wanted)
        peak = {name: max(peak.get(name, 0), step.get(name, 0)) for name in {*peak, *step}}
    total = {name: max(total.get(name, 0), peak.get(name, 0)) for name in sorted({*total, *peak})}
    total |= _wanted(spec)  # requests of the Pod as a whole take the place of their sum
    _add(total, _amounts(spec.get("overhead")))
    return {name: min(amount, MOST_AMOUNT) for name, amount in total.items()}


def _wanted(holder: Mapping[str, Any]) -> dict[str, int]:
    return _amounts((holder.get("resources") or {}).get("requests"))


def _amounts(texts: Mapping[str, Any] | None) -> dict[str, int]:
    return {name: _amount(name == "cpu", str(text)) for name, text in (texts or {}).items()}


@functools.lru_cache(maxsize=4096)  # a cluster has few different amounts, and exact ones are slow
def _amount(cpu: bool, text: str) -> int:
    """Anybody may ask for 9Ei; the sums of the planner's 64-bit tables must not run over."""
    return min(cpu_milli(text) if cpu else size_bytes(text), MOST_AMOUNT)


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _toleration(one: Mapping[str, Any]) -> Toleration:
    return Toleration(
        key=one.get("key") or "",
        exists=one.get("operator") == "Exists",
        value=one.get("value") or "",
        effect=one.get("effect") or "",
    )


def _pairs(labels: Mapping[str, str] | None) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(key, Operator.IN, (value,)) for key, value in sorted((labels or {}).items())
    )


def _requirements(expressions: Iterable[Mapping[str, Any]] | None) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(one["key"], Operator(one["operator"]), tuple(one.get("values") or ()))
        for one in expressions or ()
    )


def selector_of(selector: Mapping[str, Any] | None) -> Selector | None:
    if selector is None:
        return None
    expressions = _requirements(selector.get("matchExpressions"))
    return Selector((*_pairs(selector.get("matchLabels")), *expressions))


def _merged(
    selector: Mapping[str, Any] | None, rule: Mapping[str, Any], labels: Mapping[str, str]
) -> Selector | None:
    """The selector with what ``matchLabelKeys`` and ``mismatchLabelKeys`` add, unless the API server did it."""
    plain = selector_of(selector)
    if plain is None:
        return None
    present = {one.key for one in plain.requirements}
    added = [
        Requirement(key, operator, (labels[key],))
        for field, operator in (
            ("matchLabelKeys", Operator.IN),
            ("mismatchLabelKeys", Operator.NOT_IN),
        )
        for key in rule.get(field) or ()
        if key in labels and key not in present
    ]
    return Selector((*plain.requirements, *added))


def _node_terms(required: Mapping[str, Any]) -> tuple[NodeTerm, ...]:
    return tuple(
        NodeTerm(
            _requirements(term.get("matchExpressions")), _requirements(term.get("matchFields"))
        )
        for term in required["nodeSelectorTerms"]
    )


def _pod_terms(
    rules: Mapping[str, Any] | None, namespace: str, labels: Mapping[str, str]
) -> tuple[PodTerm, ...]:
    found = []
    for term in (rules or {}).get(_REQUIRED) or ():
        named = tuple(term.get("namespaces") or ())
        chosen = selector_of(term.get("namespaceSelector"))
        if not named and chosen is None:
            named = (namespace,)
        selector = _merged(term.get("labelSelector"), term, labels)
        found.append(PodTerm(term["topologyKey"], selector, named, chosen))
    return tuple(found)


def _spread(one: Mapping[str, Any], labels: Mapping[str, str]) -> Spread:
    return Spread(
        topology=one["topologyKey"],
        max_skew=one["maxSkew"],
        selector=_merged(one.get("labelSelector"), one, labels),
        min_domains=one.get("minDomains") or 1,
        honor_affinity=one.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=one.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )

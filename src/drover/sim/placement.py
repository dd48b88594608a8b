"""Where a Pod fits: kube-scheduler's filters and least-allocated score, pure, on plain objects.

Each filter names its reason in kube-scheduler's words, since users read them in a Pod's
condition. Left out: ports, volumes, topology spread, namespace selectors, preferred terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drover.base.quantity import cpu_milli, size_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drover.api.wire import Object

_UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
_BLOCKING = ("NoSchedule", "NoExecute")


@dataclass(frozen=True)
class Host:
    """A node and the Pods that count on it."""

    node: Object
    pods: tuple[Object, ...]

    @property
    def name(self) -> str:
        return str(self.node["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.node["metadata"].get("labels") or {})


def requests(pod: Object) -> tuple[int, int]:
    """Milli-CPU and bytes that a Pod reserves."""
    cpu = memory = 0
    for container in pod["spec"].get("containers", ()):
        wanted = container.get("resources", {}).get("requests", {})
        cpu += cpu_milli(wanted.get("cpu", 0))
        memory += size_bytes(wanted.get("memory", 0))
    return cpu, memory


def misfit(pod: Object, host: Host, hosts: Sequence[Host]) -> list[str]:
    """Why ``pod`` cannot go to ``host``: the reasons of the first filter that refuses, or none."""
    spec, node = pod["spec"], host.node.get("spec", {})
    tolerations = spec.get("tolerations") or []
    if node.get("unschedulable") and not _tolerated(_UNSCHEDULABLE, tolerations):
        return ["node(s) were unschedulable"]
    for taint in node.get("taints") or ():
        if taint["effect"] in _BLOCKING and not _tolerated(taint, tolerations):
            return ["node(s) had untolerated taint(s)"]
    if not _selected(spec, host):
        return [_AFFINITY]
    return _short(pod, host) or _apart(pod, host, hosts)


def share(pod: Object, host: Host) -> float:
    """How full the node would be, in [0, 1] and above; less is better."""
    cpu, memory = _used(host)
    more_cpu, more_memory = requests(pod)
    has_cpu, has_memory, _ = _allocatable(host)
    parts = ((cpu + more_cpu) / max(has_cpu, 1), (memory + more_memory) / max(has_memory, 1))
    return sum(parts) / 2


def _tolerated(taint: Object, tolerations: Sequence[Object]) -> bool:
    for toleration in tolerations:
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        anything = toleration.get("operator") == "Exists"
        if toleration.get("key") in (None, ""):
            if anything:
                return True
        elif toleration["key"] == taint["key"] and (
            anything or toleration.get("value", "") == taint.get("value", "")
        ):
            return True
    return False


def _selected(spec: Object, host: Host) -> bool:
    wanted = spec.get("nodeSelector") or {}
    if any(host.labels.get(key) != value for key, value in wanted.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": host.name}
    return any(
        _expressions(term.get("matchExpressions"), host.labels)
        and _expressions(term.get("matchFields"), fields)
        for term in required["nodeSelectorTerms"]
        if term.get("matchExpressions") or term.get("matchFields")
    )


def _expressions(expressions: Sequence[Object] | None, values: dict[str, str]) -> bool:
    return all(_expression(expression, values) for expression in expressions or ())


def _expression(expression: Object, values: dict[str, str]) -> bool:
    have, wanted = values.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return have in wanted
        case "NotIn":
            return have not in wanted
        case "Exists":
            return have is not None
        case "DoesNotExist":
            return have is None
        case "Gt":
            return have is not None and int(have) > int(wanted[0])
        case "Lt":
            return have is not None and int(have) < int(wanted[0])
    raise ValueError(f"unknown operator {expression['operator']}")


def _allocatable(host: Host) -> tuple[int, int, int]:
    have = host.node.get("status", {}).get("allocatable", {})
    pods = int(have.get("pods", 0))
    return cpu_milli(have.get("cpu", 0)), size_bytes(have.get("memory", 0)), pods


def _used(host: Host) -> tuple[int, int]:
    each = [requests(pod) for pod in host.pods]
    return sum(cpu for cpu, _ in each), sum(memory for _, memory in each)


def _short(pod: Object, host: Host) -> list[str]:
    cpu, memory, pods = _allocatable(host)
    used_cpu, used_memory = _used(host)
    more_cpu, more_memory = requests(pod)
    reasons = []
    if len(host.pods) >= pods:
        reasons.append("Too many pods")
    if more_cpu and used_cpu + more_cpu > cpu:
        reasons.append("Insufficient cpu")
    if more_memory and used_memory + more_memory > memory:
        reasons.append("Insufficient memory")
    return reasons


def _apart(pod: Object, host: Host, hosts: Sequence[Host]) -> list[str]:
    """Required (anti-)affinity between Pods, both ways for anti-affinity."""
    for term in _pod_terms(pod, "podAffinity"):
        near = _matching(pod, term, hosts, host)
        anywhere = _matching(pod, term, hosts, None)
        first_of_its_kind = not anywhere and _matches(term, pod, pod)
        if not near and not first_of_its_kind:
            return ["node(s) didn't match pod affinity rules"]
    for term in _pod_terms(pod, "podAntiAffinity"):
        if _matching(pod, term, hosts, host):
            return ["node(s) didn't match pod anti-affinity rules"]
    for other_host in hosts:
        for other in other_host.pods:
            for term in _pod_terms(other, "podAntiAffinity"):
                if _matches(term, other, pod) and _together(term, host, other_host):
                    return ["node(s) didn't satisfy existing pods anti-affinity rules"]
    return []


def _pod_terms(pod: Object, side: str) -> list[dict[str, Any]]:
    affinity = (pod["spec"].get("affinity") or {}).get(side) or {}
    return list(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ())


def _matching(pod: Object, term: Object, hosts: Sequence[Host], near: Host | None) -> bool:
    """Does a Pod that ``term`` (of ``pod``) selects run in the topology of ``near``, or anywhere?"""
    return any(
        _matches(term, pod, other)
        for host in hosts
        if near is None or _together(term, near, host)
        for other in host.pods
    )


def _matches(term: Object, owner: Object, other: Object) -> bool:
    namespaces = term.get("namespaces") or [owner["metadata"].get("namespace")]
    if other["metadata"].get("namespace") not in namespaces or "labelSelector" not in term:
        return False
    selector, labels = term["labelSelector"] or {}, other["metadata"].get("labels") or {}
    plain = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in plain.items()) and _expressions(
        selector.get("matchExpressions"), labels
    )


def _together(term: Object, one: Host, other: Host) -> bool:
    key = term["topologyKey"]
    return key in one.labels and one.labels[key] == other.labels.get(key)

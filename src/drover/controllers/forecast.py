"""What a drain would find: for every VM of a node a place elsewhere, or why there is none. Pure.

VMs are placed one after another, each seeing the ones before it moved, since they compete for the same room. Those
bound to each other by required affinity find no place one by one: what one is bound to is still here. They are placed
together, all or none. It is a forecast: kube-scheduler chooses among the nodes that fit, and the world goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from drover.api.kinds import pod as pods
from drover.api.kinds.pod import PodPhase
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base import quantity
from drover.controllers.planning import target_of
from drover.planner import Cluster, Pod, lacking, place, place_group


@dataclass(frozen=True, slots=True)
class VmForecast:
    """``node`` empty: nowhere now, and ``message`` says why in kube-scheduler's words. ``group``: the VMs (as
    ``namespace/name``) it can only move with, itself among them; empty: it moves alone."""

    vm: str
    pod: str
    node: str
    message: str = ""
    group: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DrainForecast:
    """One line per VM, in the order of names."""

    node: str
    vms: tuple[VmForecast, ...]

    @property
    def stuck(self) -> tuple[VmForecast, ...]:
        return tuple(one for one in self.vms if not one.node)


def forecast_drain(cluster: Cluster, node: str, on_cluster: Iterable[Object]) -> DrainForecast:
    """Where the VMs of ``node`` would go. ``on_cluster``: the Pods the picture was made of, or just the node's."""
    sources = {key_of(pod): pod for pod in on_cluster if _runs_on(pod, node)}
    targets = [target_of(sources[key]) for key in sorted(sources)]
    alone = place(cluster, targets)
    plan = _Plan(alone.after, dict(alone.nodes), {k: f.message for k, f in alone.refused.items()})
    for group in _bound(cluster, targets):
        if any(pod.key in plan.why for pod in group):
            plan.together(node, group)
    lines = [
        VmForecast(
            vm=pods.vm_key(pod),
            pod=key,
            node=plan.where.get(key, ""),
            message=plan.why.get(key, ""),
            group=tuple(pods.vm_key(sources[member]) for member in plan.groups.get(key, ())),
        )
        for key, pod in sources.items()
    ]
    return DrainForecast(node, tuple(sorted(lines, key=lambda line: line.vm)))


def restart_rank(vm: Object, priority: int) -> tuple[int, str, str]:
    """Of several lost VMs the least starts first: by priority, then age."""
    return -priority, str(vm["metadata"].get("creationTimestamp", "")), key_of(vm)


def missing_room(cluster: Cluster, pod: Pod) -> str:
    """For a Pod that finds no room: ``n2 lacks 500m of cpu``. Empty: room is not what it waits for."""
    found = lacking(cluster, pod)
    if found is None:
        return ""
    node, amounts = found
    texts = [f"{_amount(name, amount)} of {name}" for name, amount in sorted(amounts.items())]
    return f"{node} lacks {' and '.join(texts)}"


def _amount(resource: str, amount: int) -> str:
    if resource == "cpu":
        return quantity.cpu_text(amount)
    sized = "memory" in resource or "storage" in resource
    return quantity.bytes_text(amount) if sized else str(amount)


@dataclass
class _Plan:
    """What was found so far, by key of the Pods."""

    picture: Cluster
    where: dict[str, str]
    why: dict[str, str]
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def together(self, source: str, group: Sequence[Pod]) -> None:
        """Place the group at once, wherever single ones of it were put before."""
        keys = tuple(pod.key for pod in group)
        for key in keys:
            self.where.pop(key, None)
            self.why.pop(key, None)
            self.groups[key] = keys
        self.picture = self.picture.moved(dict.fromkeys(keys, source))
        placed = place_group(self.picture, group)
        if placed.nodes:
            self.where |= placed.nodes
            self.picture = placed.after
            return
        reasons = "; ".join(f"{key}: {found.message}" for key, found in placed.refused.items())
        self.why |= dict.fromkeys(keys, f"no node takes all that must stay together: {reasons}")


def _runs_on(pod: Object, node: str) -> bool:
    here = pods.node_name(pod) == node and not pods.ended(pod)
    arriving = bool(pods.migration_name(pod)) and pods.phase(pod) is PodPhase.PENDING
    return here and pods.is_vm(pod) and not pods.deleting(pod) and not arriving


def _bound(cluster: Cluster, all_pods: Sequence[Pod]) -> list[list[Pod]]:
    """The groups, of two and more, that required affinity ties together, however indirectly."""
    leader = {pod.key: pod.key for pod in all_pods}

    def find(key: str) -> str:
        while leader[key] != key:
            key = leader[key]
        return key

    for pod in all_pods:
        for other in all_pods:
            if other.key != pod.key and _wants(cluster, pod, other):
                leader[max(find(pod.key), find(other.key))] = min(find(pod.key), find(other.key))
    groups: dict[str, list[Pod]] = {}
    for pod in all_pods:
        groups.setdefault(find(pod.key), []).append(pod)
    return [members for members in groups.values() if len(members) > 1]


def _wants(cluster: Cluster, pod: Pod, other: Pod) -> bool:
    labels: Mapping[str, str] = cluster.namespace_labels(other.namespace)
    return any(
        term.selector is not None
        and term.covers_asking(other.namespace, labels)
        and term.selector.matches(other.labels)
        for term in pod.affinity
    )

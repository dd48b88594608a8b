"""What a drain would find: for every VM of a node a place elsewhere, or why there is none. Pure.

VMs are placed one after another, each seeing the ones before it moved, since they compete for the same room. Those
bound to each other by required affinity find no place one by one: what one is bound to is still here. They are placed
together, all or none. It is a forecast: kube-scheduler chooses among the nodes that fit, and the world goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from drover.api.kinds import pod as pods
from drover.api.kinds.pod import PodPhase
from drover.api.wire import Object
from drover.controllers.planning import target_of
from drover.planner import Cluster, Pod, place, place_group


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
    sources = [pod for pod in on_cluster if _runs_on(pod, node)]
    targets = {target.key: target for target in map(target_of, sources)}
    vm_of = {_key(pod): f"{pod['metadata']['namespace']}/{pods.vm_name(pod)}" for pod in sources}
    alone = place(cluster, [targets[key] for key in sorted(targets)])
    where, why = dict(alone.nodes), {key: fit.message for key, fit in alone.refused.items()}
    picture, grouped = alone.after, dict[str, tuple[str, ...]]()
    for group in _bound(cluster, [targets[key] for key in sorted(targets)]):
        if not any(key in why for key in group):
            continue
        back = picture.moved(dict.fromkeys(group, node))
        together = place_group(back, [targets[key] for key in group])
        grouped |= {key: tuple(vm_of[one] for one in group) for key in group}
        for key in group:
            where.pop(key, None)
            why.pop(key, None)
        if together.nodes:
            where |= together.nodes
            picture = together.after
            continue
        reason = "; ".join(f"{vm_of[k]}: {fit.message}" for k, fit in together.refused.items())
        why |= dict.fromkeys(group, f"no node takes all VMs bound to each other: {reason}")
        picture = back
    lines = [
        VmForecast(vm_of[key], key, where.get(key, ""), why.get(key, ""), grouped.get(key, ()))
        for key in sorted(vm_of, key=lambda key: vm_of[key])
    ]
    return DrainForecast(node, tuple(lines))


def _runs_on(pod: Object, node: str) -> bool:
    here = pods.node_name(pod) == node and not pods.ended(pod)
    arriving = bool(pods.migration_name(pod)) and pods.phase(pod) is PodPhase.PENDING
    return here and pods.is_vm(pod) and not pods.deleting(pod) and not arriving


def _key(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _bound(cluster: Cluster, all_pods: Sequence[Pod]) -> list[list[str]]:
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
    groups: dict[str, list[str]] = {}
    for key in sorted(leader):
        groups.setdefault(find(key), []).append(key)
    return [members for members in groups.values() if len(members) > 1]


def _wants(cluster: Cluster, pod: Pod, other: Pod) -> bool:
    labels: Mapping[str, str] = cluster.namespace_labels(other.namespace)
    return any(
        term.selector is not None
        and term.covers(other.namespace, labels)
        and term.selector.matches(other.labels)
        for term in pod.affinity
    )

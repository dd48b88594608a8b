"""Where a VM that has to leave its node could go now, by the planner and in kube-scheduler's words.

A VM that goes alone is left to kube-scheduler. VMs of one node that required affinity binds to each other find no place
one by one, since what one is bound to is still here: if one of them cannot go alone they are planned together, all for
one node, each is pinned to that node, and the terms that bind it to the others are lifted for this move. They move one
after another; meanwhile some are here and some are there.

Placement is judged by what the VM and its class wish now, as it is for the target Pod. The numbers of lifted terms are
those of that wish; who edits it before the target is made may lift another one, for this one move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drover.api import scheme, vmpod
from drover.api.evacuation import mark_of
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds.pod import PodPhase
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.controllers.evacuation.view import Room
from drover.controllers.pictures import ClusterPicture
from drover.controllers.planning import target_of
from drover.planner import Cluster, Pod, PodTerm, fit
from drover.runtime.informer import Informer
from drover.runtime.manager import Manager


class RoomFinder:
    """One per process."""

    def __init__(self, manager: Manager, picture: ClusterPicture) -> None:
        self._picture = picture
        self._vms = manager.informer(scheme.VM)
        self._classes = manager.informer(scheme.VMCLASS)
        self.pods: Informer = picture.pods
        self.pods.add_index("vms-of-node", _vms_of_node)
        self.pods.add_index("arriving-vm", _arriving_vm)

    def find(self, pod: Object) -> Room:
        """For the guest of this Pod."""
        cluster = self._picture.now()
        here = self.pods.by_index("vms-of-node", pods.node_name(pod))
        sources = {key_of(other): other for other in here if not self._arriving_elsewhere(other)}
        targets = {key: self._target(other) for key, other in sources.items()}
        me = self._target(pod)
        targets[me.key] = me
        group = bound_to(cluster, me, list(targets.values()))
        alone = fit(cluster, me)
        if len(group) == 1 or all(fit(cluster, member).nodes for member in group):
            return Room(alone.nodes, alone.message)
        needed = [other for other in group if other is not me and _terms_to(cluster, me, [other])]
        unasked = [other.key for other in needed if mark_of(sources[other.key]) is None]
        if unasked:
            words = f"it must stay with {', '.join(unasked)}, which was not asked to leave"
            return Room((), words, early=True)
        node, why = on_one_node(cluster, group)
        if not node:
            names = ", ".join(member.key for member in group)
            return Room((), f"no node takes all that must stay together ({names}): {why}")
        return Room((node,), pin=node, lift=_terms_to(cluster, me, needed))

    def _arriving_elsewhere(self, pod: Object) -> bool:
        """Its VM has a place already: the target of its move is bound."""
        return bool(self.pods.by_index("arriving-vm", pods.vm_key(pod)))

    def _target(self, pod: Object) -> Pod:
        vm = self._vms.get(pods.vm_key(pod))
        vmclass = (
            classes.chosen(vms.class_name(vm), self._classes.all()) if vm is not None else None
        )
        if vm is None or vmclass is None:
            return target_of(pod)
        return target_of(pod, now=vmpod.Now(vm, vmclass))


def bound_to(cluster: Cluster, me: Pod, others: Sequence[Pod]) -> list[Pod]:
    """``me`` and all that required affinity ties to it, in either direction and however indirectly; in key order."""
    group, fresh = {me.key: me}, [me]
    while fresh:
        one = fresh.pop()
        for other in others:
            tied = _terms_to(cluster, one, [other]) or _terms_to(cluster, other, [one])
            if other.key not in group and tied:
                group[other.key] = other
                fresh.append(other)
    return [group[key] for key in sorted(group)]


def on_one_node(cluster: Cluster, group: Sequence[Pod]) -> tuple[str, str]:
    """A node that takes them all, the roomiest first; else why one of them does not fit where the others do."""
    free = [_without(cluster, pod, group) for pod in group]
    away = cluster.moved({pod.key: "" for pod in group if pod.key in cluster.pods.row_of})
    first = fit(away, free[0])
    why = first.message
    left = dict(zip(first.names, away.left("memory").tolist(), strict=True))
    for node in sorted(first.nodes, key=lambda name: -left[name]):
        picture = away
        for pod in free:
            found = fit(picture, pod)
            if node not in found.nodes:
                why = f"{pod.key}: {', '.join(found.refusals.get(node, ()))} on {node}"
                break
            picture = picture.moved({pod.key: node})
        else:
            return node, ""
    return "", why


def _terms_to(cluster: Cluster, pod: Pod, others: Sequence[Pod]) -> tuple[int, ...]:
    """Which of the Pod's required affinity terms speak of one of the others."""
    return tuple(
        number
        for number, term in enumerate(pod.affinity)
        if any(_speaks_of(cluster, term, other) for other in others if other.key != pod.key)
    )


def _speaks_of(cluster: Cluster, term: PodTerm, other: Pod) -> bool:
    labels = cluster.namespace_labels(other.namespace)
    selected = term.selector is not None and term.selector.matches(other.labels)
    return selected and term.covers(other.namespace, labels)


def _without(cluster: Cluster, pod: Pod, group: Sequence[Pod]) -> Pod:
    lifted = _terms_to(cluster, pod, group)
    kept = tuple(term for number, term in enumerate(pod.affinity) if number not in lifted)
    return replace(pod, affinity=kept)


def _arriving(pod: Object) -> bool:
    return bool(pods.migration_name(pod)) and pods.phase(pod) is PodPhase.PENDING


def _arriving_vm(pod: Object) -> list[str]:
    """A target that is bound and not running yet."""
    return [pods.vm_key(pod)] if _arriving(pod) and pods.node_name(pod) else []


def _vms_of_node(pod: Object) -> list[str]:
    """The node of a VM Pod that carries its guest, or is about to start it."""
    gone = pods.ended(pod) or pods.deleting(pod) or _arriving(pod)
    return [pods.node_name(pod)] if pods.is_vm(pod) and not gone else []

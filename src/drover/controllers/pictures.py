"""The cluster as the planner sees it, for controllers that ask where a VM could go.

A picture is made anew only when something has changed that is in it, and only when it is asked for: not for a heartbeat
of a Node, or a Pod's word on its guest. Whoever is given the same picture twice need not think twice. It may be older
than the truth by the lag of the caches: kube-scheduler has the last word.
"""

from __future__ import annotations

from collections.abc import Callable

from drover.api import scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.wire import Object
from drover.controllers.planning import Snapshots, counts
from drover.planner import Cluster
from drover.runtime.informer import Informer
from drover.runtime.manager import Manager


class ClusterPicture:
    """One per process."""

    def __init__(self, manager: Manager) -> None:
        self.pods = manager.informer(scheme.POD)
        self.nodes = manager.informer(scheme.NODE)
        self._namespaces = manager.informer(scheme.NAMESPACE)
        self._snapshots = Snapshots()
        self._picture: Cluster | None = None
        self._look_at(self.pods, _of_pod)
        self._look_at(self.nodes, _of_node)
        self._look_at(self._namespaces, lambda space: space["metadata"].get("labels"))

    def _look_at(self, informer: Informer, part: Callable[[Object], object]) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is None or new is None or part(old) != part(new):
                self._picture = None

        informer.add_handler(changed)

    def now(self) -> Cluster:
        if self._picture is None:
            objects = (self.nodes.all(), self.pods.all(), self._namespaces.all())
            self._picture = self._snapshots.take(*objects)
        return self._picture


def _of_pod(pod: Object) -> object:
    """All that ``planning.pod_of`` reads; nothing of a Pod that counts nowhere."""
    if not counts(pod):
        return None
    return pod["metadata"].get("labels"), pod["spec"], pods.deleting(pod)


def _of_node(node: Object) -> object:
    """All that ``planning.node_of`` reads."""
    return node["metadata"].get("labels"), node.get("spec"), nodes.allocatable(node)

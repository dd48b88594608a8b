"""Where a VM that has to leave its node could go now, by the planner and in kube-scheduler's words.

The picture of the cluster is made anew only when a node, a Pod or a namespace has changed since, and only when it is
asked for. It may be older than the truth by the lag of the caches: kube-scheduler has the last word.
"""

from __future__ import annotations

from drover.api import scheme
from drover.api.wire import Object
from drover.controllers.evacuation.view import Room
from drover.controllers.planning import Snapshots, target_of
from drover.planner import Cluster, fit
from drover.runtime.informer import Informer
from drover.runtime.manager import Manager


class RoomFinder:
    """One per process."""

    def __init__(self, manager: Manager) -> None:
        self.pods: Informer = manager.informer(scheme.POD)
        self._nodes = manager.informer(scheme.NODE)
        self._namespaces = manager.informer(scheme.NAMESPACE)
        self._snapshots = Snapshots()
        self._picture: Cluster | None = None
        for informer in (self.pods, self._nodes, self._namespaces):
            informer.add_handler(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        self._picture = None

    def find(self, pod: Object) -> Room:
        """For a copy of this Pod."""
        found = fit(self._cluster(), target_of(pod))
        return Room(found.nodes, found.message)

    def _cluster(self) -> Cluster:
        if self._picture is None:
            objects = (self._nodes.all(), self.pods.all(), self._namespaces.all())
            self._picture = self._snapshots.take(*objects)
        return self._picture

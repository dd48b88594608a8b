"""The cluster as the planner sees it, for controllers that ask where a VM could go.

A picture is made anew only when a Node, a Pod or a Namespace has changed since, and only when it is asked for. It may
be older than the truth by the lag of the caches: kube-scheduler has the last word.
"""

from __future__ import annotations

from drover.api import scheme
from drover.api.wire import Object
from drover.controllers.planning import Snapshots
from drover.planner import Cluster
from drover.runtime.manager import Manager


class ClusterPicture:
    """One per process."""

    def __init__(self, manager: Manager) -> None:
        self.pods = manager.informer(scheme.POD)
        self.nodes = manager.informer(scheme.NODE)
        self._namespaces = manager.informer(scheme.NAMESPACE)
        self._snapshots = Snapshots()
        self._picture: Cluster | None = None
        for informer in (self.pods, self.nodes, self._namespaces):
            informer.add_handler(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        self._picture = None

    def now(self) -> Cluster:
        if self._picture is None:
            objects = (self.nodes.all(), self.pods.all(), self._namespaces.all())
            self._picture = self._snapshots.take(*objects)
        return self._picture

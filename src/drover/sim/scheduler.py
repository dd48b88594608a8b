"""A model of kube-scheduler: binds Pods without a node to the least allocated node that fits.

It is an ordinary client of the API; which nodes fit is asked of the planner, which agrees with the real
one. Ties are broken by seeded chance. What does not fit gets the condition PodScheduled=False with the
real one's words. It never preempts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from drover.api.scheme import NAMESPACE, NODE, POD, key_of
from drover.api.status import Conflict, NotFound, Unanswered
from drover.base.clock import rfc3339
from drover.controllers.planning import Snapshots, pod_of
from drover.planner import Cluster, allocation, fit
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.manager import Manager

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.base.log import Log
    from drover.runtime.client import Client

USER = "system:kube-scheduler"
NAME = "default-scheduler"
_ROUND = "round"  # one key for everything: each change asks for one more look at all that waits


class Scheduler:
    """One scheduler; ``client`` should be of the identity ``USER``."""

    def __init__(self, client: Client, clock: Clock, ids: Ids, log: Log) -> None:
        self._client = client
        self._clock = clock
        self._ids = ids
        self._manager = Manager(client, clock, ids, log)
        self._pods = self._manager.informer(POD)
        self._nodes = self._manager.informer(NODE)
        self._namespaces = self._manager.informer(NAMESPACE)
        self._snapshots = Snapshots()
        self._assumed: dict[str, str] = {}  # Pod uid -> node, until the informer has seen it
        controller = Controller("scheduler", self._round)
        controller.watch(self._pods, lambda _: [_ROUND])
        controller.watch(self._nodes, lambda _: [_ROUND])
        self._manager.add(controller)

    async def run(self) -> None:
        """For ever."""
        await self._manager.run()

    async def _round(self, _: str) -> Outcome:
        """One look at every Pod that waits, by priority, then age."""
        pods = self._pods.all()
        living = {pod["metadata"]["uid"] for pod in pods}
        self._assumed = {uid: node for uid, node in self._assumed.items() if uid in living}
        waiting = [pod for pod in pods if self._waits(pod)]
        for pod in sorted(waiting, key=_order):
            await self._place(pod)
        return Done()

    def _waits(self, pod: Object) -> bool:
        spec, meta = pod["spec"], pod["metadata"]
        if spec.get("nodeName"):
            self._assumed.pop(meta["uid"], None)
            return False
        ours = spec.get("schedulerName", NAME) == NAME and not meta.get("deletionTimestamp")
        return ours and meta["uid"] not in self._assumed

    async def _place(self, pod: Object) -> None:
        cluster, wanted = self._cluster(), pod_of(pod)
        found = fit(cluster, wanted)
        if not found.nodes:
            await self._note_unschedulable(pod, found.message)
            return
        full = allocation(cluster, wanted)
        best = np.flatnonzero(found.feasible & (full == full[found.feasible].min()))
        await self._bind(pod, found.names[best[int(self._ids.uniform() * len(best))]])

    def _cluster(self) -> Cluster:
        """As the caches know it, and with the Pods that were bound a moment ago."""
        pods = self._pods.all()
        cluster = self._snapshots.take(self._nodes.all(), pods, self._namespaces.all())
        assumed = [pod for pod in pods if pod["metadata"]["uid"] in self._assumed]
        bound = [
            replace(pod_of(pod), node=self._assumed[pod["metadata"]["uid"]]) for pod in assumed
        ]
        return cluster.with_pods(bound) if bound else cluster

    async def _bind(self, pod: Object, node: str) -> None:
        meta = pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self._assumed[meta["uid"]] = node
        try:
            await self._client.post(POD.path(meta["namespace"], meta["name"], "binding"), body)
        except (Conflict, NotFound):
            self._assumed.pop(meta["uid"], None)  # bound by another, or gone
        except Unanswered:
            self._assumed.pop(meta["uid"], None)  # ask again; if it landed, that is a Conflict
            raise

    async def _note_unschedulable(self, pod: Object, message: str) -> None:
        meta, status = pod["metadata"], pod.get("status") or {}
        conditions = status.get("conditions") or []
        if any(entry.get("message") == message for entry in conditions):
            return
        others = [entry for entry in conditions if entry["type"] != "PodScheduled"]
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": rfc3339(self._clock.wall()),
        }
        patch = {"status": {"conditions": [*others, condition]}}
        try:
            after = await self._client.patch(
                POD, meta["name"], meta["namespace"], patch, subresource="status", version=pod
            )
        except (Conflict, NotFound):
            return  # it changed meanwhile, which asks for another round
        self._pods.observe(after)


def _order(pod: Object) -> tuple[int, str, str]:
    meta = pod["metadata"]
    return (-int(pod["spec"].get("priority", 0)), meta["creationTimestamp"], key_of(pod))

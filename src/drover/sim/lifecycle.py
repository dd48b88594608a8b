"""Models of the controllers of kube-controller-manager that our story meets, each a loop on
virtual time.

- *node monitor*: a Node whose Lease shows no new renewal for ``grace_s`` of the monitor's own
time becomes Unknown; not-ready, unreachable and unschedulable become taints; Ready takes them off
again. - *taint eviction*: Pods that do not tolerate a NoExecute taint for ever are deleted when
their time is up. While no node at all is Ready, nobody is evicted. - *Pod collector*: Pods of a
Node object that is gone for ``quarantine_s`` are deleted by force.

The garbage collector of owner references is in ``collector``. None of them knows anything of VMs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drover.api.names import NODE_LEASE_NAMESPACE
from drover.api.scheme import LEASE, NODE, POD
from drover.api.status import ApiError
from drover.base.clock import rfc3339
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.sim.collector import Collector

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.base.clock import Clock
    from drover.base.log import Log
    from drover.sim.api import ApiModel

_ACCOUNT = "system:serviceaccount:kube-system:"
GRACE_S = 40.0
PERIOD_S = 1.0
QUARANTINE_S = 40.0
_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OURS = (_NOT_READY, _UNREACHABLE, _UNSCHEDULABLE)
_KUBELET_CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")


class Lifecycle:
    """All of them together."""

    def __init__(self, api: ApiModel, clock: Clock, log: Log, grace_s: float = GRACE_S) -> None:
        self._api = api
        self._clock = clock
        self._log = log
        self._grace_s = grace_s
        self._nodes = Client(api.transport(_ACCOUNT + "node-controller", ()))
        self._pods = Client(api.transport(_ACCOUNT + "pod-garbage-collector", ()))
        self._collector = Collector(api, clock)
        self._renewals: dict[str, tuple[str, float]] = {}  # node -> renewTime, when it was new
        self._tainted_s: dict[str, float] = {}  # Pod uid -> since when it is to be evicted
        self._orphaned_s: dict[str, float] = {}  # Pod uid -> since when its node is gone

    async def run(self) -> None:
        """For ever."""
        async with TaskScope("lifecycle") as scope:
            scope.guard(self._loop(), "nodes")
            scope.guard(self._collector.run(), "collector")
            raise await scope.wait_broken()

    async def _loop(self) -> None:
        while True:
            for node in self._api.objects(NODE):
                await self._monitor(node)
            await self._evict_by_taint()
            await self._collect_pods()
            await self._clock.sleep(PERIOD_S)

    async def _monitor(self, node: Object) -> None:
        name = node["metadata"]["name"]
        ready = _ready(node)
        if ready in ("True", "False") and self._silent_s(name) > self._grace_s:
            ready = "Unknown"
            now = rfc3339(self._clock.wall())
            conditions = [_unknown(entry, now) for entry in node["status"].get("conditions", ())]
            patch: Object = {"status": {"conditions": conditions}}
            await self._try_patch(NODE, node, patch, "status")
            self._log.info("node is unreachable", node=name)
            await self._mark_pods_unready(name, now)
        fresh = self._api.store.get(NODE, "", name)
        if fresh is None:
            return
        taints = _taints(fresh, ready, self._disrupted())
        if taints != (fresh.get("spec", {}).get("taints") or []):
            await self._try_patch(NODE, fresh, {"spec": {"taints": taints or None}}, "")

    def _silent_s(self, node: str) -> float:
        """How long ago the node's Lease showed something new, by our own clock."""
        lease = self._api.store.get(LEASE, NODE_LEASE_NAMESPACE, node) or {}
        renewed = str((lease.get("spec") or {}).get("renewTime", ""))
        now = self._clock.monotonic()
        if self._renewals.get(node, (None, 0.0))[0] != renewed:
            self._renewals[node] = (renewed, now)
        return now - self._renewals[node][1]

    def _disrupted(self) -> bool:
        """No node is Ready: then the fault is likely ours, and nobody is evicted."""
        return all(_ready(node) != "True" for node in self._api.objects(NODE))

    async def _mark_pods_unready(self, node: str, now: str) -> None:
        for pod in self._api.objects(POD):
            conditions = (pod.get("status") or {}).get("conditions") or []
            ready = [entry for entry in conditions if entry["type"] == "Ready"]
            if pod["spec"].get("nodeName") != node or not ready or ready[0]["status"] == "False":
                continue
            unready = {**ready[0], "status": "False", "lastTransitionTime": now}
            others = [entry for entry in conditions if entry["type"] != "Ready"]
            patch: Object = {"status": {"conditions": [*others, unready]}}
            await self._try_patch(POD, pod, patch, "status")

    async def _evict_by_taint(self) -> None:
        nodes = {node["metadata"]["name"]: node for node in self._api.objects(NODE)}
        now, waiting = self._clock.monotonic(), self._tainted_s
        self._tainted_s = {}
        for pod in self._api.objects(POD):
            node = nodes.get(pod["spec"].get("nodeName", ""))
            patience_s = _patience_s(pod, node) if node else None
            if patience_s is None or pod["metadata"].get("deletionTimestamp"):
                continue
            since = self._tainted_s[pod["metadata"]["uid"]] = waiting.get(
                pod["metadata"]["uid"], now
            )
            if now - since >= patience_s:
                await self._try_delete(self._nodes, pod, None)

    async def _collect_pods(self) -> None:
        nodes = {node["metadata"]["name"] for node in self._api.objects(NODE)}
        now, waiting = self._clock.monotonic(), self._orphaned_s
        self._orphaned_s = {}
        for pod in self._api.objects(POD):
            if pod["spec"].get("nodeName", "") in {"", *nodes}:
                continue
            since = self._orphaned_s[pod["metadata"]["uid"]] = waiting.get(
                pod["metadata"]["uid"], now
            )
            if now - since >= QUARANTINE_S:
                await self._try_delete(self._pods, pod, 0)

    async def _try_patch(self, kind: Any, obj: Object, patch: Object, subresource: str) -> None:
        meta = obj["metadata"]
        try:
            await self._nodes.patch(
                kind, meta["name"], meta.get("namespace", ""), patch,
                subresource=subresource, version=obj,
            )  # fmt: skip
        except ApiError as error:
            self._log.info("lifecycle: refused", reason=error.reason, name=meta["name"])

    async def _try_delete(self, client: Client, pod: Object, grace_s: int | None) -> None:
        meta = pod["metadata"]
        try:
            await client.delete(
                POD, meta["name"], meta["namespace"], uid=meta["uid"], grace_s=grace_s
            )
        except ApiError as error:
            self._log.info("lifecycle: refused", reason=error.reason, name=meta["name"])


def _ready(node: Object) -> str:
    conditions = (node.get("status") or {}).get("conditions") or []
    found = [entry["status"] for entry in conditions if entry["type"] == "Ready"]
    return found[0] if found else ""


def _unknown(condition: Object, now: str) -> Object:
    if condition["type"] not in _KUBELET_CONDITIONS:
        return condition
    return {
        **condition,
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastTransitionTime": now,
    }


def _taints(node: Object, ready: str, disrupted: bool) -> list[Object]:
    """What is there of others, plus what the node's state asks for."""
    spec = node.get("spec") or {}
    before = spec.get("taints") or []
    wanted: list[tuple[str, str]] = []
    if spec.get("unschedulable"):
        wanted.append((_UNSCHEDULABLE, "NoSchedule"))
    if ready in ("False", "Unknown"):
        key = _NOT_READY if ready == "False" else _UNREACHABLE
        wanted += [(key, "NoSchedule")] + ([] if disrupted else [(key, "NoExecute")])
    kept = [
        taint
        for taint in before
        if taint["key"] not in _OURS or (taint["key"], taint["effect"]) in wanted
    ]
    have = {(taint["key"], taint["effect"]) for taint in kept}
    return kept + [
        {"key": key, "effect": effect} for key, effect in wanted if (key, effect) not in have
    ]


def _patience_s(pod: Object, node: Object) -> float | None:
    """Seconds that the Pod may stay under the node's NoExecute taints; None: for ever."""
    least: float | None = None
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint["effect"] != "NoExecute":
            continue
        found = [one for one in pod["spec"].get("tolerations") or () if _covers(one, taint)]
        if not found:
            return 0.0
        seconds = [one["tolerationSeconds"] for one in found if "tolerationSeconds" in one]
        if seconds:
            least = min(seconds) if least is None else min(least, *seconds)
    return least


def _covers(toleration: Object, taint: Object) -> bool:
    effect = toleration.get("effect") in (None, "", taint["effect"])
    key = toleration.get("key") in (None, "", taint["key"])
    exists = toleration.get("operator") == "Exists"
    return effect and key and (exists or toleration.get("value", "") == taint.get("value", ""))

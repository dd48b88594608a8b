"""Pods on this node that are no VMs: never run, never faked Running, and never in the way.

They stay Pending with a reason that `kubectl get pods` shows. One that is deleted or evicted goes at once, as there is
nothing to end: else a drain of this node would wait for a kubelet that does not exist.
"""

from __future__ import annotations

from typing import Any

from drover.api.kinds import pod as pods
from drover.api.meta import name_of, namespace_of, uid_of
from drover.api.scheme import POD, key_of
from drover.api.status import Conflict, NotFound
from drover.api.wire import Object
from drover.runtime.client import Client
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.informer import Informer

REASON = "NotAVirtualMachine"
MESSAGE = "this node runs virtual machines only; it starts no containers"


class Strangers:
    """One reconcile function over the Pods bound to this node."""

    def __init__(self, client: Client, informer: Informer) -> None:
        self._client = client
        self._pods = informer

    def controller(self) -> Controller:
        made = Controller("strangers", self.reconcile)
        made.watch(self._pods, lambda pod: [] if pods.is_vm(pod) else [key_of(pod)])
        return made

    async def reconcile(self, key: str) -> Outcome:
        pod = self._pods.get(key)
        if pod is None or pods.is_vm(pod):
            return Done()
        try:
            if pods.deleting(pod):
                name, namespace = name_of(pod), namespace_of(pod)
                await self._client.delete(POD, name, namespace, uid=uid_of(pod), grace_s=0)
            elif not pods.ended(pod) and (pod.get("status") or {}).get("reason") != REASON:
                await self._tell(pod)
        except (NotFound, Conflict):
            return Done()  # gone, or changed: that wakes us
        return Done()

    async def _tell(self, pod: Object) -> None:
        answer = await self._client.patch(
            POD,
            name_of(pod),
            namespace_of(pod),
            {"status": waiting(pod)},
            subresource="status",
            version=pod,
        )
        self._pods.observe(answer)


def waiting(pod: Object) -> dict[str, Any]:
    """The status of a Pod that waits for what will not come."""
    state = {"waiting": {"reason": REASON, "message": MESSAGE}}
    containers = [
        {
            "name": container["name"],
            "image": container.get("image", ""),
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"]["containers"]
    ]
    return {"reason": REASON, "message": MESSAGE, "containerStatuses": containers}

"""What the buttons do: each one write, or a few, to the API as the caller. The API decides whether it may be.

Operations are VirtualMachineOperations, as the commands make them; abort deletes one. Maintenance cordons a node and
asks each of its VM Pods to leave, as ``drover drain`` does: the evacuation controller then moves the VMs, whatever
becomes of us. What is asked is checked for shape alone; nothing a page sends becomes part of a path unchecked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drover.api import names, scheme
from drover.api.kinds import pod as pods
from drover.api.kinds.vmop import VmopType
from drover.api.meta import name_of, namespace_of, uid_of
from drover.api.scheme import Kind
from drover.api.status import ApiError, Conflict, NotFound, TooManyRequests, Unanswered
from drover.api.wire import Object
from drover.base.tasks import TaskScope
from drover.runtime.client import Client

if TYPE_CHECKING:
    from drover.web.feed import Feed

EVICT_LIMIT_S = 40.0  # a review is held for up to half a minute
ANSWER_S = 2.0  # a refusal comes within this; what lasts longer is under way
MOST_LEAVING = 512  # VMs of one node
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def is_name(text: object) -> bool:
    """Whether it may be the name of an object, and so part of a path."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


class BadWish(ValueError):
    """The page asked for something that has no such shape."""


@dataclass(frozen=True)
class Wish:
    """One button, pressed."""

    act: str
    name: str
    namespace: str = ""
    node: str = ""  # where a Migrate shall go
    force: bool | None = None
    on: bool = False
    mode: str = ""

    @staticmethod
    def of(said: Any) -> Wish:
        """Raises BadWish."""
        if not isinstance(said, dict) or said.get("act") not in ACTS:
            raise BadWish("there is no such action")
        for field in ("name", "namespace", "node"):
            text = said.get(field, "")
            if text != "" and not is_name(text):
                raise BadWish(f"{field} is no name of an object")
        force, mode = said.get("force"), said.get("mode", "")
        if force not in (None, True, False) or mode not in ("", "Approve", "Automatic"):
            raise BadWish("force and mode have other values")
        act, node = str(said["act"]), str(said.get("node", ""))
        if not said.get("name") and act != "rebalance":
            raise BadWish("the action needs a name")
        return Wish(
            act, said.get("name", ""), said.get("namespace", ""), node, force, bool(said.get("on")), mode
        )  # fmt: skip


async def perform(feed: Feed, wish: Wish, scope: TaskScope) -> str:
    """Do it; a sentence for the user. Raises ApiError kinds, Unanswered."""
    return await ACTS[wish.act](feed, wish, scope)


async def _operate(feed: Feed, wish: Wish, scope: TaskScope) -> str:
    kind = VmopType(wish.act.capitalize())
    spec: Object = {"type": str(kind), "virtualMachineName": wish.name}
    if wish.force is not None and kind is not VmopType.START:
        spec["force"] = wish.force
    if wish.node and kind is VmopType.MIGRATE:
        spec["migrate"] = {"nodeSelector": {names.HOSTNAME_LABEL: wish.node}}
    meta = {"generateName": f"{wish.name[:40]}-", "namespace": wish.namespace}
    made = await feed.client.create(scheme.VMOP, {"metadata": meta, "spec": spec})
    return f"{kind} of {wish.namespace}/{wish.name} is asked for: operation {name_of(made)}"


async def _abort(feed: Feed, wish: Wish, scope: TaskScope) -> str:
    await feed.client.delete(scheme.VMOP, wish.name, wish.namespace)
    return f"operation {wish.namespace}/{wish.name} is being aborted; its VM stays where it is"


async def _maintain(feed: Feed, wish: Wish, scope: TaskScope) -> str:
    """On: cordon, then one eviction per VM Pod. Off: uncordon."""
    await feed.client.patch(
        scheme.NODE, wish.name, "", {"spec": {"unschedulable": wish.on or None}}
    )
    if not wish.on:
        return f"{wish.name} takes VMs again"
    found, _ = await feed.client.list(scheme.POD, fields=f"spec.nodeName={wish.name}")
    leaving = [pod for pod in found if pods.is_vm(pod) and not pods.ended(pod)][:MOST_LEAVING]
    patient = feed.client.patient(EVICT_LIMIT_S)
    asked = [scope.spawn(_evict(patient, pod), f"evict {name_of(pod)}") for pod in leaving]
    if refusal := await _refusal(asked):
        raise refusal
    return f"{wish.name} is cordoned; VMs that leave it: {len(leaving)}"


async def _evict(client: Client, pod: Object) -> ApiError | None:
    """Ask once. The mark that this leaves on the Pod is what moves the VM; only a refusal of the asking matters."""
    meta = pod["metadata"]
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "deleteOptions": {"preconditions": {"uid": uid_of(pod)}},
    }
    try:
        await client.post(scheme.POD.path(namespace_of(pod), name_of(pod), "eviction"), body)
    except (NotFound, Conflict, TooManyRequests, Unanswered):
        return None  # gone, or on its way
    except ApiError as refused:
        return refused
    return None


async def _refusal(asked: list[asyncio.Task[ApiError | None]]) -> ApiError | None:
    """The first that was refused at once."""
    if not asked:
        return None
    done, _ = await asyncio.wait(asked, timeout=ANSWER_S)
    return next((found for task in asked if task in done and (found := task.result())), None)


async def _approve(feed: Feed, wish: Wish, scope: TaskScope) -> str:
    await feed.client.patch(scheme.REBALANCEPLAN, wish.name, "", {"spec": {"approved": True}})
    return f"{wish.name} is approved"


async def _rebalance(feed: Feed, wish: Wish, scope: TaskScope) -> str:
    spec: Object = {"enabled": wish.on}
    if wish.on and wish.mode:
        spec["settings"] = {"rebalance": {"mode": wish.mode}}
    try:
        await feed.client.patch(scheme.MODULECONFIG, names.REBALANCE_MODULE, "", {"spec": spec})
    except NotFound:
        made = {"metadata": {"name": names.REBALANCE_MODULE}, "spec": spec}
        await feed.client.create(scheme.MODULECONFIG, made)
    return f"rebalancing is {'on' if wish.on else 'off'}"


ACTS: dict[str, Callable[[Feed, Wish, TaskScope], Awaitable[str]]] = {
    **dict.fromkeys((str(kind).lower() for kind in VmopType), _operate),
    "abort": _abort,
    "maintain": _maintain,
    "approve": _approve,
    "rebalance": _rebalance,
}


@dataclass(frozen=True)
class Right:
    """What a button needs: a verb on a resource."""

    verb: str
    kind: Kind
    subresource: str = ""


# By the page's name for them. Asked once at log-in, to grey out what would be refused; the API has the last word.
RIGHTS = {
    "operate": Right("create", scheme.VMOP),
    "abort": Right("delete", scheme.VMOP),
    "cordon": Right("patch", scheme.NODE),
    "evict": Right("create", scheme.POD, "eviction"),
    "approve": Right("patch", scheme.REBALANCEPLAN),
    "configure": Right("patch", scheme.MODULECONFIG),
    "console": Right("create", scheme.POD, "attach"),
    "screen": Right("create", scheme.POD, "exec"),
}
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def rights(client: Client, namespace: str) -> dict[str, bool]:
    """Which of them the caller has, in ``namespace`` (empty: everywhere). Unknown counts as had: the API decides."""
    async with TaskScope("rights") as scope:
        asked = {
            name: scope.spawn(_may(client, right, namespace), name)
            for name, right in RIGHTS.items()
        }
        return {name: await answer for name, answer in asked.items()}


async def _may(client: Client, right: Right, namespace: str) -> bool:
    asked = {"verb": right.verb, "group": right.kind.group, "resource": right.kind.plural,
             "subresource": right.subresource,
             "namespace": namespace if right.kind.namespaced else ""}  # fmt: skip
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
    }
    try:
        answer = await client.post(_REVIEW, body)
    except (NotFound, Unanswered):
        return True
    except ApiError:
        return False
    return bool((answer.get("status") or {}).get("allowed", False))


async def who(client: Client) -> str:
    """The caller's name. Raises Unauthorized when the API does not know the credential, Unanswered."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await client.post(_WHO, body)
    except NotFound:
        return ""
    return str(((answer.get("status") or {}).get("userInfo") or {}).get("username", ""))

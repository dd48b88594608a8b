"""The vm controller's hand on the VM lease: make one, Acquire, Break, rebuild a lost one.

Every write carries uid and resourceVersion of what was read; absence is a version too, whose compare-and-swap is
create. A lost lease is rebuilt only from what *all* nodes report after the loss was seen: each node renews its Lease
in kube-node-lease with a list of what it runs. A node's first renewal after the loss may have been on its way before
it, so the second one counts. No clocks are compared. A node that has no such Lease (any more) is waited for, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from drover.api import names
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.meta import (
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
    with_finalizer,
    without_finalizer,
)
from drover.api.scheme import LEASE, NODE, VM, VML, key_of
from drover.api.status import NotFound
from drover.api.wire import Object
from drover.runtime.client import Client

MOST_SEARCHES = 10_000


def new_lease(vm: Object, spec: dict[str, Any]) -> Object:
    """A vml of this VM; one that has a holder carries the finalizer that keeps it from vanishing."""
    meta: dict[str, Any] = {
        "name": name_of(vm),
        "namespace": namespace_of(vm),
        "ownerReferences": [owner_reference(VM, vm)],
    }
    if spec["holder"]:
        meta["finalizers"] = [names.HELD_FINALIZER]
    return {"metadata": meta, "spec": spec}


def released_spec(epoch: int, reason: str = "") -> dict[str, Any]:
    spec: dict[str, Any] = {
        "holder": "",
        "node": "",
        "nodeIncarnation": "",
        "epoch": epoch,
        "disks": [],
    }
    return {**spec, "lastReason": reason} if reason else spec


async def acquire(
    client: Client, lease: Object, pod: Object, disks: tuple[str, ...]
) -> Object | None:
    """Give the released lease to a Pod that is bound. None: its node has not joined (yet). Raises Conflict."""
    node = pods.node_name(pod)
    try:
        evidence = await client.get(LEASE, node, names.NODE_LEASE_NAMESPACE)
    except NotFound:
        return None
    incarnation = nodes.incarnation(evidence)
    if not incarnation:
        return None
    spec = {
        **lease["spec"],
        "holder": uid_of(pod),
        "node": node,
        "nodeIncarnation": incarnation,
        "epoch": vmls.epoch(lease) + 1,
        "disks": list(disks),
    }
    meta = {**lease["metadata"], "finalizers": with_finalizer(lease, names.HELD_FINALIZER)}
    return await client.replace(VML, {**lease, "metadata": meta, "spec": spec})


async def break_held(client: Client, lease: Object) -> Object:
    """Nobody holds it any more, since its holder's node is proved dead. Raises Conflict when it has changed hands."""
    spec = {**released_spec(vmls.epoch(lease) + 1, names.LastReason.NODE_LOST)}
    meta = {**lease["metadata"], "finalizers": without_finalizer(lease, names.HELD_FINALIZER)}
    return await client.replace(VML, {**lease, "metadata": meta, "spec": {**lease["spec"], **spec}})


async def delete_released(client: Client, lease: Object) -> None:
    """Take away a lease that nobody holds. The precondition fails if somebody acquired it meanwhile."""
    if names.HELD_FINALIZER in (lease["metadata"].get("finalizers") or []):
        meta = {**lease["metadata"], "finalizers": without_finalizer(lease, names.HELD_FINALIZER)}
        lease = await client.replace(VML, {**lease, "metadata": meta})
    meta = lease["metadata"]
    await client.delete(
        VML,
        meta["name"],
        meta["namespace"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
    )


@dataclass
class _Search:
    """How often each node has renewed since the loss was seen, and what it said last."""

    renewals: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


class Rebuilder:
    """Searches for the copies of VMs whose lease is missing. Its memory is small and may be lost at any time."""

    def __init__(self, client: Client, dead: Callable[[str], bool] = lambda life: False) -> None:
        """``dead`` tells of a life (``node/incarnation``) whether it is proved over: it has nothing to say."""
        self._client = client
        self._dead = dead
        self._searches: dict[str, _Search] = {}

    def forget(self, key: str) -> None:
        """The lease is there."""
        self._searches.pop(key, None)

    async def step(
        self, vm: Object, above_epoch: int, reason: str, disks: tuple[str, ...]
    ) -> Object | None:
        """One look at all nodes; the new lease once every node has spoken, else None. ``disks``: those that this VM
        holds; whoever runs has them, whatever its spec says by now.

        Two nodes that both report the VM are left alone: an arrival that was let go on. Its source ends as soon as
        it hears of that, and then one report remains. (Copies that still wait for their guest are not reported.)
        """
        key = key_of(vm)
        running = await self.who_runs(vm)
        if running is None or len(running) > 1:
            return None
        spec = released_spec(above_epoch + 1, reason)
        if running:
            node = running[0]
            spec |= {
                "holder": (nodes.machines(node) or {})[key],
                "node": name_of(node),
                "nodeIncarnation": nodes.incarnation(node),
                "disks": list(disks),
            }
        lease = await self._client.create(VML, new_lease(vm, spec))
        self.forget(key)
        return lease

    async def who_runs(self, vm: Object) -> list[Object] | None:
        """The Leases of the nodes that report this VM; None while not every node has spoken."""
        key = key_of(vm)
        if key not in self._searches and len(self._searches) >= MOST_SEARCHES:
            return None
        search = self._searches.setdefault(key, _Search())
        leases, _ = await self._client.list(LEASE, namespace=names.NODE_LEASE_NAMESPACE)
        known = [lease for lease in leases if nodes.incarnation(lease)]
        joined = [
            lease
            for lease in known
            if not self._dead(f"{name_of(lease)}/{nodes.incarnation(lease)}")
        ]
        spoken = [self._count(search, lease) >= nodes.RENEWALS_NEEDED for lease in joined]
        if not all(spoken) or await self._unheard(vm, {name_of(lease) for lease in known}):
            return None
        return [lease for lease in joined if key in (nodes.machines(lease) or {})]

    async def _unheard(self, vm: Object, heard: set[str]) -> set[str]:
        """Nodes whose own Lease is gone, so that they cannot have told: VM nodes, and where the VM was last."""
        known, _ = await self._client.list(NODE)
        needed = {name_of(node) for node in known if nodes.is_vm_node(node)}
        return (needed | ({vms.node_name(vm)} - {""})) - heard

    @staticmethod
    def _count(search: _Search, lease: Object) -> int:
        name = name_of(lease)
        renewed = str((lease.get("spec") or {}).get("renewTime", ""))
        before = search.renewals.get(name)
        search.renewals[name] = renewed
        if before is None or nodes.machines(lease) is None:  # an agent that has not looked yet
            search.counts[name] = 0
        elif before != renewed:
            search.counts[name] += 1
        return search.counts[name]

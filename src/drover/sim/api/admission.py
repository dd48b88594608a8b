"""Python twins of the admission policies in ``api/manifests``, so that simulated writers meet the
same refusals.

Each rule is a function of a ``Review`` that raises an ``ApiError``. The contract suite sends the
same requests to the real policies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drover.api.names import CONTROLLERS_USER, NODE_LEASE_NAMESPACE, NODE_USER_PREFIX, NODES_GROUP
from drover.api.scheme import LEASE, NODE, POD, VML, VMM, VMOP
from drover.api.status import Forbidden, Invalid

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.api.wire import Object
    from drover.sim.api.store import Store

MASTERS_GROUP = "system:masters"
SCHEDULER_USER = "system:kube-scheduler"
_FINAL = ("Completed", "Failed")


@dataclass(frozen=True)
class Caller:
    """Who asks: the names in a client certificate."""

    user: str
    groups: tuple[str, ...] = ()

    @property
    def node(self) -> str:
        """The node's name when the caller is a node's agent, else empty."""
        return self.user.removeprefix(NODE_USER_PREFIX) if NODES_GROUP in self.groups else ""


@dataclass(frozen=True)
class Review:
    """One write under review. ``operation`` is CREATE, UPDATE or DELETE."""

    operation: str
    caller: Caller
    kind: Kind
    old: Object | None
    new: Object | None
    subresource: str = ""


Admission = Callable[[Review], None]


def default_admissions(store: Store) -> list[Admission]:
    """All rules, in the order in which they are asked."""
    return [
        vml_epoch,
        vml_writers,
        vmop_fixed,
        vmop_alone(store),
        vmm_sides,
        pod_deletion,
        node_limits,
    ]


def vml_epoch(review: Review) -> None:
    """Every change of hands raises the epoch."""
    if review.kind != VML or review.operation != "UPDATE":
        return
    old, new = _spec(review.old), _spec(review.new)
    if old != new and new.get("epoch", 0) <= old.get("epoch", 0):
        raise Invalid("spec: every change of hands raises the epoch", "Invalid")


def vml_writers(review: Review) -> None:
    """Only the vm controller and the holder's node write a lease."""
    if review.kind != VML:
        return
    caller = review.caller
    if caller.user == CONTROLLERS_USER or _is_core(caller):
        return
    if caller.node and review.operation == "UPDATE":
        holder = _spec(review.old).get("node")
        if holder == caller.node:
            return
        raise Forbidden(f"only {holder} may write this lease", "Forbidden")
    if review.operation == "UPDATE" and _spec(review.old) == _spec(review.new):
        return
    raise Forbidden("a VirtualMachineLease is written by drover alone", "Forbidden")


def vmop_fixed(review: Review) -> None:
    """An operation cannot be rewritten."""
    changed = _spec(review.old) != _spec(review.new)
    if review.kind == VMOP and review.operation == "UPDATE" and changed:
        raise Invalid("spec: an operation cannot be changed; create another", "Invalid")


def vmop_alone(store: Store) -> Admission:
    """One unfinished operation per VM."""

    def check(review: Review) -> None:
        if review.kind != VMOP or review.operation != "CREATE" or review.new is None:
            return
        vm, namespace = _spec(review.new).get("virtualMachineName"), _namespace(review.new)
        for other in store.all(VMOP, namespace):
            unfinished = other.get("status", {}).get("phase") not in _FINAL
            if unfinished and _spec(other).get("virtualMachineName") == vm:
                name = other["metadata"]["name"]
                raise Forbidden(
                    f"VirtualMachine {vm} has the unfinished operation {name}", "Forbidden"
                )

    return check


def vmm_sides(review: Review) -> None:
    """Of a migration's status each node writes its own side, and no more."""
    node = review.caller.node
    if review.kind != VMM or review.subresource != "status" or not node:
        return
    old, new = _status(review.old), _status(review.new)
    own = _own_side(review.old, node)
    for field in sorted({*old, *new}):
        if field != own and old.get(field) != new.get(field):
            raise Forbidden(f"status.{field} does not belong to node {node}", "Forbidden")


def _own_side(vmm: Object | None, node: str) -> str:
    if _spec(vmm).get("sourceNode") == node:
        return "source"
    return "target" if _status(vmm).get("targetNode") == node else ""


def pod_deletion(review: Review) -> None:
    """The scheduler's preemption deletes running Pods without asking; not those of VMs."""
    if review.kind == POD and review.operation == "DELETE" and review.caller.user == SCHEDULER_USER:
        raise Forbidden("a VM is never preempted", "Forbidden")


def node_limits(review: Review) -> None:
    """What NodeRestriction keeps a node from."""
    node = review.caller.node
    if not node:
        return
    name = (review.new or review.old or {}).get("metadata", {}).get("name", "")
    if review.kind == NODE and (name != node or review.operation == "DELETE"):
        raise Forbidden(f"node {node} is not allowed to modify node {name}", "Forbidden")
    foreign = _namespace(review.new or review.old) != NODE_LEASE_NAMESPACE or name != node
    if review.kind == LEASE and foreign:
        raise Forbidden(f"node {node} may only touch its own lease", "Forbidden")
    if review.kind == POD:
        _node_pod_limits(review, node)


def _node_pod_limits(review: Review, node: str) -> None:
    if review.operation == "CREATE" and review.subresource != "eviction":
        raise Forbidden(f"node {node} may only create mirror pods", "Forbidden")
    if review.operation == "UPDATE" and review.subresource != "status":
        raise Forbidden(f"node {node} may only update the status of pods", "Forbidden")
    if _spec(review.old).get("nodeName") != node:
        raise Forbidden(f"node {node} may only touch pods bound to it", "Forbidden")
    old, new = (review.old or {}).get("metadata", {}), (review.new or {}).get("metadata", {})
    if review.operation == "UPDATE" and old.get("labels") != new.get("labels"):
        raise Forbidden(f"node {node} cannot update labels through pod status", "Forbidden")


def _is_core(caller: Caller) -> bool:
    """The API server's own controllers (garbage collection) and administrators."""
    return MASTERS_GROUP in caller.groups


def _spec(obj: Object | None) -> dict[str, Any]:
    return (obj or {}).get("spec") or {}


def _status(obj: Object | None) -> dict[str, Any]:
    return (obj or {}).get("status") or {}


def _namespace(obj: Object | None) -> str:
    return str((obj or {}).get("metadata", {}).get("namespace", ""))

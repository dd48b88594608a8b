"""Who asks, what is under review, and what Kubernetes itself keeps nodes from.

Our own rules are in ``policies``. Each rule is a function of a ``Review`` that raises an
``ApiError``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drover.api.names import NODE_LEASE_NAMESPACE, NODE_USER_PREFIX, NODES_GROUP
from drover.api.scheme import LEASE, NODE, POD
from drover.api.status import Forbidden

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.api.wire import Object


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

    @property
    def update(self) -> bool:
        return self.operation == "UPDATE"

    @property
    def meta(self) -> dict[str, Any]:
        """Metadata of the new object, or of the one to be deleted."""
        return dict((self.new or self.old or {}).get("metadata") or {})

    @property
    def old_meta(self) -> dict[str, Any]:
        return dict((self.old or {}).get("metadata") or {})

    @property
    def spec(self) -> dict[str, Any]:
        return dict((self.new or {}).get("spec") or {})

    @property
    def old_spec(self) -> dict[str, Any]:
        return dict((self.old or {}).get("spec") or {})


Admission = Callable[[Review], None]


def forbid(message: str) -> Forbidden:
    return Forbidden(message, "Forbidden")


def node_restriction(review: Review) -> None:
    """A node writes its own Node, Lease and Pods' status, and deletes its own Pods."""
    node = review.caller.node
    if not node:
        return
    name = review.meta.get("name", "")
    if review.kind == NODE and (name != node or review.operation == "DELETE"):
        raise forbid(f"node {node} is not allowed to modify node {name}")
    foreign = review.meta.get("namespace") != NODE_LEASE_NAMESPACE or name != node
    if review.kind == LEASE and foreign:
        raise forbid(f"node {node} may only touch its own lease")
    if review.kind == POD:
        _pod_restriction(review, node)


def _pod_restriction(review: Review, node: str) -> None:
    if review.operation == "CREATE":
        raise forbid(f"node {node} may only create mirror pods")
    if review.update and review.subresource != "status":
        raise forbid(f"node {node} may only update the status of pods")
    if review.old_spec.get("nodeName") != node:
        raise forbid(f"node {node} may only touch pods bound to it")
    if review.update and review.old_meta.get("labels") != review.meta.get("labels"):
        raise forbid(f"node {node} cannot update labels through pod status")

"""Twins of the admission policies about fencing: what proves that a node is dead, and who may pause it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api import names
from drover.api.kinds.nodegroup import PAUSE_ANNOTATIONS
from drover.api.names import CONTROLLERS_USER, NODE_LEASE_NAMESPACE
from drover.api.scheme import LEASE, MODULECONFIG, NODE, NODEFENCE, NODEGROUP, NODEROSTER
from drover.sim.api.admission import forbid

if TYPE_CHECKING:
    from drover.sim.api.admission import Review

MASTERS_GROUP = "system:masters"
_FENCE_KEYS = (names.EPOCH_ANNOTATION, names.CONDEMNED_ANNOTATION)


def node_fence_marks(review: Review) -> None:
    """Who condemns a life of a node, or says that it is off; and that nobody else does."""
    ours = review.kind == LEASE and review.meta.get("namespace") == NODE_LEASE_NAMESPACE
    if not ours or review.operation == "DELETE":
        return
    old = review.old_meta.get("annotations") or {}
    new = review.meta.get("annotations") or {}
    word = names.CONFIRMED_ANNOTATION
    if old.get(word) != new.get(word) and MASTERS_GROUP not in review.caller.groups:
        raise forbid(f"annotation {word} is an administrator's word that the node is off")
    kept = all(old.get(key) == new.get(key) for key in _FENCE_KEYS)
    if review.caller.user != CONTROLLERS_USER:
        if kept:
            return
        raise forbid(f"annotations {' and '.join(_FENCE_KEYS)} belong to {CONTROLLERS_USER}")
    rest = [{k: v for k, v in marks.items() if k not in _FENCE_KEYS} for marks in (old, new)]
    before, after = (int(marks.get(names.EPOCH_ANNOTATION, "0")) for marks in (old, new))
    untouched = rest[0] == rest[1] and review.old_spec == review.spec
    if not review.update or not untouched or not (kept or after > before):
        raise forbid(f"{CONTROLLERS_USER} may only condemn a life of a node, with a higher epoch")


def fencing_objects(review: Review) -> None:
    """Evidence that VMs are dead, and whose word counts."""
    if review.kind in (NODEFENCE, NODEROSTER) and review.caller.user != CONTROLLERS_USER:
        raise forbid(f"only {CONTROLLERS_USER} may write {review.kind.plural}")


def fencing_pause(review: Review) -> None:
    """Who may write NodeGroups may pause fencing; here these are the administrators."""
    if review.kind not in (NODE, NODEGROUP, MODULECONFIG) or review.operation == "DELETE":
        return
    old, new = (meta.get("annotations") or {} for meta in (review.old_meta, review.meta))
    paused = any(old.get(key) != new.get(key) for key in PAUSE_ANNOTATIONS)
    if paused and MASTERS_GROUP not in review.caller.groups:
        raise forbid("the annotations that pause fencing belong to whoever may update nodegroups")

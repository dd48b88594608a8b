"""More twins of the rules in ``api/manifests``: who says yes to a RebalancePlan, and what a VM must not carry."""

from __future__ import annotations

from drover.api.names import CONTROLLERS_USER
from drover.api.scheme import REBALANCEPLAN, VM
from drover.api.status import Invalid
from drover.sim.api.admission import Review, forbid


def plan_writers(review: Review) -> None:
    """A RebalancePlan is the controllers'; a person says yes to it as it stands."""
    if review.kind != REBALANCEPLAN or review.operation == "DELETE":
        return
    controllers = review.caller.user == CONTROLLERS_USER
    if not controllers and (review.operation == "CREATE" or review.subresource):
        raise forbid(f"only {CONTROLLERS_USER} may write a RebalancePlan")
    old, new = ({**s, "approved": None} for s in (review.old_spec or review.spec, review.spec))
    if review.update and old != new:
        raise forbid("a RebalancePlan does not change; only spec.approved can be set")
    before, after = bool(review.old_spec.get("approved")), bool(review.spec.get("approved"))
    if before and not after:
        raise Invalid("spec.approved cannot be taken back", "Invalid")
    if controllers and after and not before:
        raise forbid(f"spec.approved is the word of a person, not of {CONTROLLERS_USER}")


def vm_metadata(review: Review) -> None:
    """Keys that would mean something on Pods."""
    meta = review.meta
    if review.kind != VM or review.operation == "DELETE" or meta.get("deletionTimestamp"):
        return
    for field in ("labels", "annotations"):
        bad = sorted(key for key in meta.get(field) or {} if "kubevirt.io" in key)
        if bad and not review.subresource:
            raise Invalid(f"metadata.{field} must not have keys with kubevirt.io: {bad}", "Invalid")

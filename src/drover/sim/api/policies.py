"""Python twins of the rules in ``api/manifests``: the admission policies, and the CEL rules of
schemas on which safety rests. Simulated writers meet the refusals that real ones would.

The contract suite sends the same requests to the real policies. A rule added there is added here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drover.api import names
from drover.api.kinds.vml import RESTORE_LEAP
from drover.api.names import CONTROLLERS_USER, NODE_LEASE_NAMESPACE, NODE_USER_PREFIX
from drover.api.scheme import (
    DECKHOUSE,
    LEASE,
    NODE,
    POD,
    VIRTUALIZATION,
    VMIPLEASE,
    VML,
    VMM,
    VMOP,
)
from drover.api.status import Invalid
from drover.sim.api.admission import Admission, Review, forbid, node_restriction
from drover.sim.api.policies_fencing import (
    MASTERS_GROUP,
    fencing_objects,
    fencing_pause,
    node_fence_marks,
)
from drover.sim.api.policies_users import plan_writers, vm_metadata

if TYPE_CHECKING:
    from drover.api.wire import Object

SCHEDULER_USER = "system:kube-scheduler"
MANAGER_USER = "system:kube-controller-manager"
ACCOUNT_PREFIX = "system:serviceaccount:kube-system:"
_COLLECTORS = (
    MANAGER_USER,
    ACCOUNT_PREFIX + "generic-garbage-collector",
    ACCOUNT_PREFIX + "namespace-controller",
)
_GUARDED = (VIRTUALIZATION, DECKHOUSE)
_MACHINE_KEYS = (names.MACHINE_ANNOTATION, names.MIGRATION_ANNOTATION, "drover.dev/applied-spec")


def default_admissions() -> list[Admission]:
    """All rules, in the order in which they are asked: schemas, Kubernetes, policies."""
    return [
        vml_schema, fixed_specs, node_restriction, vml_writers, vml_by_node, vml_by_controllers,
        vml_finalizer, vmm_writers, vmm_sides, own_status, own_spec, address_leases, vm_pods,
        machine_of_pod, no_preemption, node_lease, node_offers, node_fence_marks, fencing_objects,
        fencing_pause, plan_writers, vm_metadata, private_notes,
    ]  # fmt: skip


def vml_schema(review: Review) -> None:
    """Every change raises the epoch; a held lease says where."""
    if review.kind != VML or review.operation == "DELETE":
        return
    old, new = review.old_spec, review.spec
    if review.update and old != new and new["epoch"] <= old["epoch"]:
        raise _invalid("spec: every change raises spec.epoch")
    if new["holder"] and not (new.get("node") and new.get("nodeIncarnation")):
        raise _invalid("spec: a held lease names spec.node and spec.nodeIncarnation")


def fixed_specs(review: Review) -> None:
    """Operations and migrations cannot be rewritten."""
    if review.kind in (VMOP, VMM) and review.update and review.old_spec != review.spec:
        raise _invalid("spec: .spec is immutable")


def vml_writers(review: Review) -> None:
    """Nobody deletes a held lease; the controllers create them; users write none."""
    if review.kind != VML:
        return
    held = bool(review.old_spec.get("holder"))
    controllers, node = review.caller.user == CONTROLLERS_USER, review.caller.node
    if review.operation == "DELETE" and held:
        raise forbid(f"VM {review.meta['name']} may still run on {review.old_spec['node']}")
    if review.operation == "CREATE" and not controllers:
        raise forbid(f"only {CONTROLLERS_USER} may create the lease of a VM")
    if node and not review.update:
        raise forbid("a node may not create or delete the lease of a VM")
    changed = held or review.old_spec != review.spec
    if review.update and changed and not node and not controllers:
        raise forbid(f"{review.caller.user} may not write the lease of a VM")


def vml_by_node(review: Review) -> None:
    """The holder's node keeps, releases or hands over its lease."""
    node, old, new = review.caller.node, review.old_spec, review.spec
    if review.kind != VML or not node or not review.update:
        return
    if not old["holder"] or old.get("node") != node:
        raise forbid(f"only the node of the holder, {old.get('node')}, may write this lease")
    if not new["holder"]:
        return
    place, old_place = (new["node"], new["nodeIncarnation"]), (old["node"], old["nodeIncarnation"])
    if new["holder"] == old["holder"] and place != old_place:
        raise forbid("a node may keep a lease, release it or hand it to a Pod of another node")
    if new["holder"] != old["holder"] and new["node"] == old["node"]:
        raise forbid("a node may keep a lease, release it or hand it to a Pod of another node")
    if (new.get("disks") or []) != (old.get("disks") or []):
        raise forbid("the disks of a held lease stay the same")


def vml_by_controllers(review: Review) -> None:
    """Of a held lease the controllers may only Break it, or settle it after a restore."""
    if review.kind != VML or not review.update or review.caller.user != CONTROLLERS_USER:
        return
    old, new = review.old_spec, review.spec
    broken = not new["holder"] and new.get("lastReason") == names.LastReason.NODE_LOST
    leap = old["epoch"] + RESTORE_LEAP if old else 0
    settled = new.get("lastReason") == names.LastReason.RESTORED and new["epoch"] >= leap
    if old["holder"] and old != new and not broken and not settled:
        raise forbid(f"{CONTROLLERS_USER} may change a held lease only to break it")


def vml_finalizer(review: Review) -> None:
    """A held lease cannot vanish, and one that vanishes cannot be acquired."""
    if review.kind != VML or review.operation == "DELETE" or not review.spec["holder"]:
        return
    if names.HELD_FINALIZER not in review.meta.get("finalizers", ()):
        raise _invalid(f"a held lease carries the finalizer {names.HELD_FINALIZER}")
    if not review.old_spec.get("holder") and review.meta.get("deletionTimestamp"):
        raise _invalid("a lease that is being deleted cannot be acquired")


def vmm_writers(review: Review) -> None:
    """The controllers make migrations; the collectors may remove them."""
    if review.kind != VMM or review.subresource or review.caller.user == CONTROLLERS_USER:
        return
    if review.caller.user not in _COLLECTORS or review.operation == "CREATE":
        raise forbid(f"only {CONTROLLERS_USER} may write a migration")
    held = [
        names.VMM_FINALIZER in meta.get("finalizers", ()) for meta in (review.old_meta, review.meta)
    ]
    if review.update and held[0] != held[1]:
        raise forbid(f"the finalizer {names.VMM_FINALIZER} belongs to {CONTROLLERS_USER}")


def vmm_sides(review: Review) -> None:
    """Of a migration's status each party writes its own part."""
    if review.kind != VMM or review.subresource != "status":
        return
    old, new = _status(review.old), _status(review.new)
    source, target = review.old_spec.get("sourceNode"), old.get("targetNode")
    owners = {"source": _node_user(source), "target": _node_user(target)}
    for field in sorted({*old, *new}):
        owner = owners.get(field, CONTROLLERS_USER)
        if old.get(field) != new.get(field) and review.caller.user != owner:
            raise forbid(f"status.{field} belongs to {owner or '(none yet)'}")


def own_status(review: Review) -> None:
    """What drover observes."""
    ours = review.kind.group in _GUARDED and review.subresource == "status"
    if ours and review.caller.user != CONTROLLERS_USER:
        raise forbid(f"the status of {review.kind.plural} belongs to {CONTROLLERS_USER}")


def own_spec(review: Review) -> None:
    """What users wish."""
    ours = review.kind.group in _GUARDED and review.kind != VMIPLEASE and review.update
    if ours and review.caller.user == CONTROLLERS_USER and review.old_spec != review.spec:
        raise forbid(f"the spec of {review.kind.plural} belongs to its user")


def address_leases(review: Review) -> None:
    """Addresses are given out by one hand."""
    if review.kind != VMIPLEASE or review.subresource or review.caller.user == CONTROLLERS_USER:
        return
    if review.operation == "CREATE" or review.caller.user not in _COLLECTORS[:2]:
        raise forbid(f"only {CONTROLLERS_USER} may write the lease of an address")


def vm_pods(review: Review) -> None:
    """Only the controllers make a Pod the copy of a VM, and never one that preempts."""
    if review.kind != POD or review.operation != "CREATE":
        return
    meta = review.meta
    marked = (
        meta.get("name", "").startswith(names.POD_PREFIX)
        or meta.get("generateName", "").startswith(names.POD_PREFIX)
        or names.VM_NAME_LABEL in (meta.get("labels") or {})
        or names.MACHINE_ANNOTATION in (meta.get("annotations") or {})
    )
    if marked and review.caller.user != CONTROLLERS_USER:
        raise forbid(f"only {CONTROLLERS_USER} may create the Pod of a VM")
    if marked and review.spec.get("preemptionPolicy") != "Never":
        raise _invalid(f"PriorityClass {review.spec.get('priorityClassName', '')} preempts")


def machine_of_pod(review: Review) -> None:
    """What a Pod is a copy of is fixed when it is made."""
    if review.kind != POD or not review.update or review.caller.user == CONTROLLERS_USER:
        return
    old, new = review.old_meta, review.meta
    for key in _MACHINE_KEYS:
        if (old.get("annotations") or {}).get(key) != (new.get("annotations") or {}).get(key):
            raise forbid(f"annotation {key} belongs to {CONTROLLERS_USER}")
    label = names.VM_NAME_LABEL
    if (old.get("labels") or {}).get(label) != (new.get("labels") or {}).get(label):
        raise forbid(f"label {label} belongs to {CONTROLLERS_USER}")


def no_preemption(review: Review) -> None:
    """The scheduler's preemption deletes running Pods without asking; not those of VMs."""
    deleted = review.kind == POD and review.operation == "DELETE"
    vm = names.VM_NAME_LABEL in (review.meta.get("labels") or {})
    if deleted and vm and review.caller.user == SCHEDULER_USER:
        raise forbid("the Pod of a VM is not preempted; it has to be moved or stopped first")


def node_lease(review: Review) -> None:
    """The Lease of a node is the evidence of its life, and names its present one."""
    if review.kind != LEASE or review.meta.get("namespace") != NODE_LEASE_NAMESPACE:
        return
    user, name = review.caller.user, review.meta["name"]
    if user == _node_user(name):
        return
    trusted = user in (CONTROLLERS_USER, MANAGER_USER) or user.startswith(ACCOUNT_PREFIX)
    if not trusted and MASTERS_GROUP not in review.caller.groups:
        raise forbid(f"the Lease of node {name} belongs to that node")
    key = names.INCARNATION_ANNOTATION
    lives = [(meta.get("annotations") or {}).get(key) for meta in (review.old_meta, review.meta)]
    if review.update and lives[0] != lives[1]:
        raise forbid(f"annotation {key} belongs to node {name}")


def node_offers(review: Review) -> None:
    """What a node offers is its agent's word."""
    if review.kind != NODE or not review.update:
        return
    key, name = names.FIRMWARE_ANNOTATION, review.meta["name"]
    said = [(meta.get("annotations") or {}).get(key) for meta in (review.old_meta, review.meta)]
    if said[0] != said[1] and review.caller.user != _node_user(name):
        raise forbid(f"annotation {key} belongs to node {name}")


def private_notes(review: Review) -> None:
    """What the controllers note on operations."""
    strange = review.kind == VMOP and review.caller.user != CONTROLLERS_USER
    if not strange or review.operation == "DELETE":
        return
    before = review.old_meta.get("annotations") or {}
    for key, text in (review.meta.get("annotations") or {}).items():
        if key.startswith("drover.dev/") and before.get(key) != text:
            raise forbid(f"annotations drover.dev/* of an operation belong to {CONTROLLERS_USER}")


def _invalid(message: str) -> Invalid:
    return Invalid(message, "Invalid")


def _node_user(node: str | None) -> str:
    return NODE_USER_PREFIX + node if node else ""


def _status(obj: Object | None) -> dict[str, Any]:
    return dict((obj or {}).get("status") or {})

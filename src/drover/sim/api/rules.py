"""How the API server treats each kind: the facts that are not in the object.

Taken from the server's strategies and held against the real one by the contract suite. A kind of
ours follows its CustomResourceDefinition where that matters (whether it has a status
subresource).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drover.api import scheme
from drover.api.status import Invalid

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.api.wire import Object

_WITH_STATUS = (scheme.POD, scheme.NODE, scheme.NAMESPACE)
_WITHOUT_STATUS = (scheme.VML,)
_OWN_GROUPS = (scheme.VIRTUALIZATION, scheme.DROVER, scheme.DECKHOUSE)


@dataclass(frozen=True)
class Rules:
    """``custom``: defined by a CRD. ``born_by_put``: a PUT to a missing name creates.
    ``blind_put``: a PUT without resourceVersion overwrites."""

    custom: bool
    status: bool
    born_by_put: bool
    blind_put: bool
    generation: bool


def rules_of(kind: Kind) -> Rules:
    custom = kind.group in _OWN_GROUPS
    return Rules(
        custom=custom,
        status=(custom and kind not in _WITHOUT_STATUS) or kind in _WITH_STATUS,
        born_by_put=kind in (scheme.LEASE, scheme.EVENT),
        blind_put=not custom and kind not in (scheme.LEASE, scheme.PRIORITYCLASS),
        generation=custom or kind == scheme.POD,
    )


def prepare_create(kind: Kind, obj: Object) -> None:
    """What a creation cannot decide for itself: status and generation (in place)."""
    rules = rules_of(kind)
    # Agents register their Node with its status; every other status begins empty.
    if rules.status and kind != scheme.NODE:
        obj.pop("status", None)
    if rules.generation:
        obj["metadata"]["generation"] = 1


def prepare_update(kind: Kind, old: Object, new: Object, subresource: str) -> Object:
    """The object to store: ``new`` with what this door may not change taken from ``old``."""
    rules = rules_of(kind)
    if subresource == "status":
        result = dict(old)
        result["metadata"] = _kept_meta(old, new, everything=rules.custom)
        result.pop("status", None)
        if "status" in new:
            result["status"] = new["status"]
        return result
    result = {**new, "metadata": _kept_meta(old, new, everything=False)}
    if rules.status:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    if rules.generation and _content(old, rules) != _content(result, rules):
        result["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    return result


def _content(obj: Object, rules: Rules) -> Object:
    """What a generation counts."""
    left_out = ("metadata", "status") if rules.status else ("metadata",)
    return {key: value for key, value in obj.items() if key not in left_out}


_SERVER_META = (
    "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds",
    "resourceVersion",
)  # fmt: skip


def _kept_meta(old: Object, new: Object, everything: bool) -> Object:
    """Metadata with the server's own fields from ``old``; ``everything``: all of them."""
    if everything:
        return dict(old["metadata"])
    meta = {key: value for key, value in new["metadata"].items() if key not in _SERVER_META}
    for key in ("labels", "annotations", "finalizers", "ownerReferences"):
        if not meta.get(key):
            meta.pop(key, None)
    meta.update({key: old["metadata"][key] for key in _SERVER_META if key in old["metadata"]})
    return meta


def check_update(kind: Kind, old: Object, new: Object) -> None:
    """Rules of updates that hold for every kind. Raises Invalid."""
    was, now = old["metadata"], new["metadata"]
    for field in ("name", "namespace"):
        if was.get(field) != now.get(field):
            raise Invalid(f"metadata.{field}: field is immutable", "Invalid")
    if was.get("deletionTimestamp"):
        added = [
            item for item in now.get("finalizers", ()) if item not in was.get("finalizers", ())
        ]
        if added:
            raise Invalid(f"metadata.finalizers: no new ones on the way out: {added}", "Invalid")
    if len([ref for ref in now.get("ownerReferences", ()) if ref.get("controller")]) > 1:
        raise Invalid("metadata.ownerReferences: only one may be the controller", "Invalid")

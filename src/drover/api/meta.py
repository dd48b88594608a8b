"""Readers of object metadata, and builders of owner references. Objects are plain dicts and are
never changed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.api.wire import Object


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def namespace_of(obj: Mapping[str, Any]) -> str:
    """Empty for cluster-wide objects."""
    return str(obj["metadata"].get("namespace") or "")


def uid_of(obj: Object) -> str:
    return str(obj["metadata"].get("uid") or "")


def version_of(obj: Object) -> int:
    """The resourceVersion as a number, 0 when absent. Kubernetes orders the versions of one kind by
    it.
    """
    text = str(obj["metadata"].get("resourceVersion") or "")
    return int(text) if text.isdigit() else 0


def generation_of(obj: Object) -> int:
    return int(obj["metadata"].get("generation") or 0)


def labels_of(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def deletion_timestamp(obj: Object) -> str:
    """RFC 3339 text, empty while nobody asked for deletion."""
    return str(obj["metadata"].get("deletionTimestamp") or "")


def is_deleting(obj: Object) -> bool:
    return bool(deletion_timestamp(obj))


def finalizers_of(obj: Object) -> list[str]:
    return obj["metadata"].get("finalizers") or []


def has_finalizer(obj: Object, finalizer: str) -> bool:
    return finalizer in finalizers_of(obj)


def with_finalizer(obj: Object, finalizer: str) -> list[str]:
    """The list to patch in, so that it holds ``finalizer``."""
    present = finalizers_of(obj)
    return present if finalizer in present else [*present, finalizer]


def without_finalizer(obj: Object, finalizer: str) -> list[str]:
    """The list to patch in, so that it does not hold ``finalizer``."""
    return [entry for entry in finalizers_of(obj) if entry != finalizer]


def owner_reference(kind: Kind, owner: Object, *, controller: bool = True) -> Object:
    """A reference for ``metadata.ownerReferences``. Deletion of the owner does not wait for the
    dependent.
    """
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": controller,
        "blockOwnerDeletion": False,
    }


def controller_of(obj: Object) -> Object | None:
    """The owner reference marked as controller."""
    for reference in obj["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            return dict(reference)
    return None


def is_controlled_by(obj: Object, owner: Object) -> bool:
    """True only for the very incarnation: the uid is compared."""
    reference = controller_of(obj)
    return reference is not None and bool(uid_of(owner)) and reference["uid"] == uid_of(owner)

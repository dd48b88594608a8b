"""What of a Node is kept while it is away, and how it gets that back. Pure."""

from __future__ import annotations

from drover.api import names
from drover.api.wire import Object

_CORDON_TAINT = "node.kubernetes.io/unschedulable"
_OURS = (names.REJOINING_TAINT, _CORDON_TAINT)
_PASSING = (
    *_OURS,
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
)


def restored(node: Object, fence: Object) -> Object:
    """The patch that gives a node back its labels, taints and cordon."""
    saved = (fence.get("status") or {}).get("saved") or {}
    labels = node["metadata"].get("labels") or {}
    missing = {k: v for k, v in (saved.get("labels") or {}).items() if k not in labels}
    missing.pop(names.FENCING_ENABLED_LABEL, None)
    spec = node.get("spec") or {}
    present = [t for t in spec.get("taints") or [] if t["key"] not in _OURS]
    known = {(taint["key"], taint.get("effect")) for taint in present}
    back = [t for t in saved.get("taints") or [] if (t["key"], t.get("effect")) not in known]
    return {
        "metadata": {"labels": missing},
        "spec": {
            "taints": [*present, *back],
            "unschedulable": bool(saved.get("unschedulable")) or None,
        },
    }


def welcomed(node: Object) -> Object:
    """The patch that lets a node take VMs, whatever else it has."""
    taints = (node.get("spec") or {}).get("taints") or []
    return {"spec": {"taints": [t for t in taints if t["key"] != names.REJOINING_TAINT]}}


def saved_of(node: Object) -> Object:
    """What of a Node is kept for its return."""
    spec = node.get("spec") or {}
    taints = [
        {key: taint[key] for key in ("key", "value", "effect") if key in taint}
        for taint in spec.get("taints") or []
        if taint["key"] not in _PASSING
    ]
    return {
        "unschedulable": bool(spec.get("unschedulable")),
        "labels": dict(node["metadata"].get("labels") or {}),
        "taints": taints,
    }

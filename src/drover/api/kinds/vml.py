"""VirtualMachineLease: who may run a VM. Read-only views of one; writes are full PUTs elsewhere.

An absent lease is not a released one (a missing lease proves nothing), so nothing here takes None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drover.api import names

Obj = Mapping[str, Any]

# A restore raises epochs by so much: more often no lease changed hands since the backup (safety rule 10).
RESTORE_LEAP = 1_000_000


def holder(vml: Obj) -> str:
    """Uid of the Pod that may run the VM; empty: released."""
    return str(vml["spec"]["holder"])


def released(vml: Obj) -> bool:
    return not holder(vml)


def node(vml: Obj) -> str:
    return str(vml["spec"].get("node", ""))


def incarnation(vml: Obj) -> str:
    """The life of the node that holds it."""
    return str(vml["spec"].get("nodeIncarnation", ""))


def epoch(vml: Obj) -> int:
    return int(vml["spec"]["epoch"])


def last_reason(vml: Obj) -> str:
    return str(vml["spec"].get("lastReason", ""))


def disks(vml: Obj) -> list[str]:
    """Names of the VirtualDisks held with the VM."""
    return list(vml["spec"].get("disks") or [])


def names_node(vml: Obj, node_name: str, node_incarnation: str) -> bool:
    """True when this very life of the node holds the lease."""
    return not released(vml) and node(vml) == node_name and incarnation(vml) == node_incarnation


def has_held_mark(vml: Obj) -> bool:
    """True when the finalizer that keeps a held lease from vanishing is there."""
    return names.HELD_FINALIZER in (vml["metadata"].get("finalizers") or [])

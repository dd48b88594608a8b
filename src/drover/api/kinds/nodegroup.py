"""NodeGroup: the switch and the times of fencing, as users of the reference platform know them. Read-only views."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from drover.api import fencing, names, profiles

Obj = Mapping[str, Any]

# Presence is enough; on a Node or on the group itself.
PAUSE_ANNOTATIONS = (
    "update.node.deckhouse.io/disruption-approved",
    "update.node.deckhouse.io/approved",
    names.FENCING_DISABLE_ANNOTATION,
)


class NodeGroupCondition(enum.StrEnum):
    FENCING_ACTIVE = "FencingActive"
    COLD_STANDBY_READY = "ColdStandbyReady"


class FencingMode(enum.StrEnum):
    WATCHDOG = "Watchdog"  # a lost node's VMs die on time and start elsewhere
    NOTIFY = "Notify"  # only told


def _fencing(group: Obj) -> dict[str, Any]:
    return dict((group.get("spec") or {}).get("fencing") or {})


def mode(group: Obj) -> FencingMode | None:
    """None: off."""
    said = _fencing(group).get("mode")
    return FencingMode(said) if said else None


def profile(group: Obj) -> profiles.Profile:
    """Raises ValueError for a name that is none."""
    said = _fencing(group).get("profile")
    return profiles.profile(str(said)) if said else profiles.DEFAULT


def timing(group: Obj, kick_s: float = 0.0) -> fencing.Timing:
    """On a node with such a watchdog (``Timing.kick_s``): of the group's profile, with its own timeout if it names one.
    Raises ValueError for what is no profile or no duration."""
    said = (_fencing(group).get("watchdog") or {}).get("timeout")
    own_s = fencing.parse_duration_s(str(said)) if said else None
    return profile(group).timing(kick_s, own_s)


def max_unhealthy(group: Obj) -> int | None:
    """How many nodes may be lost at once; None: fewer than half, at least one."""
    said = _fencing(group).get("maxUnhealthy")
    return None if said is None else int(said)


def paused_by(obj: Obj) -> str:
    """The maintenance annotation of a Node or group that pauses fencing, or empty."""
    there = obj["metadata"].get("annotations") or {}
    return next((name for name in PAUSE_ANNOTATIONS if name in there), "")


def group_of(node: Obj) -> str:
    """The NodeGroup that a Node belongs to, or empty."""
    return str((node["metadata"].get("labels") or {}).get(names.NODE_GROUP_LABEL, ""))

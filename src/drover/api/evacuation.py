"""What stands on a VM Pod that has to leave its node: the mark of an eviction, and why it cannot leave.

Both are annotations with JSON. The mark is written by the eviction review and taken away by the evacuation controller
alone, else it ends with its Pod. A text that cannot be read still is a mark: nothing is forgotten for a typing error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from drover.api import names
from drover.api.meta import annotations_of
from drover.api.wire import Object


@dataclass(frozen=True)
class Mark:
    """An eviction was asked for."""

    at: str  # RFC 3339; empty: unreadable
    cordoned: bool  # whether the node was cordoned then: maintenance, which an uncordon ends


class BlockedReason:
    """Why a marked VM does not leave its node now."""

    NO_ROOM = "NoFeasibleNode"
    NOT_MIGRATABLE = "NotMigratable"
    NOT_RUNNING = "NotRunning"
    FAILED = "MigrationFailed"


@dataclass(frozen=True)
class Blocked:
    reason: str  # one of BlockedReason
    message: str


def mark_of(pod: Object) -> Mark | None:
    text = annotations_of(pod).get(names.EVICTION_ANNOTATION)
    if text is None:
        return None
    said = _decoded(text)
    return Mark(str(said.get("at", "")), bool(said.get("cordoned", False)))


def blocked_of(pod: Object) -> Blocked | None:
    text = annotations_of(pod).get(names.BLOCKED_ANNOTATION)
    if text is None:
        return None
    said = _decoded(text)
    return Blocked(str(said.get("reason", "")), str(said.get("message", "")))


def mark_patch(mark: Mark | None) -> Object:
    """None takes the mark away, and what blocked it."""
    text = None if mark is None else _encoded({"at": mark.at, "cordoned": mark.cordoned})
    annotations: dict[str, Any] = {names.EVICTION_ANNOTATION: text}
    if mark is None:
        annotations[names.BLOCKED_ANNOTATION] = None
    return {"metadata": {"annotations": annotations}}


def blocked_patch(blocked: Blocked | None) -> Object:
    text = (
        None
        if blocked is None
        else _encoded({"reason": blocked.reason, "message": blocked.message})
    )
    return {"metadata": {"annotations": {names.BLOCKED_ANNOTATION: text}}}


def _encoded(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _decoded(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}

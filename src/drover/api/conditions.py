"""Conditions of a status: pure functions over the list. The caller passes wall time and writes the
result back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.base.clock import rfc3339

if TYPE_CHECKING:
    from drover.api.wire import Object

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


def condition(
    kind: str, holds: bool | str, reason: str, message: str = "", generation: int = 0
) -> Object:
    """A wanted condition, without its time. ``holds`` is a bool or one of the three words."""
    status = holds if isinstance(holds, str) else (TRUE if holds else FALSE)
    wanted: Object = {"type": kind, "status": status, "reason": reason, "message": message}
    if generation:
        wanted["observedGeneration"] = generation
    return wanted


def get_condition(obj: Object, kind: str) -> Object | None:
    for entry in (obj.get("status") or {}).get("conditions") or []:
        if entry.get("type") == kind:
            return dict(entry)
    return None


def is_true(obj: Object, kind: str) -> bool:
    entry = get_condition(obj, kind)
    return entry is not None and entry.get("status") == TRUE


def set_condition(present: list[Object], wanted: Object, wall_s: float) -> list[Object]:
    """The list with ``wanted`` in the place of its type, or at the end.

    ``lastTransitionTime`` moves only with ``status``, so setting the same condition again gives an
    equal list.
    """
    changed: list[Object] = []
    found = False
    for entry in present:
        if entry.get("type") != wanted["type"]:
            changed.append(entry)
            continue
        found = True
        same = entry.get("status") == wanted["status"] and "lastTransitionTime" in entry
        since = entry["lastTransitionTime"] if same else rfc3339(wall_s)
        changed.append({**wanted, "lastTransitionTime": since})
    if not found:
        changed.append({**wanted, "lastTransitionTime": rfc3339(wall_s)})
    return changed


def without_condition(present: list[Object], kind: str) -> list[Object]:
    return [entry for entry in present if entry.get("type") != kind]

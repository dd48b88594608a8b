"""Which changes of the spec wait for a restart: what the running Pod was built from against what is wished now.

Changes of placement wait for none: the placement controller moves a VM whose node does not satisfy them.
"""

from __future__ import annotations

import json
from typing import Any

from drover.api import placement
from drover.api.meta import annotations_of
from drover.api.vmpod import APPLIED_SPEC_ANNOTATION, applied_spec
from drover.api.wire import Object
from drover.controllers.vm.view import VmView

MOST_CHANGES = 32


def pending(view: VmView) -> list[dict[str, Any]]:
    """As ``status.restartAwaitingChanges``; empty while nothing runs."""
    pod = view.active_pod
    found = _since(pod, view) if pod is not None else []
    return [one for one in found if not placement.is_placement(one["path"])][:MOST_CHANGES]


def outdated(pod: Object, view: VmView) -> bool:
    """What it was made from has changed: the spec, or where its class allows it to run."""
    made_from = annotations_of(pod).get(placement.DIGEST_ANNOTATION)
    if made_from and view.vmclass is not None:
        return made_from != placement.digest(view.vm, view.vmclass) or bool(_since(pod, view))
    return bool(_since(pod, view))


def _since(pod: Object, view: VmView) -> list[dict[str, Any]]:
    text = annotations_of(pod).get(APPLIED_SPEC_ANNOTATION)
    return _differences("", json.loads(text), applied_spec(view.vm)) if text else []


def _differences(path: str, current: Any, desired: Any) -> list[dict[str, Any]]:
    if current == desired:
        return []
    if isinstance(current, dict) and isinstance(desired, dict):
        found = []
        for name in sorted({*current, *desired}):
            below = f"{path}.{name}" if path else name
            found += _differences(below, current.get(name), desired.get(name))
        return found
    if current is None:
        return [{"operation": "add", "path": path, "desiredValue": desired}]
    if desired is None:
        return [{"operation": "remove", "path": path, "currentValue": current}]
    return [
        {"operation": "replace", "path": path, "currentValue": current, "desiredValue": desired}
    ]

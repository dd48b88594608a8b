"""Admission of a new operation: refused while an older one on the same VM is unfinished and cannot be superseded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from drover.api.kinds import vmop as vmops
from drover.api.wire import Object
from drover.controllers.vmop import rules
from drover.controllers.vmop.view import Other


def refusal(request: Mapping[str, Any], on_same_vm: Iterable[Object]) -> str | None:
    """A sentence for the user, or None. ``on_same_vm`` are the operations known on that VM."""
    if request.get("operation") != "CREATE":
        return None
    new = request["object"]
    me = Other(new["metadata"].get("name", ""), vmops.type_of(new), bool(vmops.force(new)))
    for old in on_same_vm:
        if vmops.finished(old):
            continue
        known = Other(old["metadata"]["name"], vmops.type_of(old), bool(vmops.force(old)))
        if not rules.supersedes(me, known):
            return (
                f'VMOP cannot be executed now. Previously created operation "{known.name}" '
                "should finish first"
            )
    return None

"""What the admission webhook says of a new VirtualMachine: a word of caution, never a refusal.

A VM may be written before its class is, in one file even, so a class that is missing is no mistake by itself; but who
mistyped its name learns it at once, in the answer to ``kubectl apply``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drover.api.scheme import VMCLASS
from drover.controllers.webhook import Caution
from drover.runtime.manager import Manager


class Reviewer:
    """Asks the cache, which may lag behind."""

    def __init__(self, manager: Manager) -> None:
        self._classes = manager.informer(VMCLASS)

    async def review(self, request: Mapping[str, Any]) -> Caution | None:
        """Of the creation of a VM."""
        spec = (request.get("object") or {}).get("spec") or {}
        name = str(spec.get("virtualMachineClassName") or "")
        if not name or not self._classes.synced or self._classes.get(name) is not None:
            return None
        return Caution(
            f'The VM class "{name}" does not exist; it may not have been created yet. Until it is created, the virtual '
            "machine will remain in a pending status."
        )

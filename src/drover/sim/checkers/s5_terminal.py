"""S5: what is over stays over: operations and migrations do not change their outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.names import VmmPhase
from drover.api.scheme import VMM, VMOP
from drover.sim.checkers.base import Checker

if TYPE_CHECKING:
    from drover.sim.api.store import Change

_ENDS = {VMOP: ("Completed", "Failed", "Superseded"), VMM: VmmPhase.FINAL}


class TerminalStays(Checker):
    name = "S5 what is over stays over"

    def on_change(self, change: Change) -> str:
        ends = _ENDS.get(change.kind)
        if ends is None or change.old is None or change.new is None:
            return ""
        before, after = _phase(change.old), _phase(change.new)
        if before in ends and after != before:
            return f"{change.kind.kind} {change.new['metadata']['name']}: {before} became {after}"
        return ""


def _phase(obj: dict[str, dict[str, str]]) -> str:
    return str((obj.get("status") or {}).get("phase", ""))

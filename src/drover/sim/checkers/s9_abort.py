"""S9: deleting an operation in Pending or InProgress ends on the source, with the VM running.

Past the point of no return (the lease is with the target) the deletion waits, and the VM runs
there. Either way, once the operation is gone its VM does not stand still in the middle of a move,
and no incoming copy is left. A VM whose own QEMU died, or that was stopped, need not run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.agent.ports import RunState
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.scheme import POD, VMM, VMOP
from drover.sim.checkers.base import Checker

if TYPE_CHECKING:
    from drover.sim.api.store import Change

_STANDING = (RunState.POSTMIGRATE, RunState.FINISH_MIGRATE, RunState.PAUSED, RunState.INMIGRATE)
_INCOMING = (RunState.PAUSED, RunState.INMIGRATE)


class AbortKeepsTheVm(Checker):
    name = "S9 an abort keeps the VM"

    def on_change(self, change: Change) -> str:
        if change.kind != VMOP or change.new is not None or change.old is None:
            return ""
        vmop = change.old
        aborted = vmops.is_migration(vmop) and not vmops.finished(vmop)
        return self._aborted(vmops.vm_name(vmop), vmop["metadata"]["name"]) if aborted else ""

    def _aborted(self, vm: str, operation: str) -> str:
        """An unfinished operation on this VM has just vanished."""
        others = [m for m in self.world.api.objects(VMM) if vmms.vm_name(m) == vm]
        if any(not vmms.final(vmm) for vmm in others):
            return ""  # the next one has begun already
        holder = str(self.scenario.lease_spec(vm).get("holder", ""))
        for qemu in self.scenario.living(vm):
            if qemu.copy == holder and qemu.state in _STANDING:
                return f"the abort left {vm} standing in {qemu.state}"
            if qemu.copy in self._targets_of(operation) and qemu.state in _INCOMING:
                return f"the abort left an incoming copy of {vm} on {qemu.node}"
        return ""

    def _targets_of(self, operation: str) -> list[str]:
        """Copies made for this operation and no earlier one, whose node may not even know yet."""
        return [
            pod["metadata"]["uid"]
            for pod in self.world.api.objects(POD)
            if pods.migration_name(pod).endswith(operation)
        ]

"""After healing: L1 every VM that shall run runs, L2 nothing is left open or lying about, L3 the controllers have
nothing more to do, and every guest is on the firmware that is wanted.
"""

from __future__ import annotations

from drover.api import conditions, names
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.scheme import MODULECONFIG, VM, VMM, VMOP, key_of
from drover.controllers import settings
from drover.sim.checkers.base import Checker


class VmsRun(Checker):
    name = "L1 every VM that shall run runs"

    def at_rest(self) -> str:
        for vm in self.world.api.objects(VM):
            name = vm["metadata"]["name"]
            if vm["metadata"].get("deletionTimestamp"):
                return f"VM {name} is still being deleted"
            status = vm.get("status") or {}
            wanted = bool((status.get("power") or {}).get("wanted"))
            always = vm["spec"]["runPolicy"] == "AlwaysOn"
            if (always or wanted) and not self.scenario.runs(name):
                copies = self.scenario.running_copies(name)
                return f"VM {name} is {status.get('phase')}, running copies {copies}"
            if not wanted and self.scenario.phase(name) != "Stopped":
                return f"VM {name} is {status.get('phase')}, and shall be Stopped"
            if wanted and not self.world.node_ready(self.scenario.node_of(name)):
                return f"VM {name} is said to be on {self.scenario.node_of(name)!r}"
        return ""


class NothingOpen(Checker):
    name = "L2 nothing is left open"

    def at_rest(self) -> str:
        for vmop in self.world.api.objects(VMOP):
            if not vmops.finished(vmop):
                return f"operation {key_of(vmop)} is {vmops.phase(vmop)}"
        for vmm in self.world.api.objects(VMM):
            if not vmms.final(vmm) or vmm["metadata"].get("deletionTimestamp"):
                return f"migration {key_of(vmm)} is {vmms.phase(vmm)}"
        return self._processes()

    def _processes(self) -> str:
        """No QEMU and no living Pod but those of the lease's holder."""
        for qemu in self.world.site.qemus.values():
            _, _, name = qemu.spec.vm.partition("/")
            if qemu.alive and self.scenario.lease_spec(name).get("holder") != qemu.copy:
                return f"a QEMU of {name} is left on {qemu.node} in {qemu.state}"
        for vm in self.world.api.objects(VM):
            name = vm["metadata"]["name"]
            holder = self.scenario.lease_spec(name).get("holder")
            for pod in self.scenario.pods_of(name):
                if pod["metadata"]["uid"] != holder:
                    return f"Pod {pod['metadata']['name']} is left of {name}"
        return ""


class QueuesEmpty(Checker):
    """What is only due later, at a time that was set, is no work."""

    name = "L3 the controllers are at rest"

    def at_rest(self) -> str:
        manager = self.world.manager
        busy = manager.unsettled() if manager is not None and self.world.controllers else []
        return f"not at rest: {', '.join(busy)}" if busy else ""


class FirmwareRolledOut(Checker):
    name = "every guest is on the wanted firmware"

    def at_rest(self) -> str:
        config = self.world.find(MODULECONFIG, names.MODULE_CONFIG)
        wanted = settings.read(config).firmware_version
        if config is None or not wanted:
            return ""
        for vm in self.world.api.objects(VM):
            status = vm.get("status") or {}
            runs_on = (status.get("versions") or {}).get("qemu", wanted)
            if status.get("phase") == "Running" and runs_on != wanted:
                return f"VM {vm['metadata']['name']} is on {runs_on}, and {wanted} is wanted"
        said = conditions.get_condition(config, "FirmwareRolledOut") or {}
        return "" if said.get("status") == "True" else f"the rollout to {wanted} is {said}"

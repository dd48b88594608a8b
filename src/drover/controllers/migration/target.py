"""What a target Pod takes from the present: where the VM may run now, and the firmware that is wanted now.

A firmware update goes only to nodes that have the wanted version for the VM's machine type. Any other move may go
anywhere and gets the wanted version where its node has it.
"""

from __future__ import annotations

from drover.api import firmware, scheme, vmpod
from drover.api import machine as machines
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds import vmm as vmms
from drover.api.kinds.vmop import Origin
from drover.api.meta import name_of
from drover.api.wire import Object
from drover.controllers.current import CurrentSettings
from drover.runtime.manager import Manager


class Targets:
    """One per migration controller."""

    def __init__(self, manager: Manager, settings: CurrentSettings) -> None:
        self._settings = settings
        self._classes = manager.informer(scheme.VMCLASS)
        self._nodes = manager.informer(scheme.NODE)

    def now(self, vmm: Object, source: Object, vm: Object | None) -> vmpod.Now | None:
        """None: VM or class cannot be found; the target is made as its source was."""
        if vm is None:
            return None
        vmclass = classes.chosen(vms.class_name(vm), self._classes.all())
        if vmclass is None:
            return None
        version = self._settings.now().firmware_version
        update = vmms.origin(vmm) is Origin.FIRMWARE
        without = self._without(version, source) if version and update else ()
        return vmpod.Now(vm, vmclass, version, without)

    def _without(self, version: str, source: Object) -> tuple[str, ...]:
        machine_type = machines.decode(pods.machine_json(source))["machine_type"]
        return tuple(
            sorted(
                name_of(node)
                for node in self._nodes.all()
                if not firmware.can_run(node, version, machine_type)
            )
        )

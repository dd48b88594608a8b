"""What the operation's controller does before it decides."""

from __future__ import annotations

import pytest
from tests.controllers.world import NS, World

from drover.api import scheme
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vmop import VmopPhase
from drover.controllers.migration import controller as migration
from drover.controllers.vmop.controller import VmopController
from drover.sim.loop import run

KEY = f"{NS}/evict-it"


@pytest.mark.parametrize("there", [True, False])
def test_that_there_is_no_vm_is_not_taken_from_a_cache_that_is_behind(there: bool) -> None:
    """`kubectl apply` of a VM and its operation: two watches tell of them in any order."""

    async def story() -> None:
        world = World()
        if there:
            await world.create(scheme.VM, "linux-vm", {})
        spec = {"type": "Evict", "virtualMachineName": "linux-vm"}
        made = await world.create(scheme.VMOP, "evict-it", spec)
        migration.wire(world.manager)  # it has the index of migrations
        controller = VmopController(world.manager)  # whose watches have told nothing yet
        controller.caches.vmops.observe(made)
        await controller.reconcile(KEY)
        said = vmops.phase(await world.get(scheme.VMOP, "evict-it"))
        assert (said is VmopPhase.FAILED) is not there

    run(story())

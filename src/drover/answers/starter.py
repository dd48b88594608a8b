"""The Pod that would start a VM, as the planner takes it. Pure."""

from __future__ import annotations

from typing import Any

from drover.answers.world import World
from drover.api import machine as machines
from drover.api import vmpod
from drover.api.meta import name_of
from drover.api.wire import Object
from drover.controllers.planning import pod_of
from drover.planner import Pod

# What the guest is made of plays no part in where it fits.
_MACHINE: dict[str, Any] = {**dict.fromkeys(machines.FIELDS), "disks": [], "seed_secret": ""}


def starter(world: World, vm: Object) -> Pod | None:
    """None: its class cannot be found."""
    vmclass = world.class_of(vm)
    if vmclass is None:
        return None
    pod = vmpod.build_pod(vmpod.pod_name(name_of(vm), "whatif"), vm, vmclass, _MACHINE)
    return pod_of(pod, comes=True)

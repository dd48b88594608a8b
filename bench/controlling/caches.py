"""What the caches of so many VMs take in memory, without a control plane: objects of a simulated VM, cloned and decoded
as the wire would give them, in the informers that the controllers have. Real objects are larger by what schedulers and
users add to them; their managedFields are not kept in either.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time

import msgspec

from bench.controlling.plane import cost
from bench.controlling.seeding import VM, VM_KINDS, Template, address_of, vm_name
from drover.api.scheme import Kind, key_of
from drover.api.wire import Object
from drover.base.clock import RealClock
from drover.base.ids import RealIds, SeededIds
from drover.base.log import Log
from drover.controllers.main import PACKED
from drover.runtime.client import Client
from drover.runtime.informer import Informer
from drover.runtime.manager import Manager
from drover.sim.api import ApiModel
from drover.sim.loop import run
from drover.sim.scenario import Scenario
from drover.sim.world import Shape, World

SETTLE_S = 30.0


def template() -> tuple[Template, str]:
    """Of a VM that has run for a while on virtual time; and its address."""
    found: list[tuple[Kind, Object]] = []

    async def story() -> None:
        async with World(1, Shape()) as world:
            await Scenario(world).running_vm(VM)
            await asyncio.sleep(SETTLE_S)
            found.extend((kind, world.api.objects(kind)[0]) for kind in VM_KINDS)

    run(story())
    address = str(dict(found)[VM_KINDS[0]]["status"]["ipAddress"])
    return Template.of(found, (VM, address, "ip-" + address.replace(".", "-"))), address


def measure(vms: int) -> tuple[float, float]:
    """(MiB of all caches, microseconds of CPU to take one object in, decoding included)."""
    made, address = template()
    clock = RealClock()
    client = Client(ApiModel(clock, SeededIds(1)).transport())
    log = Log(clock, lambda _: None)
    manager = Manager(client, clock, RealIds(), log, packed=PACKED)
    informers = {kind: manager.informer(kind) for kind in VM_KINDS}
    gc.collect()
    before, took_s, version = cost(os.getpid()).memory_mib, 0.0, 0
    for number in range(vms):
        mine = address_of(number)
        given = {VM: vm_name(number), address: mine}
        given["ip-" + address.replace(".", "-")] = "ip-" + mine.replace(".", "-")
        clones = list(made.clone(vm_name(number), given, 7.0 * number))
        began_s = time.process_time()
        for kind, (_, text) in zip(VM_KINDS, clones, strict=True):
            version += 1
            _take(informers[kind], msgspec.json.decode(text), version)
        took_s += time.process_time() - began_s
    gc.collect()
    held = sum(len(informer.all()) for informer in informers.values())
    assert held == vms * len(VM_KINDS), f"{held} objects are held"
    return cost(os.getpid()).memory_mib - before, 1e6 * took_s / held


def _take(informer: Informer, obj: Object, version: int) -> None:
    obj["metadata"]["resourceVersion"] = str(version)
    informer.changed("ADDED", obj)
    assert informer.get(key_of(obj)) is not None

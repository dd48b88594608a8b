"""A program that prints the trace of a small world with faults; see ``test_determinism``."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from drover.api.scheme import CONFIGMAP, SECRET, key_of, split_key
from drover.api.status import NotFound, Unanswered
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run


async def world(seed: int, trace: list[Any]) -> None:
    """Two kinds, three workers, a reconcile that fails, waits, writes and tells."""
    clock, ids = SimClock(), SeededIds(seed)
    client = Client(ApiModel(clock, ids).transport())
    manager = Manager(client, clock, ids, Log(clock, trace.append))
    maps, secrets = manager.informer(CONFIGMAP), manager.informer(SECRET)
    maps.add_index("first", lambda obj: [obj["metadata"]["name"][0]])

    async def reconcile(key: str) -> Outcome:
        obj = maps.get(key)
        chance = ids.uniform()
        trace.append([asyncio.get_running_loop().time(), key, obj is not None, chance])
        await clock.sleep(chance / 10)
        if chance < 0.3:
            raise Unanswered("by chance", sent=True)
        if obj is None or chance > 0.9:
            return Done()
        namespace, name = split_key(key)
        try:
            patch = {"data": {"seen": str(chance)}} if chance < 0.6 else None
            if patch is not None:
                maps.observe(await client.patch(CONFIGMAP, name, namespace, patch, version=obj))
        except NotFound:
            return Done()
        manager.recorder.event(obj, "Normal", "Seen", f"by chance {chance:.1f}")
        return After(chance)

    controller = Controller("maps", reconcile, workers=3)
    controller.watch(maps, lambda obj: [key_of(obj)])
    controller.watch(secrets, lambda obj: [key_of(obj)])
    manager.add(controller)
    async with TaskScope("world") as scope:
        scope.guard(manager.run(), "manager")
        for number in range(12):
            meta = {"namespace": "default", "name": f"{ids.suffix()}-{number}"}
            kind = CONFIGMAP if number % 3 else SECRET
            await client.create(kind, {"metadata": meta})
            await clock.sleep(ids.uniform())
        for obj in maps.by_index("first", maps.all()[0]["metadata"]["name"][0]):
            await client.delete(CONFIGMAP, obj["metadata"]["name"], "default")
        await clock.sleep(20)
        trace.append(repr(scope.failure))


def main() -> None:
    trace: list[Any] = []
    seed = int(sys.argv[1])
    run(world(seed, trace), seed)
    json.dump(trace, sys.stdout)


if __name__ == "__main__":
    main()

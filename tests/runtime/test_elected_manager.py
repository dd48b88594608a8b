"""Of two managers one runs its controllers; both keep their caches."""

from __future__ import annotations

import asyncio

from drover.api.scheme import CONFIGMAP, key_of
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.election import Elector
from drover.runtime.manager import Manager
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

SEEN = list[tuple[str, str]]


class Candidate:
    """A manager that writes down what its controller is given."""

    def __init__(self, api: ApiModel, name: str, seen: SEEN) -> None:
        clock, ids = SimClock(), SeededIds(ord(name))
        log = Log(clock, lambda entry: None)
        self.manager = Manager(Client(api.transport()), clock, ids, log)
        self.maps = self.manager.informer(CONFIGMAP, namespace="default")
        self.settled = asyncio.Event()
        self.elector = Elector(
            self.manager.client, clock, ids, log, namespace="default", name="boss"
        )

        async def reconcile(key: str) -> Outcome:
            seen.append((name, key))
            return Done()

        controller = Controller("maps", reconcile)
        controller.watch(self.maps, lambda obj: [key_of(obj)])
        self.manager.add(controller)

    async def run(self) -> None:
        async def settle() -> None:
            await self.settled.wait()

        await self.manager.run(self.elector, settle)


async def passers_by(client: Client) -> None:
    for number in range(5):
        meta = {"namespace": "default", "name": f"passer-{number}"}
        await client.create(CONFIGMAP, {"metadata": meta})
        await client.delete(CONFIGMAP, meta["name"], "default")
    await asyncio.sleep(1)


def test_the_elected_one_decides_and_the_other_follows_when_it_ends() -> None:
    async def main() -> SEEN:
        seen: SEEN = []
        api = ApiModel(SimClock(), SeededIds(0))
        a, b = Candidate(api, "a", seen), Candidate(api, "b", seen)
        await a.manager.client.create(
            CONFIGMAP, {"metadata": {"namespace": "default", "name": "x"}}
        )
        async with TaskScope("test") as scope:
            leader = scope.spawn(a.run(), "a")
            await asyncio.sleep(1)
            scope.guard(b.run(), "b")
            await asyncio.sleep(30)
            assert (seen, b.maps.get("default/x") is not None) == ([], True)  # a settles still
            a.settled.set()
            b.settled.set()
            await asyncio.sleep(1)
            assert seen == [("a", "default/x")]
            assert (a.manager.leading, b.manager.leading, b.manager.synced) == (True, False, True)
            await passers_by(a.manager.client)
            assert b.manager.unsettled() == []  # and not all that ever was
            del seen[1:]
            leader.cancel()
            await asyncio.sleep(20)
            assert (a.manager.leading, b.manager.leading) == (False, True)
            assert scope.failure is None
        return seen

    assert run(main(), 0) == [("a", "default/x"), ("b", "default/x")]

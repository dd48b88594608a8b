"""The modelled API under our own client machinery; its rules are held by tests/contract."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drover.api.scheme import POD
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.manager import Manager
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

if TYPE_CHECKING:
    from drover.api.wire import Object


def _quiet(entry: Object) -> None:
    """No log."""


def test_an_informer_follows_a_selection_through_silence_breaks_and_compaction() -> None:
    async def main() -> list[tuple[str, str]]:
        clock, ids = SimClock(), SeededIds(1)
        api = ApiModel(clock, ids)
        client = Client(api.transport())
        manager = Manager(client, clock, ids, Log(clock, _quiet))
        informer = manager.informer(POD, namespace="default", labels="a=b")
        seen: list[tuple[str, str]] = []

        def note(old: Object | None, new: Object | None) -> None:
            names = [obj["metadata"]["name"] if obj else "" for obj in (old, new)]
            seen.append((names[0], names[1]))

        informer.add_handler(note)

        async def create(name: str) -> Object:
            meta = {"name": name, "namespace": "default", "labels": {"a": "b"}}
            return await client.create(POD, {"metadata": meta, "spec": {"containers": []}})

        async with TaskScope("world") as scope:
            scope.guard(manager.run(), "manager")
            one = await create("one")
            await asyncio.sleep(1000)
            relabel: Object = {"metadata": {"labels": {"a": None}}}
            await client.patch(POD, "one", "default", relabel, version=one)
            await asyncio.sleep(1)
            api.break_watches()
            await create("two")
            await client.delete(POD, "two", "default")
            await create("three")
            api.store.compact()
            await asyncio.sleep(10)
            assert scope.failure is None
        assert [pod["metadata"]["name"] for pod in informer.all()] == ["three"]
        return seen

    assert run(main()) == [("", "one"), ("one", ""), ("", "three")]

"""The client machinery on a real control plane, over a link that fails."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.runtime.link import Link

from drover.api.scheme import CONFIGMAP, EVENT, LEASE, key_of, split_key
from drover.api.status import Conflict, NotFound, Unanswered
from drover.base.clock import RealClock
from drover.base.ids import RealIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.election import Elector
from drover.runtime.manager import Manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.engine import Engine

    from drover.api.wire import Object
    from drover.runtime.informer import Informer

pytestmark = pytest.mark.engine
ADMIN = ("drover-admin", ("system:masters",))


@dataclass
class Bench:
    """A client over a link, and ConfigMaps of this test alone."""

    link: Link
    client: Client
    impatient: Client  # gives up after half a second
    label: str
    logged: list[dict[str, Any]]

    def manager(self) -> Manager:
        clock = RealClock()
        return Manager(self.client, clock, RealIds(), Log(clock, self.logged.append), "test")

    def config(self, name: str, **data: str) -> Object:
        labels = {"test": self.label}
        meta = {"namespace": "default", "name": f"{name}-{self.label}", "labels": labels}
        return {"metadata": meta, "data": data}

    async def create(self, name: str, **data: str) -> Object:
        return await self.client.create(CONFIGMAP, self.config(name, **data))


@asynccontextmanager
async def bench(engine: Engine) -> AsyncIterator[Bench]:
    async with Link(engine.server) as link:
        access = dataclasses.replace(engine.access(*ADMIN), server=link.url)
        transport = await access.transport(RealClock())
        try:
            label = RealIds().suffix(8)
            yield Bench(link, Client(transport), Client(transport, 0.5), label, [])
        finally:
            await transport.aclose()


async def until(holds: Callable[[], bool], limit_s: float = 15.0) -> None:
    async with asyncio.timeout(limit_s):
        while not holds():  # noqa: ASYNC110 - the world outside sends no signal
            await asyncio.sleep(0.02)


def names(informer: Informer) -> list[str]:
    return [obj["metadata"]["name"].split("-")[0] for obj in informer.all()]


async def test_a_controller_follows_writes_and_tells(engine: Engine) -> None:
    async with bench(engine) as b:
        manager = b.manager()
        maps = manager.informer(CONFIGMAP, namespace="default", labels=f"test={b.label}")

        async def reconcile(key: str) -> Outcome:
            obj = maps.get(key)
            if obj is not None and "touched" not in obj["data"]:
                namespace, name = split_key(key)
                patch = {"data": {"touched": "yes"}}
                maps.observe(
                    await manager.client.patch(CONFIGMAP, name, namespace, patch, version=obj)
                )
                manager.recorder.event(obj, "Normal", "Touched", "as it should be")
            return Done()

        controller = Controller("maps", reconcile, workers=2)
        controller.watch(maps, lambda obj: [key_of(obj)])
        manager.add(controller)
        await b.create("old", n="1")
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            await maps.wait_synced()
            new = await b.create("new", n="1")
            await until(lambda: [obj["data"].get("touched") for obj in maps.all()] == ["yes"] * 2)
            selector = f"involvedObject.uid={new['metadata']['uid']}"
            found: list[Object] = []
            async with asyncio.timeout(10):
                while not found:
                    found, _ = await b.client.list(EVENT, "default", fields=selector)
            assert (found[0]["reason"], found[0]["count"]) == ("Touched", 1)
            await b.client.delete(CONFIGMAP, new["metadata"]["name"], "default")
            await until(lambda: names(maps) == ["old"])
            assert scope.failure is None


async def test_a_watch_resumes_after_a_cut_and_misses_nothing(engine: Engine) -> None:
    async with bench(engine) as b:
        manager = b.manager()
        maps = manager.informer(CONFIGMAP, namespace="default", labels=f"test={b.label}")
        direct = await engine.access(*ADMIN).transport(RealClock())
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            for name in ("a", "b"):
                await b.create(name, n="1")
            await until(lambda: names(maps) == ["a", "b"])
            b.link.cut()
            there = Client(direct)
            await there.delete(CONFIGMAP, f"a-{b.label}", "default")
            await there.create(CONFIGMAP, b.config("c"))
            await there.patch(CONFIGMAP, f"b-{b.label}", "default", {"data": {"n": "2"}})
            await asyncio.sleep(0.3)
            assert names(maps) == ["a", "b"]
            await b.link.restore()
            await until(lambda: names(maps) == ["b", "c"] and maps.all()[0]["data"]["n"] == "2")
            assert scope.failure is None
        await direct.aclose()
        assert "Unanswered" in b.logged[0]["error"]


async def test_a_lost_answer_is_open_and_a_refused_connection_is_not(engine: Engine) -> None:
    async with bench(engine) as b:
        read = await b.create("a", n="1")
        b.link.mute = True
        with pytest.raises(Unanswered) as caught:
            await b.impatient.replace(CONFIGMAP, {**read, "data": {"n": "2"}})
        assert caught.value.sent is True
        b.link.mute = False
        landed = read
        async with asyncio.timeout(15):  # it is on its way, and may land after the first look
            while landed["data"] == {"n": "1"}:
                landed = await b.client.get(CONFIGMAP, f"a-{b.label}", "default")
        assert landed["data"] == {"n": "2"}
        with pytest.raises(Conflict):
            await b.client.replace(CONFIGMAP, {**read, "data": {"n": "3"}})
        b.link.cut()
        await asyncio.sleep(0.1)
        with pytest.raises(Unanswered) as caught:
            await b.impatient.replace(CONFIGMAP, {**landed, "data": {"n": "4"}})
        assert caught.value.sent is False
        await b.link.restore()
        assert (await b.client.get(CONFIGMAP, f"a-{b.label}", "default"))["data"] == {"n": "2"}


async def test_a_write_for_a_dead_incarnation_never_lands_on_the_next(engine: Engine) -> None:
    async with bench(engine) as b:
        first = await b.create("a", n="first")
        name = first["metadata"]["name"]
        await b.client.delete(CONFIGMAP, name, "default", uid=first["metadata"]["uid"])
        with pytest.raises((Conflict, NotFound)):
            await b.client.replace(CONFIGMAP, first)
        await b.create("a", n="second")
        with pytest.raises(Conflict):
            await b.client.replace(CONFIGMAP, first)
        with pytest.raises(Conflict):
            await b.client.patch(CONFIGMAP, name, "default", {"data": {"n": "x"}}, version=first)
        with pytest.raises(Conflict):
            await b.client.delete(CONFIGMAP, name, "default", uid=first["metadata"]["uid"])
        assert (await b.client.get(CONFIGMAP, name, "default"))["data"] == {"n": "second"}


async def test_lists_come_page_by_page(engine: Engine) -> None:
    async with bench(engine) as b:
        for number in range(5):
            await b.create(f"p{number}")
        labels = f"test={b.label}"
        items, version = await b.client.list(CONFIGMAP, "default", labels, page=2)
        assert [item["metadata"]["name"][:2] for item in items] == ["p0", "p1", "p2", "p3", "p4"]
        assert {item["kind"] for item in items} == {"ConfigMap"}
        assert int(version) >= int(items[-1]["metadata"]["resourceVersion"])


async def test_a_lease_is_taken_and_given_back(engine: Engine) -> None:
    async with bench(engine) as b:
        name = f"leader-{b.label}"
        elector = Elector(
            b.client, RealClock(), RealIds(), Log(RealClock(), b.logged.append),
            namespace="default", name=name,
        )  # fmt: skip
        leading = asyncio.Event()

        async def lead() -> None:
            leading.set()
            await asyncio.Event().wait()

        async with TaskScope("test") as scope:
            scope.spawn(elector.run(lead), "elector")
            await asyncio.wait_for(leading.wait(), 10)
            held = await b.client.get(LEASE, name, "default")
            assert held["spec"]["holderIdentity"] == elector.identity
        held = await b.client.get(LEASE, name, "default")
        assert not held["spec"].get("holderIdentity")

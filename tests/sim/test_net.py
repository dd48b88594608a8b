"""The simulated network: what is answered, what is not, and what lands all the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from drover.api.scheme import CONFIGMAP
from drover.api.status import Unanswered
from drover.api.wire import Request
from drover.base.ids import SeededIds
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import VirtualLoop, run
from drover.sim.net import SimNet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from drover.runtime.transport import Transport


class Wire:
    """One client at the far end of a link."""

    def __init__(self, seed: int) -> None:
        clock = SimClock()
        self.api = ApiModel(clock, SeededIds(0))
        self.net = SimNet(clock, SeededIds(seed))
        self.door: Transport = self.net.transport("n1", self.api.transport())
        self.client = Client(self.door)
        self.events: list[str] = []

    def has(self, name: str) -> bool:
        return self.api.store.get(CONFIGMAP, "default", name) is not None

    async def create(self, name: str, timeout_s: float = 2.0) -> None:
        body = {"metadata": {"name": name, "namespace": "default"}}
        request = Request("POST", CONFIGMAP.path("default"), body=body, timeout_s=timeout_s)
        response = await self.door.send(request)
        assert response.status == 201

    async def watch(self) -> None:
        try:
            async with self.client.watch(CONFIGMAP, "0", 3600, namespace="default") as events:
                async for event in events:
                    self.events.append(event["object"]["metadata"].get("name", "bookmark"))
        except Unanswered as error:
            self.events.append(f"broke sent={error.sent}")


def story(act: Callable[[Wire], Awaitable[Any]], seed: int = 0) -> Any:
    async def main() -> Any:
        wire = Wire(seed)
        try:
            result = await act(wire)
            assert wire.net.failure is None
            return result
        finally:
            await wire.net.aclose()

    return run(main(), seed=seed)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_an_answer_takes_both_ways() -> None:
    async def act(wire: Wire) -> None:
        wire.net.link("n1").delay_s = 0.5
        await wire.create("one")
        assert 1.0 <= now() <= 1.01

    story(act)


def test_a_write_across_a_clog_is_unanswered_and_lands_late() -> None:
    async def act(wire: Wire) -> None:
        wire.net.clog("n1")
        with pytest.raises(Unanswered) as silence:
            await wire.create("one")
        assert silence.value.sent
        assert not wire.has("one")
        wire.net.heal("n1")
        await asyncio.sleep(0.1)
        assert wire.has("one")

    story(act)


def test_a_lost_request_never_lands_a_lost_answer_has() -> None:
    async def act(wire: Wire) -> None:
        link = wire.net.link("n1")
        link.lose_request = 1.0
        with pytest.raises(Unanswered):
            await wire.create("one")
        link.lose_request, link.lose_answer = 0.0, 1.0
        with pytest.raises(Unanswered) as silence:
            await wire.create("two")
        assert silence.value.sent
        await asyncio.sleep(60)
        assert (wire.has("one"), wire.has("two")) == (False, True)

    story(act)


def test_a_late_request_lands_after_its_time_limit() -> None:
    async def act(wire: Wire) -> None:
        wire.net.link("n1").late = 1.0
        with pytest.raises(Unanswered):
            await wire.create("one")
        assert not wire.has("one")
        await asyncio.sleep(3)
        assert wire.has("one")

    story(act)


@pytest.mark.parametrize("outage_s", [1.0, 60.0])
def test_across_a_cut_only_what_was_not_sent_is_known_not_to_land(outage_s: float) -> None:
    async def act(wire: Wire) -> tuple[bool, bool]:
        wire.net.cut("n1")
        loop = asyncio.get_running_loop()
        loop.call_later(outage_s, wire.net.heal, "n1")
        sent = True
        try:
            await wire.create("one", timeout_s=8.0)
        except Unanswered as error:
            sent = error.sent
        await asyncio.sleep(120)
        return sent, wire.has("one")

    seen = {story(act, seed) for seed in range(12)}
    if outage_s < 2:  # healed within the request's time: repeated by TCP, it lands
        assert seen == {(True, True)}
    else:  # for good: whether it left is known only when no connection could be made
        assert seen == {(True, False), (False, False)}


def test_a_cut_breaks_watches_after_ten_seconds_but_not_a_short_one() -> None:
    async def act(wire: Wire) -> list[str]:
        async with TaskScope("test") as scope:
            scope.spawn(wire.watch(), "watch")
            await wire.create("one")
            await asyncio.sleep(1)
            wire.net.cut("n1")
            await wire.api.transport().send(
                Request(
                    "POST",
                    CONFIGMAP.path("default"),
                    body={"metadata": {"name": "two", "namespace": "default"}},
                )
            )
            await asyncio.sleep(5)
            assert wire.events == ["one"]
            wire.net.heal("n1")
            await asyncio.sleep(1)
            assert wire.events == ["one", "two"]
            wire.net.cut("n1")
            await asyncio.sleep(11)
        return wire.events

    assert story(act) == ["one", "two", "broke sent=True"]


def test_a_restart_of_the_server_breaks_watches_and_loses_nothing() -> None:
    async def act(wire: Wire) -> None:
        async with TaskScope("test") as scope:
            scope.spawn(wire.watch(), "watch")
            await wire.create("one")
            await asyncio.sleep(1)
            restart = scope.spawn(wire.net.restart_server(3.0), "restart")
            await asyncio.sleep(1)
            with pytest.raises(Unanswered) as refused:
                await wire.create("two")
            assert not refused.value.sent
            await restart
            await wire.create("three")
        assert wire.events == ["one", "broke sent=True"]
        assert [wire.has(name) for name in ("one", "two", "three")] == [True, False, True]

    story(act)


def test_what_left_a_killed_process_lands_and_its_watches_end() -> None:
    async def act(wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with loop.process("agent"):  # ended by the loop when the world is over
            tasks = [loop.create_task(wire.watch()), loop.create_task(wire.create("one"))]
        await asyncio.sleep(0.0005)
        loop.kill("agent")
        wire.net.reset("n1")
        await asyncio.sleep(1)
        assert wire.has("one")
        assert wire.events == []
        assert not any(task.done() for task in tasks)

    story(act)

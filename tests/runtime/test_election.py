"""One leader at a time, take-over after a death, and giving back. On virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from drover.api.scheme import LEASE
from drover.api.status import Unanswered
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.election import Elector, LeadershipLost
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

if TYPE_CHECKING:
    from drover.api.wire import Request, Response


History = list[tuple[float, int, str]]


class Link:
    """A door to the modelled API that can be cut, or that swallows requests."""

    def __init__(self, api: ApiModel) -> None:
        self._door = api.transport()
        self.cut = False
        self.hang = False

    async def send(self, request: Request) -> Response:
        if self.hang:
            await asyncio.sleep(3600)
        if self.cut:
            raise Unanswered("cut", sent=False)
        return await self._door.send(request)

    def stream(self, request: Request) -> Any:
        return self._door.stream(request)

    async def aclose(self) -> None: ...


class Candidate:
    """Writes ``(time, who, what)`` into a shared history when it starts and stops leading."""

    def __init__(self, api: ApiModel, who: int, history: History) -> None:
        clock = SimClock()
        self.link = Link(api)
        log = Log(clock, lambda entry: None)
        self.elector = Elector(
            Client(self.link), clock, SeededIds(who), log, namespace="default", name="boss"
        )
        self._who = who
        self._history = history

    async def run(self) -> None:
        await self.elector.run(self._lead)

    async def _lead(self) -> None:
        loop = asyncio.get_running_loop()
        self._history.append((loop.time(), self._who, "starts"))
        try:
            await asyncio.sleep(1e6)
        finally:
            self._history.append((loop.time(), self._who, "stops"))


def test_one_leads_and_the_other_takes_over_soon_when_it_is_given_back() -> None:
    async def main() -> None:
        api = ApiModel(SimClock(), SeededIds(0))
        history: History = []
        async with TaskScope("test") as scope:
            first = scope.spawn(Candidate(api, 1, history).run(), "first")
            await asyncio.sleep(5)
            scope.spawn(Candidate(api, 2, history).run(), "second")
            await asyncio.sleep(95)
            first.cancel()
            await asyncio.sleep(10)
            assert [(who, what) for _, who, what in history] == [
                (1, "starts"), (1, "stops"), (2, "starts"),
            ]  # fmt: skip
            assert history[1][0] == 100
            assert history[2][0] < 103
            assert scope.failure is None
        lease = await Client(api.transport()).get(LEASE, "boss", "default")
        assert lease["spec"]["holderIdentity"] == ""
        assert lease["spec"]["leaseTransitions"] == 1

    run(main())


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_a_leader_without_the_api_stops_before_the_other_starts(how: str) -> None:
    async def main() -> None:
        api = ApiModel(SimClock(), SeededIds(0))
        history: History = []
        first = Candidate(api, 1, history)
        async with TaskScope("test") as scope:
            task = scope.spawn(first.run(), "first")
            await asyncio.sleep(5)
            scope.spawn(Candidate(api, 2, history).run(), "second")
            await asyncio.sleep(95)
            setattr(first.link, how, True)
            await asyncio.sleep(30)
            with pytest.raises(LeadershipLost):
                await task
            assert [(who, what) for _, who, what in history] == [
                (1, "starts"), (1, "stops"), (2, "starts"),
            ]  # fmt: skip
            assert 107 < history[1][0] <= 110
            assert 112 < history[2][0] < 118

    run(main())


def test_what_the_work_raises_comes_out_and_the_lease_is_given_back() -> None:
    async def main() -> None:
        api = ApiModel(SimClock(), SeededIds(0))

        async def fail() -> None:
            raise KeyError("bug")

        with pytest.raises(KeyError):
            await Candidate(api, 1, []).elector.run(fail)
        lease = await Client(api.transport()).get(LEASE, "boss", "default")
        assert lease["spec"]["holderIdentity"] == ""

    run(main())

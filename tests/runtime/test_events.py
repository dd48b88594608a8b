"""Events: counted, retried, dropped, bounded. On virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from drover.api.scheme import CONFIGMAP, EVENT
from drover.api.status import Forbidden, NotFound, ServerError, Unanswered
from drover.base.checks import require
from drover.base.ids import SeededIds
from drover.base.tasks import TaskScope
from drover.runtime import events
from drover.runtime.client import Client
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from drover.api.wire import Object
    from drover.runtime.transport import Transport


def config(name: str, **data: str) -> Object:
    return {"metadata": {"namespace": "default", "name": name}, "data": data}


class Refusing(Client):
    """A client whose writes of Events raise what the test plans, first first."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.planned: list[Exception] = []
        self.lose_answers = 0

    async def create(self, kind: Any, obj: Object) -> Object:
        if self.planned:
            raise self.planned.pop(0)
        made = await super().create(kind, obj)
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unanswered("the answer was lost", sent=True)
        return made


def recording(story: Callable[[Refusing, events.Recorder, Object], Awaitable[None]]) -> None:
    async def main() -> None:
        client = Refusing(ApiModel(SimClock(), SeededIds(0)).transport())
        recorder = events.Recorder(client, SimClock(), SeededIds(2), "test")
        about = await client.create(CONFIGMAP, config("a"))
        async with TaskScope("test") as scope:
            scope.guard(recorder.run(), "recorder")
            await story(client, recorder, about)
            require(scope.failure is None, repr(scope.failure))

    run(main())


def test_a_repeated_event_is_counted_in_one_object() -> None:
    async def story(client: Refusing, recorder: events.Recorder, about: Object) -> None:
        for _ in range(3):
            recorder.event(about, "Warning", "Lost", "the node is away")
        recorder.event(about, "Normal", "Found", "the node is back")
        await asyncio.sleep(60)
        recorder.event(about, "Warning", "Lost", "the node is away")
        await asyncio.sleep(1)
        written, _ = await client.list(EVENT, "default")
        by_reason = {event["reason"]: event for event in written}
        assert sorted(by_reason) == ["Found", "Lost"]
        lost = by_reason["Lost"]
        assert (lost["count"], lost["type"], lost["message"]) == (4, "Warning", "the node is away")
        assert lost["involvedObject"]["uid"] == about["metadata"]["uid"]
        assert lost["firstTimestamp"] < lost["lastTimestamp"]

    recording(story)


def test_an_event_that_expired_begins_anew() -> None:
    async def story(client: Refusing, recorder: events.Recorder, about: Object) -> None:
        for _ in range(2):
            recorder.event(about, "Normal", "Found", "it")
            await asyncio.sleep(1)
            written, _ = await client.list(EVENT, "default")
            assert [event["count"] for event in written] == [1]
            await client.delete(EVENT, written[0]["metadata"]["name"], "default")

    recording(story)


@pytest.mark.parametrize(
    ("planned", "dropped"),
    [
        ([Unanswered("cut", sent=False), ServerError("x")], 0),
        ([Unanswered("cut", sent=False)] * events.TRIES, 1),
        ([Forbidden("namespace ends")], 1),
        ([NotFound("no such namespace")], 1),
    ],
)
def test_losses_are_retried_and_refusals_dropped(planned: list[Exception], dropped: int) -> None:
    async def story(client: Refusing, recorder: events.Recorder, about: Object) -> None:
        client.planned = list(planned)
        recorder.event(about, "Normal", "First", "it")
        await asyncio.sleep(30)
        assert recorder.dropped == dropped
        recorder.event(about, "Normal", "Second", "it")
        await asyncio.sleep(1)
        written, _ = await client.list(EVENT, "default")
        assert len(written) == 2 - dropped

    recording(story)


def test_an_event_whose_answer_was_lost_is_written_once() -> None:
    async def story(client: Refusing, recorder: events.Recorder, about: Object) -> None:
        client.lose_answers = 1
        recorder.event(about, "Normal", "First", "it")
        await asyncio.sleep(30)
        written, _ = await client.list(EVENT, "default")
        assert len(written) == 1
        assert recorder.dropped == 0

    recording(story)


class Slow(Refusing):
    """Each Event takes so long, and when it was asked for."""

    took_s = 0.05

    async def create(self, kind: Any, obj: Object) -> Object:
        if kind is EVENT:
            self.begun.append(asyncio.get_running_loop().time())
            await asyncio.sleep(self.took_s)
        return await super().create(kind, obj)

    begun: list[float]


@pytest.mark.parametrize(("count", "least_s", "most_s"), [(4, 0.15, 0.15), (400, 0.05, 0.15)])
def test_events_stand_back_unless_many_wait(count: int, least_s: float, most_s: float) -> None:
    async def main() -> None:
        client = Slow(ApiModel(SimClock(), SeededIds(0)).transport())
        client.begun = []
        recorder = events.Recorder(client, SimClock(), SeededIds(2), "test")
        about = await client.create(CONFIGMAP, config("a"))
        for number in range(count):
            recorder.event(about, "Normal", "Done", f"{number}")
        async with TaskScope("test") as scope:
            scope.guard(recorder.run(), "recorder")
            await asyncio.sleep(100)
        gaps = [b - a for a, b in pairwise(client.begun)]
        assert len(client.begun) == count
        assert min(gaps) == pytest.approx(least_s)
        assert max(gaps) == pytest.approx(most_s)

    run(main())


def test_the_queue_of_events_is_bounded() -> None:
    async def story(client: Refusing, recorder: events.Recorder, about: Object) -> None:
        for number in range(events.MOST_PENDING + 7):
            recorder.event(about, "Normal", "Many", f"number {number}")
        assert recorder.dropped == 7
        await asyncio.sleep(1)
        written, _ = await client.list(EVENT, "default")
        assert len(written) == events.MOST_PENDING

    recording(story)

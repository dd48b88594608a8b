"""Reports reach the API, the newest last, whatever lands late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from drover.agent.publisher import Publisher, Subject
from drover.api import names
from drover.api.scheme import VMM
from drover.api.wire import Object, Request, Response
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.transport import Transport
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

ONE = Subject(VMM, "default", "one", "target")
TWO = Subject(VMM, "default", "two", "target")


class Slow:
    """A line that takes its time and remembers what was written."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.phases: list[str] = []

    async def send(self, request: Request) -> Response:
        if request.method == "PATCH" and request.body is not None:
            self.phases.append(request.body["status"]["target"]["phase"])
            await asyncio.sleep(1)
        return await self._inner.send(request)

    def stream(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        return self._inner.stream(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def said(phase: str) -> Object:
    return {"status": {"target": {"phase": phase}}}


async def migration(client: Client, name: str) -> None:
    source = {"sourceNode": "n1", "sourcePod": {"name": "p", "uid": "u"}}
    spec = {"virtualMachineName": "a", "operationName": name, **source}
    await client.create(VMM, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    where = {"status": {"targetNode": "n2"}}
    await client.patch(VMM, name, "default", where, subresource="status")


class Stage:
    def __init__(self) -> None:
        clock = SimClock()
        api = ApiModel(clock, SeededIds(1))
        user, node = names.CONTROLLERS_USER, names.NODE_USER_PREFIX + "n2"
        self.controllers = Client(api.transport(user, (user,)))
        self.node = Client(api.transport(node, (names.NODES_GROUP,)))
        self.line = Slow(api.transport(node, (names.NODES_GROUP,)))
        self.publisher = Publisher(Client(self.line), clock, Log(clock, lambda entry: None))

    async def seen(self) -> Object:
        return await self.node.get(VMM, "one", "default")


def test_a_late_report_that_lands_over_a_newer_one_is_written_over() -> None:
    async def main() -> None:
        stage = Stage()
        await migration(stage.controllers, "one")
        async with TaskScope("test") as scope:
            scope.guard(stage.publisher.run(), "publisher")
            stage.publisher.wish(ONE, said("Running"), await stage.seen())
            await asyncio.sleep(2)
            stage.publisher.wish(ONE, said("Running"), await stage.seen())
            await asyncio.sleep(2)
            assert stage.line.phases == ["Running"]
            late = said("Listening")
            await stage.node.patch(VMM, "one", "default", late, subresource="status")
            stage.publisher.wish(ONE, said("Running"), await stage.seen())
            await asyncio.sleep(2)
            assert (await stage.seen())["status"]["target"]["phase"] == "Running"

    run(main(), 0)


def test_reports_of_two_objects_are_written_side_by_side_those_of_one_in_a_row() -> None:
    async def main() -> None:
        stage = Stage()
        await migration(stage.controllers, "one")
        await migration(stage.controllers, "two")
        async with TaskScope("test") as scope:
            scope.guard(stage.publisher.run(), "publisher")
            stage.publisher.wish(ONE, said("Listening"))
            stage.publisher.wish(TWO, said("Listening"))
            await asyncio.sleep(0.5)  # both are on their way
            stage.publisher.wish(ONE, said("Running"))
            stage.publisher.wish(TWO, said("Running"))
            stage.publisher.forget(TWO)
            assert stage.line.phases == ["Listening", "Listening"]
            await asyncio.sleep(5)
        assert stage.line.phases == ["Listening", "Listening", "Running"]

    run(main(), 0)

"""One API server, and the agents that come to node n1, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from drover.api import names
from drover.base.ids import SeededIds
from drover.runtime.client import Client
from drover.sim.api import ApiModel, ModelTransport
from drover.sim.clock import SimClock
from drover.sim.loop import run


class Place:
    """``admin`` may do everything; ``door()`` is what an agent of n1 reaches the API by."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.ids = SeededIds("t")
        self.api = ApiModel(self.clock, self.ids)
        self.admin = Client(self.api.stagehand())

    def door(self) -> ModelTransport:
        return self.api.transport(names.NODE_USER_PREFIX + "n1", [names.NODES_GROUP])


P = TypeVar("P", bound=Place)


def play_in(make: Callable[[], P], story: Callable[[P], Awaitable[None]]) -> None:
    """One story on virtual time, in a place of its own."""

    async def main() -> None:
        await story(make())

    run(main())

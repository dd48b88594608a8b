"""A target Pod that is bound at once needs one write less."""

from __future__ import annotations

import pytest
from tests.controllers.moving import evict, running, wire
from tests.controllers.world import World, play

from drover.api.scheme import VMM
from drover.base.tasks import TaskScope
from drover.controllers.migration.target import BOUND_POLL_S, BOUND_POLLS


async def bind_when_made(world: World, after_s: float) -> None:
    """The scheduler."""
    while True:
        for pod in await world.pods("vm0"):
            if not pod["spec"].get("nodeName"):
                await world.settle(after_s)
                await world.bind(pod, "n2")
                return
        await world.settle(0.001)


@pytest.mark.parametrize(
    ("after_s", "phases"),
    [
        (BOUND_POLL_S / 2, ["Preparing"]),
        (BOUND_POLL_S * (BOUND_POLLS + 2), ["Scheduling", "Preparing"]),
    ],
)
def test_the_steps_of_a_target(after_s: float, phases: list[str]) -> None:
    async def story(world: World) -> None:
        await running(world, "n1")
        begun = world.api.store.revision
        async with TaskScope("scheduler") as scope:
            bound = scope.spawn(bind_when_made(world, after_s), "bind")
            await evict(world, "vm0")
            await bound
        await world.settle(1)
        said = [
            change.new["status"] for change in world.api.store.since(begun, VMM)
            if change.new is not None and change.new.get("status")
        ]  # fmt: skip
        assert [status["phase"] for status in said] == phases
        assert said[-1]["targetNode"] == "n2"
        assert said[0]["targetPod"]["uid"]

    play(story, wire)

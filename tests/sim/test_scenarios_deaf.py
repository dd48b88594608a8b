"""A watch that tells nothing for minutes, just when the lease changes hands: the guest that stands still waits for no
event."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, tell

from drover.api.scheme import VML

pytestmark = pytest.mark.sim

DEAF_S = 70.0  # an informer takes a silent watch for broken after 75 s
PAUSE_S = 4.0


async def until_it_runs(stage: Stage) -> None:
    s = stage.s
    await s.until(lambda: bool(s.running_copies("a")), "the guest goes on", PAUSE_S)


def test_a_target_that_hears_of_no_lease_asks_for_it() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        operation = await stage.moving()
        target = s.target("a")
        stage.do(stage.f.lag(target.node, VML, DEAF_S))
        await s.at("evict.hand-over")
        await until_it_runs(stage)
        assert s.running_copies("a") == [target.copy]
        await s.finished(operation)

    tell(story)


def test_a_source_that_hears_of_no_hand_back_asks_for_it() -> None:
    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        operation = await stage.moving()
        source, target = s.source("a"), s.target("a")
        stage.do(stage.f.lag(source.node, VML, DEAF_S))
        killed = False

        def strike(name: str, _entry: dict[str, object]) -> None:
            nonlocal killed
            if name == "evict.hand-over" and not killed:
                killed = True
                target.crash()

        world.on_mark.append(strike)
        await s.at("evict.hand-back")
        await until_it_runs(stage)
        assert s.running_copies("a") == [source.copy]
        assert await s.finished(operation) == "Failed"

    tell(story)

"""Wall clocks that are an hour off: what is safe rests on acknowledged facts and monotonic clocks, never on them."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage
from tests.sim.test_scenarios_fencing import elsewhere, fenced_world, fences, phase_of

pytestmark = [pytest.mark.sim, pytest.mark.timeout(60)]

HOUR_S = 3600.0


@pytest.mark.parametrize("off_s", [-HOUR_S, HOUR_S])
def test_a_node_whose_clock_is_an_hour_off_keeps_moves_and_loses_its_vms_as_any(
    off_s: float,
) -> None:
    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        node = s.node_of("a")
        world.nodes[node].clock.set_wall_error(off_s)
        await stage.pause(30)
        assert fences(world) == []
        assert s.runs("a")
        assert s.node_of("a") == node
        assert await s.finished(await s.evict("a")) == "Completed"
        target = s.node_of("a")
        assert target != node
        world.nodes[target].clock.set_wall_error(-off_s)
        await stage.pause(5)
        stage.do(stage.f.power_cycle(target, 90))
        since_s = world.loop.time()
        await elsewhere(stage, "a", target)
        assert world.loop.time() - since_s <= 11
        assert phase_of(world, target) == "Released"

    fenced_world(story)

"""The VM lease vanishes, though the policies forbid it: absent is not released (safety rule 1)."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api.scheme import VML

pytestmark = pytest.mark.sim


def lose_lease(stage: Stage) -> None:
    """No user can do this; a restored or broken store can."""
    lease = stage.s.lease("a")
    assert lease is not None
    stage.world.note("fault: the lease of a vanishes")
    stage.world.api.store.remove(VML, lease)


@pytest.mark.parametrize("down_s", [0.0, 6.0])
def test_a_lost_lease_is_not_rebuilt_as_released_by_an_agent_that_restarts(down_s: float) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        (copy,) = s.running_copies("a")
        node = s.node_of("a")
        # It renews, and does not hear what its watches would tell: it has not looked yet.
        stage.f.kill_agent(node)
        lose_lease(stage)
        await stage.pause(down_s)
        stage.f.start_agent(node)
        await s.until(lambda: s.lease_spec("a").get("holder") == copy, "the lease is rebuilt", 60)
        assert s.running_copies("a") == [copy]

    tell(story)


@pytest.mark.parametrize("step", ["evict.copy", "evict.completed", "evict.hand-over", "resumed"])
def test_a_lease_lost_during_a_move_is_rebuilt_and_the_vm_goes_on(step: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a", guest=large())
        operation = await s.evict("a")
        await s.at(step)
        lose_lease(stage)
        await s.finished(operation, 120)
        await s.until(lambda: s.runs("a"), "a runs", 60)
        started = [copy for vm, copy in stage.world.site.ledger.history if vm == "default/a"]
        assert len(dict.fromkeys(started)) <= 2, "the guest was started anew"

    tell(story)

"""The VM lease vanishes, though the policies forbid it: absent is not released (safety rule 1)."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api.scheme import LEASE, NODE, VML

pytestmark = pytest.mark.sim


def lose_lease(stage: Stage) -> None:
    """No user can do this; a restored or broken store can."""
    lease = stage.s.lease("a")
    assert lease is not None
    stage.world.fault("the lease of a vanishes")
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


@pytest.mark.parametrize("with_node", [False, True])
def test_a_node_whose_own_lease_is_lost_too_is_waited_for(with_node: bool) -> None:
    """It cannot tell what it runs; nobody may conclude that it runs nothing."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        (copy,), node = s.running_copies("a"), s.node_of("a")
        away = stage.do(stage.f.cut_api(node, 40))
        await stage.pause(1)
        lose_lease(stage)
        world.fault(f"the Lease of {node} vanishes{' with its Node' if with_node else ''}")
        for kind, namespace in ((LEASE, "kube-node-lease"), (NODE, ""))[: 1 + with_node]:
            found = world.find(kind, node, namespace)
            assert found is not None
            world.api.store.remove(kind, found)
        await stage.pause(30)
        assert s.lease("a") is None
        await away
        await s.until(lambda: s.lease_spec("a").get("holder") == copy, "the lease is rebuilt", 60)
        assert s.running_copies("a") == [copy]

    tell(story)

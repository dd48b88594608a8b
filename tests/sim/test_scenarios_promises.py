"""A promise counts for the very NodeFence that asked for it, and until then a word may keep a node alive."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage
from tests.sim.test_scenarios_fencing import TIMEOUT, fenced_world, fences

from drover.api import names
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence
from drover.api.scheme import LEASE, NODEGROUP
from drover.api.wire import Object, Request
from drover.sim.times import fencing_by
from drover.sim.world import GROUP

pytestmark = [pytest.mark.sim, pytest.mark.timeout(60)]


def renewal(request: Request) -> bool:
    return request.method == "PUT" and f"/{names.NODE_LEASE_NAMESPACE}/" in request.path


async def fencing(stage: Stage, on: bool) -> None:
    """Without the brake: three nodes may be lost."""
    spec = {**fencing_by(TIMEOUT), "maxUnhealthy": 3}
    await stage.world.user.patch(NODEGROUP, GROUP, "", {"spec": {"fencing": spec if on else None}})


def promises(stage: Stage, peer: str, node: str) -> bool:
    lease: Object = stage.world.find(LEASE, peer, names.NODE_LEASE_NAMESPACE) or {}
    said = nodes.evidence(lease)
    return said is not None and node in (said.promises or {})


def test_a_promise_to_an_object_that_is_gone_counts_for_nothing() -> None:
    """Fencing is switched off and on again. In between the peers let their promises go and vouch again, and no renewal
    of theirs that says so arrives: what the controller can read of them still looks like the proof."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await fencing(stage, True)
        await s.running_vm("a")
        node, copies = s.node_of("a"), s.running_copies("a")
        friend, other = [name for name in world.nodes if name != node]
        stage.do(stage.f.cut_api(node, 90))
        await stage.pause(0.5)
        await stage.f.cut_api(friend, 5.5)  # it lives by its friend's word from now on
        await s.until(lambda: all(promises(stage, n, node) for n in (friend, other)), "promises", 5)
        held = [stage.f.hold(name, renewal, 10_000) for name in (friend, other)]
        await fencing(stage, False)
        await s.until(lambda: not fences(world), "the fence is gone", 2)
        await stage.pause(0.3)
        for name in (friend, other):
            stage.do(stage.f.cut_api(name, 60))
        await fencing(stage, True)
        await stage.pause(25)
        assert s.running_copies("a") == copies  # they vouch for it, and for one another
        assert not [fence for fence in fences(world) if nodefence.proves_dead(fence)]
        for one in held:
            one.let_go()

    fenced_world(story)


def test_a_machine_that_has_not_read_the_inquests_vouches_for_nobody() -> None:
    """Its predecessor may have promised, and the disk with the promise is gone (P3)."""

    async def story(stage: Stage) -> None:
        world = stage.world
        stage.f.kill_agent("n2")
        world.nodes["n2"].journal.forget("node")
        stage.f.hold("n2", lambda said: "/nodefences" in said.path or renewal(said), 10_000)
        stage.f.start_agent("n2")
        await stage.pause(5)
        survival = world.nodes["n2"].agent.survival  # type: ignore[union-attr]
        assert survival is not None
        assert not survival.asked("n1")

    fenced_world(story)

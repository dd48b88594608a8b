"""The VM lease vanishes, or names nobody, though the policies forbid it: absent is not released (safety rule 1)."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api import conditions, names
from drover.api.kinds.vm import VmCondition, VmReason
from drover.api.meta import name_of
from drover.api.scheme import LEASE, NODE, NODEGROUP, POD, VM, VML, VMM
from drover.api.wire import Object
from drover.cli.connect import Api
from drover.cli.fence_confirm import perform
from drover.runtime.client import Client
from drover.sim.world import GROUP

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


async def given_to(stage: Stage, spec: Object) -> None:
    """By a hand that no policy holds back: there is none that a tenant or an administrator has."""
    hand = Client(stage.world.api.stagehand())
    (copy,) = stage.s.running_copies("a")
    stage.f.crash(stage.world.site.qemu(copy))  # nobody asks it to end
    epoch = stage.s.lease_spec("a")["epoch"]
    await hand.patch(VML, "a", "default", {"spec": {**spec, "epoch": epoch + 1}})


@pytest.mark.parametrize("where", ["its own node", "another node"])
def test_a_lease_that_names_a_life_which_never_was_is_released_by_its_node(where: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        node = s.node_of("a")
        if where == "another node":
            node = next(name for name in stage.world.nodes if name != node)
        await given_to(stage, {"holder": "made-up", "node": node, "nodeIncarnation": "made-up"})
        await s.until(lambda: s.runs("a"), "it runs again", 30)

    tell(story)


@pytest.mark.parametrize("known", [False, True], ids=["no such node", "its objects are gone"])
def test_a_lease_that_names_a_node_without_lease_waits_for_a_persons_word(known: bool) -> None:
    """Nobody can tell whether that node is off, so nothing is started by itself; the VM and `drover why` say so."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await world.user.create(NODEGROUP, {"metadata": {"name": GROUP}, "spec": {}})
        await s.running_vm("a")
        node = s.node_of("a") if known else "n9"
        if known:
            stage.do(stage.f.power_cycle(node, 120))
            await world.user.delete(NODE, node)
            await world.user.delete(LEASE, node, names.NODE_LEASE_NAMESPACE)
            for pod in s.pods_of("a"):
                await s.delete_pod(name_of(pod), 0)
        else:
            await given_to(stage, {"holder": "made-up", "node": node, "nodeIncarnation": "made-up"})

        def reason() -> str:
            said = conditions.get_condition(world.find(VM, "a") or {}, VmCondition.RUNNING) or {}
            return str(said.get("reason"))

        await s.until(lambda: reason() == VmReason.NODE_UNKNOWN, "it says so", 15)
        await stage.pause(20)
        assert not s.runs("a")
        assert await perform(Api(world.user, world.clock), node, True, 60) == 0
        await s.until(lambda: s.runs("a") and s.node_of("a") != node, "it runs elsewhere", 60)

    tell(story)


def test_a_word_about_a_node_whose_lease_was_removed_is_void_when_it_lives() -> None:
    """Cut off from the API it could not make its Lease anew while somebody looked; when it is back it renews."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await world.user.create(NODEGROUP, {"metadata": {"name": GROUP}, "spec": {}})
        await s.running_vm("a")
        node, copies = s.node_of("a"), s.running_copies("a")
        stage.do(stage.f.cut_api(node, 6.5))
        await stage.pause(0.5)
        await world.user.delete(LEASE, node, names.NODE_LEASE_NAMESPACE)
        assert await perform(Api(world.user, world.clock), node, True, 20) == 1
        assert s.running_copies("a") == copies

    tell(story)


def test_an_arrival_goes_on_by_no_lease_that_was_rebuilt_meanwhile() -> None:
    """It was given the lease, and stands still for seconds: its QEMU gives no answer. Its node reports no guest that
    has not run there, so when the lease is lost the nodes' word names another; and of that its watches tell nothing."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a", guest=large())
        operation = await s.evict("a")
        await s.at("evict.hand-over")
        target = s.target("a")
        stage.do(stage.f.hang(target, 8))

        def told() -> bool:
            agent = world.nodes[target.node].agent
            cached = agent.context.leases.cached("default/a") if agent is not None else None
            return cached is not None and cached["spec"]["holder"] == target.copy

        await s.until(told, "the target was given the lease, and knows it", 2)
        for kind in (VML, VMM, POD):
            stage.do(stage.f.lag(target.node, kind, 30))
        lose_lease(stage)
        await s.finished(operation, 120)
        await stage.pause(15)
        await s.until(lambda: s.runs("a"), "a runs", 60)
        assert s.node_of("a") != target.node

    tell(story)

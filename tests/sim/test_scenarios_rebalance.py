"""A plan in the middle of which something happens: the next one is made from what is there."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api import names, scheme
from drover.api.kinds import rebalance as kinds
from drover.api.wire import Object
from drover.sim.story_rebalance import switch_on

pytestmark = pytest.mark.sim

VMS = ("a", "b", "c", "d")
LOADER = {"cpu": {"cores": 2}}  # of 8: four of them fill a node


async def crowded(stage: Stage, *vms: str, **settings: object) -> None:
    """All on n1, which is full; then the rebalancer is switched on."""
    user = stage.world.user
    for node in ("n2", "n3"):
        await user.patch(scheme.NODE, node, "", {"spec": {"unschedulable": True}})
    for vm in vms or VMS:
        await stage.s.running_vm(vm, guest=large(), **LOADER)
    for node in ("n2", "n3"):
        await user.patch(scheme.NODE, node, "", {"spec": {"unschedulable": None}})
    await switch_on(stage.s, **settings)


def plans(stage: Stage) -> list[Object]:
    return sorted(stage.world.api.store.all(scheme.REBALANCEPLAN), key=kinds.number)


def targets(plan: Object) -> list[str]:
    return [str(move["target"]) for move in kinds.moves(plan)]


def on(stage: Stage, node: str) -> int:
    return sum(stage.s.node_of(vm) == node for vm in VMS)


def test_a_node_lost_in_the_middle_of_its_move_leads_to_a_plan_without_it() -> None:
    async def story(stage: Stage) -> None:
        await crowded(stage)
        await stage.s.at("evict.copy")
        lost = targets(plans(stage)[0])[0]
        stage.do(stage.f.power_cycle(lost, 400))
        await stage.s.until(lambda: len(plans(stage)) > 1, "a second plan", 200)
        first, second = plans(stage)[:2]
        assert kinds.phase(first) is kinds.PlanPhase.SUPERSEDED
        assert kinds.steps(first)[0]["state"] == "Failed"
        assert targets(second) != []
        assert lost not in targets(second)
        await stage.s.until(lambda: on(stage, "n1") == 3, "n1 is relieved", 300)

    tell(story, rebalances=True)


@pytest.mark.parametrize("mark", ["rebalance.proposed", "rebalance.move", "evict.copy"])
def test_controllers_that_end_in_the_middle_go_on_with_the_same_plan(mark: str) -> None:
    """Between the plan, the note of its step, its operation and its end."""

    async def story(stage: Stage) -> None:
        stage.world.on_mark.append(
            lambda name, _: stage.f.kill_controllers() if name == mark else None
        )
        await crowded(stage)
        await stage.s.until(lambda: not stage.world.controllers, "the controllers died", 60)
        stage.world.on_mark.pop()
        await stage.pause(5)
        stage.f.start_controllers()
        await stage.s.until(lambda: on(stage, "n1") == 3, "n1 is relieved", 200)
        await stage.pause(20)
        assert [kinds.phase(plan) for plan in plans(stage)] == [kinds.PlanPhase.DONE]

    tell(story, rebalances=True)


def test_a_rule_that_changes_in_the_middle_is_kept() -> None:
    """The planned target is closed to the VM just before its move."""

    async def story(stage: Stage) -> None:
        await crowded(stage, mode="Approve")
        await stage.s.until(lambda: bool(plans(stage)), "a plan", 60)
        closed = targets(plans(stage)[0])[0]
        taints = (stage.world.find(scheme.NODE, closed) or {})["spec"]["taints"]
        mine = {"key": "mine", "effect": "NoSchedule"}
        patch = {"spec": {"taints": [*taints, mine]}}
        await stage.world.user.patch(scheme.NODE, closed, "", patch)
        await stage.s.until(lambda: len(plans(stage)) > 1, "a second plan", 100)
        first, second = plans(stage)[:2]
        assert kinds.phase(first) is kinds.PlanPhase.SUPERSEDED
        assert closed not in targets(second)
        await stage.world.user.patch(
            scheme.REBALANCEPLAN, second["metadata"]["name"], "", {"spec": {"approved": True}}
        )
        await stage.s.until(lambda: on(stage, "n1") == 3, "n1 is relieved", 100)
        assert on(stage, closed) == 0

    tell(story, rebalances=True)


def test_a_node_that_is_drained_meanwhile_is_no_target_and_goes_first() -> None:
    async def story(stage: Stage) -> None:
        await crowded(stage, mode="Approve")
        await stage.s.until(lambda: bool(plans(stage)), "a plan", 60)
        target = targets(plans(stage)[0])[0]
        await stage.world.user.patch(scheme.NODE, target, "", {"spec": {"unschedulable": True}})
        await stage.s.until(lambda: len(plans(stage)) > 1, "a second plan", 100)
        assert target not in targets(plans(stage)[1])
        await stage.world.user.patch(scheme.NODE, target, "", {"spec": {"unschedulable": None}})
        module = {"spec": {"enabled": False}}
        await stage.world.user.patch(scheme.MODULECONFIG, names.REBALANCE_MODULE, "", module)

    tell(story, rebalances=True)


def ours(stage: Stage) -> list[Object]:
    found = stage.world.api.store.all(scheme.VMOP)
    return [op for op in found if op["metadata"]["name"].startswith(names.REBALANCE_PREFIX)]


@pytest.mark.parametrize("mark", ["rebalance.proposed", "rebalance.move", "evict.copy"])
def test_a_leader_that_stood_still_carries_nothing_out_beside_the_next(mark: str) -> None:
    """Frozen between two writes of its plan, it goes on when another has taken its place: nothing elects one here."""

    async def story(stage: Stage) -> None:
        await crowded(stage)
        await stage.s.at(mark)
        stage.do(stage.f.rival_controllers(15))
        await stage.s.until(lambda: on(stage, "n1") == 3, "n1 is relieved", 200)
        await stage.pause(40)
        # Its caches may be of several moments when it goes on: what it proposes from them is dropped at its next look.
        phases = [kinds.phase(plan) for plan in plans(stage)]
        assert [one for one in phases if one != kinds.PlanPhase.SUPERSEDED] == [
            kinds.PlanPhase.DONE
        ]
        assert len(ours(stage)) == 1

    tell(story, rebalances=True)


def test_two_leaders_from_the_beginning_make_one_plan_and_each_move_once() -> None:
    async def story(stage: Stage) -> None:
        former = stage.world.controllers
        stage.world.start_controllers()
        await crowded(stage)
        await stage.s.until(lambda: on(stage, "n1") == 3, "n1 is relieved", 200)
        await stage.pause(20)
        assert [kinds.phase(plan) for plan in plans(stage)] == [kinds.PlanPhase.DONE]
        assert len(ours(stage)) == 1
        stage.world.loop.kill(former)

    tell(story, rebalances=True)

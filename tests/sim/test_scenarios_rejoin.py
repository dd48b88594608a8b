"""A node that was fenced, or ended its life by itself, is as good as new afterwards: it is fenced again, it is held,
and its guests outlive its agent. So is one whose fencing has only just begun."""

from __future__ import annotations

import functools

import pytest
from tests.sim.stage import Stage, tell
from tests.sim.test_scenarios_fencing import (
    LONG_S,
    TIMEOUT,
    apart,
    api_away,
    elsewhere,
    fenced_world,
    is_armed,
    phase_of,
    roster_settled,
)

from drover.agent.ports import HostError
from drover.api import names
from drover.api.kinds import nodefence
from drover.api.kinds.node import rejoining
from drover.api.kinds.nodefence import Roster
from drover.api.scheme import NODE, NODEGROUP, NODEROSTER
from drover.api.wire import Object
from drover.sim.parts import MemoryJournal
from drover.sim.times import fencing_by
from drover.sim.world import GROUP, OFF, World

pytestmark = [pytest.mark.sim, pytest.mark.timeout(60)]


async def rejoined(stage: Stage, node: str, away_s: float = 45.0) -> None:
    """The node is cut off, fenced, and joins again."""
    await apart(stage, node, away_s)
    world = stage.world
    await stage.s.until(lambda: phase_of(world, node) == "Rejoined", "it has joined again", LONG_S)
    await stage.s.until(lambda: is_armed(world.nodes[node]), "it is armed again", 20)
    await stage.s.until(lambda: roster_settled(world), "the roster has settled", 20)


async def at_home(stage: Stage, vm: str, node: str) -> None:
    """A VM that was made for this node runs there."""
    await stage.s.running_vm(vm, nodeSelector={"kubernetes.io/hostname": node})


def test_a_restart_of_its_agent_ends_no_guest_of_the_new_life() -> None:
    async def story(stage: Stage) -> None:
        await rejoined(stage, "n1")
        await at_home(stage, "a", "n1")
        copies = stage.s.running_copies("a")
        await stage.f.restart_agent("n1", 1)
        await stage.pause(20)
        assert stage.s.running_copies("a") == copies

    fenced_world(story)


def test_a_pause_and_its_end_touch_no_guest_of_the_new_life() -> None:
    async def story(stage: Stage) -> None:
        world = stage.world
        await rejoined(stage, "n1")
        await at_home(stage, "a", "n1")
        copies = stage.s.running_copies("a")
        for value in ("", None):
            mark: Object = {"metadata": {"annotations": {names.FENCING_DISABLE_ANNOTATION: value}}}
            await world.user.patch(NODE, "n1", "", mark)
            await stage.pause(10)
        assert is_armed(world.nodes["n1"])
        assert stage.s.running_copies("a") == copies

    fenced_world(story)


@pytest.mark.parametrize("agents", [1, 3])
def test_agents_that_are_started_anew_while_the_api_is_away_hold_on(agents: int) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        for name in "abc":
            await s.running_vm(name)
        copies = [s.running_copies(name) for name in "abc"]
        stage.do(api_away(stage, 60))
        await stage.pause(8)
        for number in range(agents):
            await stage.f.restart_agent(f"n{number + 1}", 1)
            await stage.pause(3)
        await stage.pause(70)
        assert [s.running_copies(name) for name in "abc"] == copies
        assert all(map(is_armed, stage.world.nodes.values()))

    fenced_world(story)


def test_its_peers_vouch_for_the_new_life() -> None:
    async def story(stage: Stage) -> None:
        await rejoined(stage, "n1")
        await at_home(stage, "a", "n1")
        copies = stage.s.running_copies("a")
        await api_away(stage, 60)
        await stage.pause(20)
        assert stage.s.running_copies("a") == copies

    fenced_world(story)


def test_it_is_fenced_again() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await rejoined(stage, "n1")
        await s.running_vm("a")
        for _ in range(2):
            node = s.node_of("a")
            stage.do(apart(stage, node, 45))
            await elsewhere(stage, "a", node, 20)
            await stage.pause(60)

    fenced_world(story)


def roster_of(world: World) -> Roster:
    obj = world.find(NODEROSTER, GROUP)
    assert obj is not None
    return nodefence.roster(obj)


def has_settled(world: World, generation: int) -> bool:
    roster = roster_of(world)
    return roster.generation == generation and not roster.previous


def test_a_node_that_was_armed_while_its_cache_was_behind_is_fenced_as_well() -> None:
    """While it was not armed nobody waited for it: the roster changed twice, and it heard of neither."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        node = s.node_of("a")
        first, second = [other for other in world.nodes if other != node]
        pause: Object = {"metadata": {"annotations": {names.FENCING_DISABLE_ANNOTATION: ""}}}
        await world.user.patch(NODE, node, "", pause)
        await s.until(lambda: not is_armed(world.nodes[node]), "it is disarmed", 10)
        stage.do(stage.f.lag(node, NODEROSTER, 400))
        for number, other in enumerate((first, second), roster_of(world).generation + 1):
            world.nodes[other].address += "0"  # its members are named with their addresses
            await stage.f.restart_agent(other, 0.1)
            settled = functools.partial(has_settled, world, number)
            await s.until(settled, "the roster has changed and settled", 30)
        go_on: Object = {"metadata": {"annotations": {names.FENCING_DISABLE_ANNOTATION: None}}}
        await world.user.patch(NODE, node, "", go_on)
        await s.until(lambda: is_armed(world.nodes[node]), "it is armed again", 10)
        stage.do(stage.f.power_cycle(node, 200))
        await elsewhere(stage, "a", node)

    fenced_world(story)


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.5, 1.0, 2.5])
def test_a_node_that_dies_as_soon_as_fencing_is_on_is_fenced_as_well(after_s: float) -> None:
    """No renewal of it names a roster yet, and the first one is hardly made."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        node = s.node_of("a")
        late = next(other for other in world.nodes if other != node)
        stage.do(stage.f.cut_api(late, 0.5))  # the others are armed one after the other
        fencing = fencing_by(TIMEOUT)
        await world.user.patch(NODEGROUP, GROUP, "", {"spec": {"fencing": fencing}})
        await s.until(lambda: is_armed(world.nodes[node]), "its node is armed", 20)
        await stage.pause(after_s)
        stage.do(stage.f.power_cycle(node, 200))
        await elsewhere(stage, "a", node)

    tell(story, nodes=3, fenced=OFF)


def test_a_pod_that_was_bound_to_a_node_that_had_just_died_holds_nobody_up() -> None:
    """The VM gets its lease for a life that is over, which is broken with all others of that life."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        node, *others = world.nodes
        for other in others:
            await world.user.patch(NODE, other, "", {"spec": {"unschedulable": True}})
        await s.create_vm("a")
        await s.until(lambda: len(s.pods_of("a")) == 1, "its Pod is there", 10)
        stage.do(stage.f.power_cycle(node, 200))
        await s.until(lambda: s.lease("a") is not None, "it has a lease", 10)
        await s.until(lambda: bool(s.lease_spec("a")["holder"]), "a dead node has its lease", 10)
        assert not s.running_copies("a")
        for other in others:
            await world.user.patch(NODE, other, "", {"spec": {"unschedulable": None}})
        await elsewhere(stage, "a", node)

    fenced_world(story)


@pytest.mark.parametrize("fenced", [True, False], ids=["fenced", "not fenced any more"])
def test_a_node_that_is_back_takes_vms_although_its_object_was_removed_once_more(
    fenced: bool,
) -> None:
    """Its agent registers it again as one that comes back; no fence is open that would end in its welcome."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await rejoined(stage, "n1")
        if not fenced:
            await world.user.patch(NODEGROUP, GROUP, "", {"spec": {"fencing": None}})
        await world.user.delete(NODE, "n1")
        await s.until(lambda: world.find(NODE, "n1") is not None, "it is registered again", 10)
        await s.until(
            lambda: not rejoining(world.find(NODE, "n1") or {}) and world.node_ready("n1"),
            "it takes VMs",
            30,
        )
        await at_home(stage, "a", "n1")

    fenced_world(story)


def test_a_node_whose_disk_is_full_goes_on_and_promises_when_it_can_keep_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ended the agent again and again, with the moves and the starts that it had in hand."""
    full, put = [True], MemoryJournal.put

    def refuse(journal: MemoryJournal, copy: str, mark: str, value: str = "") -> None:
        if mark in ("promises", "armed") and full[0]:
            raise HostError(f"the mark {mark} cannot be written: No space left on device")
        put(journal, copy, mark, value)

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        node = s.node_of("a")
        lives = [one.lives for one in world.nodes.values()]
        monkeypatch.setattr(MemoryJournal, "put", refuse)
        stage.do(stage.f.power_cycle(node, 120))
        await stage.pause(15)
        assert phase_of(world, node) == "Suspect"
        assert [one.lives for one in world.nodes.values()] == lives
        full[0] = False
        await elsewhere(stage, "a", node)

    fenced_world(story)

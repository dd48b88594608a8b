"""The times of fencing by name: each profile keeps what it says, and a change in the middle of things runs nothing
twice (the judge looks at each step)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from click import ClickException
from tests.sim.stage import Stage, tell
from tests.sim.test_scenarios_fencing import (
    apart,
    elsewhere,
    fences,
    is_armed,
    nodes_of,
    phase_of,
    roster_settled,
)
from tests.sim.test_scenarios_promises import renewal

from drover.agent.ports import MonitorSilent
from drover.api import names
from drover.api.kinds.node import evidence
from drover.api.profiles import FAST, HOST, LAB, PROFILES, Profile
from drover.api.scheme import LEASE, NODEGROUP
from drover.cli.connect import Api
from drover.cli.fence_on import switch_off, switch_on
from drover.sim.times import fencing_by
from drover.sim.watchdog import SimWatchdog
from drover.sim.world import CONTROLLERS, GROUP, OFF

if TYPE_CHECKING:
    from tests.sim.test_scenarios_fencing import Story

    from drover.sim.faults import Held

pytestmark = [pytest.mark.sim, pytest.mark.timeout(60)]

each_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))


def world_by(profile: Profile, story: Story) -> None:
    """A world whose nodes are armed by it."""

    async def armed_first(stage: Stage) -> None:
        await ready(stage, profile)
        await story(stage)

    tell(armed_first, fenced=profile.name)


async def ready(stage: Stage, profile: Profile) -> None:
    s, world = stage.s, stage.world
    await s.until(lambda: all(lives_by(stage, n, profile) for n in world.nodes), "all armed", 30)
    await s.until(lambda: all(map(is_armed, nodes_of(stage))), "and they know it", 5)
    await s.until(lambda: roster_settled(world), "the roster has settled", 20)


def lives_by(stage: Stage, node: str, profile: Profile) -> bool:
    """As its newest renewal says."""
    lease = stage.world.find(LEASE, node, names.NODE_LEASE_NAMESPACE)
    said = evidence(lease) if lease is not None else None
    return said is not None and said.armed is not None and said.armed.age_s == profile.timeout_s


async def change(stage: Stage, profile: Profile) -> None:
    spec = {"spec": {"fencing": fencing_by(profile.name)}}
    await stage.world.user.patch(NODEGROUP, GROUP, "", spec)


def test_the_command_that_switches_it_on_waits_until_all_nodes_live_by_it() -> None:
    async def story(stage: Stage) -> None:
        world = stage.world
        api = Api(world.user, world.clock)
        assert await switch_on(api, "", "fast", 30) == 0
        assert all(lives_by(stage, node, FAST) for node in world.nodes)
        assert await switch_on(api, GROUP, "", 30) == 0  # as it is
        assert all(lives_by(stage, node, FAST) for node in world.nodes)
        with pytest.raises(ClickException, match=f"no NodeGroup 'other'; there are: {GROUP}"):
            await switch_on(api, "other", "fast", 30)
        stage.do(stage.f.power_cycle("n2", 60))
        assert await switch_on(api, GROUP, "lab", 10) == 1  # n2 is lost, and cannot say so
        assert await switch_off(api, GROUP) == 0
        others = [node for node in nodes_of(stage) if node is not world.nodes["n2"]]
        await stage.s.until(lambda: not any(map(is_armed, others)), "disarmed", 10)

    tell(story, fenced=OFF)


@each_profile
def test_a_restart_begins_as_soon_as_the_profile_says(profile: Profile) -> None:
    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        node = s.node_of("a")
        since_s = world.loop.time()
        stage.do(stage.f.power_cycle(node, 200))
        await elsewhere(stage, "a", node, profile.begins_s)
        assert world.loop.time() - since_s > profile.timeout_s - profile.timing().renew_s

    world_by(profile, story)


@pytest.mark.parametrize("stall_s", [0.9, 1.9, 2.8, 3.2, 5.0, 8.0, 20.0])
def test_a_stalled_agent_costs_a_restart_at_most(stall_s: float) -> None:
    """By the shortest times: up to A - R no guest ends of it."""

    async def story(stage: Stage) -> None:
        s, timing = stage.s, FAST.timing()
        await s.running_vm("a")
        copies, node = s.running_copies("a"), s.node_of("a")
        await stage.f.freeze(node, stall_s)
        await stage.pause(15)
        await s.until(lambda: s.runs("a"), "it runs", 60)
        if stall_s < timing.age_s - timing.renew_s:
            assert s.running_copies("a") == copies
        if stall_s > timing.fence_s + 1:
            assert s.node_of("a") != node

    world_by(FAST, story)


def test_a_profile_that_changes_ends_no_guest_and_every_node_lives_by_the_new_one() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        copies = s.running_copies("a")
        for profile in (FAST, HOST, FAST, LAB):
            await change(stage, profile)
            await ready(stage, profile)
            await stage.pause(8)
            assert s.running_copies("a") == copies
            assert not fences(stage.world)

    world_by(LAB, story)


@pytest.mark.parametrize("start", [FAST, HOST], ids=["longer", "shorter"])
@pytest.mark.parametrize("after_s", [0.02, 1.5, 17.0])
def test_a_node_that_is_lost_while_its_times_change_is_fenced_like_any_other(
    after_s: float, start: Profile
) -> None:
    """It is armed all the while: first by the one promise, then by the other."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        node = s.node_of("a")
        await change(stage, HOST if start is FAST else FAST)
        await stage.pause(after_s)
        stage.do(stage.f.power_cycle(node, 200))
        await elsewhere(stage, "a", node, HOST.begins_s)

    world_by(start, story)


def test_a_node_is_armed_all_the_while_its_times_change() -> None:
    """Two changes in a row among them, and one that is called off. Lost at any moment of it a node is fenced."""

    async def story(stage: Stage) -> None:
        world = stage.world

        def all_armed(profile: Profile) -> bool:
            for node in world.nodes:
                said = evidence(world.find(LEASE, node, names.NODE_LEASE_NAMESPACE) or {})
                assert said is not None
                assert said.armed is not None
            return all(lives_by(stage, node, profile) for node in world.nodes)

        for profile, wait in ((FAST, 0.3), (HOST, 0.2), (FAST, 40.0), (HOST, 0.004), (LAB, 40.0)):
            await change(stage, profile)
            for _ in range(int(wait / 0.001)):
                if all_armed(profile):
                    break
                await asyncio.sleep(0.001)
        assert all_armed(LAB)

    world_by(HOST, story)


@pytest.mark.parametrize("again", [False, True], ids=["dies", "is restarted"])
def test_an_agent_that_does_not_know_the_deadline_of_the_one_before_promises_no_earlier_one(
    again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times became shorter while it was away, and the node's first process is too busy to answer it at first."""
    silent = {"until": True}
    asked = SimWatchdog.until

    async def until(watchdog: SimWatchdog, life: str) -> float | None:
        if silent.pop("until", False):
            raise MonitorSilent("no answer in 2 s")
        return await asked(watchdog, life)

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        node, copies = s.node_of("a"), s.running_copies("a")
        stage.f.kill_agent(node)
        await change(stage, FAST)
        monkeypatch.setattr(SimWatchdog, "until", until)
        stage.f.start_agent(node)
        await stage.pause(2)
        stage.f.kill_agent(node)
        if again:
            await stage.pause(0.5)
            stage.f.start_agent(node)
            await stage.pause(2)
        await apart(stage, node, 60)
        stage.f.start_agent(node)
        await stage.pause(5)
        assert s.running_copies("a") == copies or not world.site.living(node)
        await ready(stage, FAST)

    world_by(HOST, story)


@pytest.mark.parametrize("to", [FAST, LAB], ids=["fast", "lab"])
@pytest.mark.parametrize("after_s", [0.0, 8.0])
def test_what_was_promised_under_the_old_times_holds(after_s: float, to: Profile) -> None:
    """A node that nobody reaches has not heard of the shorter times, and lives by the longer ones."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        node, copies = s.node_of("a"), s.running_copies("a")
        since_s = world.loop.time()
        stage.do(apart(stage, node, 120))
        await stage.pause(after_s)
        await change(stage, to)
        if after_s:
            await stage.f.restart_controllers()
        await stage.pause(HOST.timeout_s - HOST.timing().renew_s - after_s - 2)
        assert s.running_copies("a") == copies
        await elsewhere(stage, "a", node, HOST.begins_s + after_s)
        assert world.loop.time() - since_s > HOST.timeout_s
        assert phase_of(world, node) == "Released"

    world_by(HOST, story)


async def unheard(stage: Stage) -> tuple[str, Held]:
    """The node of ``a``, none of whose renewals arrives from now on, nor a word to its peers."""
    await stage.s.running_vm("a")
    node = stage.s.node_of("a")
    held = stage.f.hold(node, renewal, 10_000)
    for other in stage.world.nodes:
        if other != node:
            stage.do(stage.f.cut_wire(node, other, 60))
    return node, held


def test_a_node_whose_word_does_not_arrive_lives_by_the_old_times() -> None:
    """It hears of longer times; what it promises now never reaches the API, so the old promise stands."""

    async def story(stage: Stage) -> None:
        node, held = await unheard(stage)
        await change(stage, HOST)
        await elsewhere(stage, "a", node)
        held.let_go()

    world_by(FAST, story)


def test_a_node_that_is_let_go_keeps_its_promise_until_its_word_arrives() -> None:
    """Fencing is switched off and on again, and nobody hears that it promises nothing meanwhile."""

    async def story(stage: Stage) -> None:
        node, held = await unheard(stage)
        await stage.world.user.patch(NODEGROUP, GROUP, "", {"spec": {"fencing": None}})
        await stage.pause(FAST.timeout_s + 2)
        await change(stage, FAST)
        await elsewhere(stage, "a", node)
        held.let_go()

    world_by(FAST, story)


@pytest.mark.parametrize("to", [HOST, FAST], ids=["longer", "shorter"])
@pytest.mark.parametrize("step", ["fencing.suspect", "fencing.condemned"])
def test_a_profile_that_changes_in_the_middle_of_a_fencing_under_two_leaders(
    step: str, to: Profile
) -> None:
    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a")
        node = s.node_of("a")
        stage.do(apart(stage, node, 150))
        await s.at(step)
        await change(stage, to)
        stage.do(stage.f.rival_controllers(5))
        await stage.f.freeze(CONTROLLERS, 4)
        await elsewhere(stage, "a", node)
        assert phase_of(world, node) == "Released"

    world_by(LAB, story)

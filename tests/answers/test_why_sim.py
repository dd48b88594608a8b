"""What ``why`` says while whole simulated clusters lose nodes and are drained: real controllers and agents."""

from __future__ import annotations

import contextlib

import pytest
from tests.answers.asked import look
from tests.sim.stage import Stage, tell
from tests.sim.test_scenarios_fencing import fenced_world

from drover.answers import losing
from drover.answers.why import why
from drover.api import scheme
from drover.api.meta import name_of
from drover.api.status import Forbidden, TooManyRequests
from drover.api.wire import Object
from drover.cli.connect import Api
from drover.cli.why_world import look as read
from drover.runtime.client import Client
from drover.sim.world import GROUP

pytestmark = [pytest.mark.sim, pytest.mark.timeout(60)]
HOSTNAME = "kubernetes.io/hostname"


def said(stage: Stage, *subjects: str) -> list[str]:
    seen = look(stage.world.api, stage.world.clock.wall())
    return [one.says for subject in subjects for one in why(seen, subject, "default")[1]]


def lose(stage: Stage) -> str:
    node = stage.s.node_of("a")
    stage.f.off[node] = None
    stage.world.power_off(node)
    return node


def test_a_node_is_lost_fenced_and_its_vm_started_again() -> None:
    async def story(stage: Stage) -> None:
        await stage.s.running_vm("a")
        node = lose(stage)
        await stage.pause(5)
        suspect = said(stage, "a", node)
        assert f"{node} is Suspect: Waiting: its VMs may live for " in "\n".join(suspect)
        assert not any("could move" in one or "would find" in one for one in suspect)
        await stage.pause(3)
        condemned = said(stage, node)
        assert any(one.startswith(f"{node} is Condemned: Waiting: ") for one in condemned)
        assert f"{node} is in maintenance" not in condemned  # nobody is to uncordon it
        await stage.pause(7)
        here = stage.s.node_of("a")
        assert f"It is on {here} since it was started again there: {node} was lost" in said(
            stage, "a"
        )
        assert "Its former run ended with NodeLost: its node was lost" in said(stage, "a")
        assert f"{node} was lost and is gone; its VMs start elsewhere" in said(stage, node)

    fenced_world(story)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (None, "it is in no NodeGroup, so nothing is fenced"),
        ({}, "spec.fencing of its group is not set"),
    ],
)
def test_a_silent_node_that_nobody_fences(group: dict[str, str] | None, words: str) -> None:
    async def story(stage: Stage) -> None:
        world = stage.world
        await stage.s.running_vm("a")
        node = lose(stage)
        if group is not None:
            await world.user.create(scheme.NODEGROUP, {"metadata": {"name": GROUP}, "spec": group})
            label = {"metadata": {"labels": {"node.deckhouse.io/group": GROUP}}}
            await world.user.patch(scheme.NODE, node, "", label)
        await stage.pause(60)
        told = said(stage, "a", node)
        assert any(one.startswith(f"{node} is silent") and words in one for one in told), told

    tell(story)


def test_a_paused_group_says_so() -> None:
    async def story(stage: Stage) -> None:
        await stage.s.running_vm("a")
        pause = {"metadata": {"annotations": {"node-manager.deckhouse.io/fencing-disable": ""}}}
        await stage.world.user.patch(scheme.NODEGROUP, GROUP, "", pause)
        node = lose(stage)
        await stage.pause(30)
        told = "\n".join(said(stage, "a"))
        assert f"{node} is Suspect: Paused: " in told, told
        unpause = {"metadata": {"annotations": {"node-manager.deckhouse.io/fencing-disable": None}}}
        await stage.world.user.patch(scheme.NODEGROUP, GROUP, "", unpause)

    fenced_world(story)


def test_too_many_at_once_are_not_fenced() -> None:
    async def story(stage: Stage) -> None:
        await stage.s.running_vm("a")
        node = lose(stage)
        other = next(one for one in stage.world.nodes if one != node)
        stage.f.off[other] = None
        stage.world.power_off(other)
        await stage.pause(20)
        told = "\n".join(said(stage, "a"))
        expected = "TooManyUnhealthy: 2 nodes are silent at once, at most 1 may be lost"
        assert f"{node} is Suspect: {expected}" in told, told

    fenced_world(story)


def test_a_loss_goes_as_whatif_said() -> None:
    """Of two VMs of the lost node one finds room, and one does not."""

    async def story(stage: Stage) -> None:
        world, pin = stage.world, {"nodeSelector": {HOSTNAME: "n1"}}
        for name, cores in (("big", 5), ("a", 2)):
            await stage.s.running_vm(name, cpu={"cores": cores}, **pin)
        for name, node in (("x", "n2"), ("y", "n3")):
            await stage.s.running_vm(name, cpu={"cores": 5}, nodeSelector={HOSTNAME: node})
        for name in ("big", "a"):
            await world.user.patch(scheme.VM, name, "default", {"spec": {"nodeSelector": None}})
        await stage.pause(1)
        found = losing.lose(look(world.api, world.clock.wall()), ["n1"])
        assert [one.vm for one in found.steps] == ["default/a"]
        assert [one.vm for one in found.stuck] == ["default/big"]
        assert found.seconds is not None
        assert found.notes == ()
        lose(stage)
        await stage.pause(found.seconds - 1)
        assert stage.s.node_of("a") == "n1"
        await stage.s.until(lambda: stage.s.runs("a") and stage.s.node_of("a") != "n1", "a runs", 8)
        await stage.pause(3)
        assert stage.s.phase("big") == "Pending"
        told = [
            one
            for one in said(stage, "big")
            if one.startswith("Its node was lost, and no other has room")
        ]
        assert told
        # Which of two equal nodes takes "a" is kube-scheduler's choice; what "big" lacks is the same.
        assert "lacks 2 of cpu" in found.stuck[0].why
        assert "lacks 2 of cpu" in told[0]

    fenced_world(story)


def test_a_drain_that_is_blocked_names_the_vm_and_the_way_out() -> None:
    async def story(stage: Stage) -> None:
        world = stage.world
        await stage.s.running_vm("a", nodeSelector={HOSTNAME: "n1"})
        await world.user.patch(scheme.NODE, "n1", "", {"spec": {"unschedulable": True}})
        name = name_of(stage.s.pods_of("a")[0])
        path = scheme.POD.path("default", name, "eviction")
        body = {"apiVersion": "policy/v1", "kind": "Eviction"}
        body |= {"metadata": {"name": name, "namespace": "default"}}  # type: ignore[dict-item]
        with contextlib.suppress(TooManyRequests):
            await world.user.post(path, body)
        told = said(stage, "n1")
        assert any(
            one.startswith("default/a: It was asked to leave n1 and cannot: 0/3 nodes")
            for one in told
        ), told
        seen = look(world.api, world.clock.wall())
        ways = [one.way_out for one in why(seen, "a", "default")[1] if "cannot" in one.says]
        assert ways == [
            "make room on another node, loosen the VM's placement rules, or `drover stop a -n default`"
        ]
        await world.user.patch(scheme.NODE, "n1", "", {"spec": {"unschedulable": None}})

    tell(story, drains=True)


class Door:
    """Lets a user read all kinds but one."""

    def __init__(self, client: Client, closed: scheme.Kind) -> None:
        self._client, self._closed = client, closed

    async def list(self, kind: scheme.Kind) -> tuple[list[Object], str]:
        if kind is self._closed:
            raise Forbidden("not yours")
        return await self._client.list(kind)


def test_the_command_reads_what_the_user_may_read() -> None:
    async def story(stage: Stage) -> None:
        world = stage.world
        await stage.s.running_vm("a")
        seen = await read(Api(Door(world.user, scheme.VML), world.clock))  # type: ignore[arg-type]
        assert seen.missing == ("VirtualMachineLease",)
        node = stage.s.node_of("a")
        told = [one.says for one in why(seen, "a", "default")[1]]
        assert told[0].startswith(f"It is on {node}")
        full = await read(Api(world.user, world.clock))  # type: ignore[arg-type]
        assert full.missing == ()
        assert full.objects == look(world.api, world.clock.wall()).objects

    tell(story)

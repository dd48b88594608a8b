"""Acts that were decided long ago: a leader stood still, another one has gone on, and the node is back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.controllers.fencing.test_decide import group, node
from tests.controllers.world import NS, World, play

from drover.api import names
from drover.api.kinds.node import cordoned
from drover.api.scheme import NODE, NODEFENCE, NODEROSTER, POD
from drover.api.status import Conflict
from drover.controllers.fencing import intents
from drover.controllers.fencing.act import Actor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from drover.api.wire import Object

LIFE = "life-a"


def tell(story: Callable[[World, Actor], Awaitable[None]]) -> None:
    async def played(world: World) -> None:
        fences, rosters = world.manager.informer(NODEFENCE), world.manager.informer(NODEROSTER)
        await story(world, Actor(world.manager, fences, rosters))

    play(played, lambda world: None)


async def fenced(world: World, phase: str) -> Object:
    spec = {"node": "a", "incarnation": LIFE, "group": "worker"}
    await world.manager.client.create(NODEFENCE, {"metadata": {"name": "a-1"}, "spec": spec})
    return await world.set_status(NODEFENCE, "a-1", {"phase": phase})


async def a_pod(world: World, name: str) -> Object:
    container = {"name": names.COMPUTE_CONTAINER, "image": "x"}
    meta = {"name": name, "namespace": NS}
    spec = {"nodeName": "a", "containers": [container]}
    return await world.admin.create(POD, {"metadata": meta, "spec": spec})


def test_the_pods_of_a_node_that_is_back_stay() -> None:
    async def story(world: World, actor: Actor) -> None:
        seen = await fenced(world, "Fenced")
        await fenced_again(world, "Rejoined")
        await a_pod(world, "new")
        view = node("a", 99, fence=seen, condemned=True)
        with pytest.raises(Conflict):
            await actor.carry_out(group(view), intents.Release(view))
        assert await world.find(POD, "new") is not None

    tell(story)


async def fenced_again(world: World, phase: str) -> None:
    await world.set_status(NODEFENCE, "a-1", {"phase": phase})


def test_the_pods_of_a_fenced_node_go() -> None:
    async def story(world: World, actor: Actor) -> None:
        seen = await fenced(world, "Fenced")
        there = await world.create(NODE, "a")
        await a_pod(world, "old")
        view = node("a", 99, fence=seen, condemned=True)
        object.__setattr__(view, "node", there)
        await actor.carry_out(group(view), intents.Release(view))
        assert await world.find(POD, "old") is None
        assert await world.find(NODE, "a") is None
        assert (await world.get(NODEFENCE, "a-1"))["status"]["phase"] == "Released"

    tell(story)


def test_a_node_that_has_changed_is_not_cordoned() -> None:
    async def story(world: World, actor: Actor) -> None:
        seen = await world.create(NODE, "a")
        await world.patch(NODE, "a", {"metadata": {"labels": {"rack": "r1"}}})
        with pytest.raises(Conflict):
            await actor.carry_out(group(), intents.Cordon(seen))
        assert not cordoned(await world.get(NODE, "a"))
        await actor.carry_out(group(), intents.Cordon(await world.get(NODE, "a")))
        assert cordoned(await world.get(NODE, "a"))

    tell(story)

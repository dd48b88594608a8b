"""Situations in the small world of tests/controllers, and what ``why`` tells of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.controllers.moving import wire
from tests.controllers.world import NS, World, play

from drover.answers.because import Because
from drover.answers.why import why
from drover.answers.world import KINDS
from drover.answers.world import World as Look
from drover.sim.api import ApiModel

Story = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Situation:
    """``story`` leads to it; then ``subject`` is asked about, and ``says`` is among the answers, its way out with
    ``way`` in it."""

    title: str
    story: Story
    subject: str
    says: str
    way: str = ""


def look(api: ApiModel, now_s: float) -> Look:
    found = [
        {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        for kind in KINDS
        for obj in api.objects(kind)
    ]
    return Look.of(found, now_s)


def ask(situation: Situation) -> list[Because]:
    found: list[Because] = []

    async def story(world: World) -> None:
        await situation.story(world)
        found.extend(why(look(world.api, world.clock.wall()), situation.subject, NS)[1])

    play(story, wire)
    return found


def check(situation: Situation, found: list[Because]) -> None:
    """The sentence is there; every answer has a rule and names an object."""
    told = "\n".join(f"[{one.about}] {one.says} -> {one.way_out}" for one in found)
    mine = [one for one in found if one.says == situation.says]
    assert mine, f"{situation.title}: not said: {situation.says}\n{told}"
    assert situation.way in mine[0].way_out, told
    assert all(one.rule and one.objects and one.says for one in found), told
    assert not any(one.says.endswith(".") for one in found), told

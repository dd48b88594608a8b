"""Nodes are lost in every way, and nothing ever runs twice: ``drover sim --story coldstandby``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tests.sim.crowd import PLANS, Crowd, groups, played, told

from drover.cli.sim import command
from drover.sim.main import play
from drover.sim.stories import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

PLAN = PLANS["coldstandby"]


def held(seed: int, plan: Plan = PLAN) -> dict[str, int]:
    result = play(seed, plan)
    assert result.broken is None, told(result, plan)
    return result.marks


@pytest.fixture(scope="module")
def crowd(request: pytest.FixtureRequest) -> Iterator[Crowd]:
    yield from played(PLAN, request)


@pytest.mark.slow
@pytest.mark.parametrize("group", groups(300))
def test_three_hundred_seeds_of_lost_nodes(group: int, crowd: Crowd) -> None:
    verdict = crowd[group].result()
    assert verdict.broken == ""
    assert verdict.marks["fencing.fenced"] > 0  # the story is what it says


@pytest.mark.parametrize(("nodes", "seed"), [(2, 1), (2, 2), (4, 1), (5, 2)])
def test_other_numbers_of_nodes(nodes: int, seed: int) -> None:
    held(seed, Plan(story="coldstandby", vms=3, seconds=25, nodes=nodes))


def test_in_fair_weather_only_the_last_loss_is_a_loss() -> None:
    fenced = [
        held(seed, Plan(story="coldstandby", vms=3, seconds=25, weather=False))
        for seed in range(1, 7)
    ]
    assert {marks.get("fencing.fenced", 0) for marks in fenced} == {0, 1}


def test_the_command_plays_it_for_hours() -> None:
    words = ["--story", "coldstandby", "--seed", "3", "--hours", "0.02", "--vms", "2"]
    ran = CliRunner().invoke(command, words)
    assert ran.exit_code == 0, ran.output
    assert "72 virtual seconds" in ran.output
    assert "0 violations" in ran.output

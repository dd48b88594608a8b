"""Nodes are drained while everything breaks: ``drover sim --story drain``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.sim.crowd import PLANS, Crowd, groups, played, told

from drover.sim.main import play

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

PLAN = PLANS["drain"]


@pytest.fixture(scope="module")
def crowd(request: pytest.FixtureRequest) -> Iterator[Crowd]:
    yield from played(PLAN, request)


@pytest.mark.slow
@pytest.mark.parametrize("group", groups(200))
def test_drains_under_weather(group: int, crowd: Crowd) -> None:
    assert crowd[group].result().broken == ""


def test_in_fair_weather_drains_end() -> None:
    """Two people, who may want the last free node at once; nobody is stuck and something was drained."""
    drained = 0
    calm = replace(PLAN, weather=False, seconds=300)
    for seed in (1, 2):
        result = play(seed, calm)
        assert result.broken is None, told(result, calm)
        drained += sum("is drained" in line for line in result.trace)
        assert result.marks.get("evacuation.created", 0) > 0
    assert drained > 0

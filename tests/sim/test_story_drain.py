"""Nodes are drained while everything breaks: ``drover sim --story drain``."""

from __future__ import annotations

import pytest

from drover.sim.main import play
from drover.sim.stories import Plan

pytestmark = [pytest.mark.sim, pytest.mark.timeout(120)]


@pytest.mark.parametrize("first", [1, 5])
def test_drains_under_weather(first: int) -> None:
    for seed in range(first, first + 4):
        result = play(seed, Plan(story="drain"))
        assert result.broken is None, f"seed {seed}: {result.broken}"


def test_in_fair_weather_drains_end() -> None:
    """Two people, who may want the last free node at once; nobody is stuck and something was drained."""
    drained = 0
    for seed in (1, 2):
        result = play(seed, Plan(story="drain", weather=False, seconds=600))
        assert result.broken is None, f"seed {seed}: {result.broken}"
        drained += sum("is drained" in line for line in result.trace)
        assert result.marks.get("evacuation.created", 0) > 0
    assert drained > 0

"""People crowd nodes and break rules while everything breaks: ``drover sim --story rebalance``."""

from __future__ import annotations

import pytest

from drover.sim.main import play
from drover.sim.stories import Plan

pytestmark = [pytest.mark.sim, pytest.mark.timeout(120)]


def test_rebalancing_under_weather() -> None:
    for seed in range(1, 5):
        result = play(seed, Plan(story="rebalance"))
        assert result.broken is None, f"seed {seed}: {result.broken}"


def test_noise_moves_few_and_nothing_back() -> None:
    """96 quarters of an hour with other reservations in each, and moves that fail."""
    result = play(1, Plan(story="noise"))
    assert result.broken is None, result.broken
    assert result.marks["rebalance.failed"] >= 1
    assert 4 <= result.marks["rebalance.done"] <= 8


def test_no_more_operations_than_needed_while_moves_fail_and_a_node_is_lost() -> None:
    """One run without a loss, and one with."""
    for seed in (1, 2):
        result = play(seed, Plan(story="flight"))
        assert result.broken is None, f"seed {seed}: {result.broken}"
        assert result.marks["asked"] >= result.marks["fewest"] >= 3
    assert result.marks["lost"] == 1
    assert result.marks["failures"] >= 1


def test_in_fair_weather_plans_are_carried_out() -> None:
    """And the world has cases of every kind: a plan that is done, one that is superseded."""
    marks: dict[str, int] = {}
    for seed in (1, 5):
        result = play(seed, Plan(story="rebalance", weather=False, seconds=300))
        assert result.broken is None, f"seed {seed}: {result.broken}"
        for mark, number in result.marks.items():
            marks[mark] = marks.get(mark, 0) + number
    assert marks["rebalance.done"] >= 3
    assert marks["rebalance.plan-done"] >= 3
    assert marks["rebalance.plan-superseded"] >= 1

"""Guests go to another firmware and back while everything breaks: ``drover sim --story firmware``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.sim.crowd import PLANS, Crowd, groups, played, told

from drover.sim.main import play

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

PLAN = PLANS["firmware"]


@pytest.fixture(scope="module")
def crowd(request: pytest.FixtureRequest) -> Iterator[Crowd]:
    yield from played(PLAN, request)


@pytest.mark.slow
@pytest.mark.parametrize("group", groups(50))
def test_rollouts_under_weather(group: int, crowd: Crowd) -> None:
    assert crowd[group].result().broken == ""


def test_in_fair_weather_every_guest_is_moved() -> None:
    calm = replace(PLAN, weather=False)
    result = play(1, calm)
    assert result.broken is None, told(result, calm)
    assert result.marks.get("firmware.rollout", 0) > 1
    assert result.marks.get("firmware.update", 0) >= calm.vms

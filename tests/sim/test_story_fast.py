"""The story ``coldstandby`` by the shortest times: ``drover sim --story coldstandby --fencing-profile fast``.

What stands still for 2 s may cost a VM a restart then; that nothing runs twice does not depend on the times.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.sim.crowd import PLANS, Crowd, groups, played

from drover.api.profiles import FAST

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.sim, pytest.mark.slow, pytest.mark.timeout(300)]

PLAN = replace(PLANS["coldstandby"], fencing=FAST.name)


@pytest.fixture(scope="module")
def crowd(request: pytest.FixtureRequest) -> Iterator[Crowd]:
    yield from played(PLAN, request)


@pytest.mark.parametrize("group", groups(60))
def test_sixty_seeds_of_lost_nodes(group: int, crowd: Crowd) -> None:
    verdict = crowd[group].result()
    assert verdict.broken == ""
    assert verdict.marks["fencing.fenced"] > 0  # the story is what it says

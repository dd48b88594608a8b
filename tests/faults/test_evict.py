"""The most dangerous cells of the table on every run; ``python -m tests.faults evict`` plays all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.faults import stage
from tests.faults.cells import MAIN, REDUCED, Fault, Pair, Step, applies
from tests.faults.lanes import Player
from tests.faults.table import pairs
from tests.support.lab import RunningLab

from drover.base.tasks import TaskScope

NAMES = [f"{step}-{fault}" for step, fault in REDUCED]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def player(lab: RunningLab) -> AsyncIterator[Player]:
    async with stage.connected(lab.lab) as client, TaskScope("faults") as scope:
        player = Player(lab.lab, client, scope)
        yield player
        await player.drop()


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("pair", REDUCED, ids=NAMES)
async def test_cell(player: Player, pair: Pair) -> None:
    cell = await player.play(pair)
    assert cell.good, cell.wrong


def test_the_table_names_every_step_and_fault_that_exists() -> None:
    played = set(pairs())
    assert {fault for _, fault in played} == set(MAIN)
    assert {fault for _, fault in pairs("losses")} == set(Fault) - set(MAIN)
    assert len(played) == 99
    assert {step for step, _ in played} == set(Step)
    assert set(REDUCED) <= played
    assert not applies(Step.SCHEDULING, Fault.TARGET_QEMU)

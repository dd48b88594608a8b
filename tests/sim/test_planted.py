"""Bugs that a careful reader may overlook are found by random seeds alone, within those that the suite plays anyway."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.sim.mutants import MUTANTS, ROOT, Mutant, planted
from tests.support.remembered import WORLD, remembered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = (
    1800  # of a hunt, against one that hangs: they take a minute, but go last on a busy machine
)
EVICT, COLDSTANDBY = ("evict", 100), ("coldstandby", 300)  # with how many seeds
BUGS = {
    "rule 2: writes to a lease carry no version": EVICT,
    "the lease is handed over before the copy is completed": EVICT,
    "the source goes on when the hand-over timed out": EVICT,
    "F is short: a node is condemned before its deadline": COLDSTANDBY,
    "a voucher is not noted": COLDSTANDBY,
    "rule 15: a condemned life goes on": COLDSTANDBY,
    "a Pod that was force-deleted is taken for dead": COLDSTANDBY,
}
# Where a second guard (the watchdog, the epochs that agents remember) holds all the same, what is left never gets well.
VERDICTS = ("S1 ", "S2 ", "S3 ", "L1 ", "L2 ")
PLANTED = [mutant for mutant in MUTANTS if mutant.name in BUGS]

pytestmark = [pytest.mark.sim, pytest.mark.slow, pytest.mark.timeout(len(BUGS) * LIMIT_S)]


def hunted(mutant: Mutant, directory: Path) -> str:
    """What the first broken seed on the mutated copy says; empty: none was. Remembered if one was."""
    return str(
        remembered(
            f"hunts {mutant!r} {BUGS[mutant.name]}", WORLD, lambda: _hunted(mutant, directory), bool
        )
    )


def _hunted(mutant: Mutant, directory: Path) -> str:
    story, seeds = BUGS[mutant.name]
    path = os.pathsep.join([str(planted(mutant, directory)), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, "-m", "tests.sim.crowd", story, "1", str(seeds)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    assert not ended.stderr
    return ended.stdout.strip()


@pytest.fixture(scope="module")
def hunts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[str]]]:
    """All beside one another."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            bug.name: pool.submit(hunted, bug, tmp_path_factory.mktemp("bug")) for bug in PLANTED
        }


def test_all_bugs_are_still_there_to_be_planted() -> None:
    assert {mutant.name for mutant in PLANTED} == set(BUGS)


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_random_seeds_alone_find_it(bug: Mutant, hunts: dict[str, Future[str]]) -> None:
    found = hunts[bug.name].result()
    verdict = found.splitlines()[-1] if found else "nothing was found"
    assert verdict.startswith(VERDICTS), found

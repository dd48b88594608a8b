"""Random worlds in rough weather: nothing breaks, and all comes to rest. One seed, one trace."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tests.sim.crowd import PLANS, Crowd, groups, played, told

from drover.cli.sim import command
from drover.sim.checkers.judge import Broken
from drover.sim.main import digest, play
from drover.sim.stories import Plan, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

PLAN = PLANS["evict"]
KEPT = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def crowd(request: pytest.FixtureRequest) -> Iterator[Crowd]:
    yield from played(PLAN, request)


@pytest.mark.slow
@pytest.mark.parametrize("group", groups(100))
def test_a_hundred_seeds_of_rough_weather(group: int, crowd: Crowd) -> None:
    assert crowd[group].result().broken == ""


@pytest.mark.parametrize("seed", KEPT)
def test_seeds_that_found_a_bug_once(seed: int) -> None:
    result = play(seed, PLAN)
    assert result.broken is None, told(result, PLAN)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_people_alone_break_nothing(seed: int) -> None:
    calm = replace(PLAN, weather=False)
    result = play(seed, calm)
    assert result.broken is None, told(result, calm)


def test_one_seed_gives_one_trace_in_every_process() -> None:
    script = (
        "from drover.sim.main import digest, play\n"
        "from drover.sim.stories import Plan\n"
        "print(digest(play(4, Plan(vms=3, seconds=40)).trace))\n"
    )
    path = os.pathsep.join(sys.path)
    seen = [
        subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed},
        ).stdout.strip()
        for hash_seed in ("1", "4711")
    ]  # fmt: skip
    assert seen[0] == seen[1]
    assert digest(play(5, PLAN).trace) != seen[0]


def test_the_command_sums_up_and_succeeds() -> None:
    ran = CliRunner().invoke(command, ["--seeds", "2", "--vms", "2", "--seconds", "10", "--plain"])
    assert ran.exit_code == 0, ran.output
    assert "2 seeds, 0 violations" in ran.output


def test_a_violation_fails_the_command_and_says_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(seed: int, plan: Plan) -> Result:
        lines = [f"line {number}" for number in range(80)]
        return Result(seed, Broken("S1 one running copy", "two", 12.5), 13.0, lines, {})

    monkeypatch.setattr("drover.sim.main.play", broken)
    ran = CliRunner().invoke(command, ["--seed", "4711", "--nodes", "5"])
    assert ran.exit_code == 1
    assert "drover sim --story evict --seed 4711 --nodes 5" in ran.output
    assert "S1 one running copy: two (virtual second 12.5000)" in ran.output
    assert "line 79" in ran.output
    assert "line 29\n" not in ran.output

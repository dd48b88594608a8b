"""What a keeper makes of the counters of a copy: when it is overdue, when the pause may be longer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from drover.agent.context import Limits
from drover.agent.memory import Memory
from drover.agent.ports import MigrationInfo, MigrationState, RunState
from drover.agent.view import MachineView

LIMITS = Limits()


GIB: Any = SimpleNamespace(spec=SimpleNamespace(memory_bytes=2**30))


def copying(iteration: int, remaining: int = 100, throttle: int = 0) -> MachineView:
    info = MigrationInfo(
        MigrationState.ACTIVE,
        iteration=iteration,
        remaining_bytes=remaining,
        throttle_percent=throttle,
    )
    return MachineView(RunState.RUNNING, info)


def test_the_first_pass_takes_as_long_as_it_takes() -> None:
    memory = Memory()
    memory.begin_copy("uid", 0.0, LIMITS)
    assert memory.allow_ms(60.0, LIMITS, copying(1)) == 0


@pytest.mark.parametrize(
    ("after_s", "allowed_ms"), [(1.9, 0), (2.0, 30), (4.0, 100), (8.0, 300), (500.0, 300)]
)
def test_the_pause_grows_with_the_passes(after_s: float, allowed_ms: int) -> None:
    memory = Memory()
    memory.begin_copy("uid", 0.0, LIMITS)
    assert memory.allow_ms(10.0, LIMITS, copying(2)) == 0
    assert memory.allow_ms(10.0 + after_s, LIMITS, copying(9)) == allowed_ms


def test_each_step_is_taken_once() -> None:
    memory = Memory()
    memory.begin_copy("uid", 0.0, LIMITS)
    memory.allow_ms(10.0, LIMITS, copying(2))
    memory.allowed_ms = memory.allow_ms(12.5, LIMITS, copying(3))
    assert memory.allow_ms(13.0, LIMITS, copying(4)) == 0
    assert memory.allow_ms(14.0, LIMITS, copying(5)) == 100


@pytest.mark.parametrize(
    ("after_s", "allowed_ms"), [(0.0, 500), (3.0, 1000), (6.0, 2000), (500.0, 2000)]
)
def test_a_guest_that_hardly_runs_any_more_may_pause_for_longer(
    after_s: float, allowed_ms: int
) -> None:
    memory = Memory()
    memory.begin_copy("uid", 0.0, LIMITS)
    slowed = copying(3, throttle=99)
    assert memory.allow_ms(10.0, LIMITS, slowed) == 500
    memory.allowed_ms = 30
    assert memory.allow_ms(10.0 + after_s, LIMITS, slowed) == allowed_ms
    memory.allowed_ms = allowed_ms
    assert memory.allow_ms(10.0 + after_s, LIMITS, slowed) == 0


def test_counters_are_told_twice_a_second_at_most() -> None:
    memory = Memory()
    memory.begin_copy("uid", 0.0, LIMITS)
    told = [now / 100 for now in range(300) if memory.counters_due(now / 100)]
    assert told == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_without_a_new_minimum_a_copy_is_given_up() -> None:
    memory = Memory()
    memory.begin_copy("uid", 0.0, LIMITS)
    for now in range(0, 100, 10):
        assert memory.overdue(now, LIMITS, copying(1, 1000 - now), GIB) == ""
    assert memory.overdue(90 + 150, LIMITS, copying(5, 950), GIB) == ""
    assert memory.stalled_s(90 + 150) == 150
    assert memory.overdue(90 + 151, LIMITS, copying(5, 950), GIB) == "NoProgress"


def test_slowing_the_guest_down_further_is_progress() -> None:
    """It takes a pass or two to show what it does, and a copy must not be given up just before it converges."""
    memory = Memory()
    memory.begin_copy("uid", 0.0, LIMITS)
    memory.overdue(10, LIMITS, copying(1, 100), GIB)
    for step, throttle in enumerate((40, 60, 80, 99)):
        now = 10 + 149 * (step + 1)
        assert memory.overdue(now, LIMITS, copying(5, 900, throttle), GIB) == ""
    assert memory.overdue(10 + 149 * 4 + 150, LIMITS, copying(9, 900, 99), GIB) == ""
    assert memory.overdue(10 + 149 * 4 + 151, LIMITS, copying(9, 900, 99), GIB) == "NoProgress"
    memory.begin_copy("another", 1000.0, LIMITS)
    memory.overdue(1000, LIMITS, copying(1, 50), GIB)
    memory.overdue(1149, LIMITS, copying(5, 900, 40), GIB)
    assert memory.overdue(1200, LIMITS, copying(5, 900, 40), GIB) == ""


def test_a_copy_has_so_long_for_each_gib() -> None:
    memory = Memory()
    memory.begin_copy("uid", 0.0, LIMITS)
    for now in range(0, 801, 100):
        assert memory.overdue(now, LIMITS, copying(1, 10_000 - now), GIB) == ""
    assert memory.overdue(801, LIMITS, copying(1, 1), GIB) == "TooLong"


def test_the_limits_of_a_migration_replace_the_defaults() -> None:
    said = {
        "progressSeconds": 20,
        "completionSecondsPerGiB": 30,
        "bandwidthBytesPerSecond": 2**20,
    }
    told = LIMITS.told(said)
    assert (told.progress_s, told.completion_s_per_gib) == (20, 30)
    assert told.bandwidth_bytes_per_second == 2**20
    assert told.downtime_steps == LIMITS.downtime_steps
    assert LIMITS.told({}) == LIMITS


@pytest.mark.parametrize(("stands", "limit_s"), [(True, 3.0), (False, 30.0)])
def test_a_silence_is_borne_for_longer_while_the_guest_runs(stands: bool, limit_s: float) -> None:
    memory = Memory(may_stand=stands, silent_since=10.0)
    memory.begin_copy("uid", 0.0, LIMITS)
    assert memory.overdue(10.0 + limit_s, LIMITS, copying(1), GIB) == ""
    assert memory.overdue(10.1 + limit_s, LIMITS, copying(1), GIB) == "MonitorSilent"

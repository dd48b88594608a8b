"""What a keeper makes of the counters of a copy: when it is overdue, when the pause may be longer."""

from __future__ import annotations

import pytest

from drover.agent.context import Limits
from drover.agent.memory import Memory
from drover.agent.ports import MigrationInfo, MigrationState, RunState
from drover.agent.view import MachineView

LIMITS = Limits()


def copying(iteration: int, remaining: int = 100) -> MachineView:
    info = MigrationInfo(MigrationState.ACTIVE, iteration=iteration, remaining_bytes=remaining)
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


def test_counters_are_told_twice_a_second_at_most() -> None:
    memory = Memory()
    memory.begin_copy("uid", 0.0, LIMITS)
    told = [now / 100 for now in range(300) if memory.counters_due(now / 100)]
    assert told == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]

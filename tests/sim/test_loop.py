"""The virtual loop: time jumps, one seed gives one trace, and what it refuses."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys

import pytest
from tests.sim.dice import trace

from drover.base.tasks import TaskScope
from drover.sim.clock import NodeClock, SimClock
from drover.sim.loop import Deadlock, Forbidden, Livelock, StrayErrors, VirtualLoop, run


def _loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def test_time_jumps_to_the_next_timer() -> None:
    async def main() -> tuple[float, float]:
        clock = SimClock()
        await clock.sleep(86_400)
        return clock.monotonic(), clock.wall()

    assert run(main()) == (86_400.0, 1_767_225_600.0 + 86_400.0)


def test_the_same_seed_gives_the_same_trace_and_others_differ() -> None:
    assert trace(7) == trace(7)
    assert len({trace(seed) for seed in range(5)}) == 5


def test_the_same_seed_gives_the_same_trace_in_every_process() -> None:
    traces = set()
    for hash_seed in ("0", "1", "4711"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join(["src", "."]),
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim.dice"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(done.stdout.strip())
    assert traces == {trace(7)}


def test_plain_callbacks_stay_in_order_whatever_the_seed() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        for number in range(20):
            asyncio.get_running_loop().call_soon(seen.append, number)
            asyncio.get_running_loop().call_later(5, seen.append, 100 + number)
        await asyncio.sleep(6)
        return seen

    for seed in range(5):
        assert run(main(), seed=seed) == [*range(20), *range(100, 120)]


def test_a_deadlock_names_who_waits() -> None:
    async def main() -> None:
        async with TaskScope("world") as scope:
            scope.spawn(asyncio.Event().wait(), "stuck")
            await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="world/stuck"):
        run(main())


def test_spinning_is_a_livelock() -> None:
    async def forever() -> None:
        for _ in iter(int, 1):
            await asyncio.sleep(60)

    with pytest.raises(Livelock, match="not done after 3600"):
        run(forever(), limit_s=3600)


def test_every_positive_delay_takes_time() -> None:
    async def main() -> float:
        await asyncio.sleep(77.77)
        await asyncio.sleep(1e-18)
        return _loop().time()

    assert run(main()) == 77.770001


def test_spinning_at_one_instant_is_a_livelock(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever() -> None:
        for _ in iter(int, 1):
            await asyncio.sleep(0)

    monkeypatch.setattr("drover.sim.loop.MAX_STEPS_PER_INSTANT", 1000)
    with pytest.raises(Livelock, match="steps at virtual second"):
        run(forever())


def test_threads_and_executors_are_refused() -> None:
    async def main() -> None:
        await asyncio.to_thread(print)

    with pytest.raises(Forbidden):
        run(main())


def test_errors_nobody_saw_are_raised() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(StrayErrors, match="ZeroDivisionError"):
        run(main())


def test_cancelled_timers_do_not_hold_the_world_alive_or_pile_up() -> None:
    async def main() -> int:
        loop = _loop()
        for _ in range(1000):
            loop.call_later(1e6, print).cancel()
        await asyncio.sleep(1)
        return len(loop._scheduled)

    assert run(main()) < 200


async def _ticker(ticks: list[float]) -> None:
    try:
        while True:
            await asyncio.sleep(1)
            ticks.append(_loop().time())
    finally:
        ticks.append(-1.0)


def test_a_frozen_process_stands_still_and_goes_on_when_thawed() -> None:
    async def main() -> list[float]:
        loop = _loop()
        ticks: list[float] = []
        with loop.process("node"):
            task = loop.create_task(_ticker(ticks))
        await asyncio.sleep(2.5)
        loop.freeze("node")
        await asyncio.sleep(10)
        assert ticks == [1.0, 2.0]
        loop.thaw("node")
        await asyncio.sleep(1.2)
        task.cancel()
        await asyncio.wait([task])
        return ticks

    assert run(main()) == [1.0, 2.0, 12.5, 13.5, -1.0]


def test_a_killed_process_runs_not_even_its_finally_blocks() -> None:
    ticks: list[float] = []

    async def main() -> list[float]:
        loop = _loop()
        with loop.process("node"):
            task = loop.create_task(_ticker(ticks))
        await asyncio.sleep(2.5)
        loop.kill("node")
        task.cancel()
        await asyncio.sleep(10)
        assert not task.done()
        return list(ticks)

    assert run(main()) == [1.0, 2.0]


def test_a_node_clock_drifts_and_is_off() -> None:
    async def main() -> tuple[float, float, float]:
        clock = NodeClock(SimClock(), rate=2.0, offset_s=1000.0)
        await clock.sleep(10)
        clock.set_wall_error(-3600)
        return _loop().time(), clock.monotonic(), clock.wall()

    assert run(main()) == (5.0, 1010.0, 1_767_225_605.0 - 3600)


def test_waiting_for_a_deadline_that_lies_ahead_by_a_rounding_error_takes_time() -> None:
    async def main() -> int:
        loop, rounds = asyncio.get_running_loop(), 0
        await asyncio.sleep(1384.510069)
        due = math.nextafter(loop.time(), math.inf)
        while (left_s := due - loop.time()) > 0:
            rounds += 1
            try:
                async with asyncio.timeout(left_s):
                    await asyncio.Event().wait()
            except TimeoutError:
                pass
        return rounds

    assert run(main()) == 1

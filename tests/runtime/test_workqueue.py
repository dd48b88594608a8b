"""The five promises of the work queue, on virtual time."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from drover.runtime.workqueue import WorkQueue
from drover.sim.clock import SimClock
from drover.sim.loop import run


async def drain(queue: WorkQueue) -> list[str]:
    """Take what is ready right now."""
    taken: list[str] = []
    while True:
        try:
            async with asyncio.timeout(0):
                key = await queue.get()
        except TimeoutError:
            return taken
        queue.done(key)
        taken.append(key)


def test_is_fair_and_stingy() -> None:
    async def main() -> None:
        queue = WorkQueue(SimClock())
        for key in ("b", "a", "b", "c", "a"):
            queue.add(key)
        assert [await queue.get() for _ in range(3)] == ["b", "a", "c"]

    run(main())


def test_a_key_added_while_processed_comes_again_only_after_done() -> None:
    async def main() -> None:
        queue = WorkQueue(SimClock())
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("a")
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(1)
        assert not waiting.done()
        queue.done("a")
        assert await waiting == "a"
        queue.done("a")
        assert await drain(queue) == []

    run(main())


def test_of_one_lane_one_after_another_and_the_others_pass() -> None:
    async def main() -> None:
        queue = WorkQueue(SimClock(), lane=lambda key: key[0])
        for key in ("a1", "a2", "a3", "b1"):
            queue.add(key)
        assert [await queue.get(), await queue.get()] == ["a1", "b1"]
        queue.add("a2")  # it waits already
        assert await drain(queue) == []
        assert queue.unsettled() == ["a1", "a2", "a3", "b1"]
        queue.done("a1")
        assert await queue.get() == "a2"
        queue.done("b1")
        assert await drain(queue) == []
        queue.done("a2")
        assert await drain(queue) == ["a3"]

    run(main())


def test_the_earliest_of_several_delays_counts() -> None:
    async def main() -> None:
        queue = WorkQueue(SimClock())
        loop = asyncio.get_running_loop()
        for delay_s in (5, 2, 9):
            queue.add_after("a", delay_s)
        assert await queue.get() == "a"
        assert loop.time() == 2
        queue.done("a")
        await asyncio.sleep(20)
        assert await drain(queue) == []
        await queue.aclose()

    run(main())


def test_failures_double_the_delay_up_to_the_limit_and_forget_resets_it() -> None:
    async def main() -> list[float]:
        queue = WorkQueue(SimClock())
        loop = asyncio.get_running_loop()
        waits = []
        for attempt in range(16):
            if attempt == 15:
                queue.forget("a")
            began = loop.time()
            queue.add_rate_limited("a")
            queue.done(await queue.get())
            waits.append(round(loop.time() - began, 3))
        await queue.aclose()
        return waits

    waits = run(main())
    assert waits[:4] == [0.005, 0.01, 0.02, 0.04]
    assert waits[13:15] == [30, 30]
    assert waits[15] == 0.005


def test_closing_stops_the_timers() -> None:
    async def main() -> None:
        queue = WorkQueue(SimClock())
        queue.add_after("a", 5)
        await asyncio.sleep(1)
        await queue.aclose()
        assert len(asyncio.all_tasks()) == 1

    run(main())


VERBS = ["add", "after", "limited"]
steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "after", "limited"]), st.sampled_from("abc"), st.integers(0, 5)
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, seed=st.integers(0, 1000))
def test_no_key_is_lost_and_none_runs_twice_at_once(
    steps: list[tuple[str, str, int]], seed: int
) -> None:
    """Every add is followed by a processing that begins after it; none overlaps in a lane, of which a and b are one."""

    async def main() -> None:
        queue = WorkQueue(SimClock(), lane=lambda key: key.replace("b", "a"))
        loop = asyncio.get_running_loop()
        running: set[str] = set()
        added: dict[str, int] = {}
        seen: dict[str, int] = {}

        async def work() -> None:
            while True:
                key = await queue.get()
                assert not running & ({"c"} if key == "c" else {"a", "b"})
                running.add(key)
                seen[key] = added.get(key, 0)
                await asyncio.sleep(0.7)
                running.discard(key)
                queue.done(key)

        workers = [loop.create_task(work()) for _ in range(3)]
        for verb, key, number in steps:
            added[key] = added.get(key, 0) + 1
            if verb == "add":
                queue.add(key)
            elif verb == "after":
                queue.add_after(key, number)
            else:
                queue.add_rate_limited(key)
            await asyncio.sleep(number / 3)
        await asyncio.sleep(100)
        assert all(not worker.done() for worker in workers)
        assert seen == added
        await queue.aclose()

    run(main(), seed)

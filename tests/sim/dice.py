"""A program for the loop's determinism test, without pytest, so that processes start quickly."""

from __future__ import annotations

import asyncio

from drover.sim.loop import run


async def _world() -> str:
    """A trap: TaskGroup keeps its children in a set, and cancels in the order of addresses."""
    trace: list[str] = []

    async def worker(name: str) -> None:
        try:
            for turn in range(5):
                await asyncio.sleep(turn % 2)
                trace.append(f"{name}{turn}")
            if name == "c":
                raise ValueError(name)
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            trace.append(f"{name}!")
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for name in "abcdefgh":
                group.create_task(worker(name))
    except* ValueError:
        trace.append("over")
    return " ".join(trace)


def trace(seed: int) -> str:
    return run(_world(), seed=seed)


if __name__ == "__main__":
    print(trace(7))

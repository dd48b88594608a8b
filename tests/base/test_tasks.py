"""Scopes own their children: order, breaking, and leaving nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from drover.base.checks import InvariantBroken
from drover.base.tasks import ChildEnded, TaskScope, wait_first


async def never() -> None:
    await asyncio.Event().wait()


async def test_children_are_cancelled_last_born_first() -> None:
    ended: list[int] = []

    async def child(number: int) -> None:
        try:
            await never()
        finally:
            ended.append(number)

    async with TaskScope("scope") as scope:
        for number in range(4):
            scope.guard(child(number), str(number))
        await asyncio.sleep(0)
    assert ended == [3, 2, 1, 0]
    assert scope.failure is None


async def test_a_spawned_child_may_end_and_a_guarded_one_may_not() -> None:
    async def ends() -> None:
        return

    async with TaskScope("scope") as scope:
        await scope.spawn(ends(), "may")
        assert scope.failure is None
        scope.guard(ends(), "must-not")
        error = await scope.wait_broken()
        assert isinstance(error, ChildEnded)
        assert "scope/must-not" in str(error)


async def test_a_guarded_child_that_is_cancelled_breaks_the_scope_too() -> None:
    async with TaskScope("scope") as scope:
        task = scope.guard(never(), "child")
        await asyncio.sleep(0)
        task.cancel()
        assert isinstance(await scope.wait_broken(), ChildEnded)


@pytest.mark.parametrize("error", [ValueError("x"), InvariantBroken("x")])
async def test_the_first_error_of_any_child_breaks_the_scope(error: BaseException) -> None:
    async def fails() -> None:
        raise error

    async def fails_later() -> None:
        await asyncio.sleep(0.01)
        raise KeyError("second")

    async with TaskScope("scope") as scope:
        scope.spawn(fails_later(), "later")
        scope.spawn(fails(), "child")
        assert await scope.wait_broken() is error
        await asyncio.sleep(0.02)
        assert scope.failure is error


async def test_cancelling_the_owner_twice_still_waits_for_the_children() -> None:
    cleaned: list[str] = []

    async def slow_to_end() -> None:
        try:
            await never()
        finally:
            await asyncio.sleep(0.05)
            cleaned.append("done")

    async def owner() -> None:
        async with TaskScope("inner") as inner:
            inner.guard(slow_to_end(), "slow")
            await never()

    async with TaskScope("outer") as outer:
        task = outer.spawn(owner(), "owner")
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == ["done"]


async def test_wait_first_returns_when_one_is_done() -> None:
    async with TaskScope("scope") as scope:
        slow = scope.spawn(never(), "slow")
        quick = scope.spawn(asyncio.sleep(0), "quick")
        await wait_first(slow, quick)
        assert (slow.done(), quick.done()) == (False, True)

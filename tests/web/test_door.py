"""The door to the page beside a lab: who may ask, and what for."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from drover.web import door

LAB = f"test-{os.getpid()}"


async def asked(question: str) -> str:
    return await asyncio.to_thread(door.ask, LAB, question)


async def test_a_question_is_answered_and_an_unknown_one_is_not() -> None:
    answers = {door.ADDRESS: "http://127.0.0.1:1/", door.LINK: "http://127.0.0.1:1/#login=x"}
    async with door.opened(LAB, lambda question: answers.get(question, "")):
        assert await asked(door.ADDRESS) == answers[door.ADDRESS]
        assert await asked(door.LINK) == answers[door.LINK]
        assert await asked("who is there?") == ""
        assert await asked("x" * 200) == ""


async def test_there_is_one_door_to_a_lab_and_none_without_a_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door, "_FREE_S", 0.0)
    assert await asked(door.ADDRESS) == ""
    async with door.opened(LAB, lambda question: "one"):
        with pytest.raises(OSError, match="in use"):
            async with door.opened(LAB, lambda question: "two"):
                pass
        assert await asked(door.LINK) == "one"
    assert await asked(door.ADDRESS) == ""


async def test_a_new_page_waits_for_the_end_of_the_old_one() -> None:
    async def new() -> None:
        async with door.opened(LAB, lambda question: "new"):
            assert await asked(door.LINK) == "new"

    async with door.opened(LAB, lambda question: "old"):
        task = asyncio.create_task(new())
        await asyncio.sleep(0.05)
        assert await asked(door.LINK) == "old"
    await task


async def test_another_user_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    def answer(question: str) -> str:
        heard.append(question)
        return "a link"

    monkeypatch.setattr(door, "_user", lambda peer: 4711)
    async with door.opened(LAB, answer):
        assert await asked(door.LINK) == ""
    assert heard == []


def test_the_kernel_says_who_asks() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert door._user(one) == os.getuid()

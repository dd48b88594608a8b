"""The user's end of the console, on a real pseudo terminal: raw while it runs, restored on every way out."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
import termios
from collections.abc import Iterator

import pytest

from drover.cli.keyboard import Keyboard, ended_by_signals


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """(the user's end, standard input)."""
    user, ours = pty.openpty()
    with os.fdopen(os.dup(ours), "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield user, ours
    os.close(user)
    os.close(ours)


def is_raw(fd: int) -> bool:
    return not termios.tcgetattr(fd)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


def test_raw_only_inside(terminal):
    _, ours = terminal
    before = termios.tcgetattr(ours)
    with Keyboard().raw():
        assert is_raw(ours)
    assert termios.tcgetattr(ours) == before


def test_an_error_restores_it_too(terminal):
    _, ours = terminal
    before = termios.tcgetattr(ours)
    with pytest.raises(RuntimeError), Keyboard().raw():
        raise RuntimeError
    assert termios.tcgetattr(ours) == before


async def test_keys_go_through_until_the_escape(terminal):
    user, _ = terminal
    keyboard = Keyboard()
    with keyboard.raw():
        os.write(user, b"ls\r\x03more\x1dnot this")
        typed = [data async for data in keyboard.typed()]
    assert b"".join(typed) == b"ls\r\x03more"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_signals_restore_the_terminal(terminal, number):
    _, ours = terminal
    before = termios.tcgetattr(ours)
    raw = asyncio.Event()

    async def sit() -> None:
        this = asyncio.current_task()
        assert this is not None
        with ended_by_signals(this), Keyboard().raw():
            raw.set()
            await asyncio.sleep(30)

    async def strike() -> None:
        await raw.wait()
        os.kill(os.getpid(), number)

    async with asyncio.TaskGroup() as group:
        group.create_task(strike())
        sitting = group.create_task(sit())
    assert sitting.cancelled()
    assert termios.tcgetattr(ours) == before


@pytest.mark.parametrize("kind", ["pipe", "file"])
async def test_other_input_is_read_to_its_end(monkeypatch, tmp_path, kind):
    text = b"one\x1d\ntwo\n" * 1000
    if kind == "pipe":
        reading, writing = os.pipe()
        os.write(writing, text)
        os.close(writing)
    else:
        (tmp_path / "f").write_bytes(text)
        reading = os.open(tmp_path / "f", os.O_RDONLY)
    with os.fdopen(reading, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        keyboard = Keyboard()
        with keyboard.raw():
            typed = [data async for data in keyboard.typed()]
    assert not keyboard.is_terminal
    assert b"".join(typed) == text

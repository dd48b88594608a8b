"""The user's end of a console: keys in, output out, the terminal as it was before.

A terminal is put into raw mode, so that Ctrl+C and the like reach the guest, and is restored on every way out, by
signals too. Anything else (a pipe, a file) is read to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator

ESCAPE = b"\x1d"  # Ctrl+]
READ_BYTES = 4096


class Keyboard:
    """Standard input, whatever it is."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self.is_terminal = os.isatty(self._fd)

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Raw mode while the block runs; nothing when this is no terminal."""
        if not self.is_terminal:
            yield
            return
        before = termios.tcgetattr(self._fd)
        tty.setraw(self._fd, termios.TCSANOW)
        try:
            yield
        finally:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, before)

    async def typed(self) -> AsyncIterator[bytes]:
        """What is typed or piped, until its end or, on a terminal, until the escape."""
        while data := await self._read():
            if self.is_terminal and ESCAPE in data:
                if typed := data.split(ESCAPE, 1)[0]:
                    yield typed
                return
            yield data

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(self._fd, ready.set)
        except PermissionError:  # a file is always ready
            return os.read(self._fd, READ_BYTES)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._fd)
        return os.read(self._fd, READ_BYTES)


def show(data: bytes) -> None:
    """Raw output, at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def ended_by_signals(task: asyncio.Task[object]) -> Iterator[None]:
    """SIGTERM and SIGHUP cancel the task, so that every ``finally`` runs."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

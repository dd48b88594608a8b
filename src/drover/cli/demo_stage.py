"""The demo's stage: shell commands that are printed and then run as they stand, steps that are timed.

What the audience reads after ``$`` is what runs: ``bash -c`` gets the very text, in the checkout, with the environment
that the first lines state. Every child is ended when the stage closes, however it closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from drover.base.clock import Clock
from drover.base.tasks import TaskScope
from drover.cli.session import colours, say

CHECKOUT = Path(__file__).resolve().parents[3]
COMMAND_LIMIT_S = 180.0
END_LIMIT_S = 3.0
TICK_S = 0.5
LINE_MOST_BYTES = 1024 * 1024


class DemoFailed(click.ClickException):
    """A step did not do what it should; the command ends with 1 and this reason."""


@dataclass
class Line:
    """One line of a command's output and when it came (monotonic seconds)."""

    text: str
    at_s: float


@dataclass
class Step:
    """One line of the summary."""

    name: str
    took_s: float


class Background:
    """A command that runs on while others do; its lines are kept, with their times."""

    def __init__(self, command: str, process: asyncio.subprocess.Process, clock: Clock) -> None:
        self.command = command
        self.lines: list[Line] = []
        self._process = process
        self._clock = clock
        self._news = asyncio.Event()
        self._shown = False

    async def read(self) -> None:
        """Collect until the command ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.lines.append(Line(line.decode(errors="replace").rstrip(), self._clock.monotonic()))
            self._news.set()

            if self._shown:
                say(self.lines[-1].text)

    async def news(self, limit_s: float) -> None:
        """Until a line comes, or the limit."""
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._news.wait()

    def show(self) -> None:
        """Print the lines so far, and each that comes."""
        for line in self.lines:
            say(line.text)
        self._shown = True

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.returncode

    @property
    def ended(self) -> bool:
        return self.code is not None

    async def wait_end(self) -> None:
        await self._process.wait()

    async def end(self) -> None:
        await _end(self._process)


@dataclass
class Stage:
    """What the demo speaks through. Use ``open``."""

    clock: Clock
    scope: TaskScope
    steps: list[Step] = field(default_factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, clock: Clock) -> AsyncIterator[Stage]:
        async with TaskScope("demo") as scope:
            yield cls(clock, scope)

    def title(self, text: str) -> None:
        say()
        say(f"== {text}", bold=True)
        say()

    def tell(self, text: str) -> None:
        say(click.style(f"# {text}", fg="cyan") if colours() else f"# {text}")

    @contextlib.asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """A timed part of the story; its failure names it."""
        began_s = self.clock.monotonic()
        try:
            yield
        except DemoFailed as failure:
            say(click.style("FAILED", fg="red") if colours() else "FAILED")
            raise DemoFailed(f"{name}: {failure.message}") from failure
        took_s = self.clock.monotonic() - began_s
        self.steps.append(Step(name, took_s))
        ok = click.style("OK", fg="green") if colours() else "OK"
        say(f"{ok}  {name} ({took_s:.1f} s)")

    async def run(self, command: str, limit_s: float = COMMAND_LIMIT_S) -> str:
        """Print a command, run it, print what it says; its output. Raises DemoFailed."""
        self.announce(command)
        process = await self._spawn(command)
        said: list[str] = []
        try:
            async with asyncio.timeout(limit_s), self.ticking():
                assert process.stdout is not None
                while line := await process.stdout.readline():
                    text = line.decode(errors="replace").rstrip()
                    said.append(text)
                    _wipe()
                    say(text)
                code = await process.wait()
        except TimeoutError as late:
            raise DemoFailed(f"`{_first_line(command)}` took over {limit_s:.0f} s") from late
        finally:
            await _end(process)
        if code != 0:
            raise DemoFailed(f"`{_first_line(command)}` ended with exit code {code}")
        say()
        return "\n".join(said)

    def announce(self, command: str) -> None:
        say(f"$ {command}", bold=True)

    @contextlib.asynccontextmanager
    async def background(self, command: str) -> AsyncIterator[Background]:
        """Run a command beside others, unprinted; it is ended at the end of the block."""
        running = Background(command, await self._spawn(command), self.clock)
        reading = self.scope.spawn(running.read(), "read")
        try:
            yield running
        finally:
            await running.end()
            await asyncio.wait([reading])

    @contextlib.asynccontextmanager
    async def ticking(self, what: str = "") -> AsyncIterator[None]:
        """On a terminal, show that time passes while nothing else is printed."""
        if not sys.stdout.isatty():
            yield
            return
        ticker = self.scope.spawn(self._tick(what), "tick")
        try:
            yield
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])
            _wipe()

    async def _tick(self, what: str) -> None:
        began_s = self.clock.monotonic()
        while True:
            await self.clock.sleep(TICK_S)
            passed_s = self.clock.monotonic() - began_s
            click.echo(f"\r\033[K  ... {what}{' ' if what else ''}{passed_s:.0f} s\r", nl=False)

    async def _spawn(self, command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-c", command),
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl+C reaches us alone, and we end them in order
            limit=LINE_MOST_BYTES,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a command and all that it started, gently first."""
    for kill in ("INT", "KILL"):
        if process.returncode is None:
            _signal_group(process.pid, kill)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_LIMIT_S):
                    await process.wait()


def _signal_group(pid: int, name: str) -> None:
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, getattr(signal, f"SIG{name}"))


def _wipe() -> None:
    if sys.stdout.isatty():
        click.echo("\r\033[K", nl=False)


def _first_line(command: str) -> str:
    return command.split("\n", 1)[0]

"""The outermost part of our long-running processes: arguments, configuration, signals, exit code.

SIGTERM and SIGINT cancel the work, which closes what it opened; any error that the work raises ends the process with a
traceback and code 1, for its supervisor to start it again. A crash below Python leaves a traceback too, and of an end
that was asked for the log says so: a supervisor's "ended with code 0" explains nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from drover.base.config_file import BadConfig, load

T = TypeVar("T")


def run(name: str, about: str, kind: type[T], serve: Callable[[T], Awaitable[None]]) -> None:
    """Parse ``--config FILE``, then run ``serve`` until it is told to stop."""
    parser = argparse.ArgumentParser(prog=name, description=about)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    try:
        config = load(parser.parse_args().config, kind)
    except BadConfig as error:
        parser.error(str(error))
    faulthandler.enable()
    asyncio.run(_until_told(name, serve(config)))


async def _until_told(name: str, work: Awaitable[None]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _told, name, number, task)
    with contextlib.suppress(asyncio.CancelledError):
        await work


def _told(name: str, number: signal.Signals, task: asyncio.Task[None]) -> None:
    sys.stderr.write(f"{name}: told to end by {number.name}\n")
    task.cancel()

"""A local port whose connections go to a VM, each by a stream of its own through the API server.

``drover port-forward`` and ``drover vnc`` are this with another stream. Every connection looks up where the VM runs, so
one made after a move reaches the guest where it is then; those that are open when it moves end. Listening is on
loopback unless the user names another address. Ctrl+C and SIGTERM are its regular end, with exit code 0.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from drover.api.status import ApiError, Unanswered
from drover.base.tasks import TaskScope, wait_first
from drover.cli.connect import Api
from drover.cli.keyboard import ended_by_signals
from drover.cli.targets import Target, active_pod, find, why_not_running

if TYPE_CHECKING:
    from drover.runtime.attach import Attached

READ_BYTES = 64 * 1024
MOST_CONNECTIONS = 64

Open = Callable[[str], AbstractAsyncContextManager["Attached"]]  # of a Pod by name


@dataclass
class Tunnel:
    """Of one VM. ``open_stream`` makes the way in."""

    api: Api
    vm: Target
    open_stream: Open
    connections: int = 0

    async def pod(self) -> str:
        """Where the VM runs. Raises ClickException."""
        found = await find(self.api.client, self.vm)
        name = active_pod(found)
        if not name:
            raise click.ClickException(why_not_running(self.vm, found))
        return name

    async def check(self) -> str:
        """One stream to and fro, before anybody is promised one: what keeps it from working, or nothing."""
        async with self.open_stream(await self.pod()) as stream:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    async for _ in stream.output():
                        return ""
            return stream.failure

    @contextlib.asynccontextmanager
    async def listening(self, address: str, port: int) -> AsyncIterator[int]:
        """The local port; 0 asks for any. Raises ClickException where it is taken."""
        try:
            server = await asyncio.start_server(self._serve, address, port)
        except OSError as error:
            raise click.ClickException(
                f"cannot listen on {address}:{port}: {error.strerror or error}; name another local port"
            ) from error
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. What fails it is told, and ends nothing else."""
        if self.connections >= MOST_CONNECTIONS:
            _note(f"{MOST_CONNECTIONS} connections are open already: one more is refused")
            writer.close()
            return
        self.connections += 1
        try:
            async with self.open_stream(await self.pod()) as stream:
                async with TaskScope("tunnel") as scope:
                    into = scope.spawn(_into(reader, stream), "in")
                    out = scope.spawn(_out(stream, writer), "out")
                    if await _ended(into, out):
                        await wait_first(out)
                if stream.failure:
                    _note(stream.failure)
        except click.ClickException as error:
            _note(error.message)
        except (ApiError, Unanswered) as error:
            _note(str(error))
        finally:
            self.connections -= 1
            writer.close()


async def until_told() -> None:
    """Until Ctrl+C, SIGTERM or SIGHUP."""
    this = asyncio.current_task()
    assert this is not None
    with contextlib.suppress(asyncio.CancelledError), ended_by_signals(this):
        await asyncio.Event().wait()


async def _ended(into: asyncio.Task[bool], out: asyncio.Task[None]) -> bool:
    """Whether the user's side ended its input properly, so that the answer is still worth waiting for."""
    await wait_first(into, out)
    return into.done() and into.exception() is None and into.result()


async def _into(reader: asyncio.StreamReader, stream: Attached) -> bool:
    try:
        while data := await reader.read(READ_BYTES):
            await stream.send(data)
        await stream.end_input()
    except (ConnectionError, Unanswered):
        return False
    return True


async def _out(stream: Attached, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        async for data in stream.output():
            writer.write(data)
            await writer.drain()


def _note(text: str) -> None:
    click.echo(f"[{text}]", err=True)

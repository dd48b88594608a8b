"""The local end of port-forward and vnc: what is listened on, what fails a connection, and ports that are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from drover.api.status import NotFound, Unanswered
from drover.cli.port_forward import Ports, command
from drover.cli.targets import Target
from drover.cli.tunnels import Tunnel
from drover.runtime.attach import Attached

RUNNING = {"status": {"phase": "Running", "virtualMachinePods": [{"name": "p", "active": True}]}}


class Stream:
    """Says back what it was told, once the input has ended."""

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self._told: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, data: bytes) -> None:
        self._told.put_nowait(data.upper())

    async def end_input(self) -> None:
        self._told.put_nowait(b"")

    async def output(self) -> AsyncIterator[bytes]:
        while not self.failure and (data := await self._told.get()):
            yield data


class Fake:
    """A client that knows one VM, or none."""

    def __init__(self, vm: Any) -> None:
        self.client = self
        self._vm = vm

    async def get(self, *_: object) -> Any:
        if self._vm is None:
            raise NotFound("none")
        return self._vm


def tunnel(vm: Any = RUNNING, stream: Stream | Exception | None = None) -> Tunnel:
    @contextlib.asynccontextmanager
    async def opened(pod: str) -> AsyncIterator[Attached]:
        assert pod == "p"
        if isinstance(stream, Exception):
            raise stream
        yield cast("Attached", stream or Stream())

    return Tunnel(cast("Any", Fake(vm)), Target("default", "my-vm"), opened)


async def said_by(port: int, words: bytes = b"hello") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(words)
    writer.write_eof()
    try:
        return await reader.read()
    except ConnectionResetError:  # what was sent is not read any more
        return b""
    finally:
        writer.close()


async def test_each_connection_has_a_stream_of_its_own() -> None:
    async with tunnel().listening("127.0.0.1", 0) as port:
        answers = await asyncio.gather(said_by(port, b"one"), said_by(port, b"two"))
    assert answers == [b"ONE", b"TWO"]


@pytest.mark.parametrize(
    ("vm", "stream", "note"),
    [
        (RUNNING, Stream("port 9 cannot be reached"), "[port 9 cannot be reached]"),
        (RUNNING, Unanswered("no connection", sent=False), "no connection"),
        ({"status": {"phase": "Stopped"}}, None, "start my-vm -n default` starts it"),
        (None, None, 'there is no VirtualMachine "default/my-vm"'),
    ],
)
async def test_what_fails_a_connection_is_told_and_ends_nothing_else(
    vm: Any, stream: Any, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tunnel(vm, stream)
    async with one.listening("127.0.0.1", 0) as port:
        assert await said_by(port) == b""
        assert await said_by(port) == b""
    assert capsys.readouterr().err.count(note) == 2
    assert one.connections == 0


async def test_a_port_that_is_taken() -> None:
    async with tunnel().listening("127.0.0.1", 0) as port:
        with pytest.raises(click.ClickException, match="name another local port"):
            async with tunnel().listening("127.0.0.1", port):
                pass


async def test_the_check_before_anything_is_promised() -> None:
    assert (
        await tunnel(stream=Stream("the screen is not there")).check() == "the screen is not there"
    )
    assert await tunnel().check() == ""


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("8080:80", Ports(8080, 80)),
        ("80", Ports(80, 80)),
        (":80", Ports(0, 80)),
        ("0:80", Ports(0, 80)),
    ],
)
def test_pairs_of_ports(text: str, pair: Ports) -> None:
    assert command.params[1].type.convert(text, None, None) == pair


@pytest.mark.parametrize("text", ["http", "80:", "1:2:3", "-5", "70000", "0", "80:0", "80:65536"])
def test_what_is_no_pair_of_ports(text: str) -> None:
    found = CliRunner().invoke(command, ["vm", "--", text])
    assert found.exit_code == 2
    assert "no pair of ports" in found.output or "ports are 1 to 65535" in found.output

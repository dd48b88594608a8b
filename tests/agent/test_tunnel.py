"""Both ends of a tunnel against each other: the agent's, and the one that commands use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from drover.agent.kubelet import tunnel
from drover.agent.kubelet.tunnel import Tunnels
from drover.base.clock import RealClock
from drover.runtime.attach import PROTOCOLS, forward, screen
from drover.runtime.kubeconfig import Access


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers once its peer has ended its side."""
    writer.write(b"heard " + await reader.read())
    writer.close()


class Rig:
    """A guest on loopback behind a tunnel end; ``vnc`` is where its screen should be."""

    def __init__(self, directory: Path) -> None:
        self.vnc: Path | None = directory / "vnc"
        self.tunnels = Tunnels()
        self.access = Access("")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=PROTOCOLS)
        await socket.prepare(request)
        if request.path.endswith("exec"):
            await self.tunnels.to_socket(socket, self.vnc)
        else:
            await self.tunnels.to_port(socket, "127.0.0.1", int(request.query["ports"]))
        await socket.close()
        return socket

    def forward(self, port: int) -> Any:
        return forward(self.access, RealClock(), "ns", "pod", port)

    def screen(self) -> Any:
        return screen(self.access, RealClock(), "ns", "pod", "compute")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    app = web.Application()
    app.router.add_get("/{rest:.*}", made.handle)
    async with TestServer(app) as server:
        made.access = Access(str(server.make_url("")))
        yield made


async def talk(opening: Any, *words: bytes) -> tuple[bytes, str]:
    """(what came back, why it ended)."""
    async with opening as stream:
        for word in words:
            await stream.send(word)
        await stream.end_input()
        return b"".join([data async for data in stream.output()]), stream.failure


async def test_a_port_hears_all_and_answers_after_the_end_of_input(rig: Rig) -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    big = bytes(range(256)) * 4096
    assert await talk(rig.forward(port), b"\x01\xff", big) == (b"heard \x01\xff" + big, "")
    server.close()
    said, why = await talk(rig.forward(port))
    assert said == b""
    assert why == f"port {port} of 127.0.0.1 cannot be reached: Connection refused"


async def test_a_screen_is_there_or_it_is_told_why_not(rig: Rig) -> None:
    assert rig.vnc is not None
    server = await asyncio.start_unix_server(_echo, rig.vnc)
    assert await talk(rig.screen(), b"RFB") == (b"heard RFB", "")
    server.close()
    rig.vnc.unlink(missing_ok=True)
    assert (await talk(rig.screen()))[1].startswith("the screen cannot be reached: No such file")
    rig.vnc = None
    assert await talk(rig.screen()) == (b"", "the screen is not there")


async def test_tunnels_are_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "TUNNELS_MOST", 0)
    assert (await talk(rig.forward(1)))[1] == "0 tunnels into VMs of this node are open already"

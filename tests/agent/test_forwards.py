"""kubectl's port-forward, spoken from the other side: streams in pairs, errors by port, pings; and bad frames."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from drover.agent.kubelet import forwards, spdy
from drover.agent.kubelet.forwards import Forwards
from drover.agent.kubelet.tunnel import Tunnels


def test_the_dictionary_is_that_of_the_protocol() -> None:
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(1, 50))
def test_frames_survive_any_cut(chunks: list[bytes], step: int) -> None:
    writer, reader = spdy.Writer(), spdy.Reader()
    sent = b"".join(
        writer.open(2 * n + 1, {"port": str(n), "streamtype": "data"})
        + writer.data(n, chunk, fin=n % 2 == 0)
        for n, chunk in enumerate(chunks)
    )
    heard = [f for at in range(0, len(sent), step) for f in reader.feed(sent[at : at + step])]
    assert [frame.data for frame in heard if not frame.kind] == chunks
    assert [frame.headers["port"] for frame in heard if frame.kind] == [
        str(n) for n in range(len(chunks))
    ]
    assert [frame.fin for frame in heard if not frame.kind] == [
        n % 2 == 0 for n in range(len(chunks))
    ]


def _headers(text: bytes) -> bytes:
    packer = zlib.compressobj(zdict=spdy.DICTIONARY)
    block = packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)
    return struct.pack(">IIIIH", 0x80030001, 10 + len(block), 1, 0, 0) + block


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (struct.pack(">II", 1, spdy.MOST_FRAME_BYTES + 1), "a frame of"),
        (struct.pack(">III", 0x80020006, 4, 1), "SPDY version 2"),
        (struct.pack(">IIH", 0x80030001, 2, 1), "too short"),
        (struct.pack(">IIIIH", 0x80030001, 12, 1, 0, 0) + b"\xff\xff", "cannot be read"),
        (_headers(b"\0" * (spdy.MOST_HEADER_BYTES + 1)), "headers of more than"),
        (_headers(struct.pack(">II", 1, 10**6)), "cannot be read"),
        (_headers(struct.pack(">I", 2**32 - 1)), "cannot be read"),
    ],
)
def test_bad_frames_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(spdy.BadFrames, match=why):
        list(spdy.Reader().feed(data))


class Kubectl:
    """The other side of one WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.writer, self.reader = spdy.Writer(), spdy.Reader()
        self.number = -1

    async def say(self, *frames: bytes) -> None:
        for frame in frames:
            await self.socket.send_bytes(frame)

    async def connect(self, port: int | str, request: str) -> int:
        """Number of the data stream; that of the error stream is two less."""
        for kind in ("error", "data"):
            self.number += 2
            said = {"port": str(port), "requestid": request, "streamtype": kind}
            await self.say(self.writer.open(self.number, said))
        return self.number

    async def heard(self, *until_fin: int) -> dict[int, bytes]:
        """Data by stream until these have ended; replies, pings and resets by their kind, below zero."""
        found: dict[int, bytes] = {}
        left = set(until_fin)
        async for message in self.socket:
            for frame in self.reader.feed(message.data):
                key = frame.number if not frame.kind else -frame.kind
                found[key] = found.get(key, b"") + (
                    frame.data or bytes([frame.number % 256]) * bool(frame.kind)
                )
                left -= (
                    {frame.number}
                    if frame.fin or frame.kind in (spdy.PING, spdy.RST_STREAM)
                    else set()
                )
            if not left:
                break
        return found


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"heard " + await reader.read())
    writer.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def kubectl() -> AsyncIterator[Kubectl]:
    tunnels = Tunnels()

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=(forwards.PROTOCOL,))
        await socket.prepare(request)
        await Forwards(socket, lambda port: tunnels.connect("127.0.0.1", port)).run()
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.make_url("/"), protocols=[forwards.PROTOCOL]) as socket,
    ):
        yield Kubectl(socket)


async def test_connections_side_by_side_each_hear_their_own(kubectl: Kubectl, port: int) -> None:
    first, second = await kubectl.connect(port, "0"), await kubectl.connect(port, "1")
    big = bytes(range(256)) * 2048
    await kubectl.say(
        kubectl.writer.data(second, b"two"),
        *(kubectl.writer.data(first, big[at : at + 9999]) for at in range(0, len(big), 9999)),
        kubectl.writer.data(first, b"", fin=True),
        kubectl.writer.data(second, b"!", fin=True),
    )
    found = await kubectl.heard(first, second, first - 2, second - 2)
    assert found[first] == b"heard " + big
    assert found[second] == b"heard two!"
    assert found[first - 2] == found[second - 2] == b""
    assert len(found[-spdy.SYN_REPLY]) == 4


async def test_a_closed_port_is_told_on_its_error_stream_and_ends_nothing_else(
    kubectl: Kubectl, port: int
) -> None:
    closed = await kubectl.connect(1, "0")
    found = await kubectl.heard(closed, closed - 2)
    assert found[closed - 2] == b"port 1 of 127.0.0.1 cannot be reached: Connection refused"
    wrong = await kubectl.connect("70000", "1")
    assert (await kubectl.heard(wrong))[wrong - 2] == b"'70000' is no port"
    good = await kubectl.connect(port, "2")
    await kubectl.say(kubectl.writer.data(good, b"on", fin=True))
    assert (await kubectl.heard(good))[good] == b"heard on"


async def test_pings_come_back_and_strange_streams_are_reset(kubectl: Kubectl) -> None:
    await kubectl.say(kubectl.writer.ping(7))
    assert -spdy.PING in await kubectl.heard(7)
    await kubectl.say(
        kubectl.writer.open(99, {"streamtype": "shell", "requestid": "9", "port": "1"})
    )
    assert -spdy.RST_STREAM in await kubectl.heard(99)


async def test_who_does_not_speak_as_agreed_is_left(kubectl: Kubectl) -> None:
    await kubectl.say(struct.pack(">III", 0x80020006, 4, 1))
    assert [message async for message in kubectl.socket] == []


async def test_a_guest_that_does_not_read_is_let_go_with_its_stream(kubectl: Kubectl) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.transport.abort()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
    stream = await kubectl.connect(server.sockets[0].getsockname()[1], "0")
    chunk: Any = kubectl.writer.data(stream, bytes(256 * 1024))
    await kubectl.say(*[chunk] * 64, kubectl.writer.ping(8))
    found = await kubectl.heard(stream, 8)
    assert -spdy.PING in found
    server.close()

"""`drover restore` beside servers that live."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drover.cli.backup import require_silence
from drover.runtime.pki import Leaf, ensure_authority, ensure_leaf
from drover.server.errors import ControlPlaneError
from drover.server.parts import API_PORT

LIVES, DEAD = "127.66.7.1", "127.66.7.2"
NOT_READY = b"HTTP/1.1 500 X\r\nDate: Sun, 29 Nov 2026 18:00:00 GMT\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(params=["ca", "foreign"])
async def api(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """An API server, on whatever etcd; its authority."""
    now = datetime.datetime.now(datetime.UTC)
    for name in ("ca", request.param):
        authority = ensure_authority(tmp_path, name, now)
    leaf = Leaf(tmp_path / "s.crt", tmp_path / "s.key", "s", names=(LIVES,), server=True)
    ensure_leaf(authority, leaf, now)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(leaf.cert, leaf.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(NOT_READY)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, LIVES, API_PORT, ssl=tls):
        yield request.param


async def test_a_server_that_answers_is_to_be_stopped_first(api: str, tmp_path: Path) -> None:
    """One of another authority is none of this cluster."""
    known = {"one": DEAD, "two": LIVES}
    if api == "foreign":
        await asyncio.to_thread(require_silence, known, tmp_path)
        return
    with pytest.raises(ControlPlaneError, match=r"^two at \S+ still answers, .*stop every server"):
        await asyncio.to_thread(require_silence, known, tmp_path)

"""The guest's side of the channel may say anything: it is no news of its agent, and no harm."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drover.agent.qemu.guest_agent import GuestAgent


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        (b'{"return": 1}\n', True),
        (b"\xff{\n[1]\nnull\n3\n" + b"[" * 50_000 + b'\n{"return": 1}\n', True),
        (b'{"return": 2}\n', False),
        (b'"' + b"x" * 100_000 + b"\n", False),
    ],
    ids=["an answer", "rubbish before it", "to another question", "too long a line"],
)
async def test_what_a_guest_may_say(said: bytes, answers: bool, tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(talk, tmp_path / "qga"):
        assert await GuestAgent(tmp_path / "qga").answers() is answers

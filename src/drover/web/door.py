"""A private door to the page that runs beside a lab: who stands there may ask where it is, and for a link.

An abstract socket, in the machine's own network namespace: nothing is left on a disk, and only processes of the same
user (or root) are heard, as the kernel says who they are. One question a connection, one answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable

PORT = 8640  # where a page listens when it may choose
ADDRESS, LINK = "address", "link"
_MOST_BYTES = 64
_LIMIT_S = 2.0
_FREE_S = 5.0
_LOOK_S = 0.1
_MOST_WAITING = 8
_ANSWER_BYTES = 4096


def _path(lab: str) -> str:
    return f"\0drover-{lab}-page"


@contextlib.asynccontextmanager
async def opened(lab: str, answer: Callable[[str], str]) -> AsyncIterator[None]:
    """Answer until the end; an empty answer says that the question is not known. Raises OSError when another has it and
    does not end soon: the page of a lab that was just taken down may have it for a moment.
    """

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_LIMIT_S):
                if _user(writer.get_extra_info("socket")) in (0, os.geteuid()):
                    question = (await reader.readuntil(b"\n")).decode().strip()
                    writer.write(answer(question).encode())
                    await writer.drain()
        except (OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError):
            pass  # it asked nothing that has an answer
        finally:
            writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    until_s = asyncio.get_running_loop().time() + _FREE_S
    while True:
        try:
            server = await asyncio.start_unix_server(
                visit, _path(lab), limit=_MOST_BYTES, backlog=_MOST_WAITING
            )
            break
        except OSError as error:
            late = asyncio.get_running_loop().time() >= until_s
            if late or error.errno != errno.EADDRINUSE:
                raise
        await asyncio.sleep(_LOOK_S)
    async with server:
        yield


def _user(peer: socket.socket) -> int:
    """The user id of whoever has connected."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def ask(lab: str, question: str) -> str:
    """The answer, or nothing when there is no such page."""
    with socket.socket(socket.AF_UNIX) as door, contextlib.suppress(OSError):
        door.settimeout(_LIMIT_S)
        door.connect(_path(lab))
        door.sendall(f"{question}\n".encode())
        return door.makefile("r", encoding="utf-8").read(_ANSWER_BYTES)
    return ""

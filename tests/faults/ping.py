"""Echo requests to a guest from the machine, every 20 ms; the longest silence is what a user would notice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import struct
import time
from types import TracebackType

from drover.base.tasks import TaskScope

EVERY_S = 0.02
_ECHO = 8


class Ping:
    """As an async context: pings while inside."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._number = os.getpid() & 0xFFFF
        self._answers: list[float] = []
        self._began = 0.0
        self._ended = 0.0
        self._scope = TaskScope("ping")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setblocking(False)

    async def __aenter__(self) -> Ping:
        self._began = time.monotonic()
        self._scope.spawn(self._send(), "send")
        self._scope.spawn(self._receive(), "receive")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = time.monotonic()
        await self._scope.aclose()
        self._socket.close()

    def longest_ms(self) -> int:
        """The longest time without an answer."""
        times = [self._began, *self._answers, self._ended or time.monotonic()]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return int(max(gaps) * 1000)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        sequence = 0
        while True:
            sequence = (sequence + 1) & 0xFFFF
            with contextlib.suppress(OSError):  # the way is cut just now
                await loop.sock_sendto(self._socket, self._packet(sequence), (self._address, 0))
            await asyncio.sleep(EVERY_S)

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            packet, (sender, _) = await loop.sock_recvfrom(self._socket, 2048)
            header = (packet[0] & 0x0F) * 4
            kind, _code, _sum, number, _sequence = struct.unpack_from("!BBHHH", packet, header)
            if sender == self._address and kind == 0 and number == self._number:
                self._answers.append(time.monotonic())

    def _packet(self, sequence: int) -> bytes:
        plain = struct.pack("!BBHHH", _ECHO, 0, 0, self._number, sequence)
        total = sum(struct.unpack("!4H", plain))
        total = (total & 0xFFFF) + (total >> 16)
        checksum = ~(total + (total >> 16)) & 0xFFFF
        return struct.pack("!BBHHH", _ECHO, 0, checksum, self._number, sequence)
